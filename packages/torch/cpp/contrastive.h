#pragma once

#include "call.h"

namespace larr {

/// Symmetric InfoNCE with duplicates left out (docs/method.md, section 3); a scalar, differentiable in query, key and scale.
///   query, key  [B, d] of one floating dtype
///   groups      int [B], or none: pairs i ≠ j of one group are left out of both sums
at::Tensor infoNce(const at::Tensor& query, const at::Tensor& key, const at::Tensor& scale, const std::optional<at::Tensor>& groups);
at::Tensor infoNce(const at::Tensor& query, const at::Tensor& key, const at::Scalar& scale, const std::optional<at::Tensor>& groups);

}  // namespace larr
