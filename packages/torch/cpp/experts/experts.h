// Mixtures of experts as differentiable functions: many small networks side by side, whose columns stand next to each other in one matrix, so
// that nothing is ever turned round or copied from one network to the next. On the CPU for f32 and bf16; composed from LibTorch's operators
// for f64 and elsewhere. Under autocast products are bf16. They can be differentiated once.
#pragma once

#include "../call.h"

namespace larr {

/// y_e = [relu](x_{source e} W_e + b_e), for e < E → [B, E · out]
///   x       [B, blocks · in]: blocks of columns
///   weight  [E, in, out]; bias [E · out] in any shape, or none
///   source  the block of x that each network reads, E of them
at::Tensor groupedLinear(const at::Tensor& x, const at::Tensor& weight, const std::optional<at::Tensor>& bias, at::IntArrayRef source, bool relu);

/// Σ_e gate[b, g, e] · experts[b, e] → [B, G · d]; experts [B, E · d], gate [B, G, E]
at::Tensor mixExperts(const at::Tensor& experts, const at::Tensor& gate);

}  // namespace larr
