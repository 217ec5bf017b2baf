// AdamW in ten bytes a weight, and its sums of gradients, on CUDA: bound by memory, four numbers a thread.
#define LARR_TORCH_CUDA
#include "compact.h"

#include <cuda_runtime.h>

namespace larr::compact {
namespace {

constexpr int threads = 256, each = 4;

struct alignas(8) Four {
  uint16_t at[each];
};

__device__ Four load(const void* from, int64_t i) { return *reinterpret_cast<const Four*>(static_cast<const uint16_t*>(from) + i); }
__device__ void store(void* to, int64_t i, const Four& four) { *reinterpret_cast<Four*>(static_cast<uint16_t*>(to) + i) = four; }

/// `aligned`: whether four numbers may be read at once.
__global__ void updateKernel(uint16_t* high, int16_t* low, const uint16_t* gradient, uint16_t* mean, uint16_t* square, int64_t count, Step s, bool aligned) {
  const int64_t first = (int64_t{blockIdx.x} * threads + threadIdx.x) * each;
  if (first >= count) return;
  if (!aligned || first + each > count) {
    for (int64_t i = first; i < min(first + each, count); ++i) update(high[i], low[i], gradient[i], mean[i], square[i], static_cast<uint32_t>(i), s);
    return;
  }
  Four h = load(high, first), l = load(low, first), m = load(mean, first), v = load(square, first);
  const Four g = load(gradient, first);
#pragma unroll
  for (int j = 0; j < each; ++j) {
    int16_t one = static_cast<int16_t>(l.at[j]);
    update(h.at[j], one, g.at[j], m.at[j], v.at[j], static_cast<uint32_t>(first + j), s);
    l.at[j] = static_cast<uint16_t>(one);
  }
  store(high, first, h);
  store(low, first, l);
  store(mean, first, m);
  store(square, first, v);
}

__global__ void accumulateKernel(uint16_t* sum, const uint16_t* gradient, int64_t count, Key key, bool aligned) {
  const int64_t first = (int64_t{blockIdx.x} * threads + threadIdx.x) * each;
  if (first >= count) return;
  if (!aligned || first + each > count) {
    for (int64_t i = first; i < min(first + each, count); ++i) accumulate(sum[i], gradient[i], static_cast<uint32_t>(i), key);
    return;
  }
  Four s = load(sum, first);
  const Four g = load(gradient, first);
#pragma unroll
  for (int j = 0; j < each; ++j) accumulate(s.at[j], g.at[j], static_cast<uint32_t>(first + j), key);
  store(sum, first, s);
}

template <typename... P>
bool aligned(const P*... pointers) {
  return ((reinterpret_cast<uintptr_t>(pointers) | ...) % alignof(Four)) == 0;
}

unsigned blocks(int64_t count) { return static_cast<unsigned>((count + threads * each - 1) / (threads * each)); }

}  // namespace

int updateOnCuda(uint16_t* high, int16_t* low, const uint16_t* gradient, uint16_t* mean, uint16_t* square, int64_t count, const Step& step, void* stream) {
  if (count == 0) return 0;
  updateKernel<<<blocks(count), threads, 0, static_cast<cudaStream_t>(stream)>>>(high, low, gradient, mean, square, count, step,
                                                                                 aligned(high, low, gradient, mean, square));
  return cudaGetLastError();
}

int accumulateOnCuda(uint16_t* sum, const uint16_t* gradient, int64_t count, Key key, void* stream) {
  if (count == 0) return 0;
  accumulateKernel<<<blocks(count), threads, 0, static_cast<cudaStream_t>(stream)>>>(sum, gradient, count, key, aligned(sum, gradient));
  return cudaGetLastError();
}

}  // namespace larr::compact
