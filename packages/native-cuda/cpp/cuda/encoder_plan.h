// The folded scene encoder as the GPU kernels want it: one image of bytes, made on the host and uploaded once, and the plan that says
// what lies where. Plain C++, so the emulated tests pack exactly what a GPU gets.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "larr/kernels.h"

namespace larr::cuda {

// Rows of one warp: the height of a tensor-core product.
constexpr int warp_rows = 16;
// What the fused kernel asks of a block: columns of hidden units at a time, and weight pieces ("stages") under way or in use.
constexpr int hidden_chunk(Dtype compute) { return compute == Dtype::bf16 ? 64 : 32; }
constexpr int ring_slots = 4;
// Warps of a full block.
constexpr int fused_warps = 8;
// Bytes of a packed weight: bf16, or two tf32 numbers whose sum is the f32 to 21 bits.
constexpr int weight_bytes(Dtype compute) { return compute == Dtype::bf16 ? 2 : 8; }
// Rows of a block of the general kernel.
constexpr int general_rows = 4;

// Passed to kernels by value. All pointers are the device's, into one image.
struct EncoderPlan {
  Dtype compute;
  bool fused;                     // the tensor-core kernel of this width, or the general one
  int fields, heads, dim, out;    // as given
  int64_t entries;
  int width;                      // dim, padded: 64 or 128 if fused, otherwise dim itself
  int head_width;                 // columns a head takes among the values: a multiple of 8 if fused
  int ffn, head_hidden, out_wide; // padded: to chunks and to `width` if fused
  int vector_count;               // floats in `vectors`
  int stages;                     // fused: pieces of `weights`, each width * hidden_chunk elements
  const int32_t* field_of;        // [entries]
  const float* logits;            // [1 + entries, heads], times log2(e); token 0 is the aggregation token, 1 + e entry e
  const void* values;             // [1 + entries, width] bf16 or f32; fused: heads side by side, each padded to head_width
  const void* weights;            // fused: stages in the order of use; general: five matrices [in, out] in f32
  const float* vectors;           // residual, norm1 weight, norm1 bias, ffn2 bias, norm2 weight, norm2 bias [width each],
                                  // ffn1 bias [ffn], head1 bias [head_hidden], head2 bias [out_wide]
};

size_t fused_shared_bytes(const EncoderPlan& p, int warps);
size_t general_shared_bytes(const EncoderPlan& p);

struct EncoderImage {
  std::vector<char> bytes;
  // The plan for the image lying at `base`, 16-byte aligned.
  EncoderPlan at(const void* base) const;

  EncoderPlan plan{};
  size_t field_of = 0, logits = 0, values = 0, weights = 0, vectors = 0;  // offsets
};

// Folds the table and packs the weights. shared_limit: the most shared memory a block may have, in bytes. Throws std::invalid_argument
// where the sizes make no sense or one row's activations are wider than a block's shared memory.
EncoderImage pack_encoder(const EncoderShape& shape, const EncoderWeights& weights, const EncoderTable& table, Dtype compute, size_t shared_limit);

}  // namespace larr::cuda
