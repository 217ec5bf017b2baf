// What every InfoNCE kernel does alike, whatever its tiles: which pairs count, which mode a call is in, sums over a block or a warp.
#pragma once
#include "infonce_layout.h"
#include "launch.h"

namespace larr::cuda::inline LARR_SIDE::infonce {

constexpr float log2e = 1.44269504088896340736f;

LARR_DEVICE float scale_of(const Plan& p) { return p.scale_at ? *p.scale_at : p.scale_value; }

// Floats in their order as integers.
LARR_DEVICE int32_t ordered(float x) {
  const int32_t bits = int32_t(float_to_bits(x));
  return bits >= 0 ? bits : bits ^ 0x7fffffff;
}
LARR_DEVICE float unordered(int32_t bits) { return bits_to_float(uint32_t(bits >= 0 ? bits : bits ^ 0x7fffffff)); }

LARR_DEVICE bool counts(const Plan& p, int i, int j) { return i < p.batch && j < p.batch && p.ids[i] != p.ids[j]; }

// Of a float's bits without its sign: NaN, whose bits are above infinity's, wins.
LARR_DEVICE uint32_t warp_max(uint32_t bits) {
  for (int lanes = 16; lanes > 0; lanes >>= 1) {
    const uint32_t other = float_to_bits(warp_shuffle_xor(bits_to_float(bits), lanes));
    bits = other > bits ? other : bits;
  }
  return bits;
}

// |s| <= |scale| max|q| max|k|. What is not finite, or beyond what f32 has numbers for, makes the whole loss not a number. Every warp finds it for itself: a barrier costs more.
LARR_DEVICE Mode decide(const Plan& p) {
  uint32_t q_bits = 0, k_bits = 0;
  for (int i = lane_index(); i < p.norm_blocks; i += 32) {
    const uint32_t q = float_to_bits(p.norms[2 * i]) & 0x7fffffff, k = float_to_bits(p.norms[2 * i + 1]) & 0x7fffffff;
    q_bits = q > q_bits ? q : q_bits;
    k_bits = k > k_bits ? k : k_bits;
  }
  const float scale = fabsf(scale_of(p)), product = sqrtf(bits_to_float(warp_max(q_bits))) * sqrtf(bits_to_float(warp_max(k_bits))) * 1.01f;
  const float bound = scale * product;
  return !(bound < valid_limit && product < valid_limit && scale < valid_limit) ? Mode::invalid : bound <= bounded_limit ? Mode::bounded : Mode::online;
}

// Column tiles [first, end) of split y among `splits`.
LARR_DEVICE void share(int tiles, int y, int splits, int& first, int& end) {
  first = int(int64_t(tiles) * y / splits);
  end = int(int64_t(tiles) * (y + 1) / splits);
}

// Whether a pair of tiles has anything to leave out: the diagonal, the padding, groups.
LARR_DEVICE bool special(const Plan& p, int row, int rows, int column, int columns) {
  return p.groups || (row < column + columns && column < row + rows) || row + rows > p.batch || column + columns > p.batch;
}

// Adds up over the eight lanes that share t; lane group g ends with the values [g * V / 8, (g + 1) * V / 8), or all with the only one.
template <int V, int Lanes = 16>
LARR_DEVICE void reduce_columns(float* v) {
  if constexpr (Lanes >= 4) {
    if constexpr (V > 1) {
      const bool upper = (lane_index() & Lanes) != 0;
      LARR_UNROLL
      for (int i = 0; i < V / 2; i++) {
        const float other = warp_shuffle_xor(upper ? v[i] : v[i + V / 2], Lanes);
        v[i] = (upper ? v[i + V / 2] : v[i]) + other;
      }
    } else {
      v[0] += warp_shuffle_xor(v[0], Lanes);
    }
    reduce_columns<(V > 1 ? V / 2 : 1), Lanes / 2>(v);
  }
}

}  // namespace larr::cuda::infonce
