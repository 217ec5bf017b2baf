// InfoNCE on AMX tiles. All three products are 32 x 32 blocks of 2 x 2 tiles with bf16 operands:
//   S    = Q K^T    A: rows of Q             B: K in panels of 16 columns, pairs along the width
//   dQ  += G K      A: rows of G             B: K in pairs of rows
//   dK^T += Q^T G   A: Q transposed          B: G in pairs of rows
// dK is kept transposed because an A operand must lie along the summed dimension: so G^T is never needed. Transposed arrays lie in
// blocks of `unit` columns, [rows / unit][stride][unit], so that a tile's rows are near each other.
// A block of S goes through 4 KiB of L1 from the tiles to the vector registers; two such blocks take turns, so that the tile unit has
// the next one to work on while the exponentials of this one are taken. Its sums wait in the tiles until then: stored before, all of the
// next block's 4 KiB would be stores under way when this block is loaded, at addresses that agree in their last 12 bits, and a processor
// holds a load back behind those until it has seen that they are of another page.
// Of Intel's figures (a product 16 cycles, and 52 until its sums can be added to; a tile loaded in 8): four sums in turn hide the 52, and a
// step's four tiles are there in half of the time that its four products take. Counted so, a block of S at d = 128 is 256 cycles of the
// tile unit beside about 320 of exponentials, one of G 256 beside about 430, and its share of both gradients 512 more.
#include "../simd/amx.h"
#include "../simd/avx512.h"
#include "../simd/bf16.h"
namespace larr::infonce_detail {
namespace {
struct V : avx512::V {
  static constexpr int MR = 32, NV = 2, terms = 4;
};
}  // namespace
}  // namespace larr::infonce_detail
#include "online.inl"

namespace larr::infonce_detail {
namespace {

constexpr int step = 32;  // bf16 of the summed dimension a tile takes

// Tiles 0 to 3 are a block of 32 x 32 sums. All strides and steps are in bytes.
inline void clear() {
  LARR_TILE_ZERO(0);
  LARR_TILE_ZERO(1);
  LARR_TILE_ZERO(2);
  LARR_TILE_ZERO(3);
}
inline void take(const float* c, int64_t stride) {
  const char* from = reinterpret_cast<const char*>(c);
  LARR_TILE_LOAD(0, from, stride);
  LARR_TILE_LOAD(1, from + 64, stride);
  LARR_TILE_LOAD(2, from + 16 * stride, stride);
  LARR_TILE_LOAD(3, from + 16 * stride + 64, stride);
}
inline void put(float* c, int64_t stride) {
  char* to = reinterpret_cast<char*>(c);
  LARR_TILE_STORE(0, to, stride);
  LARR_TILE_STORE(1, to + 64, stride);
  LARR_TILE_STORE(2, to + 16 * stride, stride);
  LARR_TILE_STORE(3, to + 16 * stride + 64, stride);
}
// += a [32][32 steps] b; b1 holds the upper 16 columns.
inline void multiply(const char* a, int64_t a_stride, int64_t a_step, const char* b0, const char* b1, int64_t b_stride, int64_t b_step, int64_t steps) {
  for (int64_t s = 0; s < steps; s++) {
    LARR_TILE_LOAD(4, a, a_stride);
    LARR_TILE_LOAD(6, b0, b_stride);
    LARR_TILE_MULTIPLY(0, 4, 6);
    LARR_TILE_LOAD(7, b1, b_stride);
    LARR_TILE_MULTIPLY(1, 4, 7);
    LARR_TILE_LOAD(5, a + 16 * a_stride, a_stride);
    LARR_TILE_MULTIPLY(2, 5, 6);
    LARR_TILE_MULTIPLY(3, 5, 7);
    a += a_step;
    b0 += b_step;
    b1 += b_step;
  }
}

constexpr int64_t block_stride = 4 * columns;

// dots of rows i .. i+32 with columns j .. j+32, left in the tiles
inline void scores(const Plan& p, int64_t i, int64_t j) {
  const char* q = static_cast<const char*>(p.q_rows) + 2 * i * p.stride;
  const char* k = static_cast<const char*>(p.k_panels) + 2 * j * p.stride;
  clear();
  multiply(q, 2 * p.stride, 2 * step, k, k + 2 * 16 * p.stride, 64, 1024, p.stride / step);
}

void pack(const Plan& p, const float* q, const float* k, int64_t row, int64_t end) {
  auto *q_rows = static_cast<uint16_t*>(p.q_rows), *panels = static_cast<uint16_t*>(p.k_panels), *q_transposed = static_cast<uint16_t*>(p.q_pairs);
  for (int64_t i = row; i < end; i++)
    for (int64_t s = 0; s < p.stride; s++) {
      q_rows[i * p.stride + s] = top_half(q[i * p.stride + s]);
      q_transposed[i / unit * unit * p.stride + s * unit + i % unit] = top_half(q[i * p.stride + s]);
      panels[i / 16 * 16 * p.stride + (s / 2 * 16 + i % 16) * 2 + s % 2] = top_half(k[i * p.stride + s]);
    }
  pack_row_pairs(k, row, end, p.stride, static_cast<uint16_t*>(p.k_pairs));
}

void forward_bounded(const Plan& p, int64_t row, int64_t end, int chunk) {
  const F c = V::set(p.c);
  float* column_sum = p.column_sum + int64_t(chunk) * p.k_rows;
  for (int64_t j = 0; j < p.k_rows; j++) column_sum[j] = 0;
  alignas(64) float blocks[2][MR * columns];
  for (int64_t tile = row; tile < end; tile += tile_rows) {
    const int64_t tile_end = tile + tile_rows < end ? tile + tile_rows : end;
    alignas(64) float row_sum[tile_rows * W];
    constexpr int64_t flush = 512;  // columns whose sums stay in f32 before they go to double
    for (int64_t stretch = 0; stretch < p.k_batch; stretch += flush) {
      for (float& x : row_sum) x = 0;
      const int64_t stretch_end = stretch + flush < p.k_batch ? stretch + flush : p.k_batch;
      int turn = 0;
      scores(p, tile, stretch);
      put(blocks[0], block_stride);
      for (int64_t j = stretch; j < stretch_end; j += columns) {
        F below[NV] = {V::set(0), V::set(0)};
        for (int64_t i = tile; i < tile_end; i += MR) {
          const bool last_row = i + MR >= tile_end;
          const int64_t next_i = last_row ? tile : i + MR, next_j = last_row ? j + columns : j;
          const bool more = next_j < stretch_end;
          if (more) scores(p, next_i, next_j);
          const float* dots = blocks[turn];
          turn ^= 1;
          const bool look = special(p, i, j);
          for (int r = 0; r < MR; r++) {
            float* sums = row_sum + (i - tile + r) * W;
            F beside = V::load(sums);
            for (int v = 0; v < NV; v++) {
              F e = exp2_scaled<V, V::terms>(V::load(dots + r * columns + v * W), c);
              if (look) e = mask(p, e, i + r, j + v * W, 0);
              beside = V::add(beside, e);
              below[v] = V::add(below[v], e);
            }
            V::store(sums, beside);
          }
          if (more) put(blocks[turn], block_stride);
        }
        for (int v = 0; v < NV; v++) V::store(column_sum + j + v * W, V::add(V::load(column_sum + j + v * W), below[v]));
      }
      for (int64_t i = tile; i < tile_end; i++) {
        const double sum = double(V::sum(V::load(row_sum + (i - tile) * W)));
        p.row_sum[i] = stretch == 0 ? sum : p.row_sum[i] + sum;
      }
    }
  }
}

void score_tile(const Plan& p, int64_t i, int64_t i_end, int64_t j, int64_t j_end, float* tile) {
  const F c = V::set(p.c);
  alignas(64) float dots[MR * columns];
  for (int64_t jj = j; jj < j_end; jj += columns)
    for (int64_t ii = i; ii < i_end; ii += MR) {
      scores(p, ii, jj);
      put(dots, block_stride);
      const bool look = special(p, ii, jj);
      for (int r = 0; r < MR; r++)
        for (int v = 0; v < NV; v++) {
          F s = V::mul(V::load(dots + r * columns + v * W), c);
          if (look) s = mask(p, s, ii + r, jj + v * W, masked);
          V::store(tile + (ii - i + r) * tile_cols + (jj - j) + v * W, s);
        }
    }
}

void forward(const Plan& p, int64_t row, int64_t end, int chunk) {
  const amx::Session session;
  if (p.bounded) forward_bounded(p, row, used_rows(p, end), chunk);
  else forward_online(p, row, used_rows(p, end), chunk);
}

// G of one block, from its dots, in both orders of pairs (see bf16_avx512.cpp).
inline void gradient_block(const Plan& p, const float* dots, int64_t i, int64_t j, uint16_t* rows, uint16_t* pairs) {
  const __m512i interleave = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21, 5, 20, 4, 19, 3,
                                              18, 2, 17, 1, 16, 0);
  const bool look = !p.bounded || special(p, i, j);
  const F c = V::set(p.c);
  for (int r = 0; r < MR; r += 2) {
    F g[2][NV];
    for (int h = 0; h < 2; h++) {
      const F row_weight = V::set(p.row_weight[i + r + h]);
      for (int v = 0; v < NV; v++) {
        const F dot = V::load(dots + (r + h) * columns + v * W);
        if (look) g[h][v] = mask(p, gradient_of(p, dot, i + r + h, j + v * W), i + r + h, j + v * W, 0);
        else g[h][v] = V::mul(exp2_scaled<V, V::terms>(dot, c), V::add(row_weight, V::load(p.column_weight + j + v * W)));
      }
      _mm512_storeu_si512(rows + (r + h) * tile_cols, (__m512i)(_mm512_cvtne2ps_pbh(g[h][1], g[h][0])));
    }
    for (int v = 0; v < NV; v++)
      _mm512_storeu_si512(pairs + (r / 2 * tile_cols + v * W) * 2, _mm512_permutexvar_epi16(interleave, (__m512i)(_mm512_cvtne2ps_pbh(g[1][v], g[0][v]))));
  }
}

void backward(const Plan& p, int64_t row, int64_t row_end, int64_t column, int64_t column_end) {
  const amx::Session session;
  alignas(64) uint16_t rows[tile_rows * tile_cols], pairs[tile_rows * tile_cols];
  alignas(64) float blocks[2][MR * columns];
  const int64_t columns_end = (p.k_batch + columns - 1) / columns * columns;
  row_end = used_rows(p, row_end);
  if (column_end > columns_end) column_end = columns_end;
  const auto* q_transposed = static_cast<const char*>(p.q_pairs);
  for (int64_t j = column; j < column_end; j += tile_cols) {
    const int64_t j_end = j + tile_cols < column_end ? j + tile_cols : column_end;
    const char* k = static_cast<const char*>(p.k_pairs) + 2 * j * p.stride;
    for (int64_t i = row; i < row_end; i += tile_rows) {
      const int64_t i_end = i + tile_rows < row_end ? i + tile_rows : row_end;
      int turn = 0;
      scores(p, i, j);
      put(blocks[0], block_stride);
      for (int64_t jj = j; jj < j_end; jj += columns)
        for (int64_t ii = i; ii < i_end; ii += MR) {
          const bool last_row = ii + MR >= i_end;
          const int64_t next_i = last_row ? i : ii + MR, next_j = last_row ? jj + columns : jj;
          const bool more = next_j < j_end;
          if (more) scores(p, next_i, next_j);
          gradient_block(p, blocks[turn], ii, jj, rows + (ii - i) * tile_cols + (jj - j), pairs + ((ii - i) / 2 * tile_cols + (jj - j)) * 2);
          turn ^= 1;
          if (more) put(blocks[turn], block_stride);
        }
      // Neighbours in these loops write where the one before does not, page by page: rows of dq (4 * stride bytes apart) side by side, and so
      // those of dk. Sums loaded from where others of the same last 12 bits are still being stored would wait for them.
      for (int64_t ii = i; ii < i_end; ii += MR)
        for (int64_t d = 0; d < p.stride; d += 32) {
          float* dq = p.dq + ii * p.stride + d;
          take(dq, 4 * p.stride);
          multiply(reinterpret_cast<const char*>(rows + (ii - i) * tile_cols), 2 * tile_cols, 2 * step, k + 4 * d, k + 4 * (d + 16), 4 * p.stride,
                   16 * 4 * p.stride, (j_end - j) / step);
          put(dq, 4 * p.stride);
        }
      for (int64_t d = 0; d < p.stride; d += 32) {
        const char* a = q_transposed + 2 * (i / unit * unit * p.stride + d * unit + i % unit);
        for (int64_t jj = j; jj < j_end; jj += columns) {
          const char* b = reinterpret_cast<const char*>(pairs + (jj - j) * 2);
          float* dk = p.dk + jj / unit * unit * p.stride + d * unit + jj % unit;
          take(dk, 4 * unit);
          multiply(a, 2 * unit, 2 * step, b, b + 64, 4 * tile_cols, 16 * 4 * tile_cols, (i_end - i) / step);
          put(dk, 4 * unit);
        }
      }
    }
  }
}

}  // namespace
}  // namespace larr::infonce_detail
