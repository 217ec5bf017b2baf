// Attention of one query over the few entries of a table that each row names: the folded scene encoder of the trainer (docs/kernels.md,
// section B). On the CPU for f32 and bf16 in one pass; composed from LibTorch's operators for f64 and elsewhere. Differentiable once.
#pragma once

#include "../call.h"

namespace larr {

/// context[b, h] = Σ_i a[b, i, h] · values[entry(b, i), h], a = softmax over i of logits[entry(b, i), h] → f32 [B, d]
///   logits   [entries + 1, heads], values [entries + 1, d]: the last row is the query's own, which every row attends to
///   index    int [B, n]: entries; missing bool [B, n]: left out
at::Tensor sceneAttention(const at::Tensor& logits, const at::Tensor& values, const at::Tensor& index, const at::Tensor& missing);

}  // namespace larr
