// bf16 as the upper half of a float, and rounding to it and to other short fractions.
#pragma once
#include <cstdint>
#include <cstring>

namespace larr {
namespace {

// To the nearest float whose fraction's last `dropped` bits are 0, ties to even: 16 leaves bf16, 13 tf32.
inline float nearest(float x, int dropped) {
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  if ((bits & 0x7f800000) == 0x7f800000) return x;  // infinite, NaN
  const uint32_t unit = 1u << dropped;
  bits = (bits + (unit / 2 - 1) + (bits >> dropped & 1)) & ~(unit - 1);
  std::memcpy(&x, &bits, 4);
  return x;
}

inline float from_bf16(uint16_t half) {
  const uint32_t bits = uint32_t(half) << 16;
  float x;
  std::memcpy(&x, &bits, 4);
  return x;
}

// Of a float that has been rounded already.
inline uint16_t top_half(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  return uint16_t(bits >> 16);
}

// Rows [row, end) of x, two and two: to[row / 2][column][row % 2].
inline void pack_row_pairs(const float* x, int64_t row, int64_t end, int64_t stride, uint16_t* to) {
  for (int64_t i = row; i < end; i++)
    for (int64_t c = 0; c < stride; c++) to[(i / 2 * stride + c) * 2 + i % 2] = top_half(x[i * stride + c]);
}

}  // namespace
}  // namespace larr
