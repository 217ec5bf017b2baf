// What the register and the tile paths share: leaving pairs out, one pair's gradient, and pass 1 with running maxima.
#include "../simd/functions.h"
#include "plan.h"

namespace larr::infonce_detail {
namespace {

using F = V::F;
// S is made in blocks of MR rows and `columns` columns.
constexpr int W = V::W, MR = V::MR, NV = V::NV, columns = NV * W;

// Whether some pair of a block may have to be left out.
inline bool special(const Plan& p, int64_t i, int64_t j) {
  return p.masks || (p.own && i < j + columns && j < i + MR) || j + columns > p.k_batch || i + MR > p.batch;
}

inline F mask(const Plan& p, F e, int64_t i, int64_t j, float otherwise) {
  if (i >= p.batch) return V::set(otherwise);
  // Selected, not multiplied: a pair that is left out may be beyond the sums it is not in, and its exponential not a number.
  const F other = V::set(otherwise);
  return V::if_differ(V::if_differ(e, p.column_ids + j, p.row_ids[i], other), p.padding + j, 1, other);
}

// Rows that hold something, in whole blocks.
inline int64_t used_rows(const Plan& p, int64_t end) {
  const int64_t used = (p.batch + MR - 1) / MR * MR;
  return end < used ? end : used;
}

inline F exp2_of(F x) { return exp2_scaled<V, V::terms>(V::max(x, V::set(exp2_floor)), V::set(1)); }
inline float exp2_of(float x) {
  alignas(64) float all[W];
  V::store(all, exp2_of(V::set(x)));
  return all[0];
}
// exp2_of of a masked pair must be nothing, not 2^-125.
inline F exp2_or_zero(F s, F shift) {
  const F e = exp2_of(V::sub(s, shift));
  return V::sub(e, V::min(e, V::set(4e-38f)));
}

// 2 B dL/ds of W pairs of row i from column j, before masking.
inline F gradient_of(const Plan& p, F dot, int64_t i, int64_t j) {
  const F c = V::set(p.c), row_weight = V::set(p.row_weight[i]), column_weight = V::load(p.column_weight + j);
  if (p.bounded) return V::mul(exp2_scaled<V, V::terms>(dot, c), V::add(row_weight, column_weight));
  const F s = V::mul(dot, c);
  return V::add(exp2_of(V::sub(s, row_weight)), exp2_of(V::sub(s, column_weight)));
}

// tile[r][l] = s2 of pair (i + r, j + l), or `masked`
void score_tile(const Plan& p, int64_t i, int64_t i_end, int64_t j, int64_t j_end, float* tile);

void forward_online(const Plan& p, int64_t row, int64_t end, int chunk) {
  float* column_sum = p.column_sum + int64_t(chunk) * p.k_rows;
  float* column_max = p.column_max + int64_t(chunk) * p.k_rows;
  for (int64_t j = 0; j < p.k_rows; j++) column_sum[j] = 0, column_max[j] = masked;
  alignas(64) float tile[tile_rows * tile_cols];
  for (int64_t block = row; block < end; block += tile_rows) {
    const int64_t block_end = block + tile_rows < end ? block + tile_rows : end;
    for (int64_t i = block; i < block_end; i++) p.row_sum[i] = 0, p.row_max[i] = masked;
    for (int64_t j = 0; j < p.k_batch; j += tile_cols) {
      const int64_t j_end = j + tile_cols < p.k_batch ? j + tile_cols : (p.k_batch + columns - 1) / columns * columns;
      score_tile(p, block, block_end, j, j_end, tile);
      const int64_t width = j_end - j;
      for (int64_t i = block; i < block_end; i++) {
        const float* s = tile + (i - block) * tile_cols;
        F best = V::set(masked);
        for (int64_t l = 0; l < width; l += W) best = V::max(best, V::load(s + l));
        float top = V::top(best);
        if (top < p.row_max[i]) top = p.row_max[i];
        F sum = V::set(0);
        for (int64_t l = 0; l < width; l += W) sum = V::add(sum, exp2_or_zero(V::load(s + l), V::set(top)));
        p.row_sum[i] = p.row_sum[i] * double(exp2_of(p.row_max[i] - top)) + double(V::sum(sum));
        p.row_max[i] = top;
      }
      for (int64_t l = 0; l < width; l += W) {
        const F before = V::load(column_max + j + l);
        F top = before;
        for (int64_t i = 0; i < block_end - block; i++) top = V::max(top, V::load(tile + i * tile_cols + l));
        F sum = V::mul(V::load(column_sum + j + l), exp2_of(V::sub(before, top)));
        for (int64_t i = 0; i < block_end - block; i++) sum = V::add(sum, exp2_or_zero(V::load(tile + i * tile_cols + l), top));
        V::store(column_sum + j + l, sum);
        V::store(column_max + j + l, top);
      }
    }
  }
}

}  // namespace
}  // namespace larr::infonce_detail
