// AVX-512 with AVX512-BF16: the register types of the decoder's loops. Included only by sources that are built for it.
#pragma once
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
  // Lane by lane, a in the lower half and b in the upper.
  static F pair(F a, F b) {
    const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    return _mm512_castsi512_ps(_mm512_permutexvar_epi16(order, (__m512i)(_mm512_cvtne2ps_pbh(b, a))));
  }
  // The same of what is bf16 already.
  static F zip(const uint16_t* a, const uint16_t* b) {
    const __m512i low = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(a)));
    const __m512i high = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(b)));
    return _mm512_castsi512_ps(_mm512_or_si512(low, _mm512_slli_epi32(high, 16)));
  }
};
}  // namespace
}  // namespace larr::decoder
