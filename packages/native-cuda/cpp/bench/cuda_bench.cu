// The CUDA kernels timed, and checked against float64 at the sizes that are timed: JSON lines. cuda_bench [infonce] [encoder] [--quick] [--batch N [--once]]
//
// Times are device times between two events, the median of many runs after a warm-up, the inputs random. `graph`: the same launches
// captured once and replayed.
// --once: one bf16 call of that size and nothing else, for a profiler.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "../cuda/runtime.h"
#include "../simd/bf16.h"
#include "../test/cuda_encoder.h"
#include "larr/cuda.h"

using namespace larr;
using cuda::check;

namespace {

template <class T>
struct Buffer {
  T* data = nullptr;
  size_t count;
  explicit Buffer(size_t n) : count(n) { check(cudaMalloc(reinterpret_cast<void**>(&data), std::max<size_t>(n, 1) * sizeof(T)), "allocation"); }
  Buffer(const Buffer&) = delete;
  ~Buffer() { cudaFree(data); }
  void fill(const std::vector<T>& from) { check(cudaMemcpy(data, from.data(), count * sizeof(T), cudaMemcpyHostToDevice), "copy"); }
  std::vector<T> read() const {
    std::vector<T> to(count);
    check(cudaMemcpy(to.data(), data, count * sizeof(T), cudaMemcpyDeviceToHost), "copy");
    return to;
  }
  void poison() { check(cudaMemset(data, 0xff, count * sizeof(T)), "memset"); }
};

// Milliseconds, median.
double time_of(const std::function<void(cudaStream_t)>& work, cudaStream_t stream, double budget_ms) {
  cudaEvent_t start, stop;
  check(cudaEventCreate(&start), "event");
  check(cudaEventCreate(&stop), "event");
  const auto once = [&] {
    float ms = 0;
    check(cudaEventRecord(start, stream), "event");
    work(stream);
    check(cudaEventRecord(stop, stream), "event");
    check(cudaEventSynchronize(stop), "event");
    check(cudaEventElapsedTime(&ms, start, stop), "event");
    return double(ms);
  };
  for (int i = 0; i < 3; i++) once();
  const double rough = once();
  std::vector<double> times(size_t(std::clamp(budget_ms / std::max(rough, 1e-3), 5.0, 200.0)));
  for (double& t : times) t = once();
  check(cudaEventDestroy(start), "event");
  check(cudaEventDestroy(stop), "event");
  std::nth_element(times.begin(), times.begin() + ptrdiff_t(times.size() / 2), times.end());
  return times[times.size() / 2];
}

void bench_infonce(bool quick, int64_t only, bool once) {
  const double budget = quick ? 40 : 200;
  cudaStream_t stream;
  check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "stream");
  constexpr int64_t d = 128;
  const double scale = 1 / 0.07;
  std::vector<int64_t> batches{2400, 8192, 16384, 32768, 65536};
  if (only) batches = {only};
  for (int64_t b : batches) {
    std::mt19937_64 engine{uint64_t(b)};
    std::normal_distribution<float> normal;
    const size_t size = size_t(b * d);
    std::vector<float> q(size), k(size);
    for (auto* m : {&q, &k}) {
      for (float& x : *m) x = normal(engine);
      if (m == &k)
        for (size_t i = 0; i < size; i++) k[i] += q[i] * 2;
      for (int64_t i = 0; i < b; i++) {
        double n = 0;
        for (int64_t x = 0; x < d; x++) n += double((*m)[size_t(i * d + x)]) * double((*m)[size_t(i * d + x)]);
        for (int64_t x = 0; x < d; x++) (*m)[size_t(i * d + x)] = nearest((*m)[size_t(i * d + x)] / float(std::sqrt(n)), 16);
      }
    }
    std::vector<uint16_t> q16(size), k16(size);
    std::transform(q.begin(), q.end(), q16.begin(), top_half);
    std::transform(k.begin(), k.end(), k16.begin(), top_half);
    Buffer<float> dev_q(size), dev_k(size), dq(size), dk(size), lse_row{size_t(b)}, lse_col{size_t(b)};
    Buffer<uint16_t> dev_q16(size), dev_k16(size);
    Buffer<double> result(2);
    dev_q.fill(q), dev_k.fill(k), dev_q16.fill(q16), dev_k16.fill(k16);
    for (Dtype dtype : {Dtype::bf16, Dtype::f32})
      for (CudaPath path : {CudaPath::best, CudaPath::portable}) {
        if (dtype == Dtype::f32 && path == CudaPath::best) continue;  // one and the same
        CudaInfoNce p;
        const bool bf16 = dtype == Dtype::bf16;
        p.q = bf16 ? static_cast<void*>(dev_q16.data) : dev_q.data, p.k = bf16 ? static_cast<void*>(dev_k16.data) : dev_k.data;
        p.storage = p.compute = dtype;
        p.batch = b, p.dim = d, p.scale = scale, p.path = path;
        const size_t scratch_bytes = cuda_infonce_scratch(p, true);
        Buffer<char> scratch(scratch_bytes);
        const CudaInfoNceOut both{result.data, lse_row.data, lse_col.data, dq.data, dk.data}, forward{result.data, lse_row.data, lse_col.data, nullptr, nullptr};
        for (auto* x : {&dq, &dk, &lse_row, &lse_col}) x->poison();
        cuda_infonce(p, both, scratch.data, stream);
        check(cudaStreamSynchronize(stream), "InfoNCE");
        if (once) return;
        const auto got_dq = dq.read(), got_row = lse_row.read(), got_col = lse_col.read();
        const auto first_result = result.read();
        // A sample of rows in double, from the same inputs: their log-sum-exps, and dq by all columns' own.
        double lse_error = 0, gradient_error = 0, largest = 0;
        const int samples = int(std::min<int64_t>(b, 24));
        for (int n = 0; n < samples; n++) {
          const int64_t i = n < 2 ? n * (b - 1) : int64_t(engine() % uint64_t(b));
          std::vector<double> s(static_cast<size_t>(b)), t(s.size()), dq_i(size_t(d), 0.0);
          const auto dot = [&](const float* x, const float* y) {
            double sum = 0;
            for (int64_t e = 0; e < d; e++) sum += double(x[e]) * double(y[e]);
            return sum * scale;
          };
          double top = -1e300, column_top = -1e300;
          for (int64_t j = 0; j < b; j++) {
            s[size_t(j)] = dot(&q[size_t(i * d)], &k[size_t(j * d)]), t[size_t(j)] = dot(&q[size_t(j * d)], &k[size_t(i * d)]);
            top = std::max(top, s[size_t(j)]), column_top = std::max(column_top, t[size_t(j)]);
          }
          double sum = 0, column_sum = 0;
          for (int64_t j = 0; j < b; j++) sum += std::exp(s[size_t(j)] - top), column_sum += std::exp(t[size_t(j)] - column_top);
          const double row_lse = top + std::log(sum), column_lse = column_top + std::log(column_sum);
          const auto worse = [](double a, double e) { return !(e <= a) ? e : a; };
          lse_error = worse(lse_error, std::fabs(double(got_row[size_t(i)]) - row_lse));
          lse_error = worse(lse_error, std::fabs(double(got_col[size_t(i)]) - column_lse));
          for (int64_t j = 0; j < b; j++) {
            const double g = std::exp(s[size_t(j)] - row_lse) + std::exp(s[size_t(j)] - double(got_col[size_t(j)])) - (i == j ? 2 : 0);
            for (int64_t e = 0; e < d; e++) dq_i[size_t(e)] += g * double(k[size_t(j * d + e)]) * scale / (2 * double(b));
          }
          for (int64_t e = 0; e < d; e++) {
            largest = std::max(largest, std::fabs(dq_i[size_t(e)]));
            gradient_error = worse(gradient_error, std::fabs(dq_i[size_t(e)] - double(got_dq[size_t(i * d + e)])));
          }
        }
        cuda_infonce(p, both, scratch.data, stream);
        check(cudaStreamSynchronize(stream), "InfoNCE");
        const bool same_bits = dq.read() == got_dq && result.read() == first_result;
        const double forward_ms = time_of([&](cudaStream_t s) { cuda_infonce(p, forward, scratch.data, s); }, stream, budget);
        const double ms = time_of([&](cudaStream_t s) { cuda_infonce(p, both, scratch.data, s); }, stream, budget);
        cudaGraph_t graph;
        cudaGraphExec_t replay;
        check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "capture");
        cuda_infonce(p, both, scratch.data, stream);
        check(cudaStreamEndCapture(stream, &graph), "capture");
        check(cudaGraphInstantiate(&replay, graph, 0), "graph");
        const double graph_ms = time_of([&](cudaStream_t s) { check(cudaGraphLaunch(replay, s), "graph"); }, stream, budget);
        cudaGraphExecDestroy(replay);
        cudaGraphDestroy(graph);
        std::printf(
            "{\"bench\":\"infonce\",\"case\":{\"B\":%lld,\"d\":%lld,\"dtype\":\"%s\",\"path\":\"%s\"},\"ms\":%.5f,\"forwardMs\":%.5f,\"graphMs\":%.5f,"
            "\"teraflops\":%.1f,\"scratchBytes\":%zu,\"lseError\":%.3g,\"gradientError\":%.3g,\"sameBits\":%s,\"loss\":%.8f}\n",
            static_cast<long long>(b), static_cast<long long>(d), bf16 ? "bf16" : "f32", path == CudaPath::best ? "best" : "portable", ms, forward_ms, graph_ms,
            8.0 * double(b) * double(b) * double(d) / std::min(ms, graph_ms) / 1e9, scratch_bytes, lse_error, gradient_error / largest, same_bits ? "true" : "false",
            first_result[0]);
        std::fflush(stdout);
      }
  }
  check(cudaStreamDestroy(stream), "stream");
}

}  // namespace

int main(int argc, char** argv) {
  const auto asked = [&](const char* what) { return std::any_of(argv + 1, argv + argc, [&](const char* a) { return !std::strcmp(a, what); }); };
  std::string why;
  const auto devices = cuda_devices(&why);
  if (devices.empty()) {
    std::fprintf(stderr, "no GPU: %s\n", why.c_str());
    return 1;
  }
  try {
    int64_t batch = 0;
    for (int i = 1; i + 1 < argc; i++)
      if (!std::strcmp(argv[i], "--batch")) batch = std::atoll(argv[i + 1]);
    const bool all = !asked("infonce") && !asked("encoder");
    if (all || asked("infonce")) bench_infonce(asked("--quick"), batch, asked("--once"));
    if (all || asked("encoder")) test::bench_cuda_encoder();
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
  }
}
