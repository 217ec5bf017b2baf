// Products of a block of activations with packed weights (simd/panels.h). The including source gives M::Activation and M::store.
#include "../simd/panels.h"
#include "block.inl"

namespace larr::encoder_detail {
namespace {

struct Registers {
  struct Session {
    Session() {}
  };
  static constexpr int rows = V::MR, terms = V::terms;

  template <class Activation, class Epilogue>
  static void dense(const Activation* activations, int stride, int rows_used, const Dense& d, Epilogue&& epilogue) {
    Panels<V>(d.weight, d.in, d.out).multiply(activations, stride / V::per, rows_used, epilogue);
  }
};

}  // namespace
}  // namespace larr::encoder_detail
