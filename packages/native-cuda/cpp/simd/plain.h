// Four floats in an array: the same vocabulary as the vector registers, for any machine. The compiler makes of it what it can.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>

namespace larr::plain {

struct V {
  struct F {
    float v[4];
  };
  static constexpr int W = 4;
  static constexpr int MR = 3, NV = 2;
  template <class Op>
  static F each(Op op) {
    F r;
    for (int i = 0; i < W; i++) r.v[i] = op(i);
    return r;
  }
  static F load(const float* p) { return each([&](int i) { return p[i]; }); }
  static void store(float* p, F x) { std::memcpy(p, x.v, sizeof x.v); }
  static F set(float x) { return each([&](int) { return x; }); }
  static F add(F a, F b) { return each([&](int i) { return a.v[i] + b.v[i]; }); }
  static F sub(F a, F b) { return each([&](int i) { return a.v[i] - b.v[i]; }); }
  static F mul(F a, F b) { return each([&](int i) { return a.v[i] * b.v[i]; }); }
  static F fma(F a, F b, F c) { return each([&](int i) { return a.v[i] * b.v[i] + c.v[i]; }); }
  // A lane of a product's operands: one float.
  static constexpr int per = 1;
  static F dot(F a, F b, F sum) { return fma(a, b, sum); }
  // Terms of the polynomials (functions.h).
  static constexpr int terms = 6;
  static F max(F a, F b) { return each([&](int i) { return a.v[i] > b.v[i] ? a.v[i] : b.v[i]; }); }
  static F min(F a, F b) { return each([&](int i) { return a.v[i] < b.v[i] ? a.v[i] : b.v[i]; }); }
  // x where y > 0 or is no number, else 0.
  static F rectified(F y, F x) { return each([&](int i) { return y.v[i] <= 0 ? 0 : x.v[i]; }); }
  static F abs(F a) { return each([&](int i) { return std::fabs(a.v[i]); }); }
  static float sum(F a) { return (a.v[0] + a.v[1]) + (a.v[2] + a.v[3]); }
  static float top(F a) { return std::fmax(std::fmax(a.v[0], a.v[1]), std::fmax(a.v[2], a.v[3])); }
  static uint32_t bits(float x) {
    uint32_t u;
    std::memcpy(&u, &x, 4);
    return u;
  }
  // p * 2^n, where t = n + 1.5 * 2^23
  static F scale2(F p, F t) {
    return each([&](int i) {
      const uint32_t u = bits(p.v[i]) + (bits(t.v[i]) << 23);
      float x;
      std::memcpy(&x, &u, 4);
      return x;
    });
  }
  // table[low four bits of t]
  static F lookup(const float* table, F t) {
    return each([&](int i) { return table[bits(t.v[i]) & 15]; });
  }
  // e where groups differ, otherwise `else_value`
  static F if_differ(F e, const int32_t* groups, int32_t group, F else_value) {
    return each([&](int i) { return groups[i] == group ? else_value.v[i] : e.v[i]; });
  }
};

}  // namespace larr::plain
