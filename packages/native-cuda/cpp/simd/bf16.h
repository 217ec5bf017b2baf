// bf16 as the upper half of a float that has been rounded already (infonce.cpp and encoder.cpp round to nearest, ties to even).
#pragma once
#include <cstdint>
#include <cstring>

namespace larr {
namespace {

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
