// Weights and activations between products are bf16 pairs, multiplied and added into f32 by vdpbf16ps.
#include "../simd/avx512.h"
#include "../simd/bf16.h"
namespace larr::encoder_detail {
namespace {
struct V : avx512::V {
  static constexpr int per = 2, terms = 4;
  static F dot(F a, F b, F sum) { return _mm512_dpbf16_ps(sum, (__m512bh)(a), (__m512bh)(b)); }
};
}  // namespace
}  // namespace larr::encoder_detail
#include "dense.inl"

namespace larr::encoder_detail {
namespace {

struct M : Registers {
  using Activation = uint16_t;
  static void store(uint16_t* p, F x) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), (__m256i)(_mm512_cvtneps_pbh(x))); }
};

size_t packed_bytes(int out, int in) { return sizeof(uint16_t) * size_t(out) * size_t(in); }

void pack(const float* weight, int out, int in, void* packed) {
  auto* to = static_cast<uint16_t*>(packed);
  for (int panel = 0; panel < out; panel += W)
    for (int s = 0; s < in; s += 2)
      for (int l = 0; l < W; l++)
        for (int half = 0; half < 2; half++) *to++ = top_half(weight[int64_t(panel + l) * in + s + half]);
}

}  // namespace
const Path bf16_avx512{W, true, packed_bytes, pack, scratch_bytes<M>, block<M>};
}  // namespace larr::encoder_detail
