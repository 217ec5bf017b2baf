// Products of our own over LibTorch's tensors, on the CPU, for rows times a weight: blocks in registers (products.inl), sums in f32
// whatever the operands. A weight is packed at every call: that is about 0.6 ns a number, below a hundredth of a product with 4,096 rows,
// and nothing is kept that a changed weight could leave stale. Same bits on any number of threads; a row's result is its own whatever
// the other rows.
#pragma once

#include "shared.h"

namespace larr::decoder {

/// Whether products of so many rows with operands of this type run here; else LibTorch's are to be taken: for few rows, to which packing
/// costs too much, and on AMX, which LibTorch has and this has not.
bool multipliesHere(const at::Tensor& x, at::ScalarType type, int64_t rows);

struct Packed {
  Dtype type;
  int64_t depth, columns, panels;
  bool gate;
  at::Tensor data;
};

/// Operand `matrix` [depth, columns], or [columns, depth] where transposed, f32 or bf16, rounded to `type`. `gate`: Packing's.
Packed packed(const at::Tensor& matrix, at::ScalarType type, bool transposed, bool gate = false);

/// out = a · packed + bias: a [rows, depth] of the packed type, contiguous; out [rows, columns] f32 or bf16, contiguous, or with a packed
/// gate undefined; bias [columns] f32 or undefined; gated [rows, columns / 2] with a packed gate, else undefined.
void multiply(const at::Tensor& a, const Packed& packed, const at::Tensor& out, const at::Tensor& bias = {}, const at::Tensor& gated = {});

/// out [n, k], f32, (+)= aᵀ b of a [rows, n] and b [rows, k] of one type, contiguous.
void multiplyOuter(const at::Tensor& a, const at::Tensor& b, const at::Tensor& out, bool add);

}  // namespace larr::decoder
