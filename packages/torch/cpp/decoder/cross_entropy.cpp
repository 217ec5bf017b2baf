#include <atomic>

#include "products.h"

namespace larr {
namespace {

using namespace decoder;

/// Scores are formed for so many rows at a time that they take at most this many bytes: what a processor's caches hold, or what keeps a
/// GPU busy.
constexpr int64_t chunkBytes(bool cpu) { return cpu ? int64_t{8} << 20 : int64_t{512} << 20; }

struct LinearCrossEntropy : torch::autograd::Function<LinearCrossEntropy> {
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& states, const at::Tensor& weight, const at::Tensor& target,
                            bool differentiate, bool learnsWeight) {
    const at::ScalarType type = productType(states), sums = type == at::kDouble ? at::kDouble : at::kFloat;
    // Autocast would cast what is cast already, and turn the sums back to bf16.
    c10::impl::ExcludeDispatchKeyGuard withoutAutocast(c10::autocast_dispatch_keyset);
    const at::Tensor s = states.to(type).contiguous(), w = weight.to(type).contiguous(), targets = target.to(at::kLong).contiguous();
    const int64_t rows = s.size(0), classes = w.size(0);
    const bool fused = isFused(s);
    const int64_t chunk = std::max<int64_t>(1, chunkBytes(s.is_cpu()) / std::max<int64_t>(1, classes * static_cast<int64_t>(s.element_size())));
    const bool here = multipliesHere(s, type, rows);
    at::Tensor stateGradient, weightGradient;
    Packed forScores, forStates;
    if (here) forScores = packed(w, type, /*transposed=*/true);
    if (here && differentiate) forStates = packed(w, type, /*transposed=*/false);
    if (differentiate) {
      stateGradient = here ? at::empty(s.sizes(), s.options().dtype(states.scalar_type())) : at::empty_like(s);
      if (learnsWeight) weightGradient = at::zeros_like(w, w.options().dtype(sums));
    }
    double loss = 0;
    at::Tensor losses = at::zeros({}, s.options().dtype(sums));
    for (int64_t start = 0; start < rows; start += chunk) {
      const int64_t count = std::min(chunk, rows - start);
      const at::Tensor some = s.narrow(0, start, count), wanted = targets.narrow(0, start, count);
      at::Tensor scores;  // [count, classes]
      if (here) {
        scores = at::empty({count, classes}, s.options());
        multiply(some, forScores, scores);
      } else {
        scores = at::mm(some, w.t());
      }
      if (fused) {
        loss += fusedChunk(scores, wanted, differentiate);
      } else {
        const at::Tensor wide = scores.to(sums), logSum = at::logsumexp(wide, at::IntArrayRef{1}, /*keepdim=*/true), places = wanted.unsqueeze(1);
        losses += (logSum - wide.gather(1, places)).sum();
        if (differentiate) {
          // In place: there are some gigabytes of them. The target's gradient is minus the share of the others, which beside 1 would be lost.
          const at::Tensor shares = wide.sub_(logSum).exp_().scatter_(1, places, 0);
          scores = shares.scatter_(1, places, shares.sum(at::IntArrayRef{1}, /*keepdim=*/true).neg_()).to(type);
        }
      }
      if (!differentiate) continue;
      at::Tensor place = stateGradient.narrow(0, start, count);
      if (here) {
        multiply(scores, forStates, place);
        if (learnsWeight) multiplyOuter(scores, some, weightGradient, /*add=*/true);
        continue;
      }
      at::mm_out(place, scores, w);
      if (!learnsWeight) continue;
      if (sums == type) weightGradient.addmm_(scores.t(), some);
      else weightGradient.add_(at::mm(scores.t(), some));
    }
    if (differentiate) {
      context->save_for_backward({stateGradient, weightGradient});
      context->saved_data["states"] = static_cast<int64_t>(states.scalar_type());
      context->saved_data["weight"] = static_cast<int64_t>(weight.scalar_type());
    }
    return fused ? losses.fill_(loss) : losses;
  }

  /// The loss of a chunk's rows; with `differentiate` its gradient takes the scores' place.
  static double fusedChunk(at::Tensor& scores, const at::Tensor& targets, bool differentiate) {
    const int64_t count = scores.size(0), classes = scores.size(1);
    const int64_t* wanted = targets.const_data_ptr<int64_t>();
    for (int64_t i = 0; i < count; ++i) {
      TORCH_CHECK_INDEX(wanted[i] >= 0 && wanted[i] < classes, "target ", wanted[i], " is none of the ", classes, " classes");
    }
    constexpr int64_t rowsAPart = 16;  // by itself decides the order of the sums
    const int64_t parts = (count + rowsAPart - 1) / rowsAPart;
    std::vector<double> losses(static_cast<size_t>(parts));
    const Matrix logits = matrix(scores);
    at::parallel_for(0, parts, 1, [&](int64_t begin, int64_t end) {
      for (int64_t part = begin; part < end; ++part)
        losses[static_cast<size_t>(part)] = kernels().crossEntropy(logits, classes, wanted, part * rowsAPart, std::min(count, (part + 1) * rowsAPart), differentiate);
    });
    double loss = 0;
    for (const double one : losses) loss += one;
    return loss;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context, torch::autograd::variable_list gradients) {
    once("linearCrossEntropy");
    const auto saved = context->get_saved_variables();
    const at::Tensor& outer = gradients[0];
    const auto scaled = [&](size_t i, const char* name) { return (saved[i] * outer).to(static_cast<at::ScalarType>(context->saved_data[name].toInt())); };
    at::Tensor states, weight;
    if (context->needs_input_grad(0)) states = scaled(0, "states");
    if (context->needs_input_grad(1)) weight = scaled(1, "weight");
    return {states, weight, at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

}  // namespace

at::Tensor linearCrossEntropy(const at::Tensor& states, const at::Tensor& weight, const at::Tensor& target) {
  TORCH_CHECK(states.dim() == 2 && weight.dim() == 2 && states.size(1) == weight.size(1), "states [n, d] and weight [classes, d] must share d, not ",
              states.sizes(), " and ", weight.sizes());
  TORCH_CHECK(at::isFloatingType(states.scalar_type()) && at::isFloatingType(weight.scalar_type()), "states and weight must be floating");
  TORCH_CHECK(target.dim() == 1 && target.size(0) == states.size(0) && at::isIntegralType(target.scalar_type(), /*includeBool=*/false),
              "target must be whole numbers [", states.size(0), "], not ", dtypeName(target.scalar_type()), " ", target.sizes());
  const bool differentiate = at::GradMode::is_enabled() && (states.requires_grad() || weight.requires_grad());
  return LinearCrossEntropy::apply(states, weight, target, differentiate, differentiate && weight.requires_grad());
}

}  // namespace larr
