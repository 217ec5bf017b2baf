// What the driver offers.
#include "larr/cuda.h"
#include "runtime.h"

namespace larr {

bool cuda_compiled() { return true; }

std::vector<CudaDevice> cuda_devices(std::string* why) {
  int count = 0;
  if (const cudaError_t result = cudaGetDeviceCount(&count); result != cudaSuccess) {
    cudaGetLastError();
    if (why) *why = cudaGetErrorString(result);
    return {};
  }
  std::vector<CudaDevice> devices;
  for (int i = 0; i < count; i++) {
    cudaDeviceProp properties;
    cuda::check(cudaGetDeviceProperties(&properties, i), "device properties");
    devices.push_back({i, properties.name, properties.major, properties.minor, properties.multiProcessorCount, properties.totalGlobalMem});
  }
  if (devices.empty() && why) *why = "the driver names no GPU";
  return devices;
}

}  // namespace larr
