// What one InfoNCE call shares between its passes and its instruction-set paths.
//
// Masking: a pair whose group ids are equal counts nowhere; without groups every row has an id of its own, so the diagonal masks
// itself. The diagonal is added back apart, in f32 (docs/kernels.md, A).
// A ring: rows are a rank's own Q, columns the block of K that is visiting. In one process the only block is its own.
// Maximum: where scale * max|q| * max|k| <= bounded_limit, exp(s) can neither overflow nor vanish and no maximum is subtracted at
// all; one exponential a pair then serves both directions in both passes. Otherwise running maxima (online) and two exponentials.
#pragma once
#include <cstdint>

#include "larr/kernels.h"
#include "larr/ring.h"

namespace larr::infonce_detail {

constexpr int tile_rows = 96;
constexpr int tile_cols = 192;
constexpr int unit = 192;  // rows are padded to a multiple of this; blocks begin at one
constexpr double bounded_limit = 70;
constexpr float masked = -1e30f;
constexpr float exp2_floor = -125;

struct Plan {
  int64_t dim;
  int64_t stride;          // dim padded to the path's depth unit: floats (or bf16) from row to row of the packed copies
  int64_t batch, rows;     // Q's rows, and padded to `unit`
  int64_t k_batch, k_rows; // the same of the block of K
  float c;                 // scale * log2(e): s in powers of two is dot * c
  bool bounded;
  bool masks;                  // groups were given: every tile looks at ids
  bool own;                    // the block of K is Q's own: its diagonal is in it
  const int32_t* row_ids;      // [rows]
  const int32_t* column_ids;   // [k_rows]
  const int32_t* padding;      // [k_rows] 1 where a column is padding, else 0

  // Packed operands, [rows, stride] of Q and [k_rows, stride] of K. q_rows and k_panels make S, the pairs make dQ and dK. f32: q_rows and
  // q_pairs are one and the same, plain rows; k_panels is K in panels of columns. bf16: see each path. Rows lie in the same places
  // however many there are.
  void *q_rows, *k_panels, *q_pairs, *k_pairs;

  // Pass 1, of this block. Sums leave the diagonal out. bounded: of exp(s). Online: of exp2(s2 - max), beside the maxima (s2 = s log2 e).
  double* row_sum;     // [rows]
  float* row_max;      // [rows] online only
  float* column_sum;   // [chunks][k_rows]
  float* column_max;   // [chunks][k_rows] online only

  // Pass 2. bounded: 1/Z. Online: log2 Z.
  const float *row_weight, *column_weight;  // [rows], [k_rows]
  float *dq, *dk;                           // added to: [rows][stride], [k_rows][stride], f32; dk is [k_rows / unit][stride][unit] where the path says transposed
};

struct Path {
  Isa isa;
  int depth;          // `stride` is a multiple of this
  bool bf16;          // operands are bf16
  bool dk_transposed;
  void (*pack)(const Plan&, const float* q, const float* k, int64_t row, int64_t end);  // rows [row, end) of padded f32 copies; both multiples of unit
  void (*forward)(const Plan&, int64_t row, int64_t end, int chunk);
  void (*backward)(const Plan&, int64_t row, int64_t row_end, int64_t column, int64_t column_end);
};

// infonce() and infonce_ring() on a path of the caller's choice, supported or not.
void run(const Path& path, const InfoNce& problem, InfoNceOut& out, const Run& run);
void run(const Path& path, const InfoNce& problem, InfoNceOut& out, Ring& ring, const Run& run);

extern const Path f32_plain, f32_avx2, f32_avx512, bf16_avx512, bf16_amx;

}  // namespace larr::infonce_detail
