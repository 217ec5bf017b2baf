// What the decoder's differentiable functions share.
#pragma once

#include <cstdlib>
#include <cstring>

#include <ATen/Parallel.h>
#include <ATen/autocast_mode.h>
#include <torch/csrc/autograd/custom_function.h>

#include "decoder.h"
#include "kernels.h"

namespace larr::decoder {

/// LARR_COMPOSED=1 takes what a GPU takes on the processor too: for tests.
inline bool composedEverywhere() {
  static const bool set = [] {
    const char* value = std::getenv("LARR_COMPOSED");
    return value != nullptr && std::strcmp(value, "1") == 0;
  }();
  return set;
}

inline bool isSingle(const at::Tensor& x) { return x.scalar_type() == at::kFloat || x.scalar_type() == at::kBFloat16; }
inline bool isFused(const at::Tensor& x) { return x.is_cpu() && isSingle(x) && !composedEverywhere(); }

/// What products take now: autocast's dtype for f32 and bf16 where it is on, else the tensor's own.
inline at::ScalarType productType(const at::Tensor& x) {
  const bool cast = at::autocast::is_autocast_enabled(x.device().type()) && x.scalar_type() != at::kDouble;
  return cast ? at::autocast::get_autocast_dtype(x.device().type()) : x.scalar_type();
}

inline Matrix matrix(const at::Tensor& x) {
  if (!x.defined()) return {};
  return {x.data_ptr(), x.scalar_type() == at::kBFloat16 ? Dtype::bf16 : Dtype::f32};
}

inline void once(const char* name) {
  TORCH_CHECK(!at::GradMode::is_enabled(), name, " can be differentiated once; give it f64 tensors to differentiate twice");
}

/// Rows cut evenly over the threads, `work` numbers touched in each.
template <typename F>
void overRows(int64_t rows, int64_t work, const F& body) {
  at::parallel_for(0, rows, std::max<int64_t>(1, 16384 / std::max<int64_t>(work, 1)), body);
}

}  // namespace larr::decoder
