// The CUDA runtime's calls, checked; in the tests those of test/runtime/cuda_runtime_api.h.
#pragma once
#include <cuda_runtime_api.h>

#include <string>

#include "larr/cuda.h"
#include "side.h"

namespace larr::cuda::inline LARR_SIDE {

inline void check(cudaError_t result, const char* what) {
  if (result == cudaSuccess) return;
  cudaGetLastError();  // a sticky error would be reported again by the next, innocent call
  throw Failure(int(result), std::string("CUDA, ") + what + ": " + cudaGetErrorString(result));
}

}  // namespace larr::cuda
