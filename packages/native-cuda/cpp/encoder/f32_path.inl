#include "dense.inl"

namespace larr::encoder_detail {
namespace {

struct M : Registers {
  using Activation = float;
  static void store(float* p, F x) { V::store(p, x); }
};

size_t packed_bytes(int out, int in) { return sizeof(float) * size_t(out) * size_t(in); }

void pack(const float* weight, int out, int in, void* packed) {
  auto* to = static_cast<float*>(packed);
  for (int panel = 0; panel < out; panel += W)
    for (int s = 0; s < in; s++)
      for (int l = 0; l < W; l++) *to++ = weight[int64_t(panel + l) * in + s];
}

}  // namespace
}  // namespace larr::encoder_detail
