// Fused symmetric InfoNCE: packs, runs pass 1 over chunks of rows, reduces both log-sum-exps, runs pass 2, adds the diagonal.
//
// Determinism: chunks and blocks depend on the batch and the thread count alone, every sum over them is taken in index order, and in
// pass 2 block row r meets block column (r + phase) mod blocks, phase after phase, so every row's sums have one order.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <limits>
#include <thread>
#include <vector>

#include "../device/threads.h"
#include "../device/workspace.h"
#include "../simd/bf16.h"
#include "larr/kernels.h"
#include "plan.h"

namespace larr {
namespace {

using namespace infonce_detail;

const Path& path_of(Isa isa, Dtype compute) {
#if defined(__x86_64__)
  switch (isa) {
    case Isa::scalar: return f32_plain;
    case Isa::avx2: return f32_avx2;
    case Isa::avx512: return f32_avx512;
    case Isa::avx512bf16: return compute == Dtype::bf16 ? bf16_avx512 : f32_avx512;
    case Isa::amx: return compute == Dtype::bf16 ? bf16_amx : f32_avx512;
  }
#endif
  (void)isa, (void)compute;
  return f32_plain;
}

int64_t padded(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

struct Operand {
  const void* data;
  Dtype storage;
  int64_t stride, dim;
  void row(int64_t i, float* out) const {
    if (storage == Dtype::f32) {
      std::memcpy(out, static_cast<const float*>(data) + i * stride, size_t(dim) * 4);
    } else {
      const auto* from = static_cast<const uint16_t*>(data) + i * stride;
      for (int64_t x = 0; x < dim; x++) out[x] = from_bf16(from[x]);
    }
  }
};

}  // namespace

void infonce(const InfoNce& problem, InfoNceOut& out, const Run& run) { infonce_detail::run(path_of(run.isa, problem.compute), problem, out, run); }

void infonce_detail::run(const Path& path, const InfoNce& problem, InfoNceOut& out, const Run& run) {
  if (problem.batch < 1) throw std::invalid_argument("infonce: batch must be at least 1, got " + std::to_string(problem.batch));
  if (problem.dim < 1) throw std::invalid_argument("infonce: dim must be at least 1, got " + std::to_string(problem.dim));
  if (!problem.q || !problem.k) throw std::invalid_argument("infonce: q and k must be given");
  if (!out.dq != !out.dk) throw std::invalid_argument("infonce: dq and dk must be given together");
  if (!std::isfinite(problem.scale)) throw std::invalid_argument("infonce: scale must be finite, got " + std::to_string(problem.scale));

  const int64_t batch = problem.batch, dim = problem.dim;
  const Operand q{problem.q, problem.storage, problem.q_stride ? problem.q_stride : dim, dim};
  const Operand k{problem.k, problem.storage, problem.k_stride ? problem.k_stride : dim, dim};
  const bool backward = out.dq != nullptr;

  Plan p{};
  p.batch = batch;
  p.dim = dim;
  p.rows = padded(batch, unit);
  p.stride = padded(dim, path.depth);
  p.c = float(problem.scale * 1.4426950408889634074);
  p.masks = problem.groups != nullptr;
  const int64_t rows_per_chunk = std::max<int64_t>(tile_rows, padded((batch + 127) / 128, tile_rows));
  const int chunks = int((batch + rows_per_chunk - 1) / rows_per_chunk);
  const size_t matrix = size_t(p.rows * p.stride), element = path.bf16 ? 2 : 4;

  float *q_wide = nullptr, *k_wide = nullptr, *row_weight = nullptr, *column_weight = nullptr;
  double *diagonal = nullptr, *column_total = nullptr, *norms = nullptr, *partial = nullptr;
  float* column_top = nullptr;
  int32_t *ids = nullptr, *padding = nullptr;
  const auto lay_out = [&](Cutter cut) {
    ids = cut.take<int32_t>(size_t(p.rows));
    p.ids = ids;
    p.padding = padding = cut.take<int32_t>(size_t(p.rows));
    p.row_weight = row_weight = cut.take<float>(size_t(p.rows));
    p.column_weight = column_weight = cut.take<float>(size_t(p.rows));
    p.row_sum = cut.take<double>(size_t(p.rows));
    p.row_max = cut.take<float>(size_t(p.rows));
    diagonal = cut.take<double>(size_t(p.rows));
    column_total = cut.take<double>(size_t(p.rows));
    column_top = cut.take<float>(size_t(p.rows));
    norms = cut.take<double>(size_t(p.rows / unit) * 2);
    partial = cut.take<double>(size_t(p.rows / unit));
    p.q_rows = cut.take<char>(matrix * element);
    p.k_panels = cut.take<char>(matrix * element);
    p.q_pairs = path.bf16 ? cut.take<char>(matrix * element) : p.q_rows;
    p.k_pairs = cut.take<char>(matrix * element);
    // The f32 copies that packing reads live where the gradients are accumulated later.
    q_wide = p.dq = cut.take<float>(matrix);
    k_wide = p.dk = cut.take<float>(matrix);
    p.column_sum = cut.take<float>(size_t(chunks) * size_t(p.rows));
    p.column_max = cut.take<float>(size_t(chunks) * size_t(p.rows));
    return cut.used();
  };
  const Workspace memory(lay_out(Cutter()));
  lay_out(Cutter(memory.data()));

  // Pack; the diagonal and the largest norms on the way.
  const int blocks_of_rows = int(p.rows / unit);
  parallel(
      blocks_of_rows,
      [&](int block) {
        double q_norm = 0, k_norm = 0;
        for (int64_t i = int64_t(block) * unit; i < int64_t(block + 1) * unit; i++) {
          float *qi = q_wide + i * p.stride, *ki = k_wide + i * p.stride;
          std::fill(qi, qi + p.stride, 0.0f);
          std::fill(ki, ki + p.stride, 0.0f);
          padding[i] = i < batch ? 0 : 1;
          ids[i] = problem.groups ? (i < batch ? problem.groups[i] : 0) : int32_t(i);
          diagonal[i] = 0;
          if (i >= batch) continue;
          q.row(i, qi);
          k.row(i, ki);
          double dot = 0, qq = 0, kk = 0;
          for (int64_t x = 0; x < dim; x++) {
            dot += double(qi[x]) * double(ki[x]);
            qq += double(qi[x]) * double(qi[x]);
            kk += double(ki[x]) * double(ki[x]);
          }
          diagonal[i] = dot;
          // not std::max: a NaN must not be lost
          q_norm = qq > q_norm || std::isnan(qq) ? qq : q_norm;
          k_norm = kk > k_norm || std::isnan(kk) ? kk : k_norm;
          if (problem.compute == Dtype::bf16)
            for (int64_t x = 0; x < dim; x++) qi[x] = nearest(qi[x], 16), ki[x] = nearest(ki[x], 16);
        }
        norms[2 * block] = q_norm;
        norms[2 * block + 1] = k_norm;
        path.pack(p, q_wide, k_wide, int64_t(block) * unit, int64_t(block + 1) * unit);
      },
      run.cancel);
  double q_norm = 0, k_norm = 0;
  for (int block = 0; block < blocks_of_rows; block++) {
    if (!std::isfinite(norms[2 * block]) || !std::isfinite(norms[2 * block + 1])) q_norm = std::numeric_limits<double>::quiet_NaN();
    q_norm = norms[2 * block] > q_norm ? norms[2 * block] : q_norm;
    k_norm = norms[2 * block + 1] > k_norm ? norms[2 * block + 1] : k_norm;
  }
  const double product = std::sqrt(q_norm) * std::sqrt(k_norm) * 1.01, bound = std::fabs(problem.scale) * product;
  // q k, scale and s must be numbers in f32 for the sums to be: a value that is not finite, or that large, makes the whole loss not a number.
  if (!(bound < 1e29 && product < 1e29 && std::fabs(problem.scale) < 1e29)) {
    const float nan = std::numeric_limits<float>::quiet_NaN();
    out.loss = out.dscale = double(nan);
    if (out.lse_row) std::fill(out.lse_row, out.lse_row + batch, nan);
    if (out.lse_col) std::fill(out.lse_col, out.lse_col + batch, nan);
    if (backward) std::fill(out.dq, out.dq + batch * dim, nan), std::fill(out.dk, out.dk + batch * dim, nan);
    return;
  }
  p.bounded = bound <= bounded_limit;

  // Pass 1.
  parallel(
      chunks,
      [&](int chunk) {
        const int64_t row = chunk * rows_per_chunk, end = std::min(padded(batch, tile_rows), row + rows_per_chunk);
        path.forward(p, row, end, chunk);
      },
      run.cancel);

  // Both log-sum-exps, diagonal included. In powers of two: total = 2^top * sum.
  parallel(
      blocks_of_rows,
      [&](int block) {
        const double log2e = 1.4426950408889634074, ln2 = 0.69314718055994530942;
        double loss = 0;
        for (int64_t i = int64_t(block) * unit; i < std::min(batch, int64_t(block + 1) * unit); i++) {
          const double own = problem.scale * diagonal[i] * log2e;
          double column_top_i = 0, column_sum = 0;
          if (p.bounded) {
            for (int chunk = 0; chunk < chunks; chunk++) column_sum += double(p.column_sum[int64_t(chunk) * p.rows + i]);
          } else {
            float top = masked;
            for (int chunk = 0; chunk < chunks; chunk++) top = std::max(top, p.column_max[int64_t(chunk) * p.rows + i]);
            for (int chunk = 0; chunk < chunks; chunk++) {
              const int64_t at = int64_t(chunk) * p.rows + i;
              column_sum += double(p.column_sum[at]) * std::exp2(double(p.column_max[at]) - double(top));
            }
            column_top_i = double(top);
          }
          column_total[i] = column_sum;
          column_top[i] = float(column_top_i);
          const double row_top_i = p.bounded ? 0 : double(p.row_max[i]);
          // log2(2^top sum + 2^own) - own, never cancelling: what the pair still has to learn
          const auto excess = [&](double top, double sum) {
            const double x = sum > 0 ? top + std::log2(sum) - own : -INFINITY;
            return x > 0 ? x + std::log1p(std::exp2(-x)) * log2e : std::log1p(std::exp2(x)) * log2e;
          };
          const double row_excess = excess(row_top_i, p.row_sum[i]), column_excess = excess(column_top_i, column_sum);
          const double row_lse = own + row_excess, column_lse = own + column_excess;
          loss += (row_excess + column_excess) * ln2;
          if (out.lse_row) out.lse_row[i] = float(row_lse * ln2);
          if (out.lse_col) out.lse_col[i] = float(column_lse * ln2);
          row_weight[i] = float(p.bounded ? std::exp2(-row_lse) : row_lse);
          column_weight[i] = float(p.bounded ? std::exp2(-column_lse) : column_lse);
          // G_ii times 2 B = -(share of everything else) on both sides
          p.row_sum[i] = std::expm1(-row_excess * ln2) + std::expm1(-column_excess * ln2);
        }
        for (int64_t i = std::max(batch, int64_t(block) * unit); i < int64_t(block + 1) * unit; i++) row_weight[i] = column_weight[i] = 0;
        partial[block] = loss;
      },
      run.cancel);
  out.loss = 0;
  for (int block = 0; block < blocks_of_rows; block++) out.loss += partial[block];
  out.loss /= 2 * double(batch);
  out.dscale = 0;
  if (!backward) return;

  // Pass 2.
  parallel(blocks_of_rows, [&](int block) {
    const int64_t from = int64_t(block) * unit * p.stride, to = int64_t(block + 1) * unit * p.stride;
    std::fill(p.dq + from, p.dq + to, 0.0f);
    std::fill(p.dk + from, p.dk + to, 0.0f);
  });
  const int blocks = int(std::min<int64_t>(thread_count() == 1 ? 1 : 4 * thread_count(), blocks_of_rows));
  const auto edge = [&](int block) { return int64_t(block) * blocks_of_rows / blocks * unit; };
  // Task (phase, r) writes dQ's rows r and dK's rows c = (r + phase) mod blocks; what wrote them before it are (phase - 1, r) and
  // (phase - 1, r + 1). It waits for those two alone: a barrier after every phase left threads idle. Tasks are begun in order, so the
  // ones that are waited for have always begun.
  std::vector<std::atomic<int>> phases_done(static_cast<size_t>(blocks));
  parallel(
      blocks * blocks,
      [&](int task) {
        const int phase = task / blocks, r = task % blocks, c = (r + phase) % blocks;
        for (int before : {r, (r + 1) % blocks})
          for (int spins = 0; phases_done[size_t(before)].load(std::memory_order_acquire) < phase; spins++) {
            if (run.cancel && run.cancel->load(std::memory_order_relaxed)) return;  // it may have been skipped
            if (spins > 200) std::this_thread::yield();
          }
        path.backward(p, edge(r), edge(r + 1), edge(c), edge(c + 1));
        phases_done[size_t(r)].store(phase + 1, std::memory_order_release);
      },
      run.cancel);

  // The diagonal in f32 and the common factor.
  parallel(
      blocks_of_rows,
      [&](int block) {
        const double factor = problem.scale / (2 * double(batch));
        std::vector<float> qi(static_cast<size_t>(dim)), ki(static_cast<size_t>(dim));
        double dscale = 0;
        for (int64_t i = int64_t(block) * unit; i < std::min(batch, int64_t(block + 1) * unit); i++) {
          q.row(i, qi.data());
          k.row(i, ki.data());
          const double own = p.row_sum[i];
          double off = 0;
          const float *dq = p.dq + i * p.stride, *dk = p.dk + i * p.stride;
          for (int64_t x = 0; x < dim; x++) {
            const float dk_x = path.dk_transposed ? p.dk[i / unit * unit * p.stride + x * unit + i % unit] : dk[x];
            off += double(qi[size_t(x)]) * double(dq[x]);
            out.dq[i * dim + x] = float(factor * (double(dq[x]) + own * double(ki[size_t(x)])));
            out.dk[i * dim + x] = float(factor * (double(dk_x) + own * double(qi[size_t(x)])));
          }
          dscale += off + own * diagonal[i];
        }
        partial[block] = dscale / (2 * double(batch));
      },
      run.cancel);
  for (int block = 0; block < blocks_of_rows; block++) out.dscale += partial[block];
}

}  // namespace larr
