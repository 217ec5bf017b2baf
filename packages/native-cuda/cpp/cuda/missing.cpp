// A build without CUDA: every entry of larr/cuda.h says so.
#include "larr/cuda.h"

namespace larr {
namespace {

[[noreturn]] void missing() { throw CudaMissing("this build has no CUDA kernels: there was no nvcc when it was made"); }

}  // namespace

bool cuda_compiled() { return false; }
std::vector<CudaDevice> cuda_devices(std::string* why) {
  if (why) *why = "this build has no CUDA kernels";
  return {};
}
size_t cuda_infonce_scratch(const CudaInfoNce&, bool) { missing(); }
void cuda_infonce(const CudaInfoNce&, const CudaInfoNceOut&, void*, void*) { missing(); }
void infonce_on_cuda(const InfoNce&, InfoNceOut&, int, CudaPath) { missing(); }

}  // namespace larr
