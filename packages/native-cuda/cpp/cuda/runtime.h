// The CUDA runtime's calls, checked.
#pragma once
#include <cuda_runtime_api.h>

#include <stdexcept>
#include <string>

namespace larr::cuda {

// What the CUDA runtime refused; `code` is its cudaError_t.
struct Failure : std::runtime_error {
  int code;
  Failure(int code, const std::string& message) : std::runtime_error(message), code(code) {}
};

inline void check(cudaError_t result, const char* what) {
  if (result == cudaSuccess) return;
  cudaGetLastError();  // a sticky error would be reported again by the next, innocent call
  throw Failure(int(result), std::string("CUDA, ") + what + ": " + cudaGetErrorString(result));
}

}  // namespace larr::cuda
