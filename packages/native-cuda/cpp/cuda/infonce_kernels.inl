// Fused symmetric InfoNCE for any GPU from sm_80 on, tensor cores through mma.sync (docs/kernels.md, A). Written against portable.h,
// so that the tests run these kernels on the CPU too. bf16: one product of bf16 operands. f32: every operand is split in two tf32
// halves and three products are taken (hi hi + hi lo + lo hi), which leaves about 2^-22 of an operand behind.
#include <algorithm>
#include <cmath>

#include "infonce_pairs.h"

namespace larr::cuda::inline LARR_SIDE::infonce {

// Tiles of one kernel: a block's BM rows stay, columns come BN at a time; each of four warps has MI * 16 of the rows.
template <class Element, int Depth, int RowFragments, int Columns>
struct Tiles {
  using T = Element;
  static constexpr int D = Depth, MI = RowFragments, BN = Columns, NI = BN / 8, warps = 4, threads = 32 * warps, BM = warps * MI * 16;
  static constexpr bool bf16 = sizeof(T) == 2;
  static constexpr int stride = D + 16 / int(sizeof(T));  // in shared memory: rows fall on different banks
  static constexpr int column_values = 2 * NI;
  static constexpr size_t shared_bytes = (size_t(BM) + 2 * size_t(BN)) * stride * sizeof(T) + warps * BN * sizeof(float);
};
// At most 99 KiB of shared memory, which every GPU from sm_80 on gives to a block.
template <int D>
using Bf16Tiles = std::conditional_t<(D <= 128), Tiles<uint16_t, D, 2, 64>, Tiles<uint16_t, D, 1, 32>>;
template <int D>
using F32Tiles = std::conditional_t<(D <= 128), Tiles<float, D, 1, 32>, Tiles<float, D, 1, 16>>;
// For GPUs that give a block more: twice the rows for every column that is split.
template <int D>
using WideF32Tiles = std::conditional_t<(D <= 128), Tiles<float, D, 2, 32>, Tiles<float, D, 1, 32>>;

LARR_DEVICE double warp_sum(double value) {
  for (int lanes = 16; lanes > 0; lanes >>= 1) value += warp_shuffle_xor(value, lanes);
  return value;
}

LARR_DEVICE float given(const void* matrix, bool bf16, int64_t at) {
  return bf16 ? from_bf16(static_cast<const uint16_t*>(matrix)[at]) : static_cast<const float*>(matrix)[at];
}

// Elements x .. x + 7 of a row of `dim`, zeros past its end.
LARR_DEVICE void load_eight(float (&to)[8], const void* matrix, bool bf16, int64_t stride, int row, int x, int dim) {
  const int64_t at = row * stride + x;
  const auto* start = static_cast<const char*>(matrix) + at * (bf16 ? 2 : 4);
  if (x + 8 <= dim && reinterpret_cast<uintptr_t>(start) % 16 == 0) {
    const Words first = *reinterpret_cast<const Words*>(start);
    if (bf16) {
      LARR_UNROLL
      for (int i = 0; i < 4; i++) to[2 * i] = bits_to_float(first.w[i] << 16), to[2 * i + 1] = bits_to_float(first.w[i] & 0xffff0000u);
    } else {
      const Words second = *reinterpret_cast<const Words*>(start + 16);
      LARR_UNROLL
      for (int i = 0; i < 4; i++) to[i] = bits_to_float(first.w[i]), to[4 + i] = bits_to_float(second.w[i]);
    }
    return;
  }
  LARR_UNROLL
  for (int i = 0; i < 8; i++) to[i] = x + i < dim ? given(matrix, bf16, at + i) : 0.0f;
}

LARR_DEVICE void store_eight(float* to, const float (&x)[8]) {
  auto* words = reinterpret_cast<Words*>(to);
  words[0] = {{float_to_bits(x[0]), float_to_bits(x[1]), float_to_bits(x[2]), float_to_bits(x[3])}};
  words[1] = {{float_to_bits(x[4]), float_to_bits(x[5]), float_to_bits(x[6]), float_to_bits(x[7])}};
}
LARR_DEVICE void store_eight(uint16_t* to, const float (&x)[8]) {
  *reinterpret_cast<Words*>(to) = {{pack_bf16(x[0], x[1]), pack_bf16(x[2], x[3]), pack_bf16(x[4], x[5]), pack_bf16(x[6], x[7])}};
}

// Plain rows; a walk that wants its operands otherwise brings a packing of its own, which keeps eight elements together.
template <int D>
struct RowPacking {
  static LARR_DEVICE int64_t at(int row, int x) { return int64_t(row) * D + x; }
};

// Eight elements a lane, so D / 8 lanes a row. The maxima are reset on the way.
template <class T, int D, class Packing>
LARR_KERNEL void LARR_BOUNDS(256, 1) prepare(Plan p) {
  wait_for_previous_kernel();
  bring_up_next_kernel();
  auto* of_warps = reinterpret_cast<uint32_t*>(shared_memory());  // [8][2]
  constexpr int lanes_a_row = D / 8, rows_a_warp = 32 / lanes_a_row;
  if (block_x() == 0 && thread_index() < 2) p.finished[thread_index()] = 0;
  uint32_t q_norm = 0, k_norm = 0;  // bits of the largest squares: NaN must not be lost
  const int x = lane_index() % lanes_a_row * 8;
  for (int first = (block_x() * 8 + warp_index()) * rows_a_warp; first < p.rows; first += grid_x() * 8 * rows_a_warp) {
    const int row = first + lane_index() / lanes_a_row;
    float q[8] = {}, k[8] = {};
    if (row < p.batch) {
      load_eight(q, p.q, p.bf16_storage, p.q_stride, row, x, p.dim);
      load_eight(k, p.k, p.bf16_storage, p.k_stride, row, x, p.dim);
    }
    store_eight(static_cast<T*>(p.q_packed) + Packing::at(row, x), q);
    store_eight(static_cast<T*>(p.k_packed) + Packing::at(row, x), k);
    double dot = 0;
    float qq = 0, kk = 0;
    LARR_UNROLL
    for (int i = 0; i < 8; i++) dot += double(q[i]) * double(k[i]), qq += q[i] * q[i], kk += k[i] * k[i];
    for (int lanes = lanes_a_row / 2; lanes > 0; lanes >>= 1) {
      dot += warp_shuffle_xor(dot, lanes);
      qq += warp_shuffle_xor(qq, lanes);
      kk += warp_shuffle_xor(kk, lanes);
    }
    if (x == 0) {
      p.diagonal[row] = dot;
      p.ids[row] = p.groups && row < p.batch ? p.groups[row] : row;
      p.row_max[row] = p.column_max[row] = ordered(masked);
    }
    const uint32_t q_bits = float_to_bits(qq) & 0x7fffffff, k_bits = float_to_bits(kk) & 0x7fffffff;
    q_norm = q_bits > q_norm ? q_bits : q_norm;
    k_norm = k_bits > k_norm ? k_bits : k_norm;
  }
  q_norm = warp_max(q_norm);
  k_norm = warp_max(k_norm);
  if (lane_index() == 0) of_warps[2 * warp_index()] = q_norm, of_warps[2 * warp_index() + 1] = k_norm;
  block_barrier();
  if (warp_index() > 0) return;
  q_norm = warp_max(of_warps[2 * (lane_index() % 8)]);
  k_norm = warp_max(of_warps[2 * (lane_index() % 8) + 1]);
  if (lane_index() == 0) {
    p.norms[2 * block_x()] = bits_to_float(q_norm);
    p.norms[2 * block_x() + 1] = bits_to_float(k_norm);
  }
}

template <class S>
LARR_DEVICE void load_rows(typename S::T* to, const void* matrix, int first, int count) {
  constexpr int pieces = S::D * int(sizeof(typename S::T)) / 16, width = 16 / int(sizeof(typename S::T));
  const auto* from = static_cast<const typename S::T*>(matrix) + int64_t(first) * S::D;
  for (int i = thread_index(); i < count * pieces; i += S::threads) {
    const int row = i / pieces, x = i % pieces * width;
    copy_async(to + row * S::stride + x, from + int64_t(row) * S::D + x);
  }
}

LARR_DEVICE void mma_split(float (&c)[4], const Split (&a)[4], Split b0, Split b1) {
  const uint32_t high[4] = {a[0].high, a[1].high, a[2].high, a[3].high}, low[4] = {a[0].low, a[1].low, a[2].low, a[3].low};
  mma_tf32(c, low, b0.high, b1.high);
  mma_tf32(c, high, b0.low, b1.low);
  mma_tf32(c, high, b0.high, b1.high);
}

// s[mi][ni] = rows of a . rows of b: this warp's MI * 16 rows against all BN columns.
template <class S>
LARR_DEVICE void scores(float (&s)[S::MI][S::NI][4], const typename S::T* a, const typename S::T* b) {
  const int lane = lane_index(), g = lane / 4, t = lane % 4, first = warp_index() * S::MI * 16;
  LARR_UNROLL
  for (int mi = 0; mi < S::MI; mi++)
    LARR_UNROLL
    for (int ni = 0; ni < S::NI; ni++)
      LARR_UNROLL
      for (int x = 0; x < 4; x++) s[mi][ni][x] = 0;
  if constexpr (S::bf16) {
    const int r = lane % 8, m = lane / 8;
    LARR_UNROLL
    for (int k = 0; k < S::D; k += 16) {
      uint32_t fa[S::MI][4];
      LARR_UNROLL
      for (int mi = 0; mi < S::MI; mi++)
        warp_load_matrices(fa[mi], a + (first + mi * 16 + r + (m & 1) * 8) * S::stride + k + (m >> 1) * 8);
      LARR_UNROLL
      for (int ni = 0; ni < S::NI; ni += 2) {
        uint32_t fb[4];
        warp_load_matrices(fb, b + (ni * 8 + r + (m >> 1) * 8) * S::stride + k + (m & 1) * 8);
        LARR_UNROLL
        for (int mi = 0; mi < S::MI; mi++) {
          mma_bf16(s[mi][ni], fa[mi], fb[0], fb[1]);
          mma_bf16(s[mi][ni + 1], fa[mi], fb[2], fb[3]);
        }
      }
    }
  } else {
    LARR_UNROLL
    for (int k = 0; k < S::D; k += 8) {
      Split fa[S::MI][4];
      LARR_UNROLL
      for (int mi = 0; mi < S::MI; mi++) {
        const float* row = a + (first + mi * 16 + g) * S::stride + k + t;
        fa[mi][0] = split(row[0]), fa[mi][1] = split(row[8 * S::stride]), fa[mi][2] = split(row[4]), fa[mi][3] = split(row[8 * S::stride + 4]);
      }
      LARR_UNROLL
      for (int ni = 0; ni < S::NI; ni++) {
        const float* row = b + (ni * 8 + g) * S::stride + k + t;
        const Split b0 = split(row[0]), b1 = split(row[4]);
        LARR_UNROLL
        for (int mi = 0; mi < S::MI; mi++) mma_split(s[mi][ni], fa[mi], b0, b1);
      }
    }
  }
}

// out[mi] += g b, g [MI * 16, BN] in the accumulators' own places, b [BN, D].
template <class S>
LARR_DEVICE void multiply(float (&out)[S::MI][S::D / 8][4], const float (&g)[S::MI][S::NI][4], const typename S::T* b) {
  const int lane = lane_index();
  if constexpr (S::bf16) {
    const int r = lane % 8, m = lane / 8;
    LARR_UNROLL
    for (int u = 0; u < S::NI; u += 2) {
      uint32_t fa[S::MI][4];
      LARR_UNROLL
      for (int mi = 0; mi < S::MI; mi++) {
        fa[mi][0] = pack_bf16(g[mi][u][0], g[mi][u][1]), fa[mi][1] = pack_bf16(g[mi][u][2], g[mi][u][3]);
        fa[mi][2] = pack_bf16(g[mi][u + 1][0], g[mi][u + 1][1]), fa[mi][3] = pack_bf16(g[mi][u + 1][2], g[mi][u + 1][3]);
      }
      LARR_UNROLL
      for (int n = 0; n < S::D / 8; n += 2) {
        uint32_t fb[4];
        warp_load_matrices_transposed(fb, b + (u * 8 + r + (m & 1) * 8) * S::stride + n * 8 + (m >> 1) * 8);
        LARR_UNROLL
        for (int mi = 0; mi < S::MI; mi++) {
          mma_bf16(out[mi][n], fa[mi], fb[0], fb[1]);
          mma_bf16(out[mi][n + 1], fa[mi], fb[2], fb[3]);
        }
      }
    }
  } else {
    // Slot t of the product's depth is column 2t, slot t + 4 column 2t + 1: the order in which this thread holds them.
    const int gr = lane / 4, t = lane % 4;
    LARR_UNROLL
    for (int u = 0; u < S::NI; u++) {
      Split fa[S::MI][4];
      LARR_UNROLL
      for (int mi = 0; mi < S::MI; mi++)
        fa[mi][0] = split(g[mi][u][0]), fa[mi][1] = split(g[mi][u][2]), fa[mi][2] = split(g[mi][u][1]), fa[mi][3] = split(g[mi][u][3]);
      LARR_UNROLL
      for (int n = 0; n < S::D / 8; n++) {
        const float* row = b + (u * 8 + 2 * t) * S::stride + n * 8 + gr;
        const Split b0 = split(row[0]), b1 = split(row[S::stride]);
        LARR_UNROLL
        for (int mi = 0; mi < S::MI; mi++) mma_split(out[mi][n], fa[mi], b0, b1);
      }
    }
  }
}

// Walks the column tiles [first, end) of `columns` past the block's rows: body(column, tile in shared memory), between barriers.
template <class S, class Body>
LARR_DEVICE void walk(typename S::T* buffers, const void* columns, int first, int end, const Body& body) {
  constexpr int size = S::BN * S::stride;
  if (first < end) load_rows<S>(buffers, columns, first * S::BN, S::BN);
  copies_commit();
  for (int tile = first; tile < end; tile++) {
    const int turn = (tile - first) & 1;
    if (tile + 1 < end) load_rows<S>(buffers + (turn ^ 1) * size, columns, (tile + 1) * S::BN, S::BN);
    copies_commit();
    copies_wait<1>();
    block_barrier();
    body(tile * S::BN, buffers + turn * size);
    block_barrier();
  }
}

template <class S>
LARR_KERNEL void LARR_BOUNDS(S::threads, 1) maxima(Plan p) {
  wait_for_previous_kernel();
  bring_up_next_kernel();
  auto* a = reinterpret_cast<typename S::T*>(shared_memory());
  auto* buffers = a + S::BM * S::stride;
  if (decide(p) != Mode::online) return;
  const float c = scale_of(p) * log2e;
  const int g = lane_index() / 4, t = lane_index() % 4;
  int first, end;
  share(p.rows / S::BN, block_y(), grid_y(), first, end);
  for (int row = block_x() * S::BM; row < p.rows; row += grid_x() * S::BM) {
    load_rows<S>(a, p.q_packed, row, S::BM);
    walk<S>(buffers, p.k_packed, first, end, [&](int column, const typename S::T* b) {
      float s[S::MI][S::NI][4];
      scores<S>(s, a, b);
      LARR_UNROLL
      for (int mi = 0; mi < S::MI; mi++)
        LARR_UNROLL
        for (int half = 0; half < 2; half++) {
          const int i = row + (warp_index() * S::MI + mi) * 16 + g + half * 8;
          float top = masked;
          LARR_UNROLL
          for (int ni = 0; ni < S::NI; ni++)
            LARR_UNROLL
            for (int x = 0; x < 2; x++) {
              const int j = column + ni * 8 + 2 * t + x;
              const float s2 = s[mi][ni][half * 2 + x] * c;
              if (!counts(p, i, j)) continue;
              top = fmaxf(top, s2);
              atomic_max(p.column_max + j, ordered(s2));
            }
          top = fmaxf(top, warp_shuffle_xor(top, 1));
          top = fmaxf(top, warp_shuffle_xor(top, 2));
          if (t == 0) atomic_max(p.row_max + i, ordered(top));
        }
    });
  }
}

// Pass 1. Block (x, y): the row tiles x, x + grid_x, ... against split y of the columns.
template <class S>
LARR_KERNEL void LARR_BOUNDS(S::threads, 2) sums(Plan p) {
  wait_for_previous_kernel();
  bring_up_next_kernel();
  auto* a = reinterpret_cast<typename S::T*>(shared_memory());
  auto* buffers = a + S::BM * S::stride;
  auto* scratch = reinterpret_cast<float*>(buffers + 2 * S::BN * S::stride);  // [warps][BN]
  const Mode mode = decide(p);
  if (thread_index() == 0 && block_x() == 0 && block_y() == 0) *p.mode = mode;
  if (mode == Mode::invalid) return;
  const bool online = mode == Mode::online;
  const float c = scale_of(p) * log2e;
  const int lane = lane_index(), g = lane / 4, t = lane % 4;
  int first, end;
  share(p.rows / S::BN, block_y(), grid_y(), first, end);
  for (int row = block_x() * S::BM; row < p.rows; row += grid_x() * S::BM) {
    const bool fresh = row < grid_x() * S::BM;
    load_rows<S>(a, p.q_packed, row, S::BM);
    float total[S::MI][2] = {}, lost[S::MI][2] = {};  // Kahan's: a row is a sum over the whole batch
    float top[S::MI][2];
    LARR_UNROLL
    for (int mi = 0; mi < S::MI; mi++)
      LARR_UNROLL
      for (int half = 0; half < 2; half++)
        top[mi][half] = online ? unordered(p.row_max[row + (warp_index() * S::MI + mi) * 16 + g + half * 8]) : 0.0f;
    walk<S>(buffers, p.k_packed, first, end, [&](int column, const typename S::T* b) {
      float s[S::MI][S::NI][4];
      scores<S>(s, a, b);
      const bool choosy = special(p, row, S::BM, column, S::BN);
      float by_column[S::column_values] = {};
      LARR_UNROLL
      for (int mi = 0; mi < S::MI; mi++)
        LARR_UNROLL
        for (int half = 0; half < 2; half++) {
          const int i = row + (warp_index() * S::MI + mi) * 16 + g + half * 8;
          float by_row = 0;
          LARR_UNROLL
          for (int ni = 0; ni < S::NI; ni++)
            LARR_UNROLL
            for (int x = 0; x < 2; x++) {
              const int j = column + ni * 8 + 2 * t + x;
              const float s2 = s[mi][ni][half * 2 + x] * c;
              float e = exp2_fast(s2 - top[mi][half]), f = e;
              if (online) f = exp2_fast(s2 - unordered(p.column_max[j]));
              if (choosy && !counts(p, i, j)) e = f = 0;
              by_row += e;
              by_column[ni * 2 + x] += f;
            }
          const float y = by_row - lost[mi][half], sum = total[mi][half] + y;
          lost[mi][half] = (sum - total[mi][half]) - y;
          total[mi][half] = sum;
        }
      reduce_columns<S::column_values>(by_column);
      constexpr int kept = S::column_values >= 8 ? S::column_values / 8 : 1;
      LARR_UNROLL
      for (int v = 0; v < kept; v++) {
        const int value = S::column_values >= 8 ? g * kept + v : g / 2;
        scratch[warp_index() * S::BN + value / 2 * 8 + 2 * t + value % 2] = by_column[v];
      }
      block_barrier();
      if (thread_index() < S::BN) {
        float sum = 0;
        for (int w = 0; w < S::warps; w++) sum += scratch[w * S::BN + thread_index()];
        float* to = p.column_sum + int64_t(block_x()) * p.rows + column + thread_index();
        *to = fresh ? sum : *to + sum;
      }
    });
    LARR_UNROLL
    for (int mi = 0; mi < S::MI; mi++)
      LARR_UNROLL
      for (int half = 0; half < 2; half++) {
        float sum = total[mi][half];
        sum += warp_shuffle_xor(sum, 1);
        sum += warp_shuffle_xor(sum, 2);
        if (t == 0) p.row_sum[int64_t(block_y()) * p.rows + row + (warp_index() * S::MI + mi) * 16 + g + half * 8] = sum;
      }
  }
}

// For one warp of every block. The last of them to come here sums what all left in `parts`, always in one order.
LARR_DEVICE void sum_parts(double part, double* parts, uint32_t* finished, double* to, double factor) {
  int last = 0;
  if (lane_index() == 0) {
    parts[block_x()] = part;
    memory_fence();
    last = int(atomic_add(finished, 1)) == grid_x() - 1;
  }
  if (!warp_shuffle(last, 0)) return;
  memory_fence();
  double all = 0;
  LARR_UNROLL_BY(8)
  for (int b = lane_index(); b < grid_x(); b += 32) all += *static_cast<volatile double*>(parts + b);
  all = warp_sum(all);
  if (lane_index() == 0) *to = all * factor;
}

// log2 of a positive number: the fraction's in f32, which keeps an absolute error of 1e-7 at any size.
LARR_DEVICE double log2_of(double x) {
  int exponent;
  const float fraction = float(frexp(x, &exponent));
  return double(exponent) + double(log2f(fraction));
}
// 2^-x as a float, good to its last bits where x is large.
LARR_DEVICE float exp2_minus(double x) {
  const double whole = floor(x);
  return ldexpf(exp2f(-float(x - whole)), -int(whole));
}

// 32 rows a block. All its warps add up what the walks left, a row a lane; the first warp goes on. What the pair still has to learn is
// log2(2^top sum + 2^own) - own, never by cancelling; once that difference is taken in double, f32's functions are enough, and double's
// would take longer than the products of a small batch.
LARR_KERNEL void LARR_BOUNDS(lse_threads, 1) lse(Plan p) {
  wait_for_previous_kernel();
  bring_up_next_kernel();
  auto* of_warps = reinterpret_cast<double*>(shared_memory());  // [2][warps][32]
  constexpr int warps = lse_threads / 32;
  constexpr float ln2 = 0.693147180559945309417f;
  const int i = block_x() * 32 + lane_index();
  double row_sum = 0, column_sum = 0;
  LARR_UNROLL_BY(4)
  for (int y = warp_index(); y < p.sum_splits; y += warps) row_sum += double(p.row_sum[int64_t(y) * p.rows + i]);
  LARR_UNROLL_BY(4)
  for (int x = warp_index(); x < p.sum_chunks; x += warps) column_sum += double(p.column_sum[int64_t(x) * p.rows + i]);
  of_warps[warp_index() * 32 + lane_index()] = row_sum;
  of_warps[(warps + warp_index()) * 32 + lane_index()] = column_sum;
  const Mode mode = *p.mode;
  const double own = double(scale_of(p)) * p.diagonal[i] * 1.4426950408889634074;
  block_barrier();
  if (warp_index() > 0) return;
  LARR_UNROLL
  for (int w = 1; w < warps; w++) {
    row_sum += of_warps[w * 32 + lane_index()];
    column_sum += of_warps[(warps + w) * 32 + lane_index()];
  }
  const auto excess = [&](double top, double sum) {
    const double x = sum > 0 ? top + log2_of(sum) - own : -1e30;
    const float beyond = log1pf(exp2f(-fabsf(float(x)))) * log2e;
    return x > 0 ? x + double(beyond) : double(beyond);
  };
  float row_weight = 0, column_weight = 0, lse_row = 0, lse_col = 0;
  double own_share = 0, loss = 0;
  if (mode == Mode::invalid) {
    lse_row = lse_col = bits_to_float(0x7fc00000);
    loss = i < p.batch ? double(lse_row) : 0;
  } else if (i < p.batch) {
    const bool online = mode == Mode::online;
    const double row_excess = excess(online ? double(unordered(p.row_max[i])) : 0.0, row_sum);
    const double column_excess = excess(online ? double(unordered(p.column_max[i])) : 0.0, column_sum);
    const double row_lse = own + row_excess, column_lse = own + column_excess;
    loss = (row_excess + column_excess) * 0.69314718055994530942;
    lse_row = float(row_lse * 0.69314718055994530942), lse_col = float(column_lse * 0.69314718055994530942);
    row_weight = online ? float(row_lse) : exp2_minus(row_lse), column_weight = online ? float(column_lse) : exp2_minus(column_lse);
    own_share = double(expm1f(-float(row_excess) * ln2)) + double(expm1f(-float(column_excess) * ln2));
  }
  p.row_weight[i] = row_weight;
  p.column_weight[i] = column_weight;
  p.own[i] = own_share;
  if (i < p.batch && p.lse_row) p.lse_row[i] = lse_row;
  if (i < p.batch && p.lse_col) p.lse_col[i] = lse_col;
  if (!p.dq && block_x() == 0 && thread_index() == 0) p.result[1] = 0;
  sum_parts(warp_sum(loss), p.loss_part, p.finished, p.result, 1 / (2.0 * double(p.batch)));
}

// Pass 2. Block (x, y, z): row tile x of q (z = 0) or of k (z = 1) against split y of the other's rows; 2 B G's off-diagonal product.
template <class S>
LARR_KERNEL void LARR_BOUNDS(S::threads, 1) gradients(Plan p) {
  wait_for_previous_kernel();
  bring_up_next_kernel();
  const Mode mode = *p.mode;
  if (mode == Mode::invalid) return;
  auto* a = reinterpret_cast<typename S::T*>(shared_memory());
  auto* buffers = a + S::BM * S::stride;
  const bool online = mode == Mode::online, of_k = block_z() == 1;
  const float c = scale_of(p) * log2e;
  const int g = lane_index() / 4, t = lane_index() % 4, row = block_x() * S::BM;
  const float *weight_i = of_k ? p.column_weight : p.row_weight, *weight_j = of_k ? p.row_weight : p.column_weight;
  const void *mine = of_k ? p.k_packed : p.q_packed, *others = of_k ? p.q_packed : p.k_packed;
  int first, end;
  share(p.rows / S::BN, block_y(), grid_y(), first, end);
  float out[S::MI][S::D / 8][4] = {}, wi[S::MI][2];
  LARR_UNROLL
  for (int mi = 0; mi < S::MI; mi++)
    LARR_UNROLL
    for (int half = 0; half < 2; half++) wi[mi][half] = weight_i[row + (warp_index() * S::MI + mi) * 16 + g + half * 8];
  load_rows<S>(a, mine, row, S::BM);
  walk<S>(buffers, others, first, end, [&](int column, const typename S::T* b) {
    float s[S::MI][S::NI][4];
    scores<S>(s, a, b);
    const bool choosy = special(p, row, S::BM, column, S::BN);
    LARR_UNROLL
    for (int ni = 0; ni < S::NI; ni++)
      LARR_UNROLL
      for (int x = 0; x < 2; x++) {
        const int j = column + ni * 8 + 2 * t + x;
        const float wj = weight_j[j];
        LARR_UNROLL
        for (int mi = 0; mi < S::MI; mi++)
          LARR_UNROLL
          for (int half = 0; half < 2; half++) {
            float& value = s[mi][ni][half * 2 + x];
            const float s2 = value * c;
            value = online ? exp2_fast(s2 - wi[mi][half]) + exp2_fast(s2 - wj) : exp2_fast(s2) * (wi[mi][half] + wj);
            if (choosy && !counts(p, row + (warp_index() * S::MI + mi) * 16 + g + half * 8, j)) value = 0;
          }
      }
    multiply<S>(out, s, b);
  });
  float* to = p.gradient_part + (int64_t(block_y()) * 2 + block_z()) * p.rows * S::D;
  LARR_UNROLL
  for (int mi = 0; mi < S::MI; mi++)
    LARR_UNROLL
    for (int n = 0; n < S::D / 8; n++)
      LARR_UNROLL
      for (int x = 0; x < 4; x++) {
        const int i = row + (warp_index() * S::MI + mi) * 16 + g + x / 2 * 8;
        to[int64_t(i) * S::D + n * 8 + 2 * t + x % 2] = out[mi][n][x];
      }
}

// D / 8 lanes a row, eight elements each. dscale = sum_i q_i . dq_i / scale.
template <int D>
LARR_KERNEL void LARR_BOUNDS(finish_threads, 1) finish(Plan p) {
  wait_for_previous_kernel();
  bring_up_next_kernel();
  auto* of_warps = reinterpret_cast<double*>(shared_memory());
  constexpr int lanes_a_row = D / 8, rows_a_block = finish_threads / lanes_a_row;
  const bool invalid = *p.mode == Mode::invalid;
  const float factor = invalid ? bits_to_float(0x7fc00000) : float(double(scale_of(p)) / (2.0 * double(p.batch)));
  double dscale = 0;
  const int x = thread_index() % lanes_a_row * 8;
  for (int i = block_x() * rows_a_block + thread_index() / lanes_a_row; i < p.batch; i += grid_x() * rows_a_block) {
    float q[8], k[8], dq[8] = {}, dk[8] = {};
    load_eight(q, p.q, p.bf16_storage, p.q_stride, i, x, p.dim);
    load_eight(k, p.k, p.bf16_storage, p.k_stride, i, x, p.dim);
    if (!invalid)
      for (int y = 0; y < p.gradient_splits; y++) {
        const float* part = p.gradient_part + (int64_t(y) * 2 * p.rows + i) * D + x;
        float more[8];
        load_eight(more, part, false, 0, 0, 0, 8);
        LARR_UNROLL
        for (int e = 0; e < 8; e++) dq[e] += more[e];
        load_eight(more, part + int64_t(p.rows) * D, false, 0, 0, 0, 8);
        LARR_UNROLL
        for (int e = 0; e < 8; e++) dk[e] += more[e];
      }
    const float own = float(p.own[i]);
    LARR_UNROLL
    for (int e = 0; e < 8; e++) {
      dscale += double(q[e]) * double(dq[e]);
      dq[e] = factor * (dq[e] + own * k[e]);
      dk[e] = factor * (dk[e] + own * q[e]);
    }
    float *to_q = p.dq + int64_t(i) * p.dim + x, *to_k = p.dk + int64_t(i) * p.dim + x;
    if (x + 8 <= p.dim && (reinterpret_cast<uintptr_t>(to_q) | reinterpret_cast<uintptr_t>(to_k)) % 16 == 0) {
      store_eight(to_q, dq);
      store_eight(to_k, dk);
    } else {
      LARR_UNROLL
      for (int e = 0; e < 8; e++)
        if (x + e < p.dim) to_q[e] = dq[e], to_k[e] = dk[e];
    }
    if (x == 0) dscale += p.own[i] * p.diagonal[i];
  }
  dscale = warp_sum(dscale);
  if (lane_index() == 0) of_warps[warp_index()] = dscale;
  block_barrier();
  if (warp_index() > 0) return;
  double sum = 0;
  for (int w = 0; w < finish_threads / 32; w++) sum += of_warps[w];
  sum_parts(invalid ? double(factor) : sum, p.dscale_part, p.finished + 1, p.result + 1, 1 / (2.0 * double(p.batch)));
}

// The launches of one call. Walks<T, D> brings the two passes over the tiles; everything round them is the same for all of them.
template <class T, int D, class Walks>
void launch_all(const Plan& p, const Walks& walks, Queue queue) {
  launch(prepare<T, D, typename Walks::Packing>, {p.norm_blocks}, 256, 64 * sizeof(float), queue, p);
  walks.pass1(p, queue);
  launch(lse, {p.rows / 32}, lse_threads, 2 * lse_threads * sizeof(double), queue, p);
  if (!p.dq) return;
  walks.pass2(p, queue);
  launch(finish<D>, {p.finish_blocks}, finish_threads, finish_threads / 32 * sizeof(double), queue, p);
}

// The walks over tiles by mma.sync.
template <class S>
struct PortableWalks {
  using Packing = RowPacking<S::D>;
  static Cut cut(int multiprocessors) { return {128, S::BM, S::BN, S::BM, S::BN, 2 * multiprocessors, (S::D <= 128 ? 2 : 1) * multiprocessors}; }
  void pass1(const Plan& p, Queue queue) const {
    const Extent grid{p.sum_chunks, p.sum_splits};
    launch(maxima<S>, grid, S::threads, S::shared_bytes, queue, p);
    launch(sums<S>, grid, S::threads, S::shared_bytes, queue, p);
  }
  void pass2(const Plan& p, Queue queue) const {
    launch(gradients<S>, {p.rows / S::BM, p.gradient_splits, 2}, S::threads, S::shared_bytes, queue, p);
  }
};

}  // namespace larr::cuda::infonce
