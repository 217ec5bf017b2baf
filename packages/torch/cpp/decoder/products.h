// Products of our own over LibTorch's tensors, on the CPU, for rows times a weight: blocks in registers (products.inl) or AMX tiles (amx.inl), sums in
// f32 whatever the operands. A weight is packed at every call: that is about 0.6 ns a number, below a hundredth of a product with 4,096 rows,
// and nothing is kept that a changed weight could leave stale. Same bits on any number of threads; a row's result is its own whatever
// the other rows.
#pragma once

#include "shared.h"

namespace larr::decoder {

/// Whether products of so many rows with operands of this type run here; else LibTorch's are to be taken, as for few rows, to which packing
/// costs too much.
bool multipliesHere(const at::Tensor& x, at::ScalarType type, int64_t rows);

struct Packed {
  Dtype type;
  int64_t depth, columns, panels;
  bool gate;
  at::Tensor data;
};

/// Operand `matrix` [depth, columns], or [columns, depth] where transposed, f32 or bf16, rounded to `type`. `gate`: Packing's.
Packed packed(const at::Tensor& matrix, at::ScalarType type, bool transposed, bool gate = false);

struct Epilogue {
  at::Tensor bias;   // [columns] f32, or undefined
  at::Tensor gated;  // [rows, columns / 2] contiguous, with a packed gate, and nothing else then; else undefined
  bool relu = false;
  bool add = false;  // to what out holds
};

/// out = a · packed and the epilogue: a [rows, depth] of the packed type; out [rows, columns] f32 or bf16, or with a packed gate undefined.
/// Rows of both are contiguous and may lie apart: blocks of columns of wider matrices.
void multiply(const at::Tensor& a, const Packed& packed, const at::Tensor& out, const Epilogue& epilogue = {});

/// out [n, k], f32, contiguous, (+)= aᵀ b of a [rows, n] and b [rows, k] of one type, whose rows are contiguous and may lie apart.
void multiplyOuter(const at::Tensor& a, const at::Tensor& b, const at::Tensor& out, bool add);

/// Of y = relu(x W + b), what comes back to the product: g where y > 0, else 0 (g itself without a y), and its sums over rows, f32 [width] (b's
/// gradient), where wanted. g and y [rows, width], contiguous, of one type.
std::pair<at::Tensor, at::Tensor> rectified(const at::Tensor& g, const at::Tensor& y, bool sums);

}  // namespace larr::decoder
