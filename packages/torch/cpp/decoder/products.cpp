#include "products.h"

namespace larr {
namespace decoder {
namespace {

constexpr int64_t fewRows = 32;
constexpr int64_t rowsAPart = 48;      // of a product, to a thread; whole register blocks, and one and a half of AMX's
constexpr int64_t depthAtOnce = 4096;  // a panel of it stays in the second cache
constexpr int64_t outerDepth = 512;    // rows of both operands packed, and summed, at a time

Dtype typeOf(at::ScalarType type) { return type == at::kBFloat16 ? Dtype::bf16 : Dtype::f32; }

at::Tensor floats(int64_t count) { return at::empty({count}, at::kFloat); }

}  // namespace

bool multipliesHere(const at::Tensor& x, at::ScalarType type, int64_t rows) {
  if (!isFused(x) || rows < fewRows || (type != at::kFloat && type != at::kBFloat16)) return false;
  return kernels().multiplies(typeOf(type));
}

Packed packed(const at::Tensor& matrix, at::ScalarType type, bool transposed, bool gate) {
  const at::Tensor from = matrix.contiguous();
  Packed result{typeOf(type), from.size(transposed ? 1 : 0), from.size(transposed ? 0 : 1), 0, gate, {}};
  result.panels = kernels().panels(result.type, result.columns, gate);
  const auto each = static_cast<int64_t>(kernels().panelFloats(result.type, result.depth));
  result.data = floats(result.panels * each);
  const Packing p{result.type, result.depth, result.columns, decoder::matrix(from), from.size(1), transposed, gate};
  float* to = result.data.mutable_data_ptr<float>();
  at::parallel_for(0, result.panels, std::max<int64_t>(1, 32768 / std::max<int64_t>(1, each)), [&](int64_t begin, int64_t end) { kernels().pack(p, begin, end, to); });
  return result;
}

void multiply(const at::Tensor& a, const Packed& packed, const at::Tensor& out, const Epilogue& epilogue) {
  TORCH_CHECK(!epilogue.gated.defined() || !(epilogue.bias.defined() || epilogue.relu || epilogue.add), "a gated product has no bias, ReLU or addition");
  const int64_t rows = a.size(0);
  Product p{};
  p.depth = packed.depth;
  p.columns = packed.columns;
  p.panels = packed.panels;
  p.a = matrix(a);
  p.aStep = a.stride(0);
  p.packed = packed.data.const_data_ptr<float>();
  p.bias = epilogue.bias.defined() ? epilogue.bias.const_data_ptr<float>() : nullptr;
  p.gated = matrix(epilogue.gated);
  const bool deep = packed.depth > depthAtOnce && !packed.gate;
  const at::Tensor sums = deep && out.scalar_type() != at::kFloat ? (epilogue.add ? out.to(at::kFloat) : at::empty(out.sizes(), out.options().dtype(at::kFloat))) : out;
  p.out = matrix(sums);
  p.outStep = sums.defined() ? sums.stride(0) : packed.columns;
  const int64_t parts = (rows + rowsAPart - 1) / rowsAPart;
  const int64_t grain = std::max<int64_t>(1, (int64_t{1} << 20) / std::max<int64_t>(1, rowsAPart * packed.depth * packed.columns));
  at::parallel_for(0, parts, grain, [&](int64_t begin, int64_t end) {
    Product part = p;
    for (; part.begin < p.depth; part.begin = part.end) {
      part.end = deep ? std::min(p.depth, part.begin + depthAtOnce) : p.depth;
      part.add = epilogue.add || part.begin > 0;
      if (part.begin > 0) part.bias = nullptr;
      part.relu = epilogue.relu && part.end == p.depth;
      kernels().product(part, begin * rowsAPart, std::min(rows, end * rowsAPart));
    }
  });
  if (!sums.is_same(out)) out.copy_(sums);
}

void multiplyOuter(const at::Tensor& a, const at::Tensor& b, const at::Tensor& out, bool add) {
  const int64_t depth = a.size(0), rows = a.size(1), columns = b.size(1), once = std::min(depth, outerDepth);
  if (depth == 0) {
    if (!add) out.zero_();
    return;
  }
  const Dtype type = typeOf(a.scalar_type());
  const int64_t panels = kernels().panels(type, columns, false), block = kernels().outerRows(type), blocks = (rows + block - 1) / block;
  const at::Tensor room = floats(panels * static_cast<int64_t>(kernels().panelFloats(type, once)));
  float* packed = room.mutable_data_ptr<float>();
  const auto size = static_cast<int64_t>(a.element_size());
  for (int64_t first = 0; first < depth; first += once) {
    const int64_t count = std::min(once, depth - first);
    const auto from = [&](const at::Tensor& x) { return Matrix{static_cast<char*>(x.data_ptr()) + first * x.stride(0) * size, type}; };
    const Packing packing{type, count, columns, from(b), b.stride(0), false, false};
    at::parallel_for(0, panels, 1, [&](int64_t begin, int64_t end) { kernels().pack(packing, begin, end, packed); });
    const Outer p{type, count, rows, columns, from(a), a.stride(0), packed, out.mutable_data_ptr<float>(), add || first > 0};
    at::parallel_for(0, blocks, 1, [&](int64_t begin, int64_t end) {
      const at::Tensor scratch = floats(block * ((count + 31) / 32 * 32));
      kernels().outer(p, begin, end, scratch.mutable_data_ptr<float>());
    });
  }
}

std::pair<at::Tensor, at::Tensor> rectified(const at::Tensor& g, const at::Tensor& y, bool sums) {
  if (!y.defined() && !sums) return {g, {}};
  constexpr int64_t rowsAtOnce = 128;  // fixed, so that sums are the same on any number of threads
  const int64_t rows = g.size(0), width = g.size(1), blocks = (rows + rowsAtOnce - 1) / rowsAtOnce;
  const at::Tensor gradient = y.defined() ? at::empty_like(g) : g;
  const at::Tensor parts = sums ? at::zeros({blocks, width}, at::kFloat) : at::Tensor();
  Rectified p{};
  p.width = width;
  p.yGradient = matrix(g);
  p.y = matrix(y);
  p.gradient = matrix(gradient);
  at::parallel_for(0, blocks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; ++block) {
      kernels().rectifyBackward(p, block * rowsAtOnce, std::min(rows, (block + 1) * rowsAtOnce), sums ? parts.mutable_data_ptr<float>() + block * width : nullptr);
    }
  });
  return {gradient, sums ? parts.sum(0) : at::Tensor()};
}

namespace {

/// x · weightᵀ + bias, or with `gate` the SwiGLU of it, or with `relu` max(0, ·). `type`: of the products' operands and of what comes out.
struct FusedLinear : torch::autograd::Function<FusedLinear> {
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& x, const at::Tensor& weight, const std::optional<at::Tensor>& bias,
                            bool gate, bool relu, at::ScalarType type, bool differentiate) {
    auto shape = x.sizes().vec();
    const int64_t columns = weight.size(0);
    const at::Tensor rows = x.reshape({-1, weight.size(1)}).to(type).contiguous();
    const auto result = [&](int64_t width) {
      shape.back() = width;
      return at::empty(shape, rows.options());
    };
    const at::Tensor out = gate && !differentiate ? at::Tensor() : result(columns), gated = gate ? result(columns / 2) : at::Tensor();
    multiply(rows, packed(weight, type, /*transposed=*/true, gate), out.defined() ? out.view({-1, columns}) : out,
             {.bias = bias ? bias->to(at::kFloat).contiguous() : at::Tensor(), .gated = gated, .relu = relu});
    if (differentiate) {
      context->save_for_backward({rows, weight, gate || relu ? out : at::Tensor()});
      context->saved_data["gate"] = gate;
      context->saved_data["x"] = static_cast<int64_t>(x.scalar_type());
      context->saved_data["shape"] = x.sizes();
      context->saved_data["bias"] = bias ? static_cast<int64_t>(bias->scalar_type()) : int64_t{-1};
    }
    return gate ? gated : out;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context, torch::autograd::variable_list gradients) {
    once(context->saved_data["gate"].toBool() ? "linearSwiGlu" : "blockLinear");
    const auto saved = context->get_saved_variables();
    const at::Tensor &rows = saved[0], &weight = saved[1], &out = saved[2];
    const at::ScalarType type = rows.scalar_type();
    at::Tensor outer = gradients[0].to(type).contiguous();
    const int64_t bias = context->saved_data["bias"].toInt();
    at::Tensor biasGradient;
    if (context->saved_data["gate"].toBool()) {
      const at::Tensor gradient = at::empty_like(out);
      Gate p{};
      p.width = weight.size(0) / 2;
      p.gateUp = matrix(out);
      p.yGradient = matrix(outer);
      p.gradient = matrix(gradient);
      overRows(rows.size(0), 2 * p.width, [&](int64_t begin, int64_t end) { kernels().gateBackward(p, begin, end); });
      outer = gradient;
    }
    outer = outer.view({rows.size(0), weight.size(0)});
    if (!context->saved_data["gate"].toBool()) {
      const bool wanted = bias >= 0 && context->needs_input_grad(2);
      std::tie(outer, biasGradient) = rectified(outer, out.defined() ? out.view(outer.sizes()) : out, wanted);
      if (wanted) biasGradient = biasGradient.to(static_cast<at::ScalarType>(bias));
    }
    at::Tensor xGradient, weightGradient;
    if (context->needs_input_grad(0)) {
      const auto shape = context->saved_data["shape"].toIntVector();
      xGradient = at::empty(shape, rows.options().dtype(static_cast<at::ScalarType>(context->saved_data["x"].toInt())));
      multiply(outer, packed(weight, type, /*transposed=*/false), xGradient.view({rows.size(0), weight.size(1)}));
    }
    if (context->needs_input_grad(1)) {
      weightGradient = at::empty(weight.sizes(), weight.options().dtype(at::kFloat));
      multiplyOuter(outer, rows, weightGradient, /*add=*/false);
      weightGradient = weightGradient.to(weight.scalar_type());
    }
    return {xGradient, weightGradient, biasGradient, at::Tensor(), at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

/// Whether FusedLinear takes these; throws where the shapes do not fit.
bool takes(const at::Tensor& x, const at::Tensor& weight, const std::optional<at::Tensor>& bias) {
  TORCH_CHECK(x.dim() > 0 && weight.dim() == 2 && x.size(-1) == weight.size(1), "x [..., in] and weight [out, in] must share in, not ", x.sizes(), " and ",
              weight.sizes());
  TORCH_CHECK(!bias || (bias->dim() == 1 && bias->size(0) == weight.size(0)), "bias must be [", weight.size(0), "], not ", bias ? bias->sizes() : x.sizes());
  if (weight.numel() == 0 || !isFused(weight) || (bias && !isFused(*bias))) return false;
  const at::ScalarType type = productType(x);
  // Without autocast LibTorch refuses operands of two types, and so must this.
  if (!at::autocast::is_autocast_enabled(at::kCPU) && (weight.scalar_type() != type || (bias && bias->scalar_type() != type))) return false;
  return multipliesHere(x, type, x.numel() / weight.size(1));
}

}  // namespace
}  // namespace decoder

at::Tensor blockLinear(const at::Tensor& x, const at::Tensor& weight, const std::optional<at::Tensor>& bias, bool relu) {
  if (!decoder::takes(x, weight, bias)) return relu ? at::linear(x, weight, bias).relu_() : at::linear(x, weight, bias);
  const bool differentiate = at::GradMode::is_enabled() && (x.requires_grad() || weight.requires_grad() || (bias && bias->requires_grad()));
  return decoder::FusedLinear::apply(x, weight, bias, /*gate=*/false, relu, decoder::productType(x), differentiate);
}

at::Tensor linearSwiGlu(const at::Tensor& x, const at::Tensor& weight) {
  TORCH_CHECK(weight.dim() == 2 && weight.size(0) % 2 == 0, "weight must be [gate | up, in], not ", weight.sizes());
  if (!decoder::takes(x, weight, std::nullopt)) return swiGlu(at::linear(x, weight));
  const bool differentiate = at::GradMode::is_enabled() && (x.requires_grad() || weight.requires_grad());
  return decoder::FusedLinear::apply(x, weight, std::nullopt, /*gate=*/true, /*relu=*/false, decoder::productType(x), differentiate);
}

}  // namespace larr
