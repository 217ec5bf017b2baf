// What the launches of one InfoNCE call share on a GPU. s is kept in powers of two throughout: s2 = scale * log2(e) * q.k.
//
//   prepare     packs q and k to [rows][D] (bf16 or f32), takes the diagonal in double and the largest norms
//   maxima      only where exp(s) could overflow or vanish: the largest s2 of every row and column, off the diagonal
//   sums        pass 1: both directions' sums of exponentials, one walk over the tiles of S
//   lse         both log-sum-exps, the loss, the weights of pass 2, the diagonal's own share of the gradients
//   gradients   pass 2, once for dq and once for dk with the roles exchanged: G is rebuilt in registers and multiplied at once
//   finish      adds the diagonal and the common factor, dscale
//
// Scalars are summed by whichever block of lse and of finish comes last, over what all of them left, in index order.
//
// Five products where the CPU path has four: exchanging roles rebuilds S once more, and in return nothing is added up between blocks,
// so sums need no atomics and no second accumulator, and the same bits every time. Sums over chunks and splits are taken in index order.
#pragma once
#include <cstdint>

#include "side.h"

namespace larr::cuda::inline LARR_SIDE::infonce {

constexpr int most_norm_blocks = 512;  // of prepare
constexpr int lse_threads = 256, finish_threads = 256;
constexpr int most_finish_blocks = 264;
constexpr float masked = -1e30f;
constexpr float bounded_limit = 70;   // as on the CPU: below, exp(s) needs no maximum subtracted
constexpr float valid_limit = 1e29f;

enum class Mode : int32_t { bounded, online, invalid };

struct Plan {
  int32_t batch, dim, rows;
  const void *q, *k;  // as given
  bool bf16_storage;
  int64_t q_stride, k_stride;
  const float* scale_at;  // on the device; null: scale_value
  float scale_value;
  const int32_t* groups;  // [batch] or null

  void *q_packed, *k_packed;  // [rows][D]
  double* diagonal;           // [rows] q_i.k_i
  int32_t* ids;               // [rows] group ids, or every row its own: equal ids are no pair, so the diagonal masks itself
  float* norms;               // [norm_blocks][2] largest |q|^2, |k|^2
  int32_t norm_blocks;
  Mode* mode;
  uint32_t* finished;             // [2] blocks of lse, of finish
  int32_t *row_max, *column_max;  // [rows] order-preserving bits of s2; online only

  int32_t sum_chunks, sum_splits;  // of rows and of columns in pass 1
  float* row_sum;                  // [sum_splits][rows]
  float* column_sum;               // [sum_chunks][rows]

  float *row_weight, *column_weight;  // [rows] bounded: 1 / Z; online: log2 Z
  double* own;                        // [rows] 2 B G_ii
  float *lse_row, *lse_col;           // [batch] or null
  double* loss_part;                  // [rows / 32]

  int32_t gradient_splits;
  float* gradient_part;  // [gradient_splits][2][rows][D]
  float *dq, *dk;        // [batch][dim], or null
  double* dscale_part;   // [finish_blocks]
  int32_t finish_blocks;
  double* result;        // loss, dscale
};

}  // namespace larr::cuda::infonce
