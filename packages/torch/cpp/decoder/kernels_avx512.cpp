#include <simd/avx512.h>

#include "storage.h"
namespace larr::decoder {
namespace {
struct V : avx512::V {
  static F load16(const uint16_t* p) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))), 16));
  }
  static void store16(uint16_t* p, F x) { narrowed<avx512::V>(p, x); }
  static F div(F a, F b) { return _mm512_div_ps(a, b); }
};
using Half = V;
}  // namespace
}  // namespace larr::decoder
#include "kernels.inl"
namespace larr::decoder {
const Kernels avx512 = table;
}
