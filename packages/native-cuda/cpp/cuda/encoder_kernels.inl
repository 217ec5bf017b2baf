// The folded scene encoder on a GPU: softmax over a row's tokens, weighted sum of their values, W_o, norm, feed-forward, norm,
// projection (docs/kernels.md, B), in one kernel a call.
//
// The fused kernel. A warp owns 16 rows from the gather to the result. A product's accumulators are the next product's left operands
// in the same registers (encoder_plan.cpp packs the weights for it), so activations never leave them; hidden units come in chunks that
// are used up at once. Weights stream from L2 through a ring of shared memory that all warps of the block read: with 8 warps each byte
// serves 128 rows. bf16: bf16 operands, f32 sums. f32: each product as three of tf32 (hi hi + hi lo + lo hi); the tensor cores cut sums
// off instead of rounding them, so a sum leaves them after 16 columns and goes on in f32.
//
// The general kernel takes what the fused one does not (d above 128, very narrow heads, very many fields), in f32 arithmetic.
#pragma once
#include <cmath>

#include "encoder_plan.h"
#include "launch.h"

namespace larr::cuda {

struct EncoderCall {
  const int32_t* rows;      // [n, fields]
  int64_t n;
  float* z;                 // [n, out] or null
  float* attention;         // [n, heads, 1 + fields] or null
  const float* targets;     // [n, out], or [out] with target_stride 0; null where there are no scores
  int64_t target_stride;
  float* scores;            // [n] or null
  uint32_t* refused;        // least row * fields + field whose entry is not allowed (set to all ones before the call), or null
};

namespace {

struct alignas(16) Floats {
  float f[4];
};

LARR_DEVICE float gelu_exact(float x) { return 0.5f * x * (1.0f + erff(x * 0.70710678f)); }

// x Phi(x) for results that are rounded to bf16: Phi - 1/2 an odd polynomial up to 4.5, where it is exactly 1/2. Absolute error 5e-5.
LARR_DEVICE float gelu_short(float x) {
  const float c = fminf(fmaxf(x, -4.5f), 4.5f), u = c * c;
  float y = 3.000008574893798e-11f;
  y = y * u - 3.2839138075502206e-09f;
  y = y * u + 1.5802577024714992e-07f;
  y = y * u - 4.43168573838193e-06f;
  y = y * u + 8.12097277957946e-05f;
  y = y * u - 0.0010362534085288644f;
  y = y * u + 0.009580654092133045f;
  y = y * u - 0.06597726792097092f;
  y = y * u + 0.3987085819244385f;
  return x * (c * y + 0.5f);
}

// ---- The attention of one query over looked-up tokens, shared by both kernels.

struct Normaliser {
  float top, inverse;  // a weight is 2^(logit - top) * inverse
};

// The tokens of `count` rows from row `first` on: 1 + entry, or -1 where missing, refused or past the last row.
LARR_DEVICE void read_tokens(const EncoderPlan& p, const EncoderCall& call, int64_t first, int count, int lane, int lanes, int32_t* tokens) {
  const int32_t* from = call.rows + first * p.fields;
  const int64_t there = (call.n - first) * p.fields;
  for (int i = lane; i < count * p.fields; i += lanes) {
    int32_t token = -1;
    if (i < there) {
      const int32_t entry = from[i];
      if (entry >= 0 && entry < p.entries && p.field_of[entry] == i % p.fields) token = 1 + entry;
      else if (entry != -1 && call.refused) atomic_min(call.refused, uint32_t(first * p.fields + i));
    }
    tokens[i] = token;
  }
}

LARR_DEVICE float token_weight(const EncoderPlan& p, int32_t token, int head, Normaliser normaliser) {
  return exp2_fast(p.logits[int64_t(token) * p.heads + head] - normaliser.top) * normaliser.inverse;
}

// normalisers [heads][count]; writes the attention out where it is asked for.
LARR_DEVICE void normalise_attention(const EncoderPlan& p, const EncoderCall& call, int64_t first, int count, int lane, int lanes,
                                     const int32_t* tokens, Normaliser* normalisers) {
  for (int pair = lane; pair < count * p.heads; pair += lanes) {
    const int row = pair % count, head = pair / count;
    const int32_t* mine = tokens + row * p.fields;
    // A missing token's logit is read as the aggregation token's: it does not raise the maximum, and all loads go out at once.
    const float own = p.logits[head];
    float top = own;
    for (int f = 0; f < p.fields; f++) top = fmaxf(top, p.logits[int64_t(mine[f] < 0 ? 0 : mine[f]) * p.heads + head]);
    float sum = exp2_fast(own - top);
    for (int f = 0; f < p.fields; f++) {
      const float term = exp2_fast(p.logits[int64_t(mine[f] < 0 ? 0 : mine[f]) * p.heads + head] - top);
      sum += mine[f] < 0 ? 0.0f : term;
    }
    const Normaliser normaliser{top, 1.0f / sum};
    normalisers[pair] = normaliser;
    if (call.attention && first + row < call.n) {
      float* to = call.attention + ((first + row) * p.heads + head) * (1 + p.fields);
      to[0] = token_weight(p, 0, head, normaliser);
      for (int f = 0; f < p.fields; f++) to[1 + f] = mine[f] >= 0 ? token_weight(p, mine[f], head, normaliser) : 0.0f;
    }
  }
}

// ---- Arithmetic of the fused kernel. Operand: 16 rows x 16 columns of a left operand, from two neighbouring accumulators.

struct Bf16Arithmetic {
  static constexpr int chunk = hidden_chunk(Dtype::bf16), weight_bytes = cuda::weight_bytes(Dtype::bf16);
  struct Operand {
    uint32_t a[4];
  };

  static LARR_DEVICE Operand operand(const float (&left)[4], const float (&right)[4]) {
    return {{pack_bf16(left[0], left[1]), pack_bf16(left[2], left[3]), pack_bf16(right[0], right[1]), pack_bf16(right[2], right[3])}};
  }

  // y [Wide / 8] += a W for a stage W [Depth, Wide].
  template <int Depth, int Wide>
  static LARR_DEVICE void product(const Operand (&a)[Depth / 16], const char* stage, float (*y)[4]) {
    const Words* w = reinterpret_cast<const Words*>(stage) + lane_index();
    LARR_UNROLL
    for (int k = 0; k < Depth / 16; k++) {
      LARR_UNROLL
      for (int n = 0; n < Wide / 16; n++) {
        const Words b = w[(k * (Wide / 16) + n) * 32];
        mma_bf16(y[2 * n], a[k].a, b.w[0], b.w[1]);
        mma_bf16(y[2 * n + 1], a[k].a, b.w[2], b.w[3]);
      }
    }
  }

  static LARR_DEVICE float gelu(float x) { return gelu_short(x); }

  // Eight neighbouring values, `at` a multiple of 8.
  static LARR_DEVICE void load(const void* values, int64_t at, float (&v)[8]) {
    const Words pairs = *reinterpret_cast<const Words*>(static_cast<const uint16_t*>(values) + at);
    LARR_UNROLL
    for (int i = 0; i < 4; i++) {
      v[2 * i] = bits_to_float(pairs.w[i] << 16);
      v[2 * i + 1] = bits_to_float(pairs.w[i] & 0xffff0000u);
    }
  }
};

struct F32Arithmetic {
  static constexpr int chunk = hidden_chunk(Dtype::f32), weight_bytes = cuda::weight_bytes(Dtype::f32);
  struct Operand {
    float left[4], right[4];
  };
  struct Four {
    uint32_t high[4], low[4];
  };

  static LARR_DEVICE Operand operand(const float (&left)[4], const float (&right)[4]) {
    return {{left[0], left[1], left[2], left[3]}, {right[0], right[1], right[2], right[3]}};
  }

  // An accumulator as left operand of 8 summed columns: place t is column 2t, place t + 4 column 2t + 1.
  static LARR_DEVICE void split_four(const float (&x)[4], Four& s) {
    LARR_UNROLL
    for (int i = 0; i < 4; i++) {
      const Split one = split(x[i % 2 * 2 + i / 2]);
      s.high[i] = one.high;
      s.low[i] = one.low;
    }
  }

  template <int Depth, int Wide>
  static LARR_DEVICE void product(const Operand (&a)[Depth / 16], const char* stage, float (*y)[4]) {
    const Words* w = reinterpret_cast<const Words*>(stage) + lane_index();
    LARR_UNROLL
    for (int k = 0; k < Depth / 16; k++) {
      Four s[2];
      split_four(a[k].left, s[0]);
      split_four(a[k].right, s[1]);
      LARR_UNROLL
      for (int n = 0; n < Wide / 16; n += 2) {
        float sum[4][4] = {};
        LARR_UNROLL
        for (int i = 0; i < 2; i++) {
          Words b[4];
          LARR_UNROLL
          for (int j = 0; j < 4; j++) b[j] = w[((k * (Wide / 16) + n + j / 2) * 4 + j % 2 * 2 + i) * 32];
          LARR_UNROLL
          for (int j = 0; j < 4; j++) mma_tf32(sum[j], s[i].low, b[j].w[0], b[j].w[1]);
          LARR_UNROLL
          for (int j = 0; j < 4; j++) mma_tf32(sum[j], s[i].high, b[j].w[2], b[j].w[3]);
          LARR_UNROLL
          for (int j = 0; j < 4; j++) mma_tf32(sum[j], s[i].high, b[j].w[0], b[j].w[1]);
        }
        LARR_UNROLL
        for (int j = 0; j < 4; j++) {
          LARR_UNROLL
          for (int c = 0; c < 4; c++) y[2 * n + j][c] += sum[j][c];
        }
      }
    }
  }

  static LARR_DEVICE float gelu(float x) { return gelu_exact(x); }

  static LARR_DEVICE void load(const void* values, int64_t at, float (&v)[8]) {
    const auto* from = reinterpret_cast<const Floats*>(static_cast<const float*>(values) + at);
    const Floats left = from[0], right = from[1];
    LARR_UNROLL
    for (int i = 0; i < 4; i++) v[i] = left.f[i], v[4 + i] = right.f[i];
  }
};

// The weights' way through shared memory: all threads take the stages in order, over and over, while later ones are under way.
template <int StageBytes>
struct Ring {
  char* slots;
  const char* stream;
  int stages, next_stage;
  int64_t left;  // stages still to be requested
  int put, take;

  LARR_DEVICE void request() {
    if (left > 0) {
      const char* from = stream + int64_t(next_stage) * StageBytes;
      char* to = slots + put * StageBytes;
      for (int at = thread_index() * 16; at < StageBytes; at += block_threads() * 16) copy_async(to + at, from + at);
      left--;
      next_stage = next_stage + 1 == stages ? 0 : next_stage + 1;
    }
    copies_commit();
    put = (put + 1) % ring_slots;
  }

  LARR_DEVICE void start() {
    for (int i = 0; i < ring_slots - 1; i++) request();
  }

  // The next stage; the one before it is given up by this thread.
  LARR_DEVICE const char* next() {
    copies_wait<ring_slots - 2>();
    block_barrier();
    request();
    const char* stage = slots + take * StageBytes;
    take = (take + 1) % ring_slots;
    return stage;
  }
};

LARR_DEVICE float quad_sum(float x) {
  x += warp_shuffle_xor(x, 1);
  return x + warp_shuffle_xor(x, 2);
}

// Softmax and weighted sum of 16 rows, into accumulators whose column order is value_column's (encoder_plan.cpp).
template <class P, int Width>
LARR_DEVICE void attend(const EncoderPlan& p, const EncoderCall& call, int64_t first, int32_t* tokens, Normaliser* normalisers,
                        float (&x)[Width / 8][4]) {
  const int lane = lane_index(), g = lane / 4, t = lane % 4;
  warp_barrier();  // the last rows' tokens are no longer read
  read_tokens(p, call, first, warp_rows, lane, 32, tokens);
  warp_barrier();
  normalise_attention(p, call, first, warp_rows, lane, 32, tokens, normalisers);
  warp_barrier();
  int head[Width / 32];
  Normaliser normaliser[Width / 32][2];
  LARR_UNROLL
  for (int i = 0; i < Width / 32; i++) {
    head[i] = (32 * i + 8 * t) / p.head_width;
    if (head[i] >= p.heads) head[i] = 0;  // padding: the values there are 0
    LARR_UNROLL
    for (int half = 0; half < 2; half++) normaliser[i][half] = normalisers[head[i] * warp_rows + g + 8 * half];
  }
  LARR_UNROLL
  for (int j = 0; j < Width / 8; j++) {
    LARR_UNROLL
    for (int c = 0; c < 4; c++) x[j][c] = 0.0f;
  }
  for (int f = -1; f < p.fields; f++) {
    LARR_UNROLL
    for (int half = 0; half < 2; half++) {
      const int32_t token = f < 0 ? 0 : tokens[(g + 8 * half) * p.fields + f];
      const int32_t from = token < 0 ? 0 : token;
      LARR_UNROLL
      for (int i = 0; i < Width / 32; i++) {
        const float weight = token < 0 ? 0.0f : token_weight(p, from, head[i], normaliser[i][half]);
        float v[8];
        P::load(p.values, int64_t(from) * Width + 32 * i + 8 * t, v);
        LARR_UNROLL
        for (int c = 0; c < 8; c++) x[4 * i + c / 2][2 * half + c % 2] += weight * v[c];
      }
    }
  }
}

// Layer normalisation over the first `dim` columns; weight and bias are 0 in the padding, and so is the result.
template <int Width>
LARR_DEVICE void normalise(float (&x)[Width / 8][4], int dim, const float* weight, const float* bias) {
  const int t = lane_index() % 4;
  const float scale = 1.0f / float(dim);
  float mean[2] = {}, square[2] = {};
  LARR_UNROLL
  for (int j = 0; j < Width / 8; j++) {
    LARR_UNROLL
    for (int c = 0; c < 4; c++) mean[c / 2] += x[j][c];
  }
  LARR_UNROLL
  for (int half = 0; half < 2; half++) mean[half] = quad_sum(mean[half]) * scale;
  LARR_UNROLL
  for (int j = 0; j < Width / 8; j++) {
    LARR_UNROLL
    for (int c = 0; c < 4; c++) {
      x[j][c] = 8 * j + 2 * t + c % 2 < dim ? x[j][c] - mean[c / 2] : 0.0f;
      square[c / 2] += x[j][c] * x[j][c];
    }
  }
  LARR_UNROLL
  for (int half = 0; half < 2; half++) square[half] = 1.0f / sqrtf(quad_sum(square[half]) * scale + 1e-5f);
  LARR_UNROLL
  for (int j = 0; j < Width / 8; j++) {
    LARR_UNROLL
    for (int c = 0; c < 4; c++) {
      const int column = 8 * j + 2 * t + c % 2;
      x[j][c] = x[j][c] * square[c / 2] * weight[column] + bias[column];
    }
  }
}

template <class P, int Tiles>
LARR_DEVICE void operands(const float (&x)[Tiles][4], typename P::Operand (&a)[Tiles / 2]) {
  LARR_UNROLL
  for (int k = 0; k < Tiles / 2; k++) a[k] = P::operand(x[2 * k], x[2 * k + 1]);
}

template <int Tiles>
LARR_DEVICE void add_vector(float (&x)[Tiles][4], const float* vector) {
  const int t = lane_index() % 4;
  LARR_UNROLL
  for (int j = 0; j < Tiles; j++) {
    LARR_UNROLL
    for (int c = 0; c < 4; c++) x[j][c] += vector[8 * j + 2 * t + c % 2];
  }
}

// y += gelu(a W1 + bias) W2, the hidden units a chunk at a time.
template <class P, int Width, class Weights>
LARR_DEVICE void through_hidden(const typename P::Operand (&a)[Width / 16], Weights& ring, const float* bias, int hidden, float (&y)[Width / 8][4]) {
  constexpr int chunk = P::chunk;
  for (int from = 0; from < hidden; from += chunk) {
    float h[chunk / 8][4] = {};
    P::template product<Width, chunk>(a, ring.next(), h);
    add_vector(h, bias + from);
    LARR_UNROLL
    for (int j = 0; j < chunk / 8; j++) {
      LARR_UNROLL
      for (int c = 0; c < 4; c++) h[j][c] = P::gelu(h[j][c]);
    }
    typename P::Operand b[chunk / 16];
    operands<P>(h, b);
    P::template product<chunk, Width>(b, ring.next(), y);
  }
}

struct alignas(8) Pair {
  float left, right;
};

// Calls use(half, row, column, left, right) for the lane's pairs of neighbouring columns, in the two of 16 rows that it holds.
template <int Width, class Use>
LARR_DEVICE void each_pair(const EncoderCall& call, int64_t first, int first_column, const float (&y)[Width / 8][4], const Use& use) {
  const int g = lane_index() / 4, t = lane_index() % 4;
  LARR_UNROLL
  for (int half = 0; half < 2; half++) {
    const int64_t row = first + 8 * half + g;
    if (row >= call.n) continue;
    LARR_UNROLL
    for (int j = 0; j < Width / 8; j++) use(half, row, first_column + 8 * j + 2 * t, y[j][2 * half], y[j][2 * half + 1]);
  }
}

// Columns [first_column, first_column + Width) of z.
template <int Width>
LARR_DEVICE void put_z(const EncoderPlan& p, const EncoderCall& call, int64_t first, int first_column, const float (&y)[Width / 8][4]) {
  if (p.out % 2 == 0)
    each_pair<Width>(call, first, first_column, y, [&](int, int64_t row, int column, float left, float right) {
      if (column < p.out) *reinterpret_cast<Pair*>(call.z + row * p.out + column) = {left, right};
    });
  else
    each_pair<Width>(call, first, first_column, y, [&](int, int64_t row, int column, float left, float right) {
      if (column < p.out) call.z[row * p.out + column] = left;
      if (column + 1 < p.out) call.z[row * p.out + column + 1] = right;
    });
}

// The share of those columns in the scores.
template <int Width>
LARR_DEVICE void add_scores(const EncoderPlan& p, const EncoderCall& call, int64_t first, int first_column, const float (&y)[Width / 8][4], float (&score)[2]) {
  if (p.out % 2 == 0)
    each_pair<Width>(call, first, first_column, y, [&](int half, int64_t row, int column, float left, float right) {
      if (column >= p.out) return;
      const Pair target = *reinterpret_cast<const Pair*>(call.targets + row * call.target_stride + column);
      score[half] += left * target.left + right * target.right;
    });
  else
    each_pair<Width>(call, first, first_column, y, [&](int half, int64_t row, int column, float left, float right) {
      const float* target = call.targets + row * call.target_stride + column;
      if (column < p.out) score[half] += left * target[0];
      if (column + 1 < p.out) score[half] += right * target[1];
    });
}

template <class P, int Width>
LARR_KERNEL void LARR_BOUNDS(32 * fused_warps, 1) encode_fused(EncoderPlan p, EncoderCall call) {
  constexpr int chunk = P::chunk, stage_bytes = Width * chunk * P::weight_bytes;
  const int warps = block_threads() / 32, warp = warp_index();
  const int64_t block_rows = warps * warp_rows, blocks = (call.n + block_rows - 1) / block_rows;

  char* memory = shared_memory();
  Ring<stage_bytes> ring{memory, static_cast<const char*>(p.weights), p.stages, 0, (blocks - block_x() + grid_x() - 1) / grid_x() * p.stages, 0, 0};
  memory += ring_slots * stage_bytes;
  auto* vectors = reinterpret_cast<float*>(memory);
  memory += p.vector_count * int(sizeof(float));
  auto* normalisers = reinterpret_cast<Normaliser*>(memory) + warp * warp_rows * p.heads;
  memory += warps * warp_rows * p.heads * int(sizeof(Normaliser));
  auto* tokens = reinterpret_cast<int32_t*>(memory) + warp * warp_rows * p.fields;
  ring.start();
  for (int i = thread_index(); i < p.vector_count; i += block_threads()) vectors[i] = p.vectors[i];
  const float *residual = vectors, *norm1_weight = residual + Width, *norm1_bias = norm1_weight + Width, *ffn2_bias = norm1_bias + Width;
  const float *norm2_weight = ffn2_bias + Width, *norm2_bias = norm2_weight + Width, *ffn1_bias = norm2_bias + Width;
  const float *head1_bias = ffn1_bias + p.ffn, *head2_bias = head1_bias + p.head_hidden;

  for (int64_t block = block_x(); block < blocks; block += grid_x()) {
    const int64_t first = block * block_rows + warp * warp_rows;
    float x[Width / 8][4];
    typename P::Operand a[Width / 16];
    attend<P, Width>(p, call, first, tokens, normalisers, x);
    operands<P>(x, a);
    LARR_UNROLL
    for (int j = 0; j < Width / 8; j++) {
      LARR_UNROLL
      for (int c = 0; c < 4; c++) x[j][c] = 0.0f;
    }
    LARR_UNROLL
    for (int from = 0; from < Width; from += chunk) P::template product<Width, chunk>(a, ring.next(), x + from / 8);
    add_vector(x, residual);
    normalise<Width>(x, p.dim, norm1_weight, norm1_bias);

    operands<P>(x, a);
    add_vector(x, ffn2_bias);
    through_hidden<P, Width>(a, ring, ffn1_bias, p.ffn, x);
    normalise<Width>(x, p.dim, norm2_weight, norm2_bias);

    operands<P>(x, a);
    float score[2] = {};
    for (int from = 0; from < p.out_wide; from += Width) {
      LARR_UNROLL
      for (int j = 0; j < Width / 8; j++) {
        LARR_UNROLL
        for (int c = 0; c < 4; c++) x[j][c] = 0.0f;
      }
      through_hidden<P, Width>(a, ring, head1_bias, p.head_hidden, x);
      add_vector(x, head2_bias + from);
      if (call.z) put_z<Width>(p, call, first, from, x);
      if (call.scores) add_scores<Width>(p, call, first, from, x, score);
    }
    if (call.scores) {
      LARR_UNROLL
      for (int half = 0; half < 2; half++) {
        const float sum = quad_sum(score[half]);
        const int64_t row = first + lane_index() / 4 + 8 * half;
        if (lane_index() % 4 == 0 && row < call.n) call.scores[row] = sum;
      }
    }
  }
}

// ---- The general kernel: a block takes general_rows rows through shared memory, a thread one output column of all of them.

constexpr int general_threads = 32 * general_rows;

// done(row, column, sum) for x [general_rows][in] times weight [in, out].
template <class Done>
LARR_DEVICE void general_product(const float* x, int in, const float* weight, int out, const Done& done) {
  for (int column = thread_index(); column < out; column += block_threads()) {
    float sum[general_rows] = {};
    for (int k = 0; k < in; k++) {
      const float w = weight[int64_t(k) * out + column];
      LARR_UNROLL
      for (int r = 0; r < general_rows; r++) sum[r] += x[r * in + k] * w;
    }
    LARR_UNROLL
    for (int r = 0; r < general_rows; r++) done(r, column, sum[r]);
  }
  block_barrier();
}

LARR_DEVICE float warp_sum(float x) {
  for (int lanes = 16; lanes > 0; lanes /= 2) x += warp_shuffle_xor(x, lanes);
  return x;
}

// One row a warp.
LARR_DEVICE void general_normalise(float* x, int dim, const float* weight, const float* bias) {
  float* row = x + warp_index() * dim;
  const float scale = 1.0f / float(dim);
  float mean = 0, square = 0;
  for (int i = lane_index(); i < dim; i += 32) mean += row[i];
  mean = warp_sum(mean) * scale;
  for (int i = lane_index(); i < dim; i += 32) square += (row[i] - mean) * (row[i] - mean);
  const float inverse = 1.0f / sqrtf(warp_sum(square) * scale + 1e-5f);
  for (int i = lane_index(); i < dim; i += 32) row[i] = (row[i] - mean) * inverse * weight[i] + bias[i];
  block_barrier();
}

LARR_KERNEL void LARR_BOUNDS(general_threads, 1) encode_general(EncoderPlan p, EncoderCall call) {
  const int d = p.dim, thread = thread_index(), wide = d > p.out ? d : p.out;
  const auto* values = static_cast<const float*>(p.values);
  const auto* attended = static_cast<const float*>(p.weights);
  const float *ffn1 = attended + int64_t(d) * d, *ffn2 = ffn1 + int64_t(d) * p.ffn, *head1 = ffn2 + int64_t(d) * p.ffn, *head2 = head1 + int64_t(d) * p.head_hidden;
  const float *residual = p.vectors, *norm1_weight = residual + d, *norm1_bias = norm1_weight + d, *ffn2_bias = norm1_bias + d;
  const float *norm2_weight = ffn2_bias + d, *norm2_bias = norm2_weight + d, *ffn1_bias = norm2_bias + d;
  const float *head1_bias = ffn1_bias + p.ffn, *head2_bias = head1_bias + p.head_hidden;

  auto* x = reinterpret_cast<float*>(shared_memory());  // [general_rows][d or out]
  float *h = x + general_rows * wide, *hidden = h + general_rows * wide;
  auto* normalisers = reinterpret_cast<Normaliser*>(hidden + general_rows * (p.ffn > p.head_hidden ? p.ffn : p.head_hidden));
  auto* tokens = reinterpret_cast<int32_t*>(normalisers + general_rows * p.heads);

  for (int64_t first = int64_t(block_x()) * general_rows; first < call.n; first += int64_t(grid_x()) * general_rows) {
    read_tokens(p, call, first, general_rows, thread, general_threads, tokens);
    block_barrier();
    normalise_attention(p, call, first, general_rows, thread, general_threads, tokens, normalisers);
    block_barrier();
    for (int i = thread; i < general_rows * d; i += general_threads) {
      const int row = i / d, column = i % d, head = column / p.head_width;
      const Normaliser normaliser = normalisers[head * general_rows + row];
      float sum = token_weight(p, 0, head, normaliser) * values[column];
      for (int f = 0; f < p.fields; f++) {
        const int32_t token = tokens[row * p.fields + f];
        if (token >= 0) sum += token_weight(p, token, head, normaliser) * values[int64_t(token) * d + column];
      }
      x[i] = sum;
    }
    block_barrier();
    general_product(x, d, attended, d, [&](int r, int c, float y) { h[r * d + c] = y + residual[c]; });
    general_normalise(h, d, norm1_weight, norm1_bias);
    general_product(h, d, ffn1, p.ffn, [&](int r, int c, float y) { hidden[r * p.ffn + c] = gelu_exact(y + ffn1_bias[c]); });
    general_product(hidden, p.ffn, ffn2, d, [&](int r, int c, float y) { x[r * d + c] = h[r * d + c] + y + ffn2_bias[c]; });
    general_normalise(x, d, norm2_weight, norm2_bias);
    general_product(x, d, head1, p.head_hidden, [&](int r, int c, float y) { hidden[r * p.head_hidden + c] = gelu_exact(y + head1_bias[c]); });
    general_product(hidden, p.head_hidden, head2, p.out, [&](int r, int c, float y) { h[r * p.out + c] = y + head2_bias[c]; });
    const int64_t row = first + warp_index();
    if (row >= call.n) continue;
    const float* mine = h + warp_index() * p.out;
    float score = 0;
    for (int c = lane_index(); c < p.out; c += 32) {
      if (call.z) call.z[row * p.out + c] = mine[c];
      if (call.scores) score += mine[c] * call.targets[row * call.target_stride + c];
    }
    if (call.scores) {
      score = warp_sum(score);
      if (lane_index() == 0) call.scores[row] = score;
    }
  }
}

// ---- The k best of many scores: digit by digit, from the highest, the bound that exactly k of the keys reach.

constexpr int select_passes = 6, select_bits = 11, select_bins = 1 << select_bits, select_threads = 256;

// All zeros at the start.
struct Selection {
  uint32_t histogram[select_passes][select_bins];
  uint64_t prefix[select_passes + 1];   // the bound's digits so far
  uint32_t wanted[select_passes + 1];   // how many of those that share the prefix are still to be chosen
  uint32_t chosen;
};

LARR_DEVICE int select_shift(int pass) { return pass == select_passes - 1 ? 0 : 64 - select_bits * (pass + 1); }
LARR_DEVICE int select_digits(int pass) { return pass == select_passes - 1 ? 64 - select_bits * (select_passes - 1) : select_bits; }

// Better scores have greater keys, and of equal scores the lower row. No two rows have one key; NaN has 0.
LARR_DEVICE uint64_t select_key(float score, int64_t row) {
  if (score != score) return 0;
  const uint32_t bits = score == 0.0f ? 0u : float_to_bits(score);  // -0 equals 0
  const uint32_t rising = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
  return uint64_t(rising) << 32 | uint32_t(~uint32_t(row));
}

// From the histogram of a pass, the prefix with its digit; written down by block 0 for the pass after the next.
LARR_DEVICE uint64_t select_prefix(Selection* s, int passes, uint32_t k, uint32_t* shared) {
  const int thread = thread_index();
  uint32_t *sums = shared, *result = shared + select_threads;
  if (passes == 0) {
    if (block_x() == 0 && thread == 0) s->wanted[0] = k;
    return 0;
  }
  const uint32_t* histogram = s->histogram[passes - 1];
  const uint32_t wanted = passes == 1 ? k : s->wanted[passes - 1];
  constexpr int each = select_bins / select_threads;
  uint32_t mine = 0;
  for (int i = 0; i < each; i++) mine += histogram[select_bins - 1 - (thread * each + i)];
  sums[thread] = mine;
  if (thread == 0) result[0] = 0, result[1] = wanted;  // where there are fewer than wanted: all
  block_barrier();
  for (int step = 1; step < select_threads; step *= 2) {
    const uint32_t before = thread >= step ? sums[thread - step] : 0;
    block_barrier();
    sums[thread] += before;
    block_barrier();
  }
  uint32_t above = sums[thread] - mine;
  if (above < wanted && wanted <= sums[thread]) {
    int bin = select_bins - 1 - thread * each;
    for (; above + histogram[bin] < wanted; bin--) above += histogram[bin];
    result[0] = uint32_t(bin);
    result[1] = wanted - above;
  }
  block_barrier();
  const uint64_t prefix = s->prefix[passes - 1] << select_digits(passes - 1) | result[0];
  if (block_x() == 0 && thread == 0) {
    s->prefix[passes] = prefix;
    s->wanted[passes] = result[1];
  }
  return prefix;
}

LARR_KERNEL void LARR_BOUNDS(select_threads, 1) select_count(const float* scores, int64_t n, uint32_t k, Selection* s, int pass) {
  auto* bins = reinterpret_cast<uint32_t*>(shared_memory());
  const uint64_t prefix = select_prefix(s, pass, k, bins + select_bins);
  for (int i = thread_index(); i < select_bins; i += select_threads) bins[i] = 0;
  block_barrier();
  const int shift = select_shift(pass), digits = select_digits(pass);
  for (int64_t i = int64_t(block_x()) * select_threads + thread_index(); i < n; i += int64_t(grid_x()) * select_threads) {
    const uint64_t key = select_key(scores[i], i);
    const uint64_t head = shift + digits == 64 ? 0 : key >> (shift + digits);
    if (key != 0 && head == prefix) atomic_add(&bins[key >> shift & ((uint64_t(1) << digits) - 1)], 1u);
  }
  block_barrier();
  for (int i = thread_index(); i < select_bins; i += select_threads)
    if (bins[i]) atomic_add(&s->histogram[pass][i], bins[i]);
}

// Those that reach the bound, in no order; best [k].
LARR_KERNEL void LARR_BOUNDS(select_threads, 1) select_collect(const float* scores, int64_t n, uint32_t k, Selection* s, Scored* best) {
  const uint64_t bound = select_prefix(s, select_passes, k, reinterpret_cast<uint32_t*>(shared_memory()));
  for (int64_t i = int64_t(block_x()) * select_threads + thread_index(); i < n; i += int64_t(grid_x()) * select_threads) {
    const uint64_t key = select_key(scores[i], i);
    if (key != 0 && key >= bound) best[atomic_add(&s->chosen, 1u)] = {int32_t(i), scores[i]};
  }
}

// ---- Launches.

inline void launch_encoder(const EncoderPlan& plan, const EncoderCall& call, int multiprocessors, void* stream) {
  if (call.n == 0) return;
  if (!plan.fused) {
    const int64_t blocks = (call.n + general_rows - 1) / general_rows;
    const int grid = int(blocks < 8 * multiprocessors ? blocks : 8 * multiprocessors);
    launch(encode_general, {grid}, general_threads, general_shared_bytes(plan), stream, plan, call);
    return;
  }
  // Few rows: smaller blocks, so that more multiprocessors have some.
  const int warps = call.n <= int64_t(multiprocessors) * warp_rows * fused_warps / 2 ? fused_warps / 2 : fused_warps;
  const int64_t blocks = (call.n + warps * warp_rows - 1) / (warps * warp_rows);
  const int grid = int(blocks < multiprocessors ? blocks : multiprocessors);
  const auto go = [&](auto kernel) { launch(kernel, {grid}, 32 * warps, fused_shared_bytes(plan, warps), stream, plan, call); };
  if (plan.compute == Dtype::bf16) plan.width == 64 ? go(encode_fused<Bf16Arithmetic, 64>) : go(encode_fused<Bf16Arithmetic, 128>);
  else plan.width == 64 ? go(encode_fused<F32Arithmetic, 64>) : go(encode_fused<F32Arithmetic, 128>);
}

// The best min(k, scores that are not NaN) of n, unordered, into best [k]; how many in selection->chosen. 0 < k <= n < 2^31.
inline void launch_select(const float* scores, int64_t n, int64_t k, Selection* selection, Scored* best, int multiprocessors, void* stream) {
  const int64_t blocks = (n + 8 * select_threads - 1) / (8 * select_threads);
  const int grid = int(blocks < 4 * multiprocessors ? blocks : 4 * multiprocessors);
  constexpr size_t scan = (select_threads + 2) * sizeof(uint32_t);
  for (int pass = 0; pass < select_passes; pass++)
    launch(select_count, {grid}, select_threads, select_bins * sizeof(uint32_t) + scan, stream, scores, n, uint32_t(k), selection, pass);
  launch(select_collect, {grid}, select_threads, scan, stream, scores, n, uint32_t(k), selection, best);
}

}  // namespace
}  // namespace larr::cuda
