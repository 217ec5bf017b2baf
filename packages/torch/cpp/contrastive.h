#pragma once

#include "call.h"

#include <larr/ring.h>

namespace larr {

/// Symmetric InfoNCE with duplicates left out (docs/method.md, section 3); a scalar, differentiable in query, key and scale.
///   query, key  [B, d] of one floating dtype
///   groups      int [B], or none: pairs i ≠ j of one group are left out of both sums
at::Tensor infoNce(const at::Tensor& query, const at::Tensor& key, const at::Tensor& scale, const std::optional<at::Tensor>& groups);
at::Tensor infoNce(const at::Tensor& query, const at::Tensor& key, const at::Scalar& scale, const std::optional<at::Tensor>& groups);

/// The same over the batches of all ranks of a ring, as if their rows stood in one batch of B = Σ B_r; every rank calls it at the same time.
///   query, key  [B_r, d], this rank's rows; B_r may differ from rank to rank and be 0, d, dtype and scale are the same on all of them
///   groups      int [B_r], or none on every rank that has rows: one id means one group on all ranks
/// The loss is the global one, the same bits on every rank. The gradients of query and key are those of the global loss, of the rank's
/// own rows; the gradient of scale is this rank's share, 1 / size of the whole: summed over ranks, as gradients of shared parameters are,
/// each is whole. No rank holds more than O(max B_r · d) and tiles of scores. It can be differentiated once. Arguments that are bad on
/// one rank, or not the same on all, and ids beyond 32 bits are an error on every rank. The ring is used before this returns, and not in backward.
at::Tensor infoNce(const at::Tensor& query, const at::Tensor& key, const at::Tensor& scale, const std::optional<at::Tensor>& groups, Ring& ring);
at::Tensor infoNce(const at::Tensor& query, const at::Tensor& key, const at::Scalar& scale, const std::optional<at::Tensor>& groups, Ring& ring);

}  // namespace larr
