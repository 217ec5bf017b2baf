// The two passes of InfoNCE on Hopper. A block is one warpgroup that moves data and two that compute; column tiles of 128 rows come through
// a ring of buffers filled by bulk copies. A computing warpgroup has products under way while it takes exponentials: in pass 1 it has
// 128 rows, and 64 of them are multiplied while the other 64 are worked on; in pass 2 the last tile's second product runs meanwhile.
// Nothing is under way from one turn of a loop to the next: there the compiler would wait for it at once.
//
// Pass 1's column sums are added over a warp's rows by exchanging halves, left in shared memory, and added over the eight warps, in
// their order, by a warp that has nothing else to do.
#include "hopper.h"
#include "infonce_pairs.h"
#include "infonce_sm90.h"

namespace larr::cuda::inline LARR_SIDE::infonce {
namespace {

using namespace hopper;

constexpr int tile = 128, sweep_rows = 256, threads = 384, consumers = 8;  // consumers: warps

// A tile of 128 rows in shared memory: panels of 64 columns.
template <int D>
struct Tile {
  static constexpr int bytes = tile * D * 2, panel_bytes = tile * 128, half_bytes = 64 * 128;
};

template <int D>
LARR_DEVICE const char* tile_of(const void* packed, int row) {
  return static_cast<const char*>(packed) + int64_t(row / tile) * Tile<D>::bytes;
}

// Place and turn in a ring of buffers.
template <int Stages>
struct Turn {
  int stage = 0;
  uint32_t phase = 0;
  LARR_DEVICE void next() {
    if (++stage == Stages) stage = 0, phase ^= 1;
  }
};

enum class Sweep { maxima, sums };
constexpr int sweep_stages = 4, gradient_stages = 4;

template <int D>
struct SweepMemory {
  alignas(1024) char rows[2 * Tile<D>::bytes];
  alignas(1024) char columns[sweep_stages][Tile<D>::bytes];
  float by_column[2][consumers][tile];
  uint64_t rows_full, rows_empty, full[sweep_stages], empty[sweep_stages], sums_full[2], sums_empty[2];
};

// What a thread holds of two of its rows, i and i + 8, through a walk.
struct RowSums {
  int i;
  int32_t id[2];
  float total[2] = {}, lost[2] = {};  // Kahan's: a row is a sum over the whole batch
  float top[2];                       // what is subtracted; of a row that is padding so much that nothing is left
};

// What a tile asks for. Apart, since a small batch pays for every instruction that has to be fetched.
enum class Care {
  none,    // every pair counts and needs no maximum
  masks,   // some are left out
  online,  // and maxima are subtracted
};

// Exponentials of 64 x 128 scores into the rows' sums and the columns'.
template <Care Of>
LARR_DEVICE void add_exponentials(const Plan& p, const float (&s)[64], float c, int column, RowSums& rows, float (&by_column)[32]) {
  const int t = lane_index() % 4;
  float by_row[2] = {};
  LARR_UNROLL
  for (int v = 0; v < 32; v++) {
    const int j = column + v / 2 * 8 + 2 * t + v % 2;
    LARR_UNROLL
    for (int half = 0; half < 2; half++) {
      const float value = s[v / 2 * 4 + half * 2 + v % 2];
      if constexpr (Of == Care::none) {
        const float e = exp2_fast(value * c);
        by_row[half] += e;
        by_column[v] += e;
      } else {
        const bool pair = j < p.batch && rows.id[half] != p.ids[j];
        const float s2 = value * c - rows.top[half];
        const float e = pair ? exp2_fast(s2) : 0.0f;
        by_row[half] += e;
        if constexpr (Of == Care::online) {
          const bool padding = rows.i + half * 8 >= p.batch;
          by_column[v] += pair && !padding ? exp2_fast(value * c - unordered(p.column_max[j])) : 0.0f;
        } else {
          by_column[v] += e;
        }
      }
    }
  }
  LARR_UNROLL
  for (int half = 0; half < 2; half++) {
    const float y = by_row[half] - rows.lost[half], sum = rows.total[half] + y;
    rows.lost[half] = (sum - rows.total[half]) - y;
    rows.total[half] = sum;
  }
}

LARR_DEVICE void find_maxima(const Plan& p, const float (&s)[64], float c, int column, RowSums& rows) {
  const int t = lane_index() % 4, g = lane_index() / 4;
  LARR_UNROLL
  for (int v = 0; v < 32; v++) {
    const int j = column + v / 2 * 8 + 2 * t + v % 2;
    float best = masked;
    LARR_UNROLL
    for (int half = 0; half < 2; half++) {
      if (!counts(p, rows.i + half * 8, j)) continue;
      const float s2 = s[v / 2 * 4 + half * 2 + v % 2] * c;
      best = fmaxf(best, s2);
      rows.top[half] = fmaxf(rows.top[half], s2);
    }
    for (int lanes = 4; lanes <= 16; lanes *= 2) best = fmaxf(best, warp_shuffle_xor(best, lanes));
    if (g == 0) atomic_max(p.column_max + j, ordered(best));
  }
}

// s = 64 rows of a times the 128 rows of b.
template <int D>
LARR_DEVICE void start_scores(float (&s)[64], const char* a, const char* b) {
  products_fence();
  LARR_UNROLL
  for (int k = 0; k < D / 16; k++) {
    const int at = k / 4 * Tile<D>::panel_bytes + k % 4 * 32;
    product_64x128(s, rows_descriptor(a + at), rows_descriptor(b + at), k > 0);
  }
  products_commit();
}

// One walk over the tiles of S: row tiles x, x + grid_x, ... against split y of the columns.
template <int D, Sweep Kind>
__global__ void __launch_bounds__(threads, 1) sweep(const Plan p) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  extern __shared__ __align__(1024) char larr_shared_1024[];
  auto& m = *reinterpret_cast<SweepMemory<D>*>(larr_shared_1024);
  wait_for_previous_kernel();
  bring_up_next_kernel();
  const Mode mode = decide(p);
  if constexpr (Kind == Sweep::maxima) {
    if (mode != Mode::online) return;
  } else {
    if (threadIdx.x == 0 && blockIdx.x == 0 && blockIdx.y == 0) *p.mode = mode;
    if (mode == Mode::invalid) return;
  }
  if (threadIdx.x == 0) {
    barrier_init(&m.rows_full, 1);
    barrier_init(&m.rows_empty, 2);
    for (int i = 0; i < sweep_stages; i++) barrier_init(&m.full[i], 1), barrier_init(&m.empty[i], 2);
    for (int i = 0; i < 2; i++) barrier_init(&m.sums_full[i], consumers), barrier_init(&m.sums_empty[i], 1);
    barriers_ready();
  }
  __syncthreads();
  int first, end;
  share(p.rows / tile, block_y(), grid_y(), first, end);
  const int group = thread_index() / 128;
  if (group == 0) {
    give_registers<40>();
    int n = 0;
    if (thread_index() == 0) {
      Turn<sweep_stages> turn;
      for (int row = block_x() * sweep_rows; row < p.rows; row += grid_x() * sweep_rows, n++) {
        wait(&m.rows_empty, (n & 1) ^ 1);
        arrive_expecting(&m.rows_full, 2 * Tile<D>::bytes);
        copy_bulk(m.rows, tile_of<D>(p.q_packed, row), 2 * Tile<D>::bytes, &m.rows_full);
        for (int t = first; t < end; t++, turn.next()) {
          wait(&m.empty[turn.stage], turn.phase ^ 1);
          arrive_expecting(&m.full[turn.stage], Tile<D>::bytes);
          copy_bulk(m.columns[turn.stage], tile_of<D>(p.k_packed, t * tile), Tile<D>::bytes, &m.full[turn.stage]);
        }
      }
    } else if (Kind == Sweep::sums && warp_index() == 1) {
      for (int row = block_x() * sweep_rows; row < p.rows; row += grid_x() * sweep_rows) {
        const bool fresh = row < grid_x() * sweep_rows;
        for (int t = first; t < end; t++, n++) {
          const int slot = n & 1;
          wait(&m.sums_full[slot], (n >> 1) & 1);
          float4 sum = {0, 0, 0, 0};
          LARR_UNROLL
          for (int w = 0; w < consumers; w++) {
            const float4 part = *reinterpret_cast<const float4*>(&m.by_column[slot][w][lane_index() * 4]);
            sum.x += part.x, sum.y += part.y, sum.z += part.z, sum.w += part.w;
          }
          __syncwarp();
          if (lane_index() == 0) arrive(&m.sums_empty[slot]);
          auto* to = reinterpret_cast<float4*>(p.column_sum + int64_t(block_x()) * p.rows + t * tile + lane_index() * 4);
          if (!fresh) {
            const float4 before = *to;
            sum.x += before.x, sum.y += before.y, sum.z += before.z, sum.w += before.w;
          }
          *to = sum;
        }
      }
    }
    return;
  }
  take_registers<232>();
  const bool online = mode == Mode::online;
  const float c = scale_of(p) * log2e;
  const int lane = lane_index(), g = lane / 4, t4 = lane % 4, warp = warp_index() - 4, mine = group - 1;
  const char *upper = m.rows + mine * Tile<D>::bytes, *lower = upper + Tile<D>::half_bytes;
  Turn<sweep_stages> turn;
  int n = 0, row_tile = 0;
  for (int row = block_x() * sweep_rows; row < p.rows; row += grid_x() * sweep_rows, row_tile++) {
    RowSums sums[2];
    LARR_UNROLL
    for (int part = 0; part < 2; part++) {
      sums[part].i = row + mine * tile + part * 64 + warp % 4 * 16 + g;
      for (int half = 0; half < 2; half++) {
        const int i = sums[part].i + half * 8;
        sums[part].id[half] = p.ids[i];
        sums[part].top[half] = Kind == Sweep::maxima ? masked : i >= p.batch ? -masked : online ? unordered(p.row_max[i]) : 0.0f;
      }
    }
    wait(&m.rows_full, row_tile & 1);
    for (int t = first; t < end; t++, n++, turn.next()) {
      const int column = t * tile;
      const char* columns = m.columns[turn.stage];
      const Care care = online ? Care::online : special(p, row + mine * tile, tile, column, tile) ? Care::masks : Care::none;
      float by_column[32] = {}, a[64], b[64];
      wait(&m.full[turn.stage], turn.phase);
      start_scores<D>(a, upper, columns);
      start_scores<D>(b, lower, columns);
      products_wait<1>();
      if (Kind == Sweep::maxima) find_maxima(p, a, c, column, sums[0]);
      else if (care == Care::none) add_exponentials<Care::none>(p, a, c, column, sums[0], by_column);
      else if (care == Care::masks) add_exponentials<Care::masks>(p, a, c, column, sums[0], by_column);
      else add_exponentials<Care::online>(p, a, c, column, sums[0], by_column);
      products_wait<0>();
      if (lane == 0 && warp % 4 == 0) arrive(&m.empty[turn.stage]);
      if (Kind == Sweep::maxima) find_maxima(p, b, c, column, sums[1]);
      else if (care == Care::none) add_exponentials<Care::none>(p, b, c, column, sums[1], by_column);
      else if (care == Care::masks) add_exponentials<Care::masks>(p, b, c, column, sums[1], by_column);
      else add_exponentials<Care::online>(p, b, c, column, sums[1], by_column);
      if (Kind == Sweep::sums) {
        reduce_columns<32>(by_column);
        // Lane group g holds values 4g .. 4g + 3: columns 16g + 2t, + 1, + 8, + 9.
        const int slot = n & 1;
        wait(&m.sums_empty[slot], ((n >> 1) & 1) ^ 1);
        float* to = m.by_column[slot][warp] + 16 * g + 2 * t4;
        *reinterpret_cast<float2*>(to) = {by_column[0], by_column[1]};
        *reinterpret_cast<float2*>(to + 8) = {by_column[2], by_column[3]};
        __syncwarp();
        if (lane == 0) arrive(&m.sums_full[slot]);
      }
    }
    if (lane == 0 && warp % 4 == 0) arrive(&m.rows_empty);
    LARR_UNROLL
    for (int part = 0; part < 2; part++)
      LARR_UNROLL
      for (int half = 0; half < 2; half++) {
        const int i = sums[part].i + half * 8;
        if constexpr (Kind == Sweep::maxima) {
          float best = sums[part].top[half];
          best = fmaxf(best, warp_shuffle_xor(best, 1));
          best = fmaxf(best, warp_shuffle_xor(best, 2));
          if (t4 == 0) atomic_max(p.row_max + i, ordered(best));
        } else {
          float sum = sums[part].total[half];
          sum += warp_shuffle_xor(sum, 1);
          sum += warp_shuffle_xor(sum, 2);
          if (t4 == 0) p.row_sum[int64_t(block_y()) * p.rows + i] = sum;
        }
      }
  }
#endif
}

template <int D>
struct GradientMemory {
  alignas(1024) char rows[Tile<D>::bytes];
  alignas(1024) char columns[gradient_stages][Tile<D>::bytes];
  float weight[gradient_stages][tile];
  uint64_t rows_full, full[gradient_stages], empty[gradient_stages];
};

// G in the place of 64 x 128 scores. Padding's rows are never read, and its columns' operands are zeros, which is enough where G is finite:
// with maxima subtracted a score of 0 may lie so far above all that count that its exponential is not.
template <Care Of>
LARR_DEVICE void weigh(const Plan& p, float (&s)[64], float c, const int32_t (&id)[2], int column, const float (&wi)[2], const float* weight) {
  const int t = lane_index() % 4;
  LARR_UNROLL
  for (int b = 0; b < 16; b++) {
    const float2 wj = *reinterpret_cast<const float2*>(weight + b * 8 + 2 * t);
    int2 other = {};
    if constexpr (Of != Care::none) other = *reinterpret_cast<const int2*>(p.ids + column + b * 8 + 2 * t);
    LARR_UNROLL
    for (int x = 0; x < 4; x++) {
      float& value = s[b * 4 + x];
      const float s2 = value * c, w = x % 2 ? wj.y : wj.x;
      if constexpr (Of == Care::online) value = exp2_fast(s2 - wi[x / 2]) + exp2_fast(s2 - w);
      else value = exp2_fast(s2) * (wi[x / 2] + w);
      if constexpr (Of != Care::none)
        if (id[x / 2] == (x % 2 ? other.y : other.x) || (Of == Care::online && column + b * 8 + 2 * t + x % 2 >= p.batch)) value = 0;
    }
  }
}

// Block (x, y, z) as in the portable kernel.
template <int D>
__global__ void __launch_bounds__(threads, 1) gradients_sm90(const Plan p) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  wait_for_previous_kernel();
  bring_up_next_kernel();
  const Mode mode = *p.mode;
  if (mode == Mode::invalid) return;
  extern __shared__ __align__(1024) char larr_shared_1024[];
  auto& m = *reinterpret_cast<GradientMemory<D>*>(larr_shared_1024);
  if (threadIdx.x == 0) {
    barrier_init(&m.rows_full, 1);
    for (int i = 0; i < gradient_stages; i++) barrier_init(&m.full[i], 1), barrier_init(&m.empty[i], consumers);
    barriers_ready();
  }
  __syncthreads();
  int first, end;
  share(p.rows / tile, block_y(), grid_y(), first, end);
  const bool of_k = block_z() == 1;
  const float *weight_i = of_k ? p.column_weight : p.row_weight, *weight_j = of_k ? p.row_weight : p.column_weight;
  const void *own = of_k ? p.k_packed : p.q_packed, *others = of_k ? p.q_packed : p.k_packed;
  const int group = thread_index() / 128, row = block_x() * tile;
  Turn<gradient_stages> turn;
  if (group == 0) {
    give_registers<40>();
    if (thread_index() == 0) {
      arrive_expecting(&m.rows_full, Tile<D>::bytes);
      copy_bulk(m.rows, tile_of<D>(own, row), Tile<D>::bytes, &m.rows_full);
      for (int t = first; t < end; t++, turn.next()) {
        wait(&m.empty[turn.stage], turn.phase ^ 1);
        arrive_expecting(&m.full[turn.stage], Tile<D>::bytes + tile * sizeof(float));
        copy_bulk(m.columns[turn.stage], tile_of<D>(others, t * tile), Tile<D>::bytes, &m.full[turn.stage]);
        copy_bulk(m.weight[turn.stage], weight_j + t * tile, tile * sizeof(float), &m.full[turn.stage]);
      }
    }
    return;
  }
  take_registers<232>();
  const bool online = mode == Mode::online;
  const float c = scale_of(p) * log2e;
  const int lane = lane_index(), g = lane / 4, t4 = lane % 4, warp = warp_index() % 4, local = (group - 1) * 64 + warp * 16, i = row + local + g;
  const float wi[2] = {weight_i[i], weight_i[i + 8]};
  const int32_t id[2] = {p.ids[i], p.ids[i + 8]};

  const char* mine = m.rows + (group - 1) * Tile<D>::half_bytes;
  float s[64], out[D / 2];  // their first products write them: a split is never empty
  uint32_t pairs[32];       // G of the last tile, as A fragments
  const auto make_pairs = [&](int t) {
    const int column = t * tile;
    const float* weight = m.weight[turn.stage];
    if (online) weigh<Care::online>(p, s, c, id, column, wi, weight);
    else if (p.groups || column == row) weigh<Care::masks>(p, s, c, id, column, wi, weight);
    else weigh<Care::none>(p, s, c, id, column, wi, weight);
  };
  const auto narrow = [&] {
    LARR_UNROLL
    for (int x = 0; x < 32; x++) pairs[x] = pack_bf16(s[2 * x], s[2 * x + 1]);
  };
  const auto start_out = [&](int stage, bool accumulate) {
    products_fence();
    LARR_UNROLL
    for (int k = 0; k < tile / 16; k++)
      product_of_registers<true>(out, pairs + 4 * k, columns_descriptor(m.columns[stage] + k * 2048, Tile<D>::panel_bytes), accumulate || k > 0);
    products_commit();
  };
  // The first turn multiplies zeros by a tile that is there: a turn of its own would be as much code again to fetch.
  LARR_UNROLL
  for (int x = 0; x < 32; x++) pairs[x] = 0;
  wait(&m.rows_full, 0);
  int last = 0;
  for (int t = first; t < end; t++, turn.next()) {
    wait(&m.full[turn.stage], turn.phase);
    start_scores<D>(s, mine, m.columns[turn.stage]);
    start_out(last, t > first);
    products_wait<1>();
    make_pairs(t);
    products_wait<0>();
    // Every warp for itself: the weights it read with ordinary loads, while products are a warpgroup's.
    if (t > first) {
      __syncwarp();
      if (lane == 0) arrive(&m.empty[last]);
    }
    narrow();
    last = turn.stage;
  }
  start_out(last, true);
  products_wait<0>();
  float* to = p.gradient_part + (int64_t(block_y()) * 2 + block_z()) * p.rows * D;
  LARR_UNROLL
  for (int n = 0; n < D / 8; n++)
    LARR_UNROLL
    for (int half = 0; half < 2; half++)
      *reinterpret_cast<float2*>(to + int64_t(i + half * 8) * D + n * 8 + 2 * t4) = {out[n * 4 + half * 2], out[n * 4 + half * 2 + 1]};
#endif
}

}  // namespace

template <int D>
void HopperWalks<D>::pass1(const Plan& p, Queue queue) const {
  const Extent grid{p.sum_chunks, p.sum_splits};
  launch(sweep<D, Sweep::maxima>, grid, threads, sizeof(SweepMemory<D>), queue, p);
  launch(sweep<D, Sweep::sums>, grid, threads, sizeof(SweepMemory<D>), queue, p);
}

template <int D>
void HopperWalks<D>::pass2(const Plan& p, Queue queue) const {
  launch(gradients_sm90<D>, {p.rows / tile, p.gradient_splits, 2}, threads, sizeof(GradientMemory<D>), queue, p);
}

template struct HopperWalks<64>;
template struct HopperWalks<128>;

}  // namespace larr::cuda::infonce
