// The two kernels of LARR over plain pointers: fused symmetric InfoNCE and folded scene-encoder scoring (docs/kernels.md).
// Every function may be called from any thread, several at a time. Errors in the arguments are std::invalid_argument.
#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace larr {

namespace encoder_detail {
struct Path;
}

enum class Dtype { f32, bf16 };

// Instruction sets in rising order; `scalar` is the plain C++ path that every machine has.
enum class Isa { scalar, avx2, avx512, avx512bf16, amx };

const char* isa_name(Isa isa);
// What this machine and its kernel allow, ascending. AMX is listed only once the kernel has given this process permission.
const std::vector<Isa>& supported_isas();
// The best supported one, or what LARR_ISA names. Throws std::invalid_argument where LARR_ISA is unknown or unsupported here.
Isa active_isa();
// Threads a call is spread over: LARR_THREADS, or the processors this process may run on.
int thread_count();
// The GPU that LARR_DEVICE=cuda[:n] asks for, -1 for the processor (cpu, or unset). Throws std::invalid_argument where LARR_DEVICE says
// something else, or cuda to a build without CUDA kernels. Whether there is such a GPU is not looked at (larr/cuda.h).
int wanted_gpu();

// Thrown where `cancel` was raised while a call was running.
struct Cancelled : std::runtime_error {
  Cancelled() : std::runtime_error("the call was cancelled") {}
};

// How a call is run. Defaults are what callers want; tests pin the instruction set.
struct Run {
  Isa isa = active_isa();
  const std::atomic<bool>* cancel = nullptr;  // looked at between blocks of work
};

struct InfoNce {
  const void* q = nullptr;          // [batch, dim], row-major
  const void* k = nullptr;          // [batch, dim]
  Dtype storage = Dtype::f32;       // of q and k as they lie in memory
  int64_t q_stride = 0;             // elements from row to row; 0 = dim
  int64_t k_stride = 0;
  int64_t batch = 0;
  int64_t dim = 0;
  double scale = 1;                 // 1 / temperature
  const int32_t* groups = nullptr;  // [batch]; same group and i != j: not a negative
  Dtype compute = Dtype::f32;       // bf16: products of bf16 operands, accumulated in f32
};

struct InfoNceOut {
  double loss = 0;
  double dscale = 0;           // dL/dscale
  float* lse_row = nullptr;    // [batch] natural logarithms; may be null
  float* lse_col = nullptr;    // [batch]; may be null
  float* dq = nullptr;         // [batch, dim] dL/dq, contiguous; null with dk: forward only
  float* dk = nullptr;         // [batch, dim]
};

// L = 1/(2B) sum_i (lse_row_i + lse_col_i - 2 s_ii), s = scale q k^T (docs/kernels.md, A). Without dq and dk only the first pass runs
// and dscale stays 0. Where an input is not finite, or |q||k|, |scale| or |scale||q||k| (the largest rows' norms) is beyond 1e29, all
// outputs are NaN. The same bits for the same inputs, instruction set and thread count. Memory beyond in- and outputs: O(batch * dim).
void infonce(const InfoNce& problem, InfoNceOut& out, const Run& run = {});
// The same by the definition, in double, one pair at a time.
void infonce_reference(const InfoNce& problem, double* loss, double* dscale, double* lse_row, double* lse_col, double* dq, double* dk);

// Sizes of the scene encoder (docs/method.md, section 5): one post-norm layer over [agg; n fields], pooled at agg, then an MLP.
struct EncoderShape {
  int fields = 0;  // n
  int dim = 0;     // d, a multiple of heads
  int heads = 0;
  int ffn = 0;
  int head_hidden = 0;
  int out = 0;
};

// f32, row-major, [out, in] as PyTorch keeps them. Copied (packed) at construction.
struct EncoderWeights {
  const float *agg, *field;                       // [d], [n, d]
  const float *in_proj_weight, *in_proj_bias;     // [3d, d], [3d]
  const float *out_proj_weight, *out_proj_bias;   // [d, d], [d]
  const float *norm1_weight, *norm1_bias;         // [d]
  const float *ffn1_weight, *ffn1_bias;           // [f, d], [f]
  const float *ffn2_weight, *ffn2_bias;           // [d, f], [d]
  const float *norm2_weight, *norm2_bias;         // [d]
  const float *head1_weight, *head1_bias;         // [h, d], [h]
  const float *head2_weight, *head2_bias;         // [o, h], [o]
};

struct EncoderTable {
  const float* embeddings;   // [entries, d]
  const int32_t* field_of;   // [entries], 0 .. fields-1
  int64_t entries;
};

struct Scored {
  int32_t row;
  float score;
};

// The folded encoder: per (field, text) entry one logit per head and W_v (e + pos), once; per row softmax, weighted sum, W_o, norm,
// feed-forward, norm, projection (docs/kernels.md, B). Holds packed weights, and of a table of more than 16,384 entries a pointer: it must outlive the
// encoder and not be written. Immutable, so any number of threads may encode at once.
class SceneEncoder {
 public:
  SceneEncoder(const EncoderShape& shape, const EncoderWeights& weights, const EncoderTable& table, Dtype compute, Isa isa = active_isa());
  // On a path of the caller's choice, supported or not (tests).
  SceneEncoder(const EncoderShape& shape, const EncoderWeights& weights, const EncoderTable& table, Dtype compute, const encoder_detail::Path& path);
  ~SceneEncoder();
  SceneEncoder(const SceneEncoder&) = delete;
  SceneEncoder& operator=(const SceneEncoder&) = delete;

  const EncoderShape& shape() const;
  int64_t entries() const;
  size_t bytes() const;

  // rows [n_rows, fields]: entry indices, -1 = missing (left out). z [n_rows, out]; attention [n_rows, heads, 1 + fields] or null.
  // Throws std::out_of_range naming row and field where an index is neither -1 nor an entry of that field.
  void encode(const int32_t* rows, int64_t n_rows, float* z, float* attention, const Run& run = {}) const;
  // scores [n_rows] = z_i . target_i; targets [n_rows, out] or one target for all rows ([out], one_target). scratch z is kept inside.
  void score(const int32_t* rows, int64_t n_rows, const float* targets, bool one_target, float* scores, float* attention,
             const Run& run = {}) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// The naive layer in double: all 1 + n tokens through attention, output row 0 taken. z [n_rows, out], attention may be null.
void encoder_reference(const EncoderShape& shape, const EncoderWeights& weights, const EncoderTable& table, const int32_t* rows,
                       int64_t n_rows, double* z, double* attention);
// The same operators composed in f32: how far from the double a careful f32 result may lie.
void encoder_composed(const EncoderShape& shape, const EncoderWeights& weights, const EncoderTable& table, const int32_t* rows, int64_t n_rows,
                      float* z, float* attention);

// The k best of scores, best first; equal scores by row; NaN never chosen. Selects without sorting all.
std::vector<Scored> top_k(const float* scores, int64_t n, int64_t k);

// out[i] = table[rows[i]] (width floats each); row -1 gives zeros. Throws std::out_of_range naming the position.
void gather_rows(const float* table, int64_t table_rows, int64_t width, const int32_t* rows, int64_t n, float* out);

}  // namespace larr
