// The loops of a decoder that LibTorch has no fused operator for, over plain pointers and without LibTorch, so that each source is
// built for one instruction set. Nothing here makes threads: a caller cuts the rows, or the (sequence, head) pairs, and gives every
// thread its part. What a part yields does not depend on how the work was cut.
#pragma once
#include <larr/kernels.h>

#include <cstddef>
#include <cstdint>

namespace larr::decoder {

/// A matrix of f32 or bf16, row after row.
struct Matrix {
  void* data = nullptr;
  Dtype dtype = Dtype::f32;
};

/// Causal attention of each sequence with itself, from all of its tokens or from some. Queries and keys are turned by their position (rotary,
/// halves apart) on the way in. Queries of all tokens, keys and values may be columns of one matrix.
struct Attention {
  int64_t heads, keyValueHeads, headSize;
  float scale;                  // of the scores: 1 / √headSize
  Matrix queries;               // [queries, queryWidth]: a row begins with [heads] × headSize
  Matrix keysValues;            // [T, keyWidth]: from column keyAt on a row is [keyValueHeads | keyValueHeads] × headSize; dtype of queries
  int64_t queryWidth, keyWidth, keyAt;
  const int64_t* tokens;        // [queries] whose each query is, rising; null: query i is token i's
  Matrix out;                   // [queries, heads · headSize], dtype of queries; read again by the backward pass
  const float *cosine, *sine;   // [longest, headSize / 2]
  float* logSum;                // [queries, heads]: log2 of the sum of the powers of two of a row's scores; may be null in the forward pass
  Matrix outGradient;           // [queries, heads · headSize]
  Matrix queryGradient;         // laid out as queries
  Matrix keyValueGradient;      // laid out as keysValues
};

/// Tokens [start, start + length), and their queries, [first, first + queries).
struct Sequence {
  int64_t start, length, first, queries;
};

/// One or two rows' sums normed: y = s / √(mean s² + epsilon) · weight with s = x + update.
struct Norm {
  int64_t width;
  float epsilon;
  Matrix x;                 // [T, width]
  Matrix update;            // [T, width]; no data: s = x
  Matrix sum;               // [T, width], dtype of x; no data where there is no update
  Matrix y;                 // [T, width]
  const float* weight;      // [width]
  float* inverse;           // [T]: 1 / √(mean s² + epsilon)
  Matrix yGradient;         // [T, width]; no data: nothing came back
  Matrix sumGradient;       // [T, width]; no data: nothing came back
  Matrix xGradient;         // [T, width]
  Matrix updateGradient;    // [T, width]; no data where it is xGradient itself, or nobody asked
};

/// y = silu(gate) · up; a row of gateUp is [gate | up].
struct Gate {
  int64_t width;
  Matrix gateUp;     // [T, 2 width]
  Matrix y;          // [T, width]
  Matrix yGradient;  // [T, width]
  Matrix gradient;   // [T, 2 width]
};

/// A right operand [depth, columns] laid out as products read it: panels of a few dozen columns, a lane of 32 bits after another (a float,
/// or two bf16 numbers that follow each other along the depth), zeros in the padding.
struct Packing {
  Dtype type;      // of the product's operands; `from` is rounded to it
  int64_t depth, columns;
  Matrix from;
  int64_t step;     // numbers from one row of `from` to the next
  bool transposed;  // from is [columns, depth], else [depth, columns]
  bool gate;        // transposed ones alone: every panel holds as many columns of the first half as of the second, for `gated` below
};

/// out = a · packed + bias, and where `relu` max(0, ·) of it. Steps are numbers from one row to the next.
struct Product {
  int64_t depth, columns, panels;
  int64_t begin, end;   // the part of the depth to sum; begin is a multiple of 32
  Matrix a;             // [rows, depth]
  int64_t aStep;
  const float* packed;
  const float* bias;    // [columns]; may be null
  Matrix out;           // [rows, columns]; no data where only `gated` is wanted
  int64_t outStep;
  Matrix gated;         // [rows, columns / 2] where the columns are [gate | up]: silu(gate) · up
  bool add;             // to out
  bool relu;
};

/// out (+)= aᵀ · b, f32.
struct Outer {
  Dtype type;           // of the operands in the product
  int64_t depth, rows, columns;
  Matrix a;             // [depth, rows]
  int64_t aStep;        // numbers from one of its rows to the next
  const float* packed;  // b: [depth, columns]
  float* out;           // [rows, columns]
  bool add;
};

/// What comes back through y = relu(x W + b) before the products: the gradient where y > 0, else 0, and its sums over rows, b's gradient.
struct Rectified {
  int64_t width;
  Matrix yGradient;  // [rows, width]
  Matrix y;          // [rows, width]; no data: no ReLU, and nothing is written
  Matrix gradient;   // [rows, width]
};

/// Rows of `to` as sums, in f32, of rows of `from`: row r of those that from[order[first[r]]], … from[order[first[r + 1] − 1]] are; 0 where none is.
struct RowSums {
  int64_t width;
  Matrix from, to;              // [entries, width], [rows, width]
  const int64_t *first, *order; // [rows + 1], [entries]
};

struct Kernels {
  /// Floats of scratch that attention over a sequence of `length` takes.
  size_t (*attentionScratch)(const Attention&, int64_t length, bool backward);
  /// Key-value head `head` of a sequence and the query heads that it serves.
  void (*attention)(const Attention&, const Sequence&, int64_t head, float* scratch);
  void (*attentionBackward)(const Attention&, const Sequence&, int64_t head, float* scratch);
  void (*norm)(const Norm&, int64_t row, int64_t end);
  /// `weightGradient` [width] is added to; may be null.
  void (*normBackward)(const Norm&, int64_t row, int64_t end, float* weightGradient);
  void (*gate)(const Gate&, int64_t row, int64_t end);
  void (*gateBackward)(const Gate&, int64_t row, int64_t end);
  void (*sumRows)(const RowSums&, int64_t row, int64_t end);
  /// `sums` [width] is added to; may be null.
  void (*rectifyBackward)(const Rectified&, int64_t row, int64_t end, float* sums);
  /// −ln softmax(row)[target] summed over rows [row, end) of `logits` [rows, classes]; with `differentiate` the logits are replaced by
  /// its gradient, softmax − one-hot.
  double (*crossEntropy)(const Matrix& logits, int64_t classes, const int64_t* targets, int64_t row, int64_t end, bool differentiate);

  /// Whether there are products of operands of this type here; without, the rest must not be called.
  bool (*multiplies)(Dtype);
  /// Panels of a packed operand, and the floats that one takes.
  int64_t (*panels)(Dtype, int64_t columns, bool gate);
  size_t (*panelFloats)(Dtype, int64_t depth);
  void (*pack)(const Packing&, int64_t panel, int64_t end, float* to);
  /// Rows [row, end) of a product.
  void (*product)(const Product&, int64_t row, int64_t end);
  /// Blocks [block, end) of `outerRows` rows; scratch: `outerRows` floats for each row of the depth, which counts in tiles of 32.
  void (*outer)(const Outer&, int64_t block, int64_t end, float* scratch);
  int64_t (*outerRows)(Dtype);
};

extern const Kernels plain, avx2, avx512, avx512bf16;
const Kernels& amx();

/// Those of the instruction set that this process uses (LARR_ISA, else the best there is).
const Kernels& kernels();

}  // namespace larr::decoder
