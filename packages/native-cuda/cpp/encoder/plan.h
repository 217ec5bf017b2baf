// What the instruction-set paths of the scene encoder see: folded entries and packed weights.
#pragma once
#include <cstddef>
#include <cstdint>

#include "larr/kernels.h"

namespace larr::encoder_detail {

constexpr int block_rows = 48;
constexpr int pad = 32;  // widths are padded to whole registers and whole bf16 tile rows, with zeros

// y = x W^T + bias, W packed by the path.
struct Dense {
  int in, out;  // padded
  const void* weight;
  const float* bias;  // [out]
};

struct Norm {
  const float *weight, *bias;  // [dim] padded with zeros
};

struct Plan {
  int fields, heads, dim, head_dim, out;  // as given
  int width;                              // dim, padded
  const float* logits;                    // [1 + entries, heads], times log2(e); entry 0 is the aggregation token
  const float* values;                    // [1 + entries, width]
  const float* residual;                  // [width] agg + out_proj_bias
  const float* real;                      // [width] 1, and 0 where padding
  Dense attended, ffn1, ffn2, head1, head2;
  Norm norm1, norm2;
};

// Scratch of one block, cut by Path::scratch.
struct Path {
  int lanes;
  bool bf16;  // activations and weights are bf16 pairs
  // Packed size in bytes and packing of weight [out, in] (f32, zero-padded to Dense::out, Dense::in).
  size_t (*packed_bytes)(int out, int in);
  void (*pack)(const float* weight, int out, int in, void* packed);
  size_t (*scratch_bytes)(const Plan&);
  // n <= block_rows rows of entries [n, fields] (checked, -1 = missing) to z [n][z_stride]; attention [n, heads, 1 + fields] or null.
  void (*block)(const Plan&, const int32_t* rows, int n, float* z, int64_t z_stride, float* attention, void* scratch);
};

const Path& path_of(Isa isa, Dtype compute);

// Throws std::invalid_argument where the sizes or the table's fields make no sense.
void check(const EncoderShape& shape, const EncoderTable& table);
// Per token (0 is the aggregation token, 1 + e entry e) one logit a head, times log2(e), and W_v (e + pos). logits [1 + entries, heads],
// values [1 + entries][stride], of which the first d of each row are written.
void fold(const EncoderShape& shape, const EncoderWeights& weights, const EncoderTable& table, float* logits, float* values, int64_t stride);
// Throws the std::out_of_range that says why rows[row][field] = entry is not allowed.
[[noreturn]] void refuse_entry(int64_t row, int field, int32_t entry, const int32_t* field_of, int64_t entries);

extern const Path f32_plain, f32_avx2, f32_avx512, bf16_avx512, bf16_amx;

}  // namespace larr::encoder_detail
