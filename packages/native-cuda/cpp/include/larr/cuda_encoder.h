// The folded scene encoder on an NVIDIA GPU. In a build without CUDA the constructor throws CudaMissing.
#pragma once
#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "larr/cuda.h"

namespace larr {

// The sizes make sense, but a GPU's blocks have too little shared memory for them.
struct CudaTooWide : std::invalid_argument {
  using std::invalid_argument::invalid_argument;
};

// As SceneEncoder: folds the table, packs the weights, uploads both once; immutable, so any number of threads may call at once.
// Errors in the arguments are std::invalid_argument, what the CUDA runtime refuses is a std::runtime_error that says so.
class CudaSceneEncoder {
 public:
  // Throws CudaMissing where there is no such device or it is older than compute capability 8.0, std::invalid_argument where the sizes
  // make no sense, CudaTooWide where a row is too wide for this GPU's shared memory (four rows of 2 max(d, out) + max(ffn, headHidden) floats fit).
  CudaSceneEncoder(const EncoderShape& shape, const EncoderWeights& weights, const EncoderTable& table, Dtype compute, int device = 0);
  ~CudaSceneEncoder();
  CudaSceneEncoder(const CudaSceneEncoder&) = delete;
  CudaSceneEncoder& operator=(const CudaSceneEncoder&) = delete;

  const EncoderShape& shape() const;
  int64_t entries() const;
  size_t bytes() const;  // on the device, without the buffers of calls
  int device() const;

  // Over device pointers: one kernel queued on `stream` (a cudaStream_t; null: the default one); nothing waits, nothing is allocated, so
  // it may be captured in a graph. Shapes as in SceneEncoder; z and targets are aligned to 8 bytes. An index that is neither -1 nor an
  // entry of its field counts as missing; refused [1] (may be null), set to 0xffffffff by the caller before the call, receives the least
  // row * fields + field of those, modulo 2^32.
  void encode(const int32_t* rows, int64_t n_rows, float* z, float* attention, uint32_t* refused, void* stream) const;
  void score(const int32_t* rows, int64_t n_rows, const float* targets, bool one_target, float* scores, float* attention, uint32_t* refused,
             void* stream) const;
  // The k best of n < 2^31 scores on the device, as larr::top_k has them; waits for the stream.
  std::vector<Scored> top_k(const float* scores, int64_t n, int64_t k, void* stream) const;

  // Over host pointers: as SceneEncoder::encode and score; copies overlap with the kernel, buffers are kept for the next call.
  // Throws std::out_of_range as those do, Cancelled where `cancel` is raised between chunks of rows.
  void encode_host(const int32_t* rows, int64_t n_rows, float* z, float* attention, const std::atomic<bool>* cancel = nullptr) const;
  // scores and attention may be null. Returns the k best of n_rows < 2^31 (none for k = 0), chosen on the device.
  std::vector<Scored> score_host(const int32_t* rows, int64_t n_rows, const float* targets, bool one_target, float* scores, float* attention,
                                 int64_t k = 0, const std::atomic<bool>* cancel = nullptr) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace larr
