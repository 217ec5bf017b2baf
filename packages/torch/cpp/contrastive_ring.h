#pragma once

#include <ATen/ATen.h>
#include <larr/ring.h>

namespace larr {

/// What a form of InfoNCE gives besides autograd, on the device of its inputs.
struct Fused {
  at::Tensor loss;    // [], f32, of f64 inputs f64
  at::Tensor dscale;  // [], f64; over a ring 1 / size of the whole on every rank
  at::Tensor dq, dk;  // [B, d], f32, of f64 inputs f64; undefined where nobody asked
};

/// InfoNCE over the ranks of a ring from LibTorch's operators, for what the fused kernels don't take: f64, and GPUs, whose blocks of K
/// travel through host memory. f64 inputs are computed with in f64, others in f32; about 64 MB of scores exist at a time.
///   q, k  [B_r, d], contiguous     ids  int32 [B_r] on the CPU, or undefined
/// Not differentiable by itself. Throws std::invalid_argument on every rank where the problems are not parts of one, and on every rank where one fails.
Fused composedOverRing(const at::Tensor& q, const at::Tensor& k, double scale, const at::Tensor& ids, bool differentiate, Ring& ring);

}  // namespace larr
