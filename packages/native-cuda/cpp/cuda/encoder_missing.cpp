// A build without CUDA has no scene encoder on a GPU: its constructor says so, so that no call can follow.
#include "larr/cuda_encoder.h"

namespace larr {

struct CudaSceneEncoder::State {
  EncoderShape shape;
};

CudaSceneEncoder::CudaSceneEncoder(const EncoderShape&, const EncoderWeights&, const EncoderTable&, Dtype, int) {
  throw CudaMissing("this build has no CUDA kernels: there was no nvcc when it was made");
}
CudaSceneEncoder::~CudaSceneEncoder() = default;
const EncoderShape& CudaSceneEncoder::shape() const { return state_->shape; }
int64_t CudaSceneEncoder::entries() const { return 0; }
size_t CudaSceneEncoder::bytes() const { return 0; }
int CudaSceneEncoder::device() const { return 0; }
void CudaSceneEncoder::encode(const int32_t*, int64_t, float*, float*, uint32_t*, void*) const {}
void CudaSceneEncoder::score(const int32_t*, int64_t, const float*, bool, float*, float*, uint32_t*, void*) const {}
std::vector<Scored> CudaSceneEncoder::top_k(const float*, int64_t, int64_t, void*) const { return {}; }
void CudaSceneEncoder::encode_host(const int32_t*, int64_t, float*, float*, const std::atomic<bool>*) const {}
std::vector<Scored> CudaSceneEncoder::score_host(const int32_t*, int64_t, const float*, bool, float*, float*, int64_t, const std::atomic<bool>*) const {
  return {};
}

}  // namespace larr
