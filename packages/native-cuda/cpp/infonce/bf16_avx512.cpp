// Lanes are pairs of bf16, multiplied and added into f32 by vdpbf16ps. S needs pairs along the width (rows as they are, K in panels of
// pairs), dQ pairs of K's rows and of G's columns, dK pairs of Q's rows and of G's rows: G is written in both orders.
#include "../simd/avx512.h"
#include "../simd/bf16.h"
namespace larr::infonce_detail {
namespace {
struct V : avx512::V {
  static constexpr int per = 2, terms = 4;
  static F dot(F a, F b, F sum) { return _mm512_dpbf16_ps(sum, (__m512bh)(a), (__m512bh)(b)); }
};
}  // namespace
}  // namespace larr::infonce_detail
#include "path.inl"

namespace larr::infonce_detail {
namespace {

void pack(const Plan& p, const float* q, const float* k, int64_t row, int64_t end) {
  auto *q_rows = static_cast<uint16_t*>(p.q_rows), *panels = static_cast<uint16_t*>(p.k_panels);
  for (int64_t at = row * p.stride; at < end * p.stride; at++) q_rows[at] = top_half(q[at]);
  pack_row_pairs(q, row, end, p.stride, static_cast<uint16_t*>(p.q_pairs));
  pack_row_pairs(k, row, end, p.stride, static_cast<uint16_t*>(p.k_pairs));
  for (int64_t j = row; j < end; j += columns)
    for (int64_t s = 0; s < p.stride; s++)
      for (int l = 0; l < columns; l++) panels[j * p.stride + (s / 2 * columns + l) * 2 + s % 2] = top_half(k[(j + l) * p.stride + s]);
}

void put(const F (&g)[MR][NV], Lane* tile, int64_t i, int64_t j) {
  static_assert(MR % 2 == 0 && NV % 2 == 0);
  auto* rows = reinterpret_cast<char*>(tile) + 2 * (i * tile_cols + j);
  auto* pairs = reinterpret_cast<char*>(tile) + 2 * tile_rows * tile_cols + 4 * (i / 2 * tile_cols + j);
  // columns 0, 16, 1, 17, ...: from two rows' sixteen columns to sixteen pairs
  const __m512i interleave = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21, 5, 20, 4, 19, 3,
                                              18, 2, 17, 1, 16, 0);
#pragma GCC unroll 8
  for (int r = 0; r < MR; r++)
#pragma GCC unroll 8
    for (int v = 0; v < NV; v += 2)
      _mm512_storeu_si512(rows + 2 * (r * tile_cols + v * W), (__m512i)(_mm512_cvtne2ps_pbh(g[r][v + 1], g[r][v])));
#pragma GCC unroll 8
  for (int r = 0; r < MR; r += 2)
#pragma GCC unroll 8
    for (int v = 0; v < NV; v++)
      _mm512_storeu_si512(pairs + 4 * (r / 2 * tile_cols + v * W),
                          _mm512_permutexvar_epi16(interleave, (__m512i)(_mm512_cvtne2ps_pbh(g[r + 1][v], g[r][v]))));
}

}  // namespace
const Path bf16_avx512{Isa::avx512bf16, 16, true, false, pack, forward, backward};
}  // namespace larr::infonce_detail
