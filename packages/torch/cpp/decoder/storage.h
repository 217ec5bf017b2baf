// bf16 in memory, f32 in registers, for register types without instructions for it.
#pragma once
#include <cstdint>
#include <cstring>

namespace larr::decoder {
namespace {

inline float wide(uint16_t half) {
  const uint32_t bits = uint32_t(half) << 16;
  float x;
  std::memcpy(&x, &bits, 4);
  return x;
}

// To the nearest bf16, ties to even; a NaN stays one.
inline uint16_t narrow(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  const uint32_t rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
  return uint16_t((bits & 0x7fffffff) > 0x7f800000 ? (bits >> 16 | 0x40) : rounded);
}

template <class V>
typename V::F widened(const uint16_t* p) {
  float x[V::W];
  for (int i = 0; i < V::W; i++) x[i] = wide(p[i]);
  return V::load(x);
}

template <class V>
void narrowed(uint16_t* p, typename V::F value) {
  float x[V::W];
  V::store(x, value);
  for (int i = 0; i < V::W; i++) p[i] = narrow(x[i]);
}

}  // namespace
}  // namespace larr::decoder
