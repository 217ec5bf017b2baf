// The kernels over the register type V of the including source. Two loops: `forward` walks tiles of S once and sums exponentials
// along both sides; `backward` forms each tile again, turns it into G = e (1/Z_row + 1/Z_column) and adds G K to dQ and G^T Q to dK.
//
// Shapes: S blocks are V::MR x (V::NV * V::W) in registers, row operand broadcast, column operand from K's panels, so S never lands in
// memory in pass 1. A tile of G is 96 x 192 (72 KiB) and stays in L2 with its rows of Q, K, dQ and dK.
//
// Operands are 32-bit lanes: one float, or a pair of bf16 that follow each other along the summed dimension (V::per = 2), so both
// types walk memory in the same way. The including source gives V::dot and the functions pack and put, which know what a lane holds.
#include "online.inl"

namespace larr::infonce_detail {
namespace {

static_assert(tile_rows % MR == 0 && tile_cols % MR == 0 && tile_cols % columns == 0 && unit % tile_cols == 0);

using Lane = float __attribute__((may_alias));
inline const Lane* lanes(const void* data) { return static_cast<const Lane*>(data); }

void pack(const Plan& p, const float* q, const float* k, int64_t row, int64_t end);
// G of the pairs (i .. i+MR, j .. j+columns) of a tile, as operands of both products.
void put(const F (&g)[MR][NV], Lane* tile, int64_t i, int64_t j);

// acc[i][v] += sum_s a[i * row + s * step] . b[s * b_step + v W ..], n lanes long
template <int N>
inline __attribute__((always_inline)) void product(const Lane* a, int64_t row, int64_t step, const Lane* b, int64_t b_step, int64_t n,
                                                   F (&acc)[MR][N]) {
  for (int64_t s = 0; s < n; s++) {
    F right[N];
#pragma GCC unroll 8
    for (int v = 0; v < N; v++) right[v] = V::load(b + v * W);
#pragma GCC unroll 8
    for (int i = 0; i < MR; i++) {
      const F left = V::set(a[i * row]);
#pragma GCC unroll 8
      for (int v = 0; v < N; v++) acc[i][v] = V::dot(left, right[v], acc[i][v]);
    }
    a += step;
    b += b_step;
  }
}

inline __attribute__((always_inline)) void scores(const Plan& p, int64_t i, int64_t j, F (&acc)[MR][NV]) {
#pragma GCC unroll 8
  for (int r = 0; r < MR; r++)
#pragma GCC unroll 8
    for (int v = 0; v < NV; v++) acc[r][v] = V::set(0);
  const int64_t depth = p.stride / V::per;
  product<NV>(lanes(p.q_rows) + i * depth, depth, 1, lanes(p.k_panels) + j * depth, columns, (p.dim + V::per - 1) / V::per, acc);
}

void forward_bounded(const Plan& p, int64_t row, int64_t end, int chunk) {
  const F c = V::set(p.c);
  float* column_sum = p.column_sum + int64_t(chunk) * p.k_rows;
  for (int64_t j = 0; j < p.k_rows; j++) column_sum[j] = 0;
  for (int64_t block = row; block < end; block += tile_rows) {
    const int64_t block_end = block + tile_rows < end ? block + tile_rows : end;
    alignas(64) float row_sum[tile_rows * W];
    constexpr int64_t flush = 512;  // columns whose sums stay in f32 before they go to double
    for (int64_t stretch = 0; stretch < p.k_batch; stretch += flush) {
      for (int i = 0; i < tile_rows * W; i++) row_sum[i] = 0;
      for (int64_t j = stretch; j < stretch + flush && j < p.k_batch; j += columns) {
        F below[NV];
#pragma GCC unroll 8
        for (int v = 0; v < NV; v++) below[v] = V::set(0);
        for (int64_t i = block; i < block_end; i += MR) {
          F acc[MR][NV];
          scores(p, i, j, acc);
          float* sums = row_sum + (i - block) * W;
          if (__builtin_expect(special(p, i, j), 0)) {
            for (int r = 0; r < MR; r++)
              for (int v = 0; v < NV; v++) {
                const F e = mask(p, exp2_scaled<V, V::terms>(acc[r][v], c), i + r, j + v * W, 0);
                V::store(sums + r * W, V::add(V::load(sums + r * W), e));
                below[v] = V::add(below[v], e);
              }
            continue;
          }
#pragma GCC unroll 8
          for (int r = 0; r < MR; r++) {
            F beside = V::load(sums + r * W);
#pragma GCC unroll 8
            for (int v = 0; v < NV; v++) {
              const F e = exp2_scaled<V, V::terms>(acc[r][v], c);
              beside = V::add(beside, e);
              below[v] = V::add(below[v], e);
            }
            V::store(sums + r * W, beside);
          }
        }
#pragma GCC unroll 8
        for (int v = 0; v < NV; v++) V::store(column_sum + j + v * W, V::add(V::load(column_sum + j + v * W), below[v]));
      }
      for (int64_t i = block; i < block_end; i++) {
        const double sum = double(V::sum(V::load(row_sum + (i - block) * W)));
        p.row_sum[i] = stretch == 0 ? sum : p.row_sum[i] + sum;
      }
    }
  }
}

// tile[r][l] = s2 of pair (i + r, j + l), or `masked`
void score_tile(const Plan& p, int64_t i, int64_t i_end, int64_t j, int64_t j_end, float* tile) {
  const F c = V::set(p.c);
  for (int64_t jj = j; jj < j_end; jj += columns)
    for (int64_t ii = i; ii < i_end; ii += MR) {
      F acc[MR][NV];
      scores(p, ii, jj, acc);
      const bool look = special(p, ii, jj);
      for (int r = 0; r < MR; r++)
        for (int v = 0; v < NV; v++) {
          F s = V::mul(acc[r][v], c);
          if (look) s = mask(p, s, ii + r, jj + v * W, masked);
          V::store(tile + (ii - i + r) * tile_cols + (jj - j) + v * W, s);
        }
    }
}

void forward(const Plan& p, int64_t row, int64_t end, int chunk) {
  if (p.bounded) forward_bounded(p, row, used_rows(p, end), chunk);
  else forward_online(p, row, used_rows(p, end), chunk);
}

template <int N>
void accumulate(const Lane* a, int64_t row, int64_t step, const Lane* b, float* out, int64_t stride, int64_t n) {
  F acc[MR][N];
#pragma GCC unroll 8
  for (int i = 0; i < MR; i++)
#pragma GCC unroll 8
    for (int v = 0; v < N; v++) acc[i][v] = V::load(out + i * stride + v * W);
  product<N>(a, row, step, b, stride, n, acc);
#pragma GCC unroll 8
  for (int i = 0; i < MR; i++)
#pragma GCC unroll 8
    for (int v = 0; v < N; v++) V::store(out + i * stride + v * W, acc[i][v]);
}

// out [MR][stride] += a [MR][n] b [n][stride], n lanes
void accumulate_rows(const Lane* a, int64_t row, int64_t step, const Lane* b, float* out, int64_t stride, int64_t n) {
  int64_t at = 0;
  for (; at + NV * W <= stride; at += NV * W) accumulate<NV>(a, row, step, b + at, out + at, stride, n);
  switch ((stride - at) / W) {
    case 3: accumulate<(NV > 3 ? 3 : 1)>(a, row, step, b + at, out + at, stride, n); break;
    case 2: accumulate<(NV > 2 ? 2 : 1)>(a, row, step, b + at, out + at, stride, n); break;
    case 1: accumulate<1>(a, row, step, b + at, out + at, stride, n); break;
    default: break;
  }
}

void gradient_tile(const Plan& p, int64_t i, int64_t i_end, int64_t j, int64_t j_end, Lane* g) {
  const F c = V::set(p.c);
  for (int64_t jj = j; jj < j_end; jj += columns)
    for (int64_t ii = i; ii < i_end; ii += MR) {
      F acc[MR][NV];
      scores(p, ii, jj, acc);
      if (__builtin_expect(p.bounded && !special(p, ii, jj), 1)) {
#pragma GCC unroll 8
        for (int r = 0; r < MR; r++) {
          const F row_weight = V::set(p.row_weight[ii + r]);
#pragma GCC unroll 8
          for (int v = 0; v < NV; v++) {
            const F weight = V::add(row_weight, V::load(p.column_weight + jj + v * W));
            acc[r][v] = V::mul(exp2_scaled<V, V::terms>(acc[r][v], c), weight);
          }
        }
      } else {
        for (int r = 0; r < MR; r++)
          for (int v = 0; v < NV; v++) {
            const F e = gradient_of(p, acc[r][v], ii + r, jj + v * W);
            acc[r][v] = mask(p, e, ii + r, jj + v * W, 0);
          }
      }
      put(acc, g, ii - i, jj - j);
    }
}

void backward(const Plan& p, int64_t row, int64_t row_end, int64_t column, int64_t column_end) {
  alignas(64) Lane g[tile_rows * tile_cols];
  for (Lane& x : g) x = 0;  // a short last tile is read up to whole register blocks
  // Where G^T starts: the same lanes for floats, a second copy for pairs (they are pairs of rows there, of columns in G).
  const Lane* const transposed = V::per == 1 ? g : g + tile_rows * tile_cols / 2;
  constexpr int64_t g_row = tile_cols / V::per;
  const int64_t columns_end = (p.k_batch + columns - 1) / columns * columns;
  row_end = used_rows(p, row_end);
  if (column_end > columns_end) column_end = columns_end;
  for (int64_t j = column; j < column_end; j += tile_cols) {
    const int64_t j_end = j + tile_cols < column_end ? j + tile_cols : column_end;
    for (int64_t i = row; i < row_end; i += tile_rows) {
      const int64_t i_end = i + tile_rows < row_end ? i + tile_rows : row_end;
      gradient_tile(p, i, i_end, j, j_end, g);
      const Lane *q = lanes(p.q_pairs) + i / V::per * p.stride, *k = lanes(p.k_pairs) + j / V::per * p.stride;
      for (int64_t ii = i; ii < i_end; ii += MR)
        accumulate_rows(g + (ii - i) * g_row, g_row, 1, k, p.dq + ii * p.stride, p.stride, (j_end - j) / V::per);
      for (int64_t jj = j; jj < j_end; jj += MR)
        accumulate_rows(transposed + (jj - j), 1, tile_cols, q, p.dk + jj * p.stride, p.stride, (i_end - i) / V::per);
    }
  }
}

}  // namespace
}  // namespace larr::infonce_detail
