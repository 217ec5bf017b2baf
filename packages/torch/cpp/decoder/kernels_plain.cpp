#include <simd/plain.h>

#include "storage.h"
namespace larr::decoder {
namespace {
struct V : plain::V {
  static F load16(const uint16_t* p) { return widened<plain::V>(p); }
  static void store16(uint16_t* p, F x) { narrowed<plain::V>(p, x); }
  static F div(F a, F b) { return each([&](int i) { return a.v[i] / b.v[i]; }); }
};
using Half = V;
}  // namespace
}  // namespace larr::decoder
#include "kernels.inl"
namespace larr::decoder {
const Kernels plain = table;
}
