#include <simd/avx512.h>

#include "storage.h"
namespace larr::decoder {
namespace {
struct V : avx512::V {
  static F load16(const uint16_t* p) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))), 16));
  }
  static void store16(uint16_t* p, F x) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), (__m256i)(_mm512_cvtneps_pbh(x))); }
  static F div(F a, F b) { return _mm512_div_ps(a, b); }
};
// A lane of a product's operands holds two bf16 numbers.
struct Half : V {
  static constexpr int per = 2, terms = 4;
  static F dot(F a, F b, F sum) { return _mm512_dpbf16_ps(sum, (__m512bh)(a), (__m512bh)(b)); }
};
}  // namespace
}  // namespace larr::decoder
#include "kernels.inl"
namespace larr::decoder {
const Kernels avx512bf16 = table;
}
