// What one InfoNCE call shares between its passes and its instruction-set paths.
//
// Masking: a pair whose group ids are equal counts nowhere; without groups every row has an id of its own, so the diagonal masks
// itself. The diagonal is added back apart, in f32 (docs/kernels.md, A).
// Maximum: where scale * max|q| * max|k| <= bounded_limit, exp(s) can neither overflow nor vanish and no maximum is subtracted at
// all; one exponential a pair then serves both directions in both passes. Otherwise running maxima (online) and two exponentials.
#pragma once
#include <cstdint>

#include "larr/kernels.h"

namespace larr::infonce_detail {

constexpr int tile_rows = 96;
constexpr int tile_cols = 192;
constexpr int unit = 192;  // rows are padded to a multiple of this; blocks begin at one
constexpr double bounded_limit = 70;
constexpr float masked = -1e30f;
constexpr float exp2_floor = -125;

struct Plan {
  int64_t batch, dim;
  int64_t rows;    // batch padded to `unit`
  int64_t stride;  // dim padded to the path's depth unit: floats (or bf16) from row to row of the packed copies
  float c;         // scale * log2(e): s in powers of two is dot * c
  bool bounded;
  bool masks;                // groups were given: every tile looks at ids
  const int32_t* ids;        // [rows]
  const int32_t* padding;    // [rows] 1 where a row is padding, else 0

  // Packed operands, [rows, stride] each. q_rows and k_panels make S, the pairs make dQ and dK. f32: q_rows and q_pairs are one and the
  // same, plain rows; k_panels is K in panels of columns. bf16: see each path.
  void *q_rows, *k_panels, *q_pairs, *k_pairs;

  // Pass 1. Sums leave the diagonal out. bounded: of exp(s). Online: of exp2(s2 - max), beside the maxima (s2 = s log2 e).
  double* row_sum;     // [rows]
  float* row_max;      // [rows] online only
  float* column_sum;   // [chunks][rows]
  float* column_max;   // [chunks][rows] online only

  // Pass 2. bounded: 1/Z. Online: log2 Z.
  const float *row_weight, *column_weight;  // [rows]
  float *dq, *dk;                           // [rows][stride], f32; dk is [rows / unit][stride][unit] where the path says transposed
};

struct Path {
  int depth;          // `stride` is a multiple of this
  bool bf16;          // operands are bf16
  bool dk_transposed;
  void (*pack)(const Plan&, const float* q, const float* k, int64_t row, int64_t end);  // rows [row, end) of padded f32 copies; both multiples of unit
  void (*forward)(const Plan&, int64_t row, int64_t end, int chunk);
  void (*backward)(const Plan&, int64_t row, int64_t row_end, int64_t column, int64_t column_end);
};

// infonce() on a path of the caller's choice, supported or not.
void run(const Path& path, const InfoNce& problem, InfoNceOut& out, const Run& run);

extern const Path f32_plain, f32_avx2, f32_avx512, bf16_avx512, bf16_amx;

}  // namespace larr::infonce_detail
