// Fused symmetric InfoNCE: packs, runs pass 1 over chunks of rows, reduces both log-sum-exps, runs pass 2, adds the diagonal. What is
// written here is one rank of a ring, whose rows meet every rank's block of K in turn; one process is a ring of one.
//
// Determinism: chunks and blocks depend on the batches and the thread count alone, every sum over them is taken in index order, and in
// pass 2 block row r meets block column (r + phase) mod blocks, phase after phase, so every row's sums have one order. Round the ring
// each block's sums begin at its own rank and are added to in the order of the ranks behind it.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <exception>
#include <limits>
#include <optional>
#include <thread>
#include <vector>

#include "../device/threads.h"
#include "../device/workspace.h"
#include "../simd/bf16.h"
#include "larr/kernels.h"
#include "larr/ring_steps.h"
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
  Operand(const void* data_, const InfoNce& problem, int64_t stride_)
      : data(data_), storage(problem.storage), stride(stride_ ? stride_ : problem.dim), dim(problem.dim) {}
  void row(int64_t i, float* out) const {
    if (storage == Dtype::f32) {
      std::memcpy(out, static_cast<const float*>(data) + i * stride, size_t(dim) * 4);
    } else {
      const auto* from = static_cast<const uint16_t*>(data) + i * stride;
      for (int64_t x = 0; x < dim; x++) out[x] = from_bf16(from[x]);
    }
  }
};

// A process by itself.
struct Alone final : Ring {
  int rank() const override { return 0; }
  int size() const override { return 1; }
  void begin_shift(const void*, void*, size_t) override {}
  void wait() override {}
  void gather(const double* own, int count, double* all) override { std::copy(own, own + count, all); }
};

// A block of K as it travels, in one piece: in pass 1 only its head.
struct Block {
  char* data = nullptr;
  void *panels = nullptr, *pairs = nullptr;
  int32_t* ids = nullptr;
  float* weight = nullptr;
  size_t head = 0, whole = 0;
  Block() = default;
  Block(char* data_, size_t matrix, size_t rows) : data(data_) {
    Cutter cut(data);
    panels = cut.take<char>(matrix);
    ids = cut.take<int32_t>(rows);
    head = cut.used();
    pairs = cut.take<char>(matrix);
    weight = cut.take<float>(rows);
    whole = cut.used();
  }
};

// Pass 1's sums of a block's columns, all ranks' that it has been at: total = sum, or 2^top * sum with maxima.
struct Totals {
  double* sum = nullptr;
  float* top = nullptr;
};

class Rank {
 public:
  Rank(const Path& path, const InfoNce& problem, InfoNceOut& out, Ring& ring, const Run& run, const Terms& terms)
      : path_(path), problem_(problem), out_(out), ring_(ring), run_(run), terms_(terms), agreement_(ring), size_(ring.size()), rank_(ring.rank()),
        q_(problem.q, problem, problem.q_stride), k_(problem.k, problem, problem.k_stride) {}

  void run() {
    agreement_.attempt([&] {
      plan();
      memory_.emplace(lay_out(Cutter()));
      lay_out(Cutter(memory_->data()));
      pack();
    });
    if (!within_f32()) return fill_with_nan();
    pass_1();
    agreement_.attempt([&] { log_sum_exps(); });
    out_.loss = agreed_sum(loss_) / (2 * double(terms_.total));
    out_.dscale = 0;
    if (!terms_.gradients) return;
    pass_2();
    agreement_.attempt([&] { finish(); });
    out_.dscale = agreed_sum(dscale_);
  }

 private:
  template <class F>
  void over_units(int64_t rows, const F& body) const {
    parallel(int(rows / unit), [&](int block) { body(block, int64_t(block) * unit, int64_t(block + 1) * unit); }, run_.cancel);
  }

  void plan() {
    p_.batch = problem_.batch;
    p_.dim = problem_.dim;
    p_.rows = padded(p_.batch, unit);
    p_.stride = padded(p_.dim, path_.depth);
    p_.c = float(problem_.scale * 1.4426950408889634074);
    p_.masks = terms_.grouped;
    span_ = padded(*std::max_element(terms_.batches.begin(), terms_.batches.end()), unit);
    for (int r = 0; r < rank_; r++) first_ += terms_.batches[size_t(r)];
    rows_per_chunk_ = std::max<int64_t>(tile_rows, padded((p_.batch + 127) / 128, tile_rows));
    chunks_ = int((p_.batch + rows_per_chunk_ - 1) / rows_per_chunk_);
  }

  size_t lay_out(Cutter cut) {
    const size_t rows = size_t(p_.rows), span = size_t(span_), matrix = size_t(p_.rows * p_.stride), block = size_t(span_ * p_.stride);
    const size_t element = path_.bf16 ? 2 : 4;
    p_.row_ids = row_ids_ = cut.take<int32_t>(rows);
    p_.padding = padding_ = cut.take<int32_t>(span);
    p_.row_weight = row_weight_ = cut.take<float>(rows);
    p_.row_sum = cut.take<double>(rows);
    p_.row_max = cut.take<float>(rows);
    row_totals_ = {cut.take<double>(rows), cut.take<float>(rows)};
    diagonal_ = cut.take<double>(rows);
    own_gradient_ = cut.take<double>(rows);
    norms_ = cut.take<double>(rows / unit * 2);
    partial_ = cut.take<double>(rows / unit);
    p_.q_rows = cut.take<char>(matrix * element);
    p_.q_pairs = path_.bf16 ? cut.take<char>(matrix * element) : p_.q_rows;
    const auto take_block = [&] {
      const size_t bytes = Block(nullptr, block * element, span).whole;
      return Block(cut.take<char>(bytes), block * element, span);
    };
    for (int i = 0; i < std::min(size_, 3); i++) blocks_[i] = take_block();
    for (int i = 0; i < (size_ == 1 ? 1 : 2); i++) {
      gradients_[i] = cut.take<float>(block);
      const size_t before = cut.used();
      totals_[i] = {cut.take<double>(span), cut.take<float>(span)};
      totals_bytes_ = cut.used() - before;  // in one piece, as they travel
    }
    local_gradient_ = size_ == 1 ? nullptr : cut.take<float>(block);
    p_.dq = cut.take<float>(matrix);
    p_.column_sum = cut.take<float>(size_t(chunks_) * span);
    p_.column_max = cut.take<float>(size_t(chunks_) * span);
    return cut.used();
  }

  // The block of rank `of` becomes the plan's columns.
  void meet(const Block& block, int of) {
    p_.k_batch = terms_.batches[size_t(of)];
    p_.k_rows = padded(p_.k_batch, unit);
    p_.own = of == rank_;
    p_.k_panels = block.panels;
    p_.k_pairs = block.pairs;
    p_.column_ids = block.ids;
    p_.column_weight = block.weight;
    for (int64_t j = 0; j < p_.k_rows; j++) padding_[j] = j < p_.k_batch ? 0 : 1;
  }

  // Operands in the path's forms; the diagonal and the largest norms on the way.
  void pack() {
    meet(own_, rank_);
    // The f32 copies that packing reads live where the gradients are accumulated later.
    float *q_wide = p_.dq, *k_wide = gradients_[0];
    over_units(p_.rows, [&](int block, int64_t begin, int64_t end) {
      double q_norm = 0, k_norm = 0;
      for (int64_t i = begin; i < end; i++) {
        float *qi = q_wide + i * p_.stride, *ki = k_wide + i * p_.stride;
        std::fill(qi, qi + p_.stride, 0.0f);
        std::fill(ki, ki + p_.stride, 0.0f);
        // Without groups the number of the row in the whole batch: nobody else's.
        row_ids_[i] = own_.ids[i] = !problem_.groups ? int32_t(first_ + i) : i < p_.batch ? problem_.groups[i] : 0;
        diagonal_[i] = 0;
        if (i >= p_.batch) continue;
        q_.row(i, qi);
        k_.row(i, ki);
        double dot = 0, qq = 0, kk = 0;
        for (int64_t x = 0; x < p_.dim; x++) {
          dot += double(qi[x]) * double(ki[x]);
          qq += double(qi[x]) * double(qi[x]);
          kk += double(ki[x]) * double(ki[x]);
        }
        diagonal_[i] = dot;
        // not std::max: a NaN must not be lost
        q_norm = qq > q_norm || std::isnan(qq) ? qq : q_norm;
        k_norm = kk > k_norm || std::isnan(kk) ? kk : k_norm;
        if (problem_.compute == Dtype::bf16)
          for (int64_t x = 0; x < p_.dim; x++) qi[x] = nearest(qi[x], 16), ki[x] = nearest(ki[x], 16);
      }
      norms_[2 * block] = q_norm;
      norms_[2 * block + 1] = k_norm;
      path_.pack(p_, q_wide, k_wide, begin, end);
    });
    for (int64_t i = 0; i < p_.rows / unit * 2; i++) {
      double& norm = i % 2 ? k_norm_ : q_norm_;
      if (!std::isfinite(norms_[i])) norm = std::numeric_limits<double>::infinity();
      norm = std::max(norm, norms_[i]);
    }
  }

  // Whether the sums, of all ranks, are of numbers that f32 has; and whether they need maxima. q k, scale and s must be numbers in f32
  // for the sums to be: a value that is not finite, or that large, makes the whole loss not a number.
  bool within_f32() {
    double q_norm = 0, k_norm = 0;
    const std::vector<double> norms = agreement_.reach({q_norm_, k_norm_});
    for (size_t i = 0; i < norms.size(); i += 2) q_norm = std::max(q_norm, norms[i]), k_norm = std::max(k_norm, norms[i + 1]);
    if (!std::isfinite(q_norm) || !std::isfinite(k_norm)) return false;
    const double product = std::sqrt(q_norm) * std::sqrt(k_norm) * 1.01, bound = std::fabs(problem_.scale) * product;
    p_.bounded = bound <= bounded_limit;
    return bound < 1e29 && product < 1e29 && std::fabs(problem_.scale) < 1e29;
  }

  void fill_with_nan() {
    const float nan = std::numeric_limits<float>::quiet_NaN();
    const int64_t batch = p_.batch, size = batch * p_.dim;
    out_.loss = out_.dscale = double(nan);
    if (out_.lse_row) std::fill(out_.lse_row, out_.lse_row + batch, nan);
    if (out_.lse_col) std::fill(out_.lse_col, out_.lse_col + batch, nan);
    if (out_.dq) std::fill(out_.dq, out_.dq + size, nan), std::fill(out_.dk, out_.dk + size, nan);
  }

  template <class Work, class Arrived>
  void go_round(size_t bytes, void* const (&behind)[2], size_t bytes_behind, const Work& work, const Arrived& arrived) {
    larr::go_round(
        ring_, {blocks_[0].data, blocks_[1].data, blocks_[2].data}, bytes, behind, bytes_behind,
        [&](int step, int block, int whose) {
          agreement_.attempt([&] {
            meet(blocks_[block], whose);
            work(step);
          });
        },
        [&](int step) { agreement_.attempt([&] { arrived(step); }); });
  }

  void pass_1() {
    go_round(
        own_.head, {totals_[0].sum, totals_[1].sum}, totals_bytes_,
        [&](int) {
          parallel(
              p_.k_batch ? chunks_ : 0,
              [&](int chunk) {
                const int64_t row = chunk * rows_per_chunk_, end = std::min(padded(p_.batch, tile_rows), row + rows_per_chunk_);
                path_.forward(p_, row, end, chunk);
              },
              run_.cancel);
        },
        [&](int step) {
          add_rows(step);
          add_columns(step, totals_[step % 2]);
        });
  }

  // This block's row sums to those of the blocks before.
  void add_rows(int step) {
    if (step > 0 && p_.k_batch == 0) return;
    over_units(p_.rows, [&](int, int64_t begin, int64_t end) {
      for (int64_t i = begin; i < std::min(p_.batch, end); i++) add(step == 0, row_totals_, i, p_.row_max + i, p_.row_sum + i, 1, 0);
    });
  }

  // This rank's column sums to those that came with the block.
  void add_columns(int step, const Totals& totals) {
    over_units(p_.k_rows, [&](int, int64_t begin, int64_t end) {
      for (int64_t j = begin; j < std::min(p_.k_batch, end); j++) add(step == 0, totals, j, p_.column_max + j, p_.column_sum + j, chunks_, p_.k_rows);
    });
  }

  // n sums, `stride` apart, to the i-th total; `first`: it has none yet.
  template <class Sum>
  void add(bool first, const Totals& totals, int64_t i, const float* top, const Sum* sum, int n, int64_t stride) const {
    if (first) totals.sum[i] = 0, totals.top[i] = masked;
    if (!p_.bounded) {
      const float before = totals.top[i];
      for (int at = 0; at < n; at++) totals.top[i] = std::max(totals.top[i], top[at * stride]);
      totals.sum[i] *= std::exp2(double(before) - double(totals.top[i]));
    }
    for (int at = 0; at < n; at++) totals.sum[i] += double(sum[at * stride]) * (p_.bounded ? 1 : std::exp2(double(top[at * stride]) - double(totals.top[i])));
  }

  // Both log-sum-exps, diagonal included. In powers of two: total = 2^top * sum.
  void log_sum_exps() {
    const Totals &rows = row_totals_, &columns = totals_[home(size_)];
    over_units(p_.rows, [&](int block, int64_t begin, int64_t end) {
      const double log2e = 1.4426950408889634074, ln2 = 0.69314718055994530942;
      double loss = 0;
      for (int64_t i = begin; i < std::min(p_.batch, end); i++) {
        const double own = problem_.scale * diagonal_[i] * log2e;
        // log2(2^top sum + 2^own) - own, never cancelling: what the pair still has to learn
        const auto excess = [&](const Totals& t) {
          const double top = p_.bounded ? 0 : double(t.top[i]);
          const double x = t.sum[i] > 0 ? top + std::log2(t.sum[i]) - own : -INFINITY;
          return x > 0 ? x + std::log1p(std::exp2(-x)) * log2e : std::log1p(std::exp2(x)) * log2e;
        };
        const double row_excess = excess(rows), column_excess = excess(columns);
        const double row_lse = own + row_excess, column_lse = own + column_excess;
        loss += (row_excess + column_excess) * ln2;
        if (out_.lse_row) out_.lse_row[i] = float(row_lse * ln2);
        if (out_.lse_col) out_.lse_col[i] = float(column_lse * ln2);
        row_weight_[i] = float(p_.bounded ? std::exp2(-row_lse) : row_lse);
        own_.weight[i] = float(p_.bounded ? std::exp2(-column_lse) : column_lse);
        // G_ii times 2 B = -(share of everything else) on both sides
        own_gradient_[i] = std::expm1(-row_excess * ln2) + std::expm1(-column_excess * ln2);
      }
      for (int64_t i = std::max(p_.batch, begin); i < end; i++) row_weight_[i] = own_.weight[i] = 0;
      partial_[block] = loss;
    });
    loss_ = sum_of_partial();
  }

  double sum_of_partial() const {
    double sum = 0;
    for (int64_t block = 0; block < p_.rows / unit; block++) sum += partial_[block];
    return sum;
  }

  // The sum over ranks in their order, once all of them have come this far.
  double agreed_sum(double own) {
    double sum = 0;
    for (double x : agreement_.reach({own})) sum += x;
    return sum;
  }

  void pass_2() {
    go_round(
        own_.whole, {gradients_[0], gradients_[1]}, size_t(span_ * p_.stride) * sizeof(float),
        [&](int step) {
          p_.dk = step == 0 ? gradients_[0] : local_gradient_;
          if (step == 0) over_units(p_.rows, [&](int, int64_t begin, int64_t end) { std::fill(p_.dq + begin * p_.stride, p_.dq + end * p_.stride, 0.0f); });
          over_units(p_.k_rows, [&](int, int64_t begin, int64_t end) { std::fill(p_.dk + begin * p_.stride, p_.dk + end * p_.stride, 0.0f); });
          if (p_.batch && p_.k_batch) add_gradients();
        },
        [&](int step) {
          if (step == 0) return;
          float* sum = gradients_[step % 2];
          over_units(p_.k_rows, [&](int, int64_t begin, int64_t end) {
            for (int64_t x = begin * p_.stride; x < end * p_.stride; x++) sum[x] += local_gradient_[x];
          });
        });
  }

  void add_gradients() {
    const int64_t units = std::max(p_.rows, p_.k_rows) / unit;
    const int blocks = int(std::min<int64_t>(thread_count() == 1 ? 1 : 4 * thread_count(), units));
    const auto edge = [&](int64_t rows, int block) { return int64_t(block) * (rows / unit) / blocks * unit; };
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
              if (run_.cancel && run_.cancel->load(std::memory_order_relaxed)) return;  // it may have been skipped
              if (spins > 200) std::this_thread::yield();
            }
          path_.backward(p_, edge(p_.rows, r), edge(p_.rows, r + 1), edge(p_.k_rows, c), edge(p_.k_rows, c + 1));
          phases_done[size_t(r)].store(phase + 1, std::memory_order_release);
        },
        run_.cancel);
  }

  // The diagonal in f32 and the common factor.
  void finish() {
    const float* dk_home = gradients_[home(size_)];
    over_units(p_.rows, [&](int block, int64_t begin, int64_t end) {
      const double factor = problem_.scale / (2 * double(terms_.total));
      const size_t dim = size_t(p_.dim);
      std::vector<float> qi(dim), ki(dim);
      double dscale = 0;
      for (int64_t i = begin; i < std::min(p_.batch, end); i++) {
        q_.row(i, qi.data());
        k_.row(i, ki.data());
        const double own = own_gradient_[i];
        double off = 0;
        const float *dq = p_.dq + i * p_.stride, *dk = dk_home + i * p_.stride;
        for (int64_t x = 0; x < p_.dim; x++) {
          const float dk_x = path_.dk_transposed ? dk_home[i / unit * unit * p_.stride + x * unit + i % unit] : dk[x];
          off += double(qi[size_t(x)]) * double(dq[x]);
          out_.dq[i * p_.dim + x] = float(factor * (double(dq[x]) + own * double(ki[size_t(x)])));
          out_.dk[i * p_.dim + x] = float(factor * (double(dk_x) + own * double(qi[size_t(x)])));
        }
        dscale += off + own * diagonal_[i];
      }
      partial_[block] = dscale / (2 * double(terms_.total));
    });
    dscale_ = sum_of_partial();
  }

  const Path& path_;
  const InfoNce& problem_;
  InfoNceOut& out_;
  Ring& ring_;
  const Run& run_;
  const Terms& terms_;
  Agreement agreement_;
  const int size_, rank_;
  const Operand q_, k_;

  Plan p_{};
  int64_t first_ = 0, span_ = 0, rows_per_chunk_ = 0;  // rows of the ranks before; the largest block of K; of pass 1
  int chunks_ = 0;
  std::optional<Workspace> memory_;
  int32_t *row_ids_ = nullptr, *padding_ = nullptr;
  float* row_weight_ = nullptr;
  double *diagonal_ = nullptr, *own_gradient_ = nullptr, *norms_ = nullptr, *partial_ = nullptr;
  Block blocks_[3];  // its own, and visitors
  const Block& own_ = blocks_[0];
  Totals row_totals_, totals_[2];
  size_t totals_bytes_ = 0;
  float *gradients_[2] = {nullptr, nullptr}, *local_gradient_ = nullptr;  // of blocks of K
  double q_norm_ = 0, k_norm_ = 0, loss_ = 0, dscale_ = 0;
};

void check(const char* name, const InfoNce& problem, const InfoNceOut& out, int64_t fewest) {
  const auto refuse = [&](const std::string& what) { throw std::invalid_argument(name + (": " + what)); };
  if (problem.batch < fewest) refuse("batch must be at least " + std::to_string(fewest) + ", got " + std::to_string(problem.batch));
  if (problem.dim < 1) refuse("dim must be at least 1, got " + std::to_string(problem.dim));
  if (problem.batch && (!problem.q || !problem.k)) refuse("q and k must be given");
  if (problem.batch && !out.dq != !out.dk) refuse("dq and dk must be given together");
  if (!std::isfinite(problem.scale)) refuse("scale must be finite, got " + std::to_string(problem.scale));
}

void run_rank(const char* name, const Path& path, const InfoNce& problem, InfoNceOut& out, Ring& ring, const Run& run) {
  Agreement agreement(ring);
  agreement.attempt([&] { check(name, problem, out, ring.size() == 1 ? 1 : 0); });
  const Terms terms = agreement.terms(problem, out.dq != nullptr, path.isa);
  Rank(path, problem, out, ring, run, terms).run();
}

}  // namespace

void infonce(const InfoNce& problem, InfoNceOut& out, const Run& run) { infonce_detail::run(path_of(run.isa, problem.compute), problem, out, run); }

void infonce_ring(const InfoNce& local, InfoNceOut& out, Ring& ring, const Run& run) {
  infonce_detail::run(path_of(run.isa, local.compute), local, out, ring, run);
}

void infonce_detail::run(const Path& path, const InfoNce& problem, InfoNceOut& out, const Run& run) {
  Alone ring;
  run_rank("infonce", path, problem, out, ring, run);
}

void infonce_detail::run(const Path& path, const InfoNce& problem, InfoNceOut& out, Ring& ring, const Run& run) {
  run_rank("infonce_ring", path, problem, out, ring, run);
}

}  // namespace larr
