// Numbers of either storage in vectors over the register type V (simd/*.h, with bf16 loads and stores beside).
#include <simd/functions.h>
#include "kernels.h"

namespace larr::decoder {
namespace {

using F = V::F;
constexpr int W = V::W;
constexpr float log2e = 1.4426950408889634f;

int64_t up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }
template <class T>
T smaller(T a, T b) { return b < a ? b : a; }
template <class T>
T larger(T a, T b) { return a < b ? b : a; }

// ---- numbers of either storage ----

// Halves may lie in an array that is read as floats: two of them are a lane.
using Half16 = uint16_t __attribute__((may_alias));

// Elements [at, at + n), n <= W, of a matrix; zeros in the lanes beyond n.
inline F get(const Matrix& m, int64_t at, int64_t n = W) {
  if (m.dtype == Dtype::f32) {
    const float* p = static_cast<const float*>(m.data) + at;
    if (n >= W) return V::load(p);
    float part[W] = {};
    for (int64_t i = 0; i < n; i++) part[i] = p[i];
    return V::load(part);
  }
  const Half16* p = static_cast<const Half16*>(m.data) + at;
  if (n >= W) return V::load16(p);
  uint16_t part[W] = {};
  for (int64_t i = 0; i < n; i++) part[i] = p[i];
  return V::load16(part);
}

inline void put(const Matrix& m, int64_t at, F x, int64_t n = W) {
  if (m.dtype == Dtype::f32) {
    float* p = static_cast<float*>(m.data) + at;
    if (n >= W) return V::store(p, x);
    float part[W];
    V::store(part, x);
    for (int64_t i = 0; i < n; i++) p[i] = part[i];
    return;
  }
  Half16* p = static_cast<Half16*>(m.data) + at;
  if (n >= W) return V::store16(p, x);
  uint16_t part[W];
  V::store16(part, x);
  for (int64_t i = 0; i < n; i++) p[i] = part[i];
}

inline void read(const Matrix& m, int64_t at, int64_t n, float* to) {
  const Matrix floats{to, Dtype::f32};
  for (int64_t i = 0; i < n; i += W) put(floats, i, get(m, at + i, n - i), n - i);
}

inline void write(const Matrix& m, int64_t at, int64_t n, const float* from) {
  const Matrix floats{const_cast<float*>(from), Dtype::f32};
  for (int64_t i = 0; i < n; i += W) put(m, at + i, get(floats, i, n - i), n - i);
}

// e^x; below −87 it is as good as nothing. The bounds stand first: of a number and what is none, min and max give the second.
inline F exponential(F x) { return exp2_scaled<V>(V::max(V::set(-87.0f), V::min(V::set(87.0f), x)), V::set(log2e)); }
inline F sigmoid(F x) { return V::div(V::set(1), V::add(V::set(1), exponential(V::sub(V::set(0), x)))); }

// Asks for elements [at, at + n) of a matrix, which may lie beyond its end.
inline void prefetch(const Matrix& m, int64_t at, int64_t n) {
  const int64_t size = m.dtype == Dtype::f32 ? 4 : 2;
  const char* p = static_cast<const char*>(m.data);
  for (int64_t byte = at * size; byte < (at + n) * size + 63; byte += 64) __builtin_prefetch(p + byte);
}

}  // namespace
}  // namespace larr::decoder
