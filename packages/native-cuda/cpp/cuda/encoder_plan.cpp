#include "encoder_plan.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <string>

#include "../encoder/plan.h"
#include "../simd/bf16.h"
#include "larr/cuda_encoder.h"

namespace larr::cuda {
namespace {

int round_up(int n, int to) { return (n + to - 1) / to * to; }

uint32_t bits_of(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  return bits;
}
uint32_t bf16_bits(float x) { return top_half(nearest(x, 16)); }

// Weights [16 summed, 16 out] in the order in which lanes feed them to the tensor cores: lane (g, t) reads its words 16 bytes at a time.
// at(k, n) gives one weight. Within each 8 summed columns lane t owns 2t and 2t + 1, as it does of an accumulator: so a product's
// result is the next product's operand without leaving the registers.
template <class At>
void pack_block(Dtype compute, const At& at, char* to) {
  auto* words = reinterpret_cast<uint32_t*>(to);
  for (int lane = 0; lane < 32; lane++) {
    const int g = lane / 4, t = lane % 4;
    for (int w = 0; w < 4; w++) {  // word w: 8 summed columns w % 2 of 8 outputs w / 2
      const int k = w % 2 * 8 + 2 * t, n = w / 2 * 8 + g;
      if (compute == Dtype::bf16) {
        words[lane * 4 + w] = bf16_bits(at(k, n)) | bf16_bits(at(k + 1, n)) << 16;
      } else {
        uint32_t* pair = words + (w * 32 + lane) * 4;
        for (int e = 0; e < 2; e++) {
          const float high = nearest(at(k + e, n), 13);
          pair[e] = bits_of(high);
          pair[2 + e] = bits_of(nearest(at(k + e, n) - high, 13));
        }
      }
    }
  }
}

// A stage: weights [depth summed, wide out].
template <class At>
char* pack_stage(Dtype compute, int depth, int wide, const At& at, char* to) {
  for (int k = 0; k < depth; k += 16)
    for (int n = 0; n < wide; n += 16) {
      pack_block(compute, [&](int dk, int dn) { return at(k + dk, n + dn); }, to);
      to += 256 * weight_bytes(compute);
    }
  return to;
}

// weight [out, in], zero outside.
struct Matrix {
  const float* weight;
  int out, in;
  float operator()(int k, int n) const { return k < in && n < out ? weight[int64_t(n) * in + k] : 0.0f; }
};

// Which column of the values a lane holds in the place of column `slot`: each of four neighbouring lanes loads 8 columns together.
int value_column(int slot) {
  const int tile = slot / 8, t = slot % 8 / 2, e = slot % 2;
  return tile / 4 * 32 + t * 8 + tile % 4 * 2 + e;
}

void pack_fused(const EncoderPlan& p, const EncoderShape& s, const EncoderWeights& w, char* to) {
  const int width = p.width, chunk = hidden_chunk(p.compute), head_dim = s.dim / s.heads;
  const Matrix attended{w.out_proj_weight, s.dim, s.dim}, ffn1{w.ffn1_weight, s.ffn, s.dim}, ffn2{w.ffn2_weight, s.dim, s.ffn};
  const Matrix head1{w.head1_weight, s.head_hidden, s.dim}, head2{w.head2_weight, s.out, s.head_hidden};
  for (int n = 0; n < width; n += chunk)
    to = pack_stage(p.compute, width, chunk, [&](int k, int dn) {
      const int column = value_column(k), head = column / p.head_width, within = column % p.head_width;
      return head < s.heads && within < head_dim ? attended(head * head_dim + within, n + dn) : 0.0f;
    }, to);
  const auto through = [&](const Matrix& in, const Matrix& out, int hidden, int n) {
    for (int c = 0; c < hidden; c += chunk) {
      to = pack_stage(p.compute, width, chunk, [&](int k, int dn) { return in(k, c + dn); }, to);
      to = pack_stage(p.compute, chunk, width, [&](int dk, int dn) { return out(c + dk, n + dn); }, to);
    }
  };
  through(ffn1, ffn2, p.ffn, 0);
  for (int n = 0; n < p.out_wide; n += width) through(head1, head2, p.head_hidden, n);
}

void pack_general(const EncoderShape& s, const EncoderWeights& w, float* to) {
  for (const Matrix& m : {Matrix{w.out_proj_weight, s.dim, s.dim}, Matrix{w.ffn1_weight, s.ffn, s.dim}, Matrix{w.ffn2_weight, s.dim, s.ffn},
                          Matrix{w.head1_weight, s.head_hidden, s.dim}, Matrix{w.head2_weight, s.out, s.head_hidden}})
    for (int k = 0; k < m.in; k++)
      for (int n = 0; n < m.out; n++) *to++ = m(k, n);
}

EncoderPlan fused_plan(const EncoderShape& s, Dtype compute) {
  EncoderPlan p{};
  const int chunk = hidden_chunk(compute);
  p.compute = compute;
  p.fused = true;
  p.head_width = round_up(s.dim / s.heads, 8);
  p.width = std::max(s.dim, s.heads * p.head_width) <= 64 ? 64 : 128;
  p.ffn = round_up(s.ffn, chunk);
  p.head_hidden = round_up(s.head_hidden, chunk);
  p.out_wide = round_up(s.out, p.width);
  p.stages = p.width / chunk + 2 * (p.ffn + p.out_wide / p.width * p.head_hidden) / chunk;
  return p;
}

EncoderPlan general_plan(const EncoderShape& s, Dtype compute) {
  EncoderPlan p{};
  p.compute = compute;
  p.head_width = s.dim / s.heads;
  p.width = s.dim;
  p.ffn = s.ffn;
  p.head_hidden = s.head_hidden;
  p.out_wide = s.out;
  return p;
}

EncoderPlan choose_plan(const EncoderShape& s, Dtype compute, size_t shared_limit) {
  const auto sized = [&](EncoderPlan p) {
    p.fields = s.fields, p.heads = s.heads, p.dim = s.dim, p.out = s.out;
    p.vector_count = 6 * p.width + p.ffn + p.head_hidden + p.out_wide;
    return p;
  };
  if (s.dim <= 128 && int64_t(s.heads) * round_up(s.dim / s.heads, 8) <= 128) {
    const EncoderPlan p = sized(fused_plan(s, compute));
    if (fused_shared_bytes(p, fused_warps) <= shared_limit) return p;
  }
  const EncoderPlan p = sized(general_plan(s, compute));
  if (general_shared_bytes(p) > shared_limit)
    throw CudaTooWide("scene encoder: " + std::to_string(general_rows) + " rows of d = " + std::to_string(s.dim) + ", ffn = " + std::to_string(s.ffn) +
                                ", headHidden = " + std::to_string(s.head_hidden) + ", out = " + std::to_string(s.out) + " and " + std::to_string(s.fields) +
                                " fields need " + std::to_string(general_shared_bytes(p)) + " bytes of shared memory, this GPU's blocks have " +
                                std::to_string(shared_limit));
  return p;
}

}  // namespace

size_t fused_shared_bytes(const EncoderPlan& p, int warps) {
  const size_t ring = size_t(ring_slots) * size_t(p.width * hidden_chunk(p.compute) * weight_bytes(p.compute));
  const size_t per_warp = warp_rows * (sizeof(int32_t) * size_t(p.fields) + 2 * sizeof(float) * size_t(p.heads));
  return ring + sizeof(float) * size_t(p.vector_count) + size_t(warps) * per_warp;
}

size_t general_shared_bytes(const EncoderPlan& p) {
  const size_t activations = 2 * size_t(std::max(p.dim, p.out)) + size_t(std::max(p.ffn, p.head_hidden));
  return general_rows * (sizeof(int32_t) * size_t(p.fields) + 2 * sizeof(float) * size_t(p.heads) + sizeof(float) * activations);
}

EncoderPlan EncoderImage::at(const void* base) const {
  const char* from = static_cast<const char*>(base);
  EncoderPlan p = plan;
  p.field_of = reinterpret_cast<const int32_t*>(from + field_of);
  p.logits = reinterpret_cast<const float*>(from + logits);
  p.values = from + values;
  p.weights = from + weights;
  p.vectors = reinterpret_cast<const float*>(from + vectors);
  return p;
}

EncoderImage pack_encoder(const EncoderShape& s, const EncoderWeights& w, const EncoderTable& table, Dtype compute, size_t shared_limit) {
  encoder_detail::check(s, table);
  EncoderImage image;
  EncoderPlan& p = image.plan;
  p = choose_plan(s, compute, shared_limit);
  p.entries = table.entries;
  const bool narrow = p.fused && compute == Dtype::bf16;
  const size_t tokens = size_t(1 + table.entries), d = size_t(s.dim), width = size_t(p.width);
  const size_t general_weights = d * d + 2 * d * size_t(s.ffn) + size_t(s.head_hidden) * (d + size_t(s.out));

  size_t used = 0;
  const auto take = [&](size_t size) {
    const size_t at = used;
    used += (size + 255) / 256 * 256;
    return at;
  };
  image.field_of = take(sizeof(int32_t) * size_t(table.entries));
  image.logits = take(sizeof(float) * tokens * size_t(s.heads));
  image.values = take((narrow ? 2 : 4) * tokens * width);
  image.weights = take(p.fused ? size_t(p.stages) * width * size_t(hidden_chunk(compute) * weight_bytes(compute)) : sizeof(float) * general_weights);
  image.vectors = take(sizeof(float) * size_t(p.vector_count));
  image.bytes.assign(used, 0);
  char* base = image.bytes.data();

  if (table.entries) std::memcpy(base + image.field_of, table.field_of, sizeof(int32_t) * size_t(table.entries));
  std::vector<float> values(tokens * d);
  encoder_detail::fold(s, w, table, reinterpret_cast<float*>(base + image.logits), values.data(), s.dim);
  const int head_dim = s.dim / s.heads;
  for (size_t token = 0; token < tokens; token++)
    for (int i = 0; i < s.dim; i++) {
      const size_t at = token * width + size_t(i / head_dim * p.head_width + i % head_dim);
      const float value = values[token * d + size_t(i)];
      if (narrow) reinterpret_cast<uint16_t*>(base + image.values)[at] = uint16_t(bf16_bits(value));
      else reinterpret_cast<float*>(base + image.values)[at] = value;
    }
  if (p.fused) pack_fused(p, s, w, base + image.weights);
  else pack_general(s, w, reinterpret_cast<float*>(base + image.weights));

  auto* vectors = reinterpret_cast<float*>(base + image.vectors);
  const auto vector = [&](const float* from, int count, int wide) {
    std::copy(from, from + count, vectors);
    vectors += wide;
  };
  for (int i = 0; i < s.dim; i++) vectors[i] = w.agg[i] + w.out_proj_bias[i];
  vectors += width;
  for (const float* from : {w.norm1_weight, w.norm1_bias, w.ffn2_bias, w.norm2_weight, w.norm2_bias}) vector(from, s.dim, p.width);
  vector(w.ffn1_bias, s.ffn, p.ffn);
  vector(w.head1_bias, s.head_hidden, p.head_hidden);
  vector(w.head2_bias, s.out, p.out_wide);
  return image;
}

}  // namespace larr::cuda
