#include "experts.h"

#include "../decoder/products.h"
#include "../decoder/storage.h"
#include "../every_isa.h"

namespace larr {
namespace {

using decoder::isFused;
using decoder::once;
using decoder::productType;

constexpr int64_t fewColumns = 16;  // of a network's input or output: our blocks would mostly hold padding

/// Products of blocks of columns with the networks' weights, [in, out] each: ours where they run (products.h), else LibTorch's.
struct Products {
  at::ScalarType type;
  bool ours;

  Products(const at::Tensor& x, at::ScalarType type, const at::Tensor& weight)
      : type(type), ours(isFused(weight) && weight.size(1) >= fewColumns && weight.size(2) >= fewColumns && decoder::multipliesHere(x, type, x.size(0))) {}

  /// What `into` and LibTorch take: our products round a weight while packing it.
  at::Tensor weights(const at::Tensor& weight) const { return ours ? weight : weight.to(type).contiguous(); }

  /// place (+)= a · w (or wᵀ) [+ bias, ReLU]
  void into(const at::Tensor& place, const at::Tensor& a, const at::Tensor& w, bool transposed, bool add, const at::Tensor& bias = {}, bool relu = false) const {
    if (ours) {
      decoder::multiply(a, decoder::packed(w, type, transposed), place, {.bias = bias, .gated = {}, .relu = relu, .add = add});
      return;
    }
    at::Tensor to = place;
    const at::Tensor right = transposed ? w.t() : w;
    if (add) to.addmm_(a, right);
    else if (bias.defined()) at::addmm_out(to, bias, a, right);
    else at::mm_out(to, a, right);
    if (relu) to.relu_();
  }

  /// place = aᵀ · b; f32 where they are ours, else of `type`
  void outer(const at::Tensor& place, const at::Tensor& a, const at::Tensor& b) const {
    if (ours) return decoder::multiplyOuter(a, b, place, /*add=*/false);
    at::Tensor to = place;
    at::mm_out(to, a.t(), b);
  }
};

struct GroupedLinear : torch::autograd::Function<GroupedLinear> {
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& x, const at::Tensor& weight, const std::optional<at::Tensor>& bias,
                            std::vector<int64_t> source, bool relu, bool differentiate) {
    const at::ScalarType type = productType(x);
    c10::impl::ExcludeDispatchKeyGuard withoutAutocast(c10::autocast_dispatch_keyset);
    const at::Tensor xs = x.to(type).contiguous();
    const Products products(xs, type, weight);
    const at::Tensor w = products.weights(weight);
    const int64_t in = w.size(1), out = w.size(2);
    const at::Tensor b = bias ? bias->to(products.ours ? at::kFloat : type).reshape({w.size(0), out}).contiguous() : at::Tensor();
    const at::Tensor y = at::empty({xs.size(0), w.size(0) * out}, xs.options());
    for (int64_t e = 0; e < w.size(0); ++e) {
      products.into(y.narrow(1, e * out, out), xs.narrow(1, source[static_cast<size_t>(e)] * in, in), w[e], /*transposed=*/false, /*add=*/false,
                    bias ? b[e] : at::Tensor(), relu);
    }
    if (differentiate) {
      context->save_for_backward({xs, w, relu ? y : at::Tensor()});
      context->saved_data["source"] = source;
      context->saved_data["x"] = static_cast<int64_t>(x.scalar_type());
      context->saved_data["weight"] = static_cast<int64_t>(weight.scalar_type());
      if (bias) {
        context->saved_data["bias"] = static_cast<int64_t>(bias->scalar_type());
        context->saved_data["shape"] = bias->sizes().vec();
      }
    }
    return y;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context, torch::autograd::variable_list gradients) {
    once("groupedLinear");
    c10::impl::ExcludeDispatchKeyGuard withoutAutocast(c10::autocast_dispatch_keyset);
    const auto saved = context->get_saved_variables();
    const at::Tensor &x = saved[0], &w = saved[1], &y = saved[2];
    const Products products(x, x.scalar_type(), w);
    const auto source = context->saved_data["source"].toIntVector();
    const auto as = [&](const char* name) { return static_cast<at::ScalarType>(context->saved_data[name].toInt()); };
    const int64_t in = w.size(1), out = w.size(2), blocks = x.size(1) / in;
    // Inputs that are not there are not counted among those that may need a gradient.
    const bool biased = context->saved_data.count("bias") > 0 && context->needs_input_grad(2);
    auto [g, biasGradient] = decoder::rectified(gradients[0].to(x.scalar_type()).contiguous(), y, biased);
    if (biased) biasGradient = biasGradient.to(as("bias")).reshape(context->saved_data["shape"].toIntVector());
    at::Tensor xGradient, weightGradient;
    if (context->needs_input_grad(1)) weightGradient = at::empty(w.sizes(), w.options().dtype(products.ours ? at::kFloat : x.scalar_type()));
    if (context->needs_input_grad(0)) xGradient = at::empty_like(x);
    std::vector<bool> written(static_cast<size_t>(blocks), false);
    for (int64_t e = 0; e < w.size(0); ++e) {
      const int64_t block = source[static_cast<size_t>(e)];
      const at::Tensor own = g.narrow(1, e * out, out);
      if (weightGradient.defined()) products.outer(weightGradient[e], x.narrow(1, block * in, in), own);
      if (!xGradient.defined()) continue;
      products.into(xGradient.narrow(1, block * in, in), own, w[e], /*transposed=*/true, /*add=*/written[static_cast<size_t>(block)]);
      written[static_cast<size_t>(block)] = true;
    }
    if (xGradient.defined()) {
      for (int64_t block = 0; block < blocks; ++block)
        if (!written[static_cast<size_t>(block)]) xGradient.narrow(1, block * in, in).zero_();
      xGradient = xGradient.to(as("x"));
    }
    if (weightGradient.defined()) weightGradient = weightGradient.to(as("weight"));
    return {xGradient, weightGradient, biasGradient, at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

// bf16 as its bits, so that compilers turn the loops into vector instructions.
LARR_INLINE float widen(float x) { return x; }
LARR_INLINE float widen(uint16_t bits) { return decoder::wide(bits); }
LARR_INLINE void narrow(float x, float& to) { to = x; }
LARR_INLINE void narrow(float x, uint16_t& to) { to = decoder::narrow(x); }

/// sum[j] += weight · x[j]
template <typename T>
LARR_INLINE void addScaled(float* __restrict sum, const T* __restrict x, float weight, int64_t d) {
  for (int64_t j = 0; j < d; ++j) sum[j] += weight * widen(x[j]);
}

template <typename T>
LARR_INLINE void mixRows(const T* experts, const float* gate, T* out, float* sum, int64_t rows, int64_t gates, int64_t count, int64_t d) {
  for (int64_t b = 0; b < rows; ++b) {
    for (int64_t g = 0; g < gates; ++g) {
      const float* __restrict weights = gate + (b * gates + g) * count;
      for (int64_t j = 0; j < d; ++j) sum[j] = 0;
      for (int64_t e = 0; e < count; ++e)
        if (weights[e] != 0) addScaled(sum, experts + (b * count + e) * d, weights[e], d);
      T* place = out + (b * gates + g) * d;
      for (int64_t j = 0; j < d; ++j) narrow(sum[j], place[j]);
    }
  }
}

template <typename T>
LARR_INLINE void mixRowsBackward(const T* experts, const float* gate, const T* gradient, T* expertGradient, float* gateGradient, float* sum, int64_t rows,
                            int64_t gates, int64_t count, int64_t d) {
  for (int64_t b = 0; b < rows; ++b) {
    const float* weights = gate + b * gates * count;
    for (int64_t e = 0; e < count; ++e) {
      const T* own = experts + (b * count + e) * d;
      for (int64_t j = 0; j < d; ++j) sum[j] = 0;
      for (int64_t g = 0; g < gates; ++g) {
        const float weight = weights[g * count + e];
        const T* back = gradient + (b * gates + g) * d;
        // Eight partial sums: a compiler may not reorder a sum of floats by itself.
        float dot[8] = {};
        int64_t j = 0;
        for (; j + 8 <= d; j += 8)
          for (int64_t k = 0; k < 8; ++k) dot[k] += widen(own[j + k]) * widen(back[j + k]);
        for (; j < d; ++j) dot[0] += widen(own[j]) * widen(back[j]);
        gateGradient[(b * gates + g) * count + e] = ((dot[0] + dot[1]) + (dot[2] + dot[3])) + ((dot[4] + dot[5]) + (dot[6] + dot[7]));
        if (weight != 0) addScaled(sum, back, weight, d);
      }
      T* place = expertGradient + (b * count + e) * d;
      for (int64_t j = 0; j < d; ++j) narrow(sum[j], place[j]);
    }
  }
}

LARR_EVERY_ISA(mix, mixRows)
LARR_EVERY_ISA(mixBackward, mixRowsBackward)

struct MixExperts : torch::autograd::Function<MixExperts> {
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& experts, const at::Tensor& gate, bool differentiate) {
    const at::Tensor own = experts.contiguous(), weights = gate.to(at::kFloat).contiguous();
    const int64_t rows = weights.size(0), gates = weights.size(1), count = weights.size(2), d = own.size(1) / count;
    const at::Tensor out = at::empty({rows, gates * d}, own.options());
    decoder::overRows(rows, (gates + 1) * count * d, [&](int64_t begin, int64_t end) {
      const at::Tensor sum = at::empty({d}, at::kFloat);
      const float* w = weights.const_data_ptr<float>() + begin * gates * count;
      const auto run = [&](auto* from, auto* to) { mix(from + begin * count * d, w, to + begin * gates * d, sum.mutable_data_ptr<float>(), end - begin, gates, count, d); };
      if (own.scalar_type() == at::kFloat) run(static_cast<const float*>(own.const_data_ptr()), static_cast<float*>(out.mutable_data_ptr()));
      else run(static_cast<const uint16_t*>(own.const_data_ptr()), static_cast<uint16_t*>(out.mutable_data_ptr()));
    });
    if (differentiate) {
      context->save_for_backward({own, weights});
      context->saved_data["gate"] = static_cast<int64_t>(gate.scalar_type());
    }
    return out;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context, torch::autograd::variable_list gradients) {
    once("mixExperts");
    const auto saved = context->get_saved_variables();
    const at::Tensor &own = saved[0], &weights = saved[1];
    const int64_t rows = weights.size(0), gates = weights.size(1), count = weights.size(2), d = own.size(1) / count;
    const at::Tensor back = gradients[0].to(own.scalar_type()).contiguous();
    const at::Tensor expertGradient = at::empty_like(own), gateGradient = at::empty_like(weights);
    decoder::overRows(rows, 2 * (gates + 1) * count * d, [&](int64_t begin, int64_t end) {
      const at::Tensor sum = at::empty({d}, at::kFloat);
      const int64_t atGate = begin * gates * count;
      const auto run = [&](auto* from, auto* gradient, auto* to) {
        mixBackward(from + begin * count * d, weights.const_data_ptr<float>() + atGate, gradient + begin * gates * d, to + begin * count * d,
            gateGradient.mutable_data_ptr<float>() + atGate, sum.mutable_data_ptr<float>(), end - begin, gates, count, d);
      };
      if (own.scalar_type() == at::kFloat) {
        run(static_cast<const float*>(own.const_data_ptr()), static_cast<const float*>(back.const_data_ptr()),
            static_cast<float*>(expertGradient.mutable_data_ptr()));
      } else {
        run(static_cast<const uint16_t*>(own.const_data_ptr()), static_cast<const uint16_t*>(back.const_data_ptr()),
            static_cast<uint16_t*>(expertGradient.mutable_data_ptr()));
      }
    });
    return {expertGradient, gateGradient.to(static_cast<at::ScalarType>(context->saved_data["gate"].toInt())), at::Tensor()};
  }
};

}  // namespace

at::Tensor groupedLinear(const at::Tensor& x, const at::Tensor& weight, const std::optional<at::Tensor>& bias, at::IntArrayRef source, bool relu) {
  TORCH_CHECK(x.dim() == 2 && weight.dim() == 3 && weight.size(1) > 0 && x.size(1) % weight.size(1) == 0,
              "x [B, blocks · in] and weight [E, in, out] do not go together: ", x.sizes(), " and ", weight.sizes());
  TORCH_CHECK(at::isFloatingType(x.scalar_type()) && at::isFloatingType(weight.scalar_type()), "x and weight must be floating");
  const int64_t count = weight.size(0), out = weight.size(2), blocks = x.size(1) / weight.size(1);
  TORCH_CHECK(!bias || bias->numel() == count * out, "bias must have ", count * out, " numbers, not ", bias->numel());
  TORCH_CHECK(static_cast<int64_t>(source.size()) == count, "source must name a block for each of ", count, " networks, not ", source.size());
  for (const int64_t block : source) TORCH_CHECK_INDEX(block >= 0 && block < blocks, "block ", block, " is none of the ", blocks, " of x");
  if (isFused(x)) {
    const bool differentiate = at::GradMode::is_enabled() && (x.requires_grad() || weight.requires_grad() || (bias && bias->requires_grad()));
    return GroupedLinear::apply(x, weight, bias, source.vec(), relu, differentiate);
  }
  const at::Tensor index = at::tensor(source, x.options().dtype(at::kLong).requires_grad(false));
  const at::Tensor read = x.reshape({x.size(0), blocks, weight.size(1)}).index_select(1, index).transpose(0, 1);  // [E, B, in]
  at::Tensor y = at::bmm(read, weight);
  if (bias) y = y + bias->reshape({count, 1, out});
  if (relu) y = at::relu(y);
  return y.transpose(0, 1).reshape({x.size(0), count * out});
}

at::Tensor mixExperts(const at::Tensor& experts, const at::Tensor& gate) {
  TORCH_CHECK(experts.dim() == 2 && gate.dim() == 3 && experts.size(0) == gate.size(0) && gate.size(2) > 0 && experts.size(1) % gate.size(2) == 0,
              "experts [B, E · d] and gate [B, G, E] do not go together: ", experts.sizes(), " and ", gate.sizes());
  TORCH_CHECK(at::isFloatingType(experts.scalar_type()) && at::isFloatingType(gate.scalar_type()), "experts and gate must be floating");
  if (isFused(experts)) {
    const bool differentiate = at::GradMode::is_enabled() && (experts.requires_grad() || gate.requires_grad());
    return MixExperts::apply(experts, gate, differentiate);
  }
  const int64_t rows = gate.size(0), count = gate.size(2);
  const at::Tensor wide = experts.reshape({rows, count, experts.size(1) / count});
  return at::bmm(gate.to(experts.scalar_type()), wide).reshape({rows, gate.size(1) * wide.size(2)});
}

}  // namespace larr
