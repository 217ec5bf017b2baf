// One number of AdamW in ten bytes: what the loops of the processor (compact.cpp) and of CUDA (compact.cu) share, so that both give the
// same bits. Compile without contraction to fused multiply-adds.
//
// An f32 master weight lies in two halves: the nearest bf16, which products take as it is, and the difference of their bits, an int16:
//   master's bits = (bf16's bits << 16) + difference
// A tie goes away from zero. To even, 65,537 masters would share a bf16 with an even last bit, one more than 16 bits tell apart.
// Moments are bf16, rounded up or down by chance in proportion (Gupta et al. 2015): to the nearest, a mean of squares that moves by less
// than half a step would stand still. The random numbers are a hash of a key and the number's place: on every machine the same.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#ifdef __CUDACC__
#define LARR_EACH __host__ __device__ inline
#else
#define LARR_EACH inline __attribute__((always_inline))
#endif

namespace larr::compact {

struct Key {
  uint32_t a, b;
};

/// The numbers of a step that all weights of a tensor share.
struct Step {
  float beta1, rest1, beta2, rest2, eps;  // rest = 1 − beta
  float keep;                             // 1 − lr · weightDecay
  float size;                             // lr ∕ (1 − β₁ᵗ)
  float rootCorrection;                   // 1 ∕ √(1 − β₂ᵗ)
  Key key;
};

constexpr uint32_t mixer1 = 0x7feb352d, mixer2 = 0x846ca68b;

/// A bijection of 32 bits whose every output bit hangs on every input bit (C. Wellons, "Prospecting for hash functions", lowbias32).
LARR_EACH uint32_t mixed(uint32_t x) {
  x ^= x >> 16;
  x *= mixer1;
  x ^= x >> 15;
  x *= mixer2;
  x ^= x >> 16;
  return x;
}

LARR_EACH uint32_t randomBits(Key key, uint32_t place) { return mixed(mixed(place ^ key.a) ^ key.b); }

LARR_EACH uint32_t bitsOf(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  return bits;
}

LARR_EACH float ofBits(uint32_t bits) {
  float x;
  std::memcpy(&x, &bits, 4);
  return x;
}

/// One NaN for all: others would round to numbers.
LARR_EACH uint32_t quiet(uint32_t bits) { return (bits & 0x7fffffffu) > 0x7f800000u ? 0x7fc00000u : bits; }

LARR_EACH float wide(uint16_t high) { return ofBits(uint32_t(high) << 16); }

LARR_EACH float joined(uint16_t high, int16_t low) { return ofBits((uint32_t(high) << 16) + uint32_t(int32_t(low))); }

LARR_EACH void split(float x, uint16_t& high, int16_t& low) {
  const uint32_t bits = quiet(bitsOf(x)), upper = (bits + 0x8000u) >> 16;
  high = uint16_t(upper);
  low = int16_t(uint16_t(bits - (upper << 16)));
}

/// To one of the two bf16 beside x, to each as often as x is near it; `chance` below 2¹⁶.
LARR_EACH uint16_t byChance(float x, uint32_t chance) { return uint16_t((quiet(bitsOf(x)) + chance) >> 16); }

LARR_EACH void update(uint16_t& high, int16_t& low, uint16_t gradient, uint16_t& mean, uint16_t& square, uint32_t place, const Step& s) {
  const uint32_t chance = randomBits(s.key, place);
  const float g = wide(gradient);
  const float m = s.beta1 * wide(mean) + s.rest1 * g;
  const float v = s.beta2 * wide(square) + s.rest2 * g * g;
  const float master = joined(high, low) * s.keep - s.size * m / (sqrtf(v) * s.rootCorrection + s.eps);
  split(master, high, low);
  mean = byChance(m, chance & 0xffff);
  square = byChance(v, chance >> 16);
}

LARR_EACH void accumulate(uint16_t& sum, uint16_t gradient, uint32_t place, Key key) {
  sum = byChance(wide(sum) + wide(gradient), randomBits(key, place) >> 16);
}

#ifdef LARR_TORCH_CUDA
/// The same over `count` numbers on the current device, in compact.cu. `stream` is a cudaStream_t. → a cudaError_t
int updateOnCuda(uint16_t* high, int16_t* low, const uint16_t* gradient, uint16_t* mean, uint16_t* square, int64_t count, const Step& step, void* stream);
int accumulateOnCuda(uint16_t* sum, const uint16_t* gradient, int64_t count, Key key, void* stream);
#endif

}  // namespace larr::compact
