// A decoder's layers as differentiable functions: fused loops on the CPU for f32 and bf16 (kernels.h), composed from LibTorch's operators
// for f64 and elsewhere. Under autocast they give what its products take, bf16, and compute in f32 throughout. The fused ones can be
// differentiated once.
#pragma once

#include "../call.h"

namespace larr {

/// Causal grouped-query attention of each of several sequences, laid one after another, with itself; rotary positions (Su et al. 2021,
/// halves apart) restart at each. → [T, heads · headSize]
///   queryKeyValue  [T, (heads + 2 keyValueHeads) · headSize]: a token's queries, keys and values
///   cosine, sine   [longest, headSize / 2]
///   starts         int [sequences + 1]: where each sequence begins, then T
at::Tensor packedAttention(const at::Tensor& queryKeyValue, const at::Tensor& cosine, const at::Tensor& sine, const at::Tensor& starts, int64_t heads,
                           int64_t keyValueHeads);

/// The same for some tokens alone: what the others attend to is not computed, but all are attended to. → [R, heads · headSize]
///   queries     [R, heads · headSize]
///   keysValues  [T, 2 keyValueHeads · headSize]
///   tokens      int [R], rising: which token each query is of
at::Tensor packedQueryAttention(const at::Tensor& queries, const at::Tensor& keysValues, const at::Tensor& tokens, const at::Tensor& cosine,
                                const at::Tensor& sine, const at::Tensor& starts, int64_t heads, int64_t keyValueHeads);

/// Rows x[index]: x [n, width], index int [m] → [m, width]. The gradient of a row is the f32 sum of those of its copies, rounded once.
at::Tensor takeRows(const at::Tensor& x, const at::Tensor& index);

/// [s, s ∕ √(mean s² + eps) · weight] with s = x + update (x itself where there is none), over the last dim.
std::tuple<at::Tensor, at::Tensor> addRmsNorm(const at::Tensor& x, const at::Tensor& weight, const std::optional<at::Tensor>& update, double eps);

/// silu(gate) · up of [..., gate | up].
at::Tensor swiGlu(const at::Tensor& gateUp);

/// x · weightᵀ + bias, with `relu` max(0, ·) of it: x [..., in], weight [out, in], bias [out] → [..., out].
at::Tensor blockLinear(const at::Tensor& x, const at::Tensor& weight, const std::optional<at::Tensor>& bias, bool relu);

/// swiGlu(x · weightᵀ): x [..., in], weight [gate | up, in].
at::Tensor linearSwiGlu(const at::Tensor& x, const at::Tensor& weight);

/// Σ −ln softmax(states · weightᵀ)[target], [] ; states [n, d], weight [classes, d], target int [n]. The [n, classes] scores are never held
/// in full, and the gradients are made together with the loss.
at::Tensor linearCrossEntropy(const at::Tensor& states, const at::Tensor& weight, const at::Tensor& target);

}  // namespace larr
