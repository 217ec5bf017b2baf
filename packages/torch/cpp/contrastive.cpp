// Symmetric InfoNCE composed from LibTorch's operators: L = 1/(2B) Σ_i (lse_row_i + lse_col_i − 2 s_ii), s_ij = scale · q_i·k_j.
// It holds the B × B matrix and serves wherever the fused kernel does not.
#include "contrastive.h"

#include <ATen/autocast_mode.h>

#include <limits>

namespace larr {
namespace {

void checkShapes(const at::Tensor& query, const at::Tensor& key, const std::optional<at::Tensor>& groups) {
  TORCH_CHECK(query.dim() == 2 && key.dim() == 2 && query.sizes() == key.sizes(),
              "query and key must have one shape [B, d], not ", query.sizes(), " and ", key.sizes());
  TORCH_CHECK(query.size(0) > 0, "query and key hold no rows");
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

}  // namespace

at::Tensor infoNce(const at::Tensor& query, const at::Tensor& key, const at::Tensor& scale, const std::optional<at::Tensor>& groups) {
  checkShapes(query, key, groups);
  TORCH_CHECK(scale.numel() == 1, "scale must be one number, not ", scale.sizes());
  // Autocast would turn the matrix product back to bf16.
  c10::impl::ExcludeDispatchKeyGuard withoutAutocast(c10::autocast_dispatch_keyset);
  return composed(query, key, scale.reshape({}), groups);
}

at::Tensor infoNce(const at::Tensor& query, const at::Tensor& key, const at::Scalar& scale, const std::optional<at::Tensor>& groups) {
  return infoNce(query, key, at::scalar_tensor(scale.toDouble(), query.options().dtype(at::kDouble)), groups);
}

}  // namespace larr
