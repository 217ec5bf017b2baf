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
};
using Half = V;
}  // namespace
}  // namespace larr::decoder
#include "kernels.inl"
namespace larr::decoder {
const Kernels avx2 = table;
}
