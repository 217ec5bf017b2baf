#include "shared.h"

namespace larr {
namespace {

using namespace decoder;

constexpr int64_t rowsAPart = 256;  // whose weight gradients are summed together: by itself decides the order of the sums

struct FusedNorm : torch::autograd::Function<FusedNorm> {
  /// → {sum, y}, or {y} where there is no update.
  static torch::autograd::variable_list forward(torch::autograd::AutogradContext* context, const at::Tensor& x, const at::Tensor& weight,
                                                const std::optional<at::Tensor>& update, double eps, at::ScalarType type, bool differentiate) {
    const at::Tensor a = x.contiguous(), b = update ? update->contiguous() : at::Tensor(), w = weight.to(at::kFloat).contiguous();
    const int64_t width = w.numel(), rows = width == 0 ? 0 : a.numel() / width;
    const at::Tensor sum = update ? at::empty_like(a) : a;
    const at::Tensor y = at::empty_like(a, a.options().dtype(type));
    const at::Tensor inverse = differentiate ? at::empty({rows}, a.options().dtype(at::kFloat)) : at::Tensor();
    Norm p{};
    p.width = width;
    p.epsilon = static_cast<float>(eps);
    p.x = matrix(a);
    p.update = matrix(b);
    if (update) p.sum = matrix(sum);
    p.y = matrix(y);
    p.weight = w.const_data_ptr<float>();
    p.inverse = differentiate ? inverse.data_ptr<float>() : nullptr;
    overRows(rows, width, [&](int64_t begin, int64_t end) { kernels().norm(p, begin, end); });
    if (differentiate) {
      context->save_for_backward({sum, w, inverse});
      context->set_materialize_grads(false);
      context->saved_data["eps"] = eps;
      context->saved_data["update"] = update ? static_cast<int64_t>(update->scalar_type()) : int64_t{-1};
      context->saved_data["weight"] = static_cast<int64_t>(weight.scalar_type());
    }
    return update ? torch::autograd::variable_list{sum, y} : torch::autograd::variable_list{y};
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context, torch::autograd::variable_list gradients) {
    once("addRmsNorm");
    const auto saved = context->get_saved_variables();
    const at::Tensor &sum = saved[0], &weight = saved[1];
    const int64_t update = context->saved_data["update"].toInt();
    const at::Tensor back = update >= 0 ? gradients[0] : at::Tensor();
    const at::Tensor sumGradient = back.defined() ? back.to(sum.scalar_type()).contiguous() : back;
    at::Tensor yGradient = gradients.back();
    if (yGradient.defined()) {
      if (yGradient.scalar_type() != at::kBFloat16) yGradient = yGradient.to(at::kFloat);
      yGradient = yGradient.contiguous();
    }
    const int64_t width = weight.numel(), rows = width == 0 ? 0 : sum.numel() / width, parts = (rows + rowsAPart - 1) / rowsAPart;
    const at::Tensor xGradient = at::empty_like(sum);
    at::Tensor updateGradient;
    if (update >= 0 && context->needs_input_grad(2)) {
      const auto type = static_cast<at::ScalarType>(update);
      updateGradient = type == sum.scalar_type() ? xGradient : at::empty_like(sum, sum.options().dtype(type));
    }
    const bool wantsWeight = context->needs_input_grad(1) && yGradient.defined();
    const at::Tensor weights = wantsWeight ? at::zeros({parts, width}, weight.options()) : at::Tensor();
    Norm p{};
    p.width = width;
    p.epsilon = static_cast<float>(context->saved_data["eps"].toDouble());
    p.x = matrix(sum);
    p.weight = weight.const_data_ptr<float>();
    p.inverse = saved[2].data_ptr<float>();
    p.yGradient = matrix(yGradient);
    p.sumGradient = matrix(sumGradient);
    p.xGradient = matrix(xGradient);
    if (updateGradient.defined() && !updateGradient.is_same(xGradient)) p.updateGradient = matrix(updateGradient);
    at::parallel_for(0, parts, 1, [&](int64_t begin, int64_t end) {
      for (int64_t part = begin; part < end; ++part)
        kernels().normBackward(p, part * rowsAPart, std::min(rows, (part + 1) * rowsAPart), wantsWeight ? weights.data_ptr<float>() + part * width : nullptr);
    });
    at::Tensor weightGradient;
    if (wantsWeight) weightGradient = weights.sum(0).to(static_cast<at::ScalarType>(context->saved_data["weight"].toInt()));
    return {xGradient, weightGradient, updateGradient, at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

struct FusedGate : torch::autograd::Function<FusedGate> {
  static Gate problem(const at::Tensor& gateUp) {
    Gate p{};
    p.width = gateUp.size(-1) / 2;
    p.gateUp = matrix(gateUp);
    return p;
  }

  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& gateUp) {
    const at::Tensor x = gateUp.contiguous();
    Gate p = problem(x);
    auto shape = x.sizes().vec();
    shape.back() = p.width;
    const at::Tensor y = at::empty(shape, x.options());
    p.y = matrix(y);
    overRows(x.numel() / std::max<int64_t>(1, 2 * p.width), 2 * p.width, [&](int64_t begin, int64_t end) { kernels().gate(p, begin, end); });
    context->save_for_backward({x});
    return y;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context, torch::autograd::variable_list gradients) {
    once("swiGlu");
    const at::Tensor x = context->get_saved_variables()[0], outer = gradients[0].to(x.scalar_type()).contiguous(), gradient = at::empty_like(x);
    Gate p = problem(x);
    p.yGradient = matrix(outer);
    p.gradient = matrix(gradient);
    overRows(x.numel() / std::max<int64_t>(1, 2 * p.width), 2 * p.width, [&](int64_t begin, int64_t end) { kernels().gateBackward(p, begin, end); });
    return {gradient};
  }
};

/// The same from LibTorch's operators, gradient and all: of the forward pass its input alone is kept, and halves are written where they belong.
struct ComposedGate : torch::autograd::Function<ComposedGate> {
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& gateUp) {
    context->save_for_backward({gateUp});
    const auto halves = at::chunk(gateUp, 2, -1);
    return at::silu(halves[0]).mul_(halves[1]);
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context, torch::autograd::variable_list gradients) {
    once("swiGlu");
    const at::Tensor gateUp = context->get_saved_variables()[0], outer = gradients[0].to(gateUp.scalar_type()), gradient = at::empty_like(gateUp);
    const auto halves = at::chunk(gateUp, 2, -1), into = at::chunk(gradient, 2, -1);
    into[0].copy_(at::silu_backward(outer * halves[1], halves[0]));
    into[1].copy_(at::silu(halves[0]).mul_(outer));
    return {gradient};
  }
};

struct TakenRows : torch::autograd::Function<TakenRows> {
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& x, const at::Tensor& index) {
    context->save_for_backward({index});
    context->saved_data["rows"] = x.size(0);
    return at::index_select(x, 0, index);
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context, torch::autograd::variable_list gradients) {
    once("takeRows");
    const at::Tensor index = context->get_saved_variables()[0], outer = gradients[0].contiguous();
    const int64_t rows = context->saved_data["rows"].toInt(), entries = index.numel(), width = outer.size(1);
    const at::Tensor gradient = at::empty({rows, width}, outer.options());
    // A counting sort: the entries of a row side by side and in their own order.
    const int64_t* at = index.const_data_ptr<int64_t>();
    std::vector<int64_t> first(static_cast<size_t>(rows) + 2), order(static_cast<size_t>(entries));
    for (int64_t e = 0; e < entries; ++e) ++first[static_cast<size_t>(at[e]) + 2];
    for (size_t r = 2; r < first.size(); ++r) first[r] += first[r - 1];
    for (int64_t e = 0; e < entries; ++e) order[static_cast<size_t>(first[static_cast<size_t>(at[e]) + 1]++)] = e;
    const RowSums p{width, matrix(outer), matrix(gradient), first.data(), order.data()};
    overRows(rows, width * std::max<int64_t>(1, entries / std::max<int64_t>(1, rows)), [&](int64_t begin, int64_t end) { kernels().sumRows(p, begin, end); });
    return {gradient, at::Tensor()};
  }
};

}  // namespace

at::Tensor takeRows(const at::Tensor& x, const at::Tensor& index) {
  TORCH_CHECK(x.dim() == 2 && index.dim() == 1 && at::isIntegralType(index.scalar_type(), /*includeBool=*/false),
              "takeRows takes x [n, width] and whole numbers [m], not ", x.sizes(), " and ", dtypeName(index.scalar_type()), " ", index.sizes());
  if (!isFused(x)) return at::index_select(x, 0, index);
  return TakenRows::apply(x, index.to(at::kLong).contiguous());
}

std::tuple<at::Tensor, at::Tensor> addRmsNorm(const at::Tensor& x, const at::Tensor& weight, const std::optional<at::Tensor>& update, double eps) {
  TORCH_CHECK(weight.dim() == 1 && x.dim() > 0 && x.size(-1) == weight.numel(), "weight must be [", x.dim() > 0 ? x.size(-1) : 0, "], not ", weight.sizes());
  TORCH_CHECK(!update || update->sizes() == x.sizes(), "update must be ", x.sizes(), " as x is, not ", update ? update->sizes() : x.sizes());
  if (isFused(x) && isFused(weight) && (!update || isFused(*update))) {
    const bool differentiate = at::GradMode::is_enabled() && (x.requires_grad() || weight.requires_grad() || (update && update->requires_grad()));
    const auto results = FusedNorm::apply(x, weight, update, eps, productType(x), differentiate);
    return results.size() == 2 ? std::make_tuple(results[0], results[1]) : std::make_tuple(x, results[0]);
  }
  const at::Tensor sum = update ? x + *update : x;
  return {sum, at::rms_norm(sum, weight.sizes(), weight.to(sum.scalar_type()), eps).to(productType(x))};
}

at::Tensor swiGlu(const at::Tensor& gateUp) {
  TORCH_CHECK(gateUp.dim() > 0 && gateUp.size(-1) % 2 == 0, "gateUp must be [..., gate | up], not ", gateUp.sizes());
  if (isFused(gateUp)) return FusedGate::apply(gateUp);
  if (isSingle(gateUp)) return ComposedGate::apply(gateUp);
  const auto halves = at::chunk(gateUp, 2, -1);
  return at::silu(halves[0]) * halves[1];
}

}  // namespace larr
