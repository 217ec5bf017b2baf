// The kernels on an NVIDIA GPU. In a build without CUDA every function here throws CudaMissing, and cuda_devices() is empty.
#pragma once
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include "larr/kernels.h"

namespace larr {

// Asked for a GPU that this build, this machine or its driver does not have.
struct CudaMissing : std::runtime_error {
  using std::runtime_error::runtime_error;
};

namespace cuda {

// What the CUDA runtime refused; `code` is its cudaError_t.
struct Failure : std::runtime_error {
  int code;
  Failure(int code, const std::string& message) : std::runtime_error(message), code(code) {}
  bool out_of_memory() const { return code == 2; }  // cudaErrorMemoryAllocation
};

}  // namespace cuda

struct CudaDevice {
  int index;
  std::string name;
  int major, minor;  // compute capability
  int multiprocessors;
  size_t memory;     // bytes
};

bool cuda_compiled();
// What the driver offers. The first call starts the driver: a process that must survive a broken one asks from a child.
// Empty where there is none; `why`, if given, then says what the runtime answered.
std::vector<CudaDevice> cuda_devices(std::string* why = nullptr);

// Which kernels: the best of the device, or, for tests, the portable ones.
enum class CudaPath { best, portable };

// As InfoNce, over pointers to the current device's memory.
struct CudaInfoNce {
  const void* q = nullptr;  // [batch, dim]
  const void* k = nullptr;
  Dtype storage = Dtype::f32;
  int64_t q_stride = 0, k_stride = 0;  // elements; 0 = dim
  int64_t batch = 0, dim = 0;          // dim at most 256
  const float* scale_at = nullptr;     // on the device; null: `scale`
  double scale = 1;
  const int32_t* groups = nullptr;     // [batch] on the device
  Dtype compute = Dtype::f32;          // f32: operands split in two tf32 halves, three products
  CudaPath path = CudaPath::best;
};

// All on the device. dq and dk may be null together: forward only, and result[1] is 0.
struct CudaInfoNceOut {
  double* result = nullptr;  // [2] loss, dL/dscale
  float *lse_row = nullptr, *lse_col = nullptr;
  float *dq = nullptr, *dk = nullptr;
};

// Bytes of scratch memory that cuda_infonce wants for a problem of this size on the current device: O(batch * dim).
size_t cuda_infonce_scratch(const CudaInfoNce& problem, bool backward);
// Queues the work on `stream` (a cudaStream_t; null: the default one) of the current device and returns: nothing waits, nothing is
// allocated, so it may be captured in a graph. `scratch` is aligned to 256 bytes. The same bits for the same inputs and device.
void cuda_infonce(const CudaInfoNce& problem, const CudaInfoNceOut& out, void* scratch, void* stream);

// infonce() on a GPU, over host pointers: copies in, runs, copies out, waits. Device memory is kept for the next call; batches up to
// 4096 replay a captured graph while their shape stays the same.
void infonce_on_cuda(const InfoNce& problem, InfoNceOut& out, int device, CudaPath path = CudaPath::best);

}  // namespace larr
