// The folded scene encoder: folds the table, packs the weights, spreads rows over threads.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <memory>
#include <thread>

#include "../device/threads.h"
#include "../device/workspace.h"
#include "../simd/bf16.h"
#include "larr/kernels.h"
#include "plan.h"

namespace larr {

using namespace encoder_detail;

const Path& encoder_detail::path_of(Isa isa, Dtype compute) {
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

namespace {

int padded(int n) { return (n + pad - 1) / pad * pad; }

}  // namespace

void encoder_detail::check(const EncoderShape& s, const EncoderTable& table) {
  const auto refuse = [](const std::string& what) { throw std::invalid_argument("scene encoder: " + what); };
  const auto positive = [&](const char* name, int value) {
    if (value < 1) refuse(std::string(name) + " must be at least 1, got " + std::to_string(value));
  };
  positive("fields", s.fields);
  positive("d", s.dim);
  positive("heads", s.heads);
  positive("ffn", s.ffn);
  positive("headHidden", s.head_hidden);
  positive("out", s.out);
  if (s.dim % s.heads) refuse("d = " + std::to_string(s.dim) + " is not a multiple of heads = " + std::to_string(s.heads));
  if (table.entries < 0 || table.entries > INT32_MAX - 1) refuse("the table has too many entries: " + std::to_string(table.entries));
  for (int64_t e = 0; e < table.entries; e++)
    if (table.field_of[e] < 0 || table.field_of[e] >= s.fields)
      refuse("fieldOf[" + std::to_string(e) + "] = " + std::to_string(table.field_of[e]) + " is not a field from 0 to " + std::to_string(s.fields - 1));
}

namespace {

// Folds one token at a time: one logit a head, times log2(e), and W_v x + b_v. Keeps what it needs of the weights.
class Folding {
 public:
  Folding(const EncoderShape& shape, const EncoderWeights& w)
      : d_(shape.dim), heads_(shape.heads), u_(size_t(heads_) * size_t(d_), 0.0), constant_(size_t(heads_), 0.0) {
    const int d = d_, head_dim = d / heads_;
    // logit_h(x) = q_h . (W_k,h x + b_k,h) / sqrt(head_dim) = u_h . x + c_h: one vector a head instead of a projection.
    const float *wq = w.in_proj_weight, *wk = wq + int64_t(d) * d, *wv = wk + int64_t(d) * d;
    const float *bq = w.in_proj_bias, *bk = bq + d, *bv = bk + d;
    for (int h = 0; h < heads_; h++)
      for (int i = h * head_dim; i < (h + 1) * head_dim; i++) {
        double q = double(bq[i]);
        for (int x = 0; x < d; x++) q += double(wq[int64_t(i) * d + x]) * double(w.agg[x]);
        q *= 1.4426950408889634074 / std::sqrt(double(head_dim));
        constant_[size_t(h)] += q * double(bk[i]);
        for (int x = 0; x < d; x++) u_[size_t(h) * size_t(d) + size_t(x)] += q * double(wk[int64_t(i) * d + x]);
      }
    wv_.assign(wv, wv + int64_t(d) * d);
    bv_.assign(bv, bv + d);
    agg_.assign(w.agg, w.agg + d);
    positions_.assign(w.field, w.field + int64_t(shape.fields) * d);
  }

  // x = embedding + pos of the field, or agg where embedding is null. logits [heads], value [d].
  void operator()(const float* embedding, int field, float* logits, float* value) const {
    const int d = d_;
    std::vector<double> token(static_cast<size_t>(d));
    for (int x = 0; x < d; x++)
      token[size_t(x)] = embedding ? double(embedding[x]) + double(positions_[size_t(field) * size_t(d) + size_t(x)]) : double(agg_[size_t(x)]);
    for (int h = 0; h < heads_; h++) {
      double logit = constant_[size_t(h)];
      for (int x = 0; x < d; x++) logit += u_[size_t(h) * size_t(d) + size_t(x)] * token[size_t(x)];
      logits[h] = float(logit);
    }
    for (int i = 0; i < d; i++) {
      double sum = double(bv_[size_t(i)]);
      for (int x = 0; x < d; x++) sum += double(wv_[size_t(i) * size_t(d) + size_t(x)]) * token[size_t(x)];
      value[i] = float(sum);
    }
  }

 private:
  int d_, heads_;
  std::vector<double> u_, constant_;              // logit_h(x) = u_h . x + c_h
  std::vector<float> wv_, bv_, agg_, positions_;  // [d, d], [d], [d], [fields, d]
};

}  // namespace

void encoder_detail::fold(const EncoderShape& shape, const EncoderWeights& w, const EncoderTable& table, float* logits, float* values, int64_t stride) {
  const Folding folding(shape, w);
  constexpr int64_t per_task = 64;
  parallel(int((table.entries + per_task) / per_task), [&](int task) {
    for (int64_t e = task * per_task; e < std::min(table.entries + 1, (task + 1) * per_task); e++)
      folding(e == 0 ? nullptr : table.embeddings + (e - 1) * shape.dim, e == 0 ? 0 : table.field_of[e - 1], logits + e * shape.heads,
              values + e * stride);
  });
}

void encoder_detail::refuse_entry(int64_t row, int field, int32_t entry, const int32_t* field_of, int64_t entries) {
  const std::string where = "rows[" + std::to_string(row) + "][" + std::to_string(field) + "] = " + std::to_string(entry);
  if (entry < 0 || entry >= entries) throw std::out_of_range(where + " is neither -1 nor an entry from 0 to " + std::to_string(entries - 1));
  throw std::out_of_range(where + " is an entry of field " + std::to_string(field_of[entry]) + ", not of field " + std::to_string(field));
}

namespace {

// A larger table is folded entry by entry as rows name them: all of it would keep a program from starting for seconds, and most entries are
// named by nobody.
constexpr int64_t folded_at_once = 1 << 14;

// Memory of zeros that takes pages as they are touched.
struct Untouched {
  float* data;
  explicit Untouched(size_t count) : data(static_cast<float*>(std::calloc(count, sizeof(float)))) {
    if (!data) throw std::bad_alloc();
  }
  ~Untouched() { std::free(data); }
  Untouched(const Untouched&) = delete;
  Untouched& operator=(const Untouched&) = delete;
};

// The entries of a large table, which stays where it is. Each is folded when the first row names it.
class Later {
 public:
  Later(const EncoderShape& shape, const EncoderWeights& weights, const EncoderTable& table, int64_t stride)
      : folding_(shape, weights), table_(table), dim_(shape.dim), heads_(shape.heads), stride_(stride),
        logits_(size_t(1 + table.entries) * size_t(heads_)), values_(size_t(1 + table.entries) * size_t(stride)),
        done_(std::make_unique<std::atomic<uint8_t>[]>(size_t(table.entries))) {
    folding_(nullptr, 0, logits_.data, values_.data);
  }

  const float* logits() const { return logits_.data; }
  const float* values() const { return values_.data; }

  // May be called by any number of threads; when it returns, the entry is folded.
  void ensure(int32_t entry) const {
    std::atomic<uint8_t>& done = done_[size_t(entry)];
    if (done.load(std::memory_order_acquire) == folded) return;
    uint8_t nobody = raw;
    if (done.compare_exchange_strong(nobody, being_folded, std::memory_order_acq_rel)) {
      folding_(table_.embeddings + int64_t(entry) * dim_, table_.field_of[entry], logits_.data + (int64_t(entry) + 1) * heads_,
               values_.data + (int64_t(entry) + 1) * stride_);
      done.store(folded, std::memory_order_release);
      return;
    }
    // another thread is at it, for some microseconds
    while (done.load(std::memory_order_acquire) != folded) std::this_thread::yield();
  }

 private:
  static constexpr uint8_t raw = 0, being_folded = 1, folded = 2;
  Folding folding_;
  EncoderTable table_;
  int dim_, heads_;
  int64_t stride_;
  Untouched logits_, values_;
  std::unique_ptr<std::atomic<uint8_t>[]> done_;
};

}  // namespace

struct SceneEncoder::State {
  EncoderShape shape;
  int64_t entries;
  const Path* path;
  bool round_weights;
  Plan plan{};
  std::vector<int32_t> field_of;
  std::unique_ptr<Later> later;  // null where all entries are folded
  std::vector<std::vector<float>> floats;  // what the plan points into
  struct Packed {
    void* data;
    explicit Packed(size_t bytes) : data(std::aligned_alloc(64, (bytes + 63) / 64 * 64)) {
      if (!data) throw std::bad_alloc();
    }
    Packed(Packed&& other) noexcept : data(std::exchange(other.data, nullptr)) {}
    ~Packed() { std::free(data); }
  };
  std::vector<Packed> packed;
  size_t bytes = 0;

  float* keep(size_t count) {
    bytes += count * sizeof(float);
    return floats.emplace_back(count, 0.0f).data();
  }
  const float* vector(const float* from, int count, int width) {
    float* to = keep(size_t(width));
    std::copy(from, from + count, to);
    return to;
  }
  Dense dense(const float* weight, const float* bias, int out, int in) {
    const int wide_out = padded(out), wide_in = padded(in);
    std::vector<float> wide(size_t(wide_out) * size_t(wide_in), 0.0f);
    for (int o = 0; o < out; o++)
      for (int i = 0; i < in; i++) {
        const float x = weight[int64_t(o) * in + i];
        wide[size_t(o) * size_t(wide_in) + size_t(i)] = round_weights ? nearest(x, 16) : x;
      }
    const size_t size = path->packed_bytes(wide_out, wide_in);
    bytes += size;
    packed.emplace_back(size);
    path->pack(wide.data(), wide_out, wide_in, packed.back().data);
    return {wide_in, wide_out, packed.back().data, vector(bias, out, wide_out)};
  }
};

SceneEncoder::SceneEncoder(const EncoderShape& shape, const EncoderWeights& weights, const EncoderTable& table, Dtype compute, Isa isa)
    : SceneEncoder(shape, weights, table, compute, path_of(isa, compute)) {}

SceneEncoder::SceneEncoder(const EncoderShape& shape, const EncoderWeights& w, const EncoderTable& table, Dtype compute, const Path& path)
    : state_(std::make_unique<State>()) {
  check(shape, table);
  State& s = *state_;
  s.shape = shape;
  s.entries = table.entries;
  s.path = &path;
  s.round_weights = compute == Dtype::bf16;
  s.field_of.assign(table.field_of, table.field_of + table.entries);
  s.floats.reserve(32);
  const int d = shape.dim, heads = shape.heads, width = padded(d);
  Plan& p = s.plan;
  p.fields = shape.fields;
  p.heads = heads;
  p.dim = d;
  p.head_dim = d / heads;
  p.out = shape.out;
  p.width = width;

  if (table.entries <= folded_at_once) {
    float* logits = s.keep(size_t(1 + table.entries) * size_t(heads));
    float* values = s.keep(size_t(1 + table.entries) * size_t(width));
    fold(shape, w, table, logits, values, width);
    p.logits = logits;
    p.values = values;
  } else {
    s.later = std::make_unique<Later>(shape, w, EncoderTable{table.embeddings, s.field_of.data(), table.entries}, width);
    p.logits = s.later->logits();
    p.values = s.later->values();
  }

  p.attended = s.dense(w.out_proj_weight, w.out_proj_bias, d, d);
  float* residual = s.keep(size_t(width));
  for (int i = 0; i < d; i++) residual[i] = w.agg[i] + w.out_proj_bias[i];
  p.residual = residual;
  float* real = s.keep(size_t(width));
  std::fill(real, real + d, 1.0f);
  p.real = real;
  p.norm1 = {s.vector(w.norm1_weight, d, width), s.vector(w.norm1_bias, d, width)};
  p.ffn1 = s.dense(w.ffn1_weight, w.ffn1_bias, shape.ffn, d);
  p.ffn2 = s.dense(w.ffn2_weight, w.ffn2_bias, d, shape.ffn);
  p.norm2 = {s.vector(w.norm2_weight, d, width), s.vector(w.norm2_bias, d, width)};
  p.head1 = s.dense(w.head1_weight, w.head1_bias, shape.head_hidden, d);
  p.head2 = s.dense(w.head2_weight, w.head2_bias, shape.out, shape.head_hidden);
}

SceneEncoder::~SceneEncoder() = default;
const EncoderShape& SceneEncoder::shape() const { return state_->shape; }
int64_t SceneEncoder::entries() const { return state_->entries; }
size_t SceneEncoder::bytes() const { return state_->bytes; }

namespace {

// Calls done(first row, rows, z block) for blocks of rows, from many threads.
template <class Ensure, class Done>
void encode_blocks(const Path& path, const Plan& plan, const std::vector<int32_t>& field_of, const Ensure& ensure, const int32_t* rows,
                   int64_t n_rows, float* attention, const Run& run, const Done& done) {
  const int64_t entries = int64_t(field_of.size());
  const int fields = plan.fields, per_row = plan.heads * (1 + fields);
  // Few rows are cut finer, so that every thread has some; a row's result does not depend on the block it is in.
  const int64_t share = (n_rows + thread_count() - 1) / thread_count();
  const int64_t per_block = std::clamp<int64_t>((share + 11) / 12 * 12, 12, block_rows);
  // A task is whole blocks: enough of them to pay for a thread's waking, few enough that all threads get some.
  const int64_t blocks = (n_rows + per_block - 1) / per_block;
  const int64_t per_task = std::clamp<int64_t>(blocks / (4 * thread_count()), 1, 8);
  parallel(
      int((blocks + per_task - 1) / per_task),
      [&](int task) {
        const Workspace memory(path.scratch_bytes(plan));
        for (int64_t block = task * per_task; block < std::min(blocks, (task + 1) * per_task); block++) {
          const int64_t first = block * per_block;
          const int n = int(std::min<int64_t>(per_block, n_rows - first));
          for (int64_t i = first; i < first + n; i++)
            for (int f = 0; f < fields; f++) {
              const int32_t entry = rows[i * fields + f];
              if (entry == -1) continue;
              if (entry < 0 || entry >= entries || field_of[size_t(entry)] != f) refuse_entry(i, f, entry, field_of.data(), entries);
              ensure(entry);
            }
          done(first, n, [&](float* z, int64_t stride) {
            path.block(plan, rows + first * fields, n, z, stride, attention ? attention + first * per_row : nullptr, memory.data());
          });
        }
      },
      run.cancel);
}

}  // namespace

void SceneEncoder::encode(const int32_t* rows, int64_t n_rows, float* z, float* attention, const Run& run) const {
  const int out = state_->shape.out;
  const auto ensure = [later = state_->later.get()](int32_t entry) {
    if (later) later->ensure(entry);
  };
  encode_blocks(*state_->path, state_->plan, state_->field_of, ensure, rows, n_rows, attention, run,
                [&](int64_t first, int, const auto& block) { block(z + first * out, out); });
}

void SceneEncoder::score(const int32_t* rows, int64_t n_rows, const float* targets, bool one_target, float* scores, float* attention,
                         const Run& run) const {
  const int out = state_->shape.out;
  const auto ensure = [later = state_->later.get()](int32_t entry) {
    if (later) later->ensure(entry);
  };
  encode_blocks(*state_->path, state_->plan, state_->field_of, ensure, rows, n_rows, attention, run, [&](int64_t first, int n, const auto& block) {
    const Workspace memory(size_t(block_rows) * size_t(out) * sizeof(float));
    auto* z = static_cast<float*>(memory.data());
    block(z, out);
    for (int r = 0; r < n; r++) {
      const float* target = one_target ? targets : targets + (first + r) * out;
      double sum = 0;
      for (int c = 0; c < out; c++) sum += double(z[int64_t(r) * out + c]) * double(target[c]);
      scores[first + r] = float(sum);
    }
  });
}

std::vector<Scored> top_k(const float* scores, int64_t n, int64_t k) {
  const auto better = [](const Scored& a, const Scored& b) { return a.score != b.score ? a.score > b.score : a.row < b.row; };
  // A heap of the k best so far, the worst of them on top.
  std::vector<Scored> best;
  if (k <= 0) return best;
  best.reserve(size_t(std::min(n, k)));
  for (int64_t i = 0; i < n; i++) {
    const Scored one{int32_t(i), scores[i]};
    if (std::isnan(one.score)) continue;
    if (int64_t(best.size()) < k) {
      best.push_back(one);
      std::push_heap(best.begin(), best.end(), better);
    } else if (better(one, best.front())) {
      std::pop_heap(best.begin(), best.end(), better);
      best.back() = one;
      std::push_heap(best.begin(), best.end(), better);
    }
  }
  std::sort_heap(best.begin(), best.end(), better);
  return best;
}

void gather_rows(const float* table, int64_t table_rows, int64_t width, const int32_t* rows, int64_t n, float* out) {
  for (int64_t i = 0; i < n; i++)
    if (rows[i] < -1 || rows[i] >= table_rows)
      throw std::out_of_range("rows[" + std::to_string(i) + "] = " + std::to_string(rows[i]) + " is neither -1 nor a row from 0 to " +
                              std::to_string(table_rows - 1));
  const int64_t per_task = std::max<int64_t>(1, 65536 / std::max<int64_t>(1, width));
  parallel(int((n + per_task - 1) / per_task), [&](int task) {
    for (int64_t i = task * per_task; i < std::min(n, (task + 1) * per_task); i++) {
      if (rows[i] < 0) std::memset(out + i * width, 0, size_t(width) * sizeof(float));
      else std::memcpy(out + i * width, table + int64_t(rows[i]) * width, size_t(width) * sizeof(float));
    }
  });
}

}  // namespace larr
