// Launching a portable kernel: on a stream of a GPU, or in the emulation.
#pragma once
#include <cstddef>

#include "portable.h"

namespace larr::cuda::inline LARR_SIDE {

// A stream (cudaStream_t). `overlap`: every kernel queued on it begins with wait_for_previous_kernel(), so one may be brought up while
// the one before it still runs; sm_90 and later alone allow it.
struct Queue {
  void* stream = nullptr;
  bool overlap = false;
  Queue(void* stream, bool overlap = false) : stream(stream), overlap(overlap) {}
};

}  // namespace larr::cuda

#if defined(__CUDACC__)
#include "runtime.h"

namespace larr::cuda::inline LARR_SIDE {

struct Extent {
  int x = 1, y = 1, z = 1;
};

// Throws larr::cuda::Failure where the launch is refused.
template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), Extent grid, int threads, size_t shared_bytes, Queue queue, const Arguments&... arguments) {
  if (shared_bytes > 48 * 1024) check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, int(shared_bytes)), "shared memory");
  cudaLaunchConfig_t how = {};
  how.gridDim = dim3(unsigned(grid.x), unsigned(grid.y), unsigned(grid.z));
  how.blockDim = dim3(unsigned(threads));
  how.dynamicSmemBytes = shared_bytes;
  how.stream = static_cast<cudaStream_t>(queue.stream);
  cudaLaunchAttribute overlap = {};
  overlap.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  overlap.val.programmaticStreamSerializationAllowed = 1;
  how.attrs = &overlap;
  how.numAttrs = queue.overlap ? 1 : 0;
  check(cudaLaunchKernelEx(&how, kernel, Parameters(arguments)...), "launch");
}

}  // namespace larr::cuda

#else

namespace larr::cuda::inline LARR_SIDE {

template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), Extent grid, int threads, size_t shared_bytes, Queue, const Arguments&... arguments) {
  emulation::run(grid, threads, shared_bytes, [&] { kernel(Parameters(arguments)...); });
}

}  // namespace larr::cuda
#endif
