#include "dense.inl"

namespace larr::encoder_detail {
namespace {

struct M : Registers {
  using Activation = float;
  static void store(float* p, F x) { V::store(p, x); }
};

size_t packed_bytes(int out, int in) { return sizeof(float) * size_t(out) * size_t(in); }

void pack(const float* weight, int out, int in, void* packed) { pack_panels<V>(weight, out, in, static_cast<float*>(packed)); }

}  // namespace
}  // namespace larr::encoder_detail
