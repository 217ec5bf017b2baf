// Symmetric InfoNCE, L = 1/(2B) Σ_i (lse_row_i + lse_col_i − 2 s_ii), s_ij = scale · q_i·k_j: the fused kernel of
// @larr/native-cuda (docs/kernels.md, A) in O(B·d) memory, for f32 and bf16 on the CPU; elsewhere composed from LibTorch's
// operators, which holds the B × B matrix.
#include "contrastive.h"

#include <ATen/autocast_mode.h>
#include <larr/kernels.h>
#include <torch/csrc/autograd/custom_function.h>

#include <limits>

namespace larr {
namespace {

void checkShapes(const at::Tensor& query, const at::Tensor& key, const std::optional<at::Tensor>& groups) {
  TORCH_CHECK(query.dim() == 2 && key.dim() == 2 && query.sizes() == key.sizes(),
              "query and key must have one shape [B, d], not ", query.sizes(), " and ", key.sizes());
  TORCH_CHECK(query.size(0) > 0, "query and key hold no rows");
  TORCH_CHECK(query.device() == key.device() && (!groups || groups->device() == query.device()),
              "query, key and groups must be on one device, not ", query.device(), ", ", key.device(),
              groups ? " and " + groups->device().str() : std::string());
  TORCH_CHECK(at::isFloatingType(query.scalar_type()) && query.scalar_type() == key.scalar_type(),
              "query and key must have one floating dtype, not ", dtypeName(query.scalar_type()), " and ", dtypeName(key.scalar_type()));
  if (!groups) return;
  TORCH_CHECK(groups->dim() == 1 && groups->size(0) == query.size(0), "groups must be [", query.size(0), "], not ", groups->sizes());
  TORCH_CHECK(at::isIntegralType(groups->scalar_type(), /*includeBool=*/false), "groups must be whole numbers");
}

at::Tensor composed(const at::Tensor& query, const at::Tensor& key, const at::Tensor& scale, const std::optional<at::Tensor>& groups) {
  // exp and its sums in bf16 would lose the small terms that make up most of a large batch's loss.
  const auto compute = query.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  const at::Tensor q = query.to(compute), k = key.to(compute), s = scale.to(compute);
  at::Tensor scores = at::mm(q, k.t()) * s;  // [B, B]
  if (groups) {
    at::Tensor left = at::eq(groups->unsqueeze(0), groups->unsqueeze(1));
    left.fill_diagonal_(false);
    scores = at::masked_fill(scores, left, -std::numeric_limits<double>::infinity());
  }
  const at::Tensor positive = at::sum(q * k, at::IntArrayRef{1}) * s;  // [B], apart from the matrix: never rounded with it
  return at::mean((at::logsumexp(scores, at::IntArrayRef{1}) + at::logsumexp(scores, at::IntArrayRef{0})) * 0.5 - positive);
}

// The kernel knows groups as int32; wider numbers are renumbered, which keeps who shares a group with whom.
at::Tensor kernelGroups(const at::Tensor& groups) {
  if (groups.scalar_type() == at::kInt) return groups.contiguous();
  if (groups.scalar_type() != at::kLong) return groups.to(at::kInt).contiguous();
  return std::get<1>(at::_unique(groups, /*sorted=*/false, /*return_inverse=*/true)).to(at::kInt).contiguous();
}

// The gradients cost the kernel one more pass over its tiles, and it makes them together with the loss: what backward needs is
// [B, d] twice, never the scores. They are constants to autograd: differentiating twice is refused.
struct FusedInfoNce : torch::autograd::Function<FusedInfoNce> {
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& query, const at::Tensor& key, const at::Tensor& scale,
                            const std::optional<at::Tensor>& groups, bool differentiate) {
    const at::Tensor q = query.contiguous(), k = key.contiguous();
    const at::Tensor numbered = groups ? kernelGroups(*groups) : at::Tensor();
    const bool narrow = query.scalar_type() == at::kBFloat16;
    InfoNce problem;
    problem.q = q.const_data_ptr();
    problem.k = k.const_data_ptr();
    problem.storage = problem.compute = narrow ? Dtype::bf16 : Dtype::f32;
    problem.batch = q.size(0);
    problem.dim = q.size(1);
    problem.scale = scale.item<double>();
    problem.groups = groups ? numbered.const_data_ptr<int32_t>() : nullptr;
    const auto wide = q.options().dtype(at::kFloat);
    at::Tensor dq, dk;
    InfoNceOut out;
    if (differentiate) {
      dq = at::empty_like(q, wide);
      dk = at::empty_like(k, wide);
      out.dq = dq.data_ptr<float>();
      out.dk = dk.data_ptr<float>();
    }
    infonce(problem, out);
    if (differentiate) {
      context->save_for_backward({dq, dk});
      context->saved_data["dscale"] = out.dscale;
      context->saved_data["dtype"] = static_cast<int64_t>(query.scalar_type());
      context->saved_data["scaleDtype"] = static_cast<int64_t>(scale.scalar_type());
    }
    return at::scalar_tensor(out.loss, wide);
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context, torch::autograd::variable_list gradients) {
    TORCH_CHECK(!at::GradMode::is_enabled(), "the fused loss can be differentiated once; give it f64 tensors to differentiate twice");
    const auto saved = context->get_saved_variables();
    const at::Tensor& outer = gradients[0];
    const auto dtype = static_cast<at::ScalarType>(context->saved_data["dtype"].toInt());
    const auto scaleDtype = static_cast<at::ScalarType>(context->saved_data["scaleDtype"].toInt());
    const at::Tensor dscale = at::scalar_tensor(context->saved_data["dscale"].toDouble(), outer.options());
    return {(saved[0] * outer).to(dtype), (saved[1] * outer).to(dtype), (dscale * outer).to(scaleDtype), at::Tensor(), at::Tensor()};
  }
};

bool hasFusedKernel(const at::Tensor& query) {
  return query.is_cpu() && query.size(1) > 0 && (query.scalar_type() == at::kFloat || query.scalar_type() == at::kBFloat16);
}

}  // namespace

at::Tensor infoNce(const at::Tensor& query, const at::Tensor& key, const at::Tensor& scale, const std::optional<at::Tensor>& groups) {
  checkShapes(query, key, groups);
  TORCH_CHECK(scale.numel() == 1, "scale must be one number, not ", scale.sizes());
  // Autocast would turn the matrix product back to bf16.
  c10::impl::ExcludeDispatchKeyGuard withoutAutocast(c10::autocast_dispatch_keyset);
  const at::Tensor factor = scale.reshape({});
  if (!hasFusedKernel(query)) return composed(query, key, factor, groups);
  const bool differentiate = at::GradMode::is_enabled() && (query.requires_grad() || key.requires_grad() || factor.requires_grad());
  return FusedInfoNce::apply(query, key, factor, groups, differentiate);
}

at::Tensor infoNce(const at::Tensor& query, const at::Tensor& key, const at::Scalar& scale, const std::optional<at::Tensor>& groups) {
  return infoNce(query, key, at::scalar_tensor(scale.toDouble(), query.options().dtype(at::kDouble)), groups);
}

}  // namespace larr
