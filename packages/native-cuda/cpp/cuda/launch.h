// Launching a portable kernel: on a stream of a GPU, or in the emulation.
#pragma once
#include <cstddef>

#include "portable.h"

#if defined(__CUDACC__)
#include "runtime.h"

namespace larr::cuda::inline LARR_SIDE {

struct Extent {
  int x = 1, y = 1, z = 1;
};

// Throws larr::cuda::Failure where the launch is refused.
template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), Extent grid, int threads, size_t shared_bytes, void* stream, const Arguments&... arguments) {
  if (shared_bytes > 48 * 1024) check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, int(shared_bytes)), "shared memory");
  kernel<<<dim3(unsigned(grid.x), unsigned(grid.y), unsigned(grid.z)), unsigned(threads), shared_bytes, static_cast<cudaStream_t>(stream)>>>(
      Parameters(arguments)...);
  check(cudaGetLastError(), "launch");
}

}  // namespace larr::cuda

#else

namespace larr::cuda::inline LARR_SIDE {

template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), Extent grid, int threads, size_t shared_bytes, void*, const Arguments&... arguments) {
  emulation::run(grid, threads, shared_bytes, [&] { kernel(Parameters(arguments)...); });
}

}  // namespace larr::cuda
#endif
