// AdamW with bf16 weights, gradients and moments, and the rest of an f32 master weight: ten bytes in place of eighteen (compact.h).
#include "compact.h"

#include "../every_isa.h"
#include "../row_gradients.h"

#include <ATen/autocast_mode.h>

#include <cmath>
#include <limits>

#ifdef LARR_TORCH_CUDA
#include <c10/core/DeviceGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <larr/cuda.h>
#endif

namespace larr {
namespace {

using compact::Key;
using compact::Step;

LARR_INLINE void updateLoop(uint16_t* __restrict high, int16_t* __restrict low, const uint16_t* __restrict gradient, uint16_t* __restrict mean,
                            uint16_t* __restrict square, int64_t begin, int64_t end, Step step) {
  for (int64_t i = begin; i < end; ++i) compact::update(high[i], low[i], gradient[i], mean[i], square[i], static_cast<uint32_t>(i), step);
}
LARR_EVERY_ISA(updateNumbers, updateLoop)

LARR_INLINE void accumulateLoop(uint16_t* __restrict sum, const uint16_t* __restrict gradient, int64_t begin, int64_t end, Key key) {
  for (int64_t i = begin; i < end; ++i) compact::accumulate(sum[i], gradient[i], static_cast<uint32_t>(i), key);
}
LARR_EVERY_ISA(accumulateNumbers, accumulateLoop)

uint16_t* halves(const at::Tensor& x) { return static_cast<uint16_t*>(x.data_ptr()); }
int16_t* rests(const at::Tensor& x) { return static_cast<int16_t*>(x.data_ptr()); }

// ---- The same from LibTorch's operators, for CUDA without kernels of ours and to compare with: so many numbers at a time that what lies
// between takes at most 256 MB.

constexpr int64_t chunk = int64_t{1} << 22;

template <typename F>
void inChunks(int64_t count, const F& body) {
  for (int64_t first = 0; first < count; first += chunk) body(first, std::min(chunk, count - first));
}

void mix(at::Tensor& x) {  // i64 below 2³²
  constexpr int64_t mask = 0xffffffff;
  x.bitwise_xor_(at::bitwise_right_shift(x, at::Scalar(16)));
  x.mul_(static_cast<int64_t>(compact::mixer1)).bitwise_and_(mask);
  x.bitwise_xor_(at::bitwise_right_shift(x, at::Scalar(15)));
  x.mul_(static_cast<int64_t>(compact::mixer2)).bitwise_and_(mask);
  x.bitwise_xor_(at::bitwise_right_shift(x, at::Scalar(16)));
}

at::Tensor randomNumbers(Key key, int64_t first, int64_t count, const at::Device& device) {
  at::Tensor x = at::arange(first, first + count, at::TensorOptions().dtype(at::kLong).device(device));
  x.bitwise_xor_(static_cast<int64_t>(key.a));
  mix(x);
  x.bitwise_xor_(static_cast<int64_t>(key.b));
  mix(x);
  return x;
}

at::Tensor quietBits(const at::Tensor& x) {
  return at::where(at::isnan(x), at::full({}, std::numeric_limits<float>::quiet_NaN(), x.options()), x).view(at::kInt);
}

at::Tensor joinedComposed(const at::Tensor& high, const at::Tensor& low) {
  return at::bitwise_left_shift(high.view(at::kShort).to(at::kInt), at::Scalar(16)).add_(low).view(at::kFloat);
}

void splitComposed(const at::Tensor& x, const at::Tensor& high, const at::Tensor& low) {
  const at::Tensor bits = quietBits(x), upper = at::bitwise_right_shift(bits + 0x8000, at::Scalar(16));
  high.view(at::kShort).copy_(upper);
  low.copy_(bits - at::bitwise_left_shift(upper, at::Scalar(16)));
}

void byChanceComposed(const at::Tensor& x, const at::Tensor& chance, const at::Tensor& to) {
  to.view(at::kShort).copy_(at::bitwise_right_shift(quietBits(x).add_(chance), at::Scalar(16)));
}

void updateComposed(const at::Tensor& high, const at::Tensor& low, const at::Tensor& gradient, const at::Tensor& mean, const at::Tensor& square,
                    int64_t first, const Step& s) {
  const at::Tensor g = gradient.to(at::kFloat);
  const at::Tensor m = mean.to(at::kFloat).mul_(s.beta1).add_(g * s.rest1);
  const at::Tensor v = square.to(at::kFloat).mul_(s.beta2).add_((g * s.rest2).mul_(g));
  const at::Tensor master = joinedComposed(high, low).mul_(s.keep);
  // On the CPU LibTorch's f32 root is not always the nearest; through f64 it is.
  const at::Tensor root = v.to(at::kDouble).sqrt_().to(at::kFloat);
  splitComposed(master.sub_((m * s.size).div_(root.mul_(s.rootCorrection).add_(s.eps))), high, low);
  const at::Tensor chance = randomNumbers(s.key, first, high.numel(), high.device());
  byChanceComposed(m, at::bitwise_and(chance, at::Scalar(0xffff)).to(at::kInt), mean);
  byChanceComposed(v, at::bitwise_right_shift(chance, at::Scalar(16)).to(at::kInt), square);
}

void accumulateComposed(const at::Tensor& sum, const at::Tensor& gradient, int64_t first, Key key) {
  const at::Tensor chance = at::bitwise_right_shift(randomNumbers(key, first, sum.numel(), sum.device()), at::Scalar(16)).to(at::kInt);
  byChanceComposed(sum.to(at::kFloat).add_(gradient), chance, sum);
}

// ---- Over tensors. Each is contiguous.

constexpr int64_t numbersAPart = 16384;

#ifdef LARR_TORCH_CUDA
// The kernels' library brings a CUDA runtime of its own, beside LibTorch's, over one driver: it must be told the device too.
template <typename F>
void onCuda(const at::Device& device, const F& launch) {
  const c10::DeviceGuard guard(device);
  int result = cudaSetDevice(device.index());
  if (result == cudaSuccess) result = launch(static_cast<void*>(c10::cuda::getCurrentCUDAStream(device.index()).stream()));
  TORCH_CHECK(result == cudaSuccess, "CUDA error: ", cudaGetErrorString(static_cast<cudaError_t>(result)), " (", device.str(), ")");
}
bool launches(const at::Tensor& x) { return x.is_cuda() && cuda_compiled(); }
#endif

void updateTensor(const at::Tensor& high, const at::Tensor& low, const at::Tensor& gradient, const at::Tensor& mean, const at::Tensor& square, const Step& s,
                  bool composed) {
  const int64_t count = high.numel();
  if (!composed && high.is_cpu()) {
    at::parallel_for(0, count, numbersAPart, [&](int64_t begin, int64_t end) {
      updateNumbers(halves(high), rests(low), static_cast<const uint16_t*>(halves(gradient)), halves(mean), halves(square), begin, end, s);
    });
    return;
  }
#ifdef LARR_TORCH_CUDA
  if (!composed && launches(high)) {
    return onCuda(high.device(), [&](void* stream) {
      return compact::updateOnCuda(halves(high), rests(low), halves(gradient), halves(mean), halves(square), count, s, stream);
    });
  }
#endif
  const auto some = [](const at::Tensor& x, int64_t first, int64_t n) { return x.view(-1).narrow(0, first, n); };
  inChunks(count, [&](int64_t first, int64_t n) {
    updateComposed(some(high, first, n), some(low, first, n), some(gradient, first, n), some(mean, first, n), some(square, first, n), first, s);
  });
}

void accumulateTensor(const at::Tensor& sum, const at::Tensor& gradient, Key key, bool composed) {
  const int64_t count = sum.numel();
  if (!composed && sum.is_cpu()) {
    at::parallel_for(0, count, numbersAPart, [&](int64_t begin, int64_t end) {
      accumulateNumbers(halves(sum), static_cast<const uint16_t*>(halves(gradient)), begin, end, key);
    });
    return;
  }
#ifdef LARR_TORCH_CUDA
  if (!composed && launches(sum)) {
    return onCuda(sum.device(), [&](void* stream) { return compact::accumulateOnCuda(halves(sum), halves(gradient), count, key, stream); });
  }
#endif
  inChunks(count, [&](int64_t first, int64_t n) {
    accumulateComposed(sum.view(-1).narrow(0, first, n), gradient.view(-1).narrow(0, first, n), first, key);
  });
}

uint64_t scrambled(uint64_t x) {  // splitmix64's finaliser (Steele et al. 2014)
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

/// Of one pass over one tensor: the update of a step (`draw` 0), or its draw-th sum of gradients.
Key keyOf(uint64_t seed, uint64_t step, uint64_t tensor, uint64_t draw) {
  const uint64_t hash = scrambled(scrambled(scrambled(scrambled(seed) ^ step) ^ tensor) ^ draw);
  return {static_cast<uint32_t>(hash), static_cast<uint32_t>(hash >> 32)};
}

struct CompactAdam {
  struct One {
    at::Tensor parameter, low, mean, square, step;
    unsigned hook = 0;
    std::shared_ptr<uint64_t> draws = std::make_shared<uint64_t>(0);  // sums of this step's gradient so far
  };
  std::vector<One> all;
  at::Tensor seed;
  bool composed = false;

  CompactAdam() = default;
  CompactAdam(const CompactAdam&) = delete;
  CompactAdam& operator=(const CompactAdam&) = delete;
  ~CompactAdam() { clear(); }
  void clear() {
    for (One& one : all) one.parameter.remove_hook(one.hook);
    all.clear();
  }
};

/// Takes the place of autograd's own sum where a gradient is there already: that would round to the nearest, each time.
void sumByChance(CompactAdam::One& one, size_t index, const at::Tensor& seed, bool composed) {
  // Of the parameter, which owns the hook, no more than a look: else it would own itself.
  const c10::weak_intrusive_ptr<c10::TensorImpl> weak(one.parameter.getIntrusivePtr());
  one.hook = one.parameter.register_hook([weak, index, seed, composed, step = one.step, draws = one.draws](const at::Tensor& gradient) -> at::Tensor {
    auto alive = weak.lock();
    if (!alive || !gradient.defined()) return gradient;
    at::Tensor parameter(std::move(alive));
    at::Tensor sum = parameter.grad();
    if (!sum.defined() || at::GradMode::is_enabled()) return gradient;
    if (!sum.is_contiguous()) sum = sum.contiguous();
    const Key key = keyOf(static_cast<uint64_t>(seed.item<int64_t>()), static_cast<uint64_t>(step.item<float>()), index, ++*draws);
    accumulateTensor(sum, gradient.contiguous(), key, composed);
    parameter.mutable_grad() = at::Tensor();
    return sum;
  });
}

LARR_FUNCTION(compactCreate) {  // (parameters, lows, seed, composed)
  auto adam = std::make_unique<CompactAdam>();
  const Reader read = call.read();
  const std::vector<at::Tensor> parameters = read.tensors(call.at(0), "params"), lows = read.tensors(call.at(1), "lows");
  checkParameters(parameters);
  TORCH_CHECK(parameters.size() == lows.size(), parameters.size(), " parameters, but ", lows.size(), " lower halves");
  c10::NoGradGuard noGrad;
  adam->seed = at::full({}, read.integer(call.at(2), "seed"), at::kLong);
  adam->composed = read.boolean(call.at(3), "composed");
  for (size_t i = 0; i < parameters.size(); ++i) {
    const at::Tensor &parameter = parameters[i], &low = lows[i];
    TORCH_CHECK(parameter.scalar_type() == at::kBFloat16 && parameter.is_contiguous(), "a parameter of CompactAdamW is bf16 and contiguous; one of shape ",
                parameter.sizes(), " is ", dtypeName(parameter.scalar_type()), parameter.is_contiguous() ? "" : " and not contiguous");
    TORCH_CHECK(parameter.numel() <= int64_t{1} << 32, "a parameter of CompactAdamW holds at most 2^32 numbers, not ", parameter.numel());
    TORCH_CHECK(low.scalar_type() == at::kShort && low.sizes() == parameter.sizes() && low.is_contiguous() && low.device() == parameter.device(),
                "the lower half of a parameter is i16 ", parameter.sizes(), " on ", parameter.device().str(), " and contiguous, not ", dtypeName(low.scalar_type()), " ",
                low.sizes(), " on ", low.device().str());
    CompactAdam::One one{parameter, low, at::zeros_like(parameter).detach(), at::zeros_like(parameter).detach(), at::zeros({}, at::kFloat)};
    sumByChance(one, i, adam->seed, adam->composed);
    adam->all.push_back(std::move(one));
  }
  return external(call, std::move(adam));
}

LARR_FUNCTION(compactStep) {  // (adam, lr, beta1, beta2, eps, weightDecay)
  c10::NoGradGuard noGrad;
  CompactAdam& adam = optimiser<CompactAdam>(call);
  const Reader read = call.read();
  const double lr = read.number(call.at(1), "lr"), beta1 = read.number(call.at(2), "beta1"), beta2 = read.number(call.at(3), "beta2"),
               eps = read.number(call.at(4), "eps"), decay = read.number(call.at(5), "weightDecay");
  const auto seed = static_cast<uint64_t>(adam.seed.item<int64_t>());
  for (size_t i = 0; i < adam.all.size(); ++i) {
    CompactAdam::One& one = adam.all[i];
    const at::Tensor& gradient = one.parameter.grad();
    if (!gradient.defined()) continue;
    TORCH_CHECK(gradient.layout() == at::kStrided, "the gradient of a parameter of shape ", one.parameter.sizes(), " is sparse: CompactAdamW takes dense ones");
    const double step = one.step.add_(1).item<float>();
    const Step s{static_cast<float>(beta1), static_cast<float>(1 - beta1), static_cast<float>(beta2), static_cast<float>(1 - beta2), static_cast<float>(eps),
                 static_cast<float>(1 - lr * decay), static_cast<float>(lr / (1 - std::pow(beta1, step))),
                 static_cast<float>(1 / std::sqrt(1 - std::pow(beta2, step))), keyOf(seed, static_cast<uint64_t>(step), i, 0)};
    updateTensor(one.parameter, one.low, gradient.contiguous(), one.mean, one.square, s, adam.composed);
    *one.draws = 0;
    // Written behind autograd's back: a graph that saved the weight must not go backward through new values.
    one.parameter.unsafeGetTensorImpl()->bump_version();
  }
  at::autocast::clear_cache();
  return call.undefined();
}

/// → [low, mean, square, step] of parameter i, sharing memory.
LARR_FUNCTION(compactState) {  // (adam, i)
  CompactAdam& adam = optimiser<CompactAdam>(call);
  const size_t i = static_cast<size_t>(call.read().integer(call.at(1), "i"));
  TORCH_CHECK(i < adam.all.size(), "the optimiser has ", adam.all.size(), " parameters");
  const CompactAdam::One& one = adam.all[i];
  return call.result(std::vector<at::Tensor>{one.low, one.mean, one.square, one.step});
}

/// → what its random numbers hang on beside the step, i64 [], sharing memory.
LARR_FUNCTION(compactSeed) { return call.result(optimiser<CompactAdam>(call).seed); }

/// Frees the moments now: the garbage collector knows nothing of their size.
LARR_FUNCTION(compactDispose) {
  optimiser<CompactAdam>(call).clear();
  return call.undefined();
}

LARR_FUNCTION(splitHalves) {  // (x)
  c10::NoGradGuard noGrad;
  const at::Tensor& x = call.read().tensor(call.at(0), "x");
  TORCH_CHECK(x.scalar_type() == at::kFloat, "x must be f32, not ", dtypeName(x.scalar_type()));
  const at::Tensor from = x.contiguous().view(-1), high = at::empty_like(from, from.options().dtype(at::kBFloat16)),
                   low = at::empty_like(from, from.options().dtype(at::kShort));
  inChunks(from.numel(), [&](int64_t first, int64_t n) { splitComposed(from.narrow(0, first, n), high.narrow(0, first, n), low.narrow(0, first, n)); });
  return call.result(std::make_tuple(high.view(x.sizes()), low.view(x.sizes())));
}

LARR_FUNCTION(joinHalves) {  // (high, low)
  c10::NoGradGuard noGrad;
  const at::Tensor &high = call.read().tensor(call.at(0), "high"), &low = call.read().tensor(call.at(1), "low");
  TORCH_CHECK(high.scalar_type() == at::kBFloat16 && low.scalar_type() == at::kShort && high.sizes() == low.sizes() && high.device() == low.device(),
              "high must be bf16 and low i16 of one shape and device, not ", dtypeName(high.scalar_type()), " ", high.sizes(), " and ",
              dtypeName(low.scalar_type()), " ", low.sizes());
  const at::Tensor h = high.contiguous().view(-1), l = low.contiguous().view(-1), out = at::empty_like(h, h.options().dtype(at::kFloat));
  inChunks(h.numel(), [&](int64_t first, int64_t n) { out.narrow(0, first, n).copy_(joinedComposed(h.narrow(0, first, n), l.narrow(0, first, n))); });
  return call.result(out.view(high.sizes()));
}

}  // namespace

std::vector<Function> compactFunctions() {
  return {{"compactCreate", compactCreate}, {"compactStep", compactStep}, {"compactState", compactState}, {"compactSeed", compactSeed},
          {"compactDispose", compactDispose}, {"splitHalves", splitHalves}, {"joinHalves", joinHalves}};
}

}  // namespace larr
