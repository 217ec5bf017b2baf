#include <simd/avx2.h>

#include "storage.h"
namespace larr::decoder {
namespace {
struct V : avx2::V {
  static F load16(const uint16_t* p) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))), 16));
  }
  static void store16(uint16_t* p, F x) { narrowed<avx2::V>(p, x); }
  static F div(F a, F b) { return _mm256_div_ps(a, b); }
  static void prefetchToWrite(const void* p) { asm volatile("prefetchw %0" : : "m"(*static_cast<const char*>(p))); }
  // x where y > 0 or is no number, else 0.
  static F rectified(F y, F x) { return _mm256_and_ps(_mm256_cmp_ps(y, _mm256_setzero_ps(), _CMP_NLE_UQ), x); }
};
using Half = V;
}  // namespace
}  // namespace larr::decoder
#include "kernels.inl"
namespace larr::decoder {
const Kernels avx2 = table;
}
