// As much of CUDA's runtime as the scene encoder's host form asks for, on the CPU and for tests alone. Memory begins as NaN; what is copied
// from the device arrives when its stream is waited for, so that a missing wait shows; and any call can be made to fail.
#pragma once
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <vector>

// Not the C symbols of the real one, which the program may hold too.
namespace emulated_cuda {

enum cudaError_t { cudaSuccess = 0, cudaErrorMemoryAllocation = 2, cudaErrorLaunchFailure = 719 };
enum cudaMemcpyKind { cudaMemcpyHostToDevice = 1, cudaMemcpyDeviceToHost = 2, cudaMemcpyDefault = 4 };
enum cudaDeviceAttr { cudaDevAttrMaxSharedMemoryPerBlockOptin = 97 };
constexpr unsigned cudaStreamNonBlocking = 1;

struct Arrival {
  void* to;
  std::vector<char> bytes;
};
struct EmulatedStream {
  std::vector<Arrival> arrivals;
};
using cudaStream_t = EmulatedStream*;

struct EmulatedRuntime {
  int calls_until_failure = -1;  // -1: none fails
  cudaError_t failure = cudaSuccess;
  int device = 0;
  long allocations = 0;  // that are not freed
  int shared_memory = 227 * 1024;
  cudaError_t answer() { return calls_until_failure >= 0 && calls_until_failure-- == 0 ? failure : cudaSuccess; }
};
inline EmulatedRuntime emulated_runtime;

inline cudaError_t emulated_memory(void** to, size_t bytes) {
  if (const cudaError_t e = emulated_runtime.answer(); e != cudaSuccess) return e;
  *to = std::malloc(bytes + 1);
  std::memset(*to, 0xff, bytes + 1);
  emulated_runtime.allocations++;
  return cudaSuccess;
}
inline cudaError_t emulated_release(void* memory) {
  if (memory) emulated_runtime.allocations--;
  std::free(memory);
  return cudaSuccess;
}
inline cudaError_t cudaMalloc(void** to, size_t bytes) { return emulated_memory(to, bytes); }
inline cudaError_t cudaMallocHost(void** to, size_t bytes) { return emulated_memory(to, bytes); }
inline cudaError_t cudaFree(void* memory) { return emulated_release(memory); }
inline cudaError_t cudaFreeHost(void* memory) { return emulated_release(memory); }
inline cudaError_t cudaGetDevice(int* device) { return *device = emulated_runtime.device, cudaSuccess; }
inline cudaError_t cudaSetDevice(int device) { return emulated_runtime.device = device, emulated_runtime.answer(); }
inline cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr, int) { return *value = emulated_runtime.shared_memory, emulated_runtime.answer(); }
inline cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  const cudaError_t e = emulated_runtime.answer();
  if (e == cudaSuccess) *stream = new EmulatedStream;
  return e;
}
inline cudaError_t cudaStreamDestroy(cudaStream_t stream) { return delete stream, cudaSuccess; }
inline cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  for (const Arrival& a : stream->arrivals) std::memcpy(a.to, a.bytes.data(), a.bytes.size());
  stream->arrivals.clear();
  return emulated_runtime.answer();
}
inline cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind) { return std::memcpy(to, from, bytes), emulated_runtime.answer(); }
inline cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
  if (kind != cudaMemcpyDeviceToHost) std::memcpy(to, from, bytes);
  else stream->arrivals.push_back({to, {static_cast<const char*>(from), static_cast<const char*>(from) + bytes}});
  return emulated_runtime.answer();
}
inline cudaError_t cudaMemsetAsync(void* to, int value, size_t bytes, cudaStream_t) { return std::memset(to, value, bytes), emulated_runtime.answer(); }
inline cudaError_t cudaGetLastError() { return cudaSuccess; }
inline const char* cudaGetErrorString(cudaError_t) { return "made to fail"; }

}  // namespace emulated_cuda

using namespace emulated_cuda;
