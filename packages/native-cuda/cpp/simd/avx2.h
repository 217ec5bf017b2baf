// Eight floats in an AVX register. Included only by sources built with -mavx2 -mfma.
#pragma once
#include <immintrin.h>

#include <cstdint>

namespace larr::avx2 {

struct V {
  using F = __m256;
  static constexpr int W = 8;
  // Register block of a product: MR rows of NV vectors (12 of 16 registers accumulate).
  static constexpr int MR = 6, NV = 2;
  static F load(const float* p) { return _mm256_loadu_ps(p); }
  static void store(float* p, F x) { _mm256_storeu_ps(p, x); }
  static F set(float x) { return _mm256_set1_ps(x); }
  static F add(F a, F b) { return _mm256_add_ps(a, b); }
  static F sub(F a, F b) { return _mm256_sub_ps(a, b); }
  static F mul(F a, F b) { return _mm256_mul_ps(a, b); }
  static F fma(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }
  // A lane of a product's operands: one float.
  static constexpr int per = 1;
  static F dot(F a, F b, F sum) { return fma(a, b, sum); }
  // Terms of the polynomials (functions.h).
  static constexpr int terms = 6;
  static F max(F a, F b) { return _mm256_max_ps(a, b); }
  static F min(F a, F b) { return _mm256_min_ps(a, b); }
  // x where y > 0 or is no number, else 0.
  static F rectified(F y, F x) { return _mm256_and_ps(_mm256_cmp_ps(y, _mm256_setzero_ps(), _CMP_NLE_UQ), x); }
  static F abs(F a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a); }
  static float sum(F a) {
    __m128 x = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    x = _mm_add_ps(x, _mm_movehl_ps(x, x));
    return _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)));
  }
  static float top(F a) {
    __m128 x = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    x = _mm_max_ps(x, _mm_movehl_ps(x, x));
    return _mm_cvtss_f32(_mm_max_ss(x, _mm_movehdup_ps(x)));
  }
  // p * 2^n, where t = n + 1.5 * 2^23
  static F scale2(F p, F t) {
    return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(p), _mm256_slli_epi32(_mm256_castps_si256(t), 23)));
  }
  // table[low four bits of t]
  static F lookup(const float* table, F t) {
    const __m256i index = _mm256_castps_si256(t);
    const F low = _mm256_permutevar8x32_ps(_mm256_load_ps(table), index), high = _mm256_permutevar8x32_ps(_mm256_load_ps(table + 8), index);
    return _mm256_blendv_ps(low, high, _mm256_castsi256_ps(_mm256_slli_epi32(index, 28)));
  }
  // e where groups differ, otherwise `else_value`
  static F if_differ(F e, const int32_t* groups, int32_t group, F else_value) {
    const __m256i same = _mm256_cmpeq_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(groups)), _mm256_set1_epi32(group));
    return _mm256_blendv_ps(e, else_value, _mm256_castsi256_ps(same));
  }
};

}  // namespace larr::avx2
