// Sixteen floats in an AVX-512 register. Included only by sources built with -mavx512f -mavx512dq -mavx512bw -mavx512vl -mfma.
#pragma once
#include <immintrin.h>

#include <cstdint>

namespace larr::avx512 {

struct V {
  using F = __m512;
  static constexpr int W = 16;
  // Register block of a product: MR rows of NV vectors (24 of 32 registers accumulate).
  static constexpr int MR = 6, NV = 4;
  static F load(const float* p) { return _mm512_loadu_ps(p); }
  static void store(float* p, F x) { _mm512_storeu_ps(p, x); }
  static F set(float x) { return _mm512_set1_ps(x); }
  static F add(F a, F b) { return _mm512_add_ps(a, b); }
  static F sub(F a, F b) { return _mm512_sub_ps(a, b); }
  static F mul(F a, F b) { return _mm512_mul_ps(a, b); }
  static F fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
  // A lane of a product's operands: one float.
  static constexpr int per = 1;
  static F dot(F a, F b, F sum) { return fma(a, b, sum); }
  // Terms of the polynomials (functions.h).
  static constexpr int terms = 6;
  static F max(F a, F b) { return _mm512_max_ps(a, b); }
  static F min(F a, F b) { return _mm512_min_ps(a, b); }
  // x where y > 0 or is no number, else 0.
  static F rectified(F y, F x) { return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(y, _mm512_setzero_ps(), _CMP_NLE_UQ), x); }
  static F abs(F a) { return _mm512_abs_ps(a); }
  static float sum(F a) { return _mm512_reduce_add_ps(a); }
  static float top(F a) { return _mm512_reduce_max_ps(a); }
  // p * 2^n, where t = n + 1.5 * 2^23
  static F scale2(F p, F t) {
    return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(p), _mm512_slli_epi32(_mm512_castps_si512(t), 23)));
  }
  // table[low four bits of t]
  static F lookup(const float* table, F t) { return _mm512_permutexvar_ps(_mm512_castps_si512(t), _mm512_load_ps(table)); }
  // e where groups differ, otherwise `else_value`
  static F if_differ(F e, const int32_t* groups, int32_t group, F else_value) {
    return _mm512_mask_mov_ps(e, _mm512_cmpeq_epi32_mask(_mm512_loadu_si512(groups), _mm512_set1_epi32(group)), else_value);
  }
};

}  // namespace larr::avx512
