// The scene encoder on the processor or on a GPU, as the addon's calls see it; without anything of Node, so that the tests run it too.
#pragma once
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "larr/cuda_encoder.h"
#include "larr/kernels.h"

namespace larr::addon {

// Immutable: any number of threads may call at once. Errors are SceneEncoder's, and on a GPU cuda::Failure.
class SceneKernel {
 public:
  virtual ~SceneKernel() = default;
  virtual const EncoderShape& shape() const = 0;
  // Of the processor's memory.
  virtual size_t bytes() const = 0;
  // Whether the table given at construction is still read.
  virtual bool reads_table() const = 0;
  // Why it is not on the GPU that was asked for; empty where it is, or none was.
  virtual const std::string& why_cpu() const = 0;
  virtual void encode(const int32_t* rows, int64_t n, float* z, float* attention, const std::atomic<bool>* cancel) const = 0;
  // The k best, best first.
  virtual std::vector<Scored> score(const int32_t* rows, int64_t n, const float* targets, bool one_target, float* scores, float* attention, int64_t k,
                                    const std::atomic<bool>* cancel) const = 0;
};

class SceneOnProcessor final : public SceneKernel {
 public:
  SceneOnProcessor(const EncoderShape& shape, const EncoderWeights& weights, const EncoderTable& table, Dtype compute, std::string why_cpu)
      : encoder_(shape, weights, table, compute), why_cpu_(std::move(why_cpu)) {}
  const EncoderShape& shape() const override { return encoder_.shape(); }
  size_t bytes() const override { return encoder_.bytes(); }
  bool reads_table() const override { return true; }
  const std::string& why_cpu() const override { return why_cpu_; }
  void encode(const int32_t* rows, int64_t n, float* z, float* attention, const std::atomic<bool>* cancel) const override {
    encoder_.encode(rows, n, z, attention, {.cancel = cancel});
  }
  std::vector<Scored> score(const int32_t* rows, int64_t n, const float* targets, bool one_target, float* scores, float* attention, int64_t k,
                            const std::atomic<bool>* cancel) const override {
    encoder_.score(rows, n, targets, one_target, scores, attention, {.cancel = cancel});
    return top_k(scores, n, k);
  }

 private:
  SceneEncoder encoder_;
  std::string why_cpu_;
};

// Table and weights stay on the GPU. `Gpu`: CudaSceneEncoder, or the tests' emulated one.
template <class Gpu>
class SceneOnGpu final : public SceneKernel {
 public:
  SceneOnGpu(const EncoderShape& shape, const EncoderWeights& weights, const EncoderTable& table, Dtype compute, int gpu)
      : encoder_(shape, weights, table, compute, gpu) {}
  const EncoderShape& shape() const override { return encoder_.shape(); }
  size_t bytes() const override { return size_t(encoder_.entries()) * sizeof(int32_t); }
  bool reads_table() const override { return false; }
  const std::string& why_cpu() const override { return none_; }
  void encode(const int32_t* rows, int64_t n, float* z, float* attention, const std::atomic<bool>* cancel) const override {
    encoder_.encode_host(rows, n, z, attention, cancel);
  }
  std::vector<Scored> score(const int32_t* rows, int64_t n, const float* targets, bool one_target, float* scores, float* attention, int64_t k,
                            const std::atomic<bool>* cancel) const override {
    return encoder_.score_host(rows, n, targets, one_target, scores, attention, k, cancel);
  }

 private:
  Gpu encoder_;
  std::string none_;
};

// gpu -1: on the processor. There too where the sizes are too wide for the GPU's kernels.
template <class Gpu = CudaSceneEncoder>
std::shared_ptr<const SceneKernel> make_scene_kernel(const EncoderShape& shape, const EncoderWeights& weights, const EncoderTable& table, Dtype compute,
                                                     int gpu) {
  std::string why_cpu;
  if (gpu >= 0) try {
      return std::make_shared<SceneOnGpu<Gpu>>(shape, weights, table, compute, gpu);
    } catch (const CudaTooWide& e) {
      why_cpu = e.what();
    }
  return std::make_shared<SceneOnProcessor>(shape, weights, table, compute, std::move(why_cpu));
}

}  // namespace larr::addon
