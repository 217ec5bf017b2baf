// exp2 and GELU over any of the register types. No <cmath>: everything here must stay inside the including source's instruction set.
#pragma once
#include "tables.h"

namespace larr {

// 2^(x c) for |x c| <= 126. Terms = 6: relative error 1e-7; 4: 8e-5.
template <class V, int Terms = 6>
inline __attribute__((always_inline)) typename V::F exp2_scaled(typename V::F x, typename V::F c) {
  const auto magic = V::set(12582912.0f);
  const auto t = V::fma(x, c, magic);
  const auto r = V::fma(x, c, V::sub(magic, t));
  const float* p = Terms == 6 ? exp2_5 : exp2_3;
  auto y = V::set(p[Terms - 1]);
#pragma GCC unroll 8
  for (int i = Terms - 2; i >= 0; i--) y = V::fma(y, r, V::set(p[i]));
  return V::scale2(y, t);
}

// x Phi(x), the erf form. Terms = 6: absolute error of Phi 4e-8; 4: 3e-6.
template <class V, int Terms = 6>
inline __attribute__((always_inline)) typename V::F gelu(typename V::F x) {
  const auto magic = V::set(12582912.0f);
  const auto a = V::abs(x);
  const auto u = V::min(V::mul(a, V::set(1 / gelu_step)), V::set(15.49f));
  const auto t = V::add(u, magic);
  const auto f = V::sub(u, V::sub(t, magic));
  const float(*table)[16] = Terms == 6 ? gelu_5 : gelu_3;
  auto y = V::lookup(table[Terms - 1], t);
#pragma GCC unroll 8
  for (int i = Terms - 2; i >= 0; i--) y = V::fma(y, f, V::lookup(table[i], t));
  return V::fma(a, y, V::mul(x, V::set(0.5f)));
}

}  // namespace larr
