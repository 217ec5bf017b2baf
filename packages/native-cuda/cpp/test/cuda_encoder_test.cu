// The scene encoder on a real GPU: against the float64 layer, over device and host pointers; and how long it takes.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <memory>
#include <thread>

#include "../cuda/runtime.h"
#include "cuda_encoder.h"
#include "larr/cuda_encoder.h"

namespace larr::test {
namespace {

using cuda::check;

// Device memory with the contents of a host vector.
template <class T>
class OnGpu {
 public:
  explicit OnGpu(size_t count) : count_(count) { check(cudaMalloc(&data_, std::max<size_t>(1, count) * sizeof(T)), "memory of a test"); }
  explicit OnGpu(const std::vector<T>& from) : OnGpu(from.size()) {
    check(cudaMemcpy(data_, from.data(), count_ * sizeof(T), cudaMemcpyHostToDevice), "copy of a test");
  }
  OnGpu(const OnGpu&) = delete;
  ~OnGpu() { cudaFree(data_); }
  T* data() const { return static_cast<T*>(data_); }
  std::vector<T> host() const { return host(0, count_); }
  std::vector<T> host(size_t first, size_t count) const {
    std::vector<T> to(count);
    check(cudaMemcpy(to.data(), data() + first, count * sizeof(T), cudaMemcpyDeviceToHost), "copy of a test");
    return to;
  }

 private:
  void* data_ = nullptr;
  size_t count_;
};

std::vector<float> random_floats(size_t n, uint64_t seed) {
  std::mt19937_64 engine(seed);
  std::normal_distribution<float> normal;
  std::vector<float> x(n);
  for (float& v : x) v = normal(engine);
  return x;
}

const char* name(Dtype compute) { return compute == Dtype::bf16 ? "bf16" : "f32"; }

// Up to `most` rows spread over all of them: the float64 layer takes milliseconds a row.
std::vector<int64_t> sampled(int64_t n, int64_t most) {
  std::vector<int64_t> rows;
  for (int64_t i = 0; i < std::min(n, most); i++) rows.push_back(n <= most ? i : i * (n - 1) / (most - 1));
  return rows;
}

template <class T>
std::vector<T> rows_of(const std::vector<T>& all, const std::vector<int64_t>& rows, int64_t width) {
  std::vector<T> some;
  for (int64_t r : rows) some.insert(some.end(), all.begin() + r * width, all.begin() + (r + 1) * width);
  return some;
}

void check_case(const Expect& expect, const EncoderCase& c, uint64_t seed, int device) {
  const EncoderProblem p = make_encoder_problem(c, seed);
  const int64_t n = p.n_rows, out = p.shape.out, per_row = int64_t(p.shape.heads) * (1 + p.shape.fields);
  const auto sample = sampled(n, 100);
  const EncoderAnswer exact = answer(p, rows_of(p.rows, sample, p.shape.fields));
  for (Dtype compute : {Dtype::f32, Dtype::bf16}) {
    const std::string what = "CUDA encoder " + p.name() + " " + name(compute);
    const CudaSceneEncoder encoder(p.shape, p.weights(), p.table(), compute, device);
    const auto expect_sample = [&](const std::vector<float>& z, const std::vector<float>& attention, const std::string& form) {
      expect_close(expect, p, exact, compute, rows_of(z, sample, out).data(), rows_of(attention, sample, per_row).data(), what + form);
      expect(std::none_of(z.begin(), z.end() - 1, [](float x) { return x == poison || !std::isfinite(x); }), what + form + " left elements of z");
      expect(z.back() == poison && attention.back() == poison, what + form + " wrote past its outputs");
    };
    const std::vector<float> blank_z(size_t(n * out) + 1, poison), blank_attention(size_t(n * per_row) + 1, poison), blank_scores(size_t(n) + 1, poison);
    const OnGpu<int32_t> rows(p.rows);
    const OnGpu<float> z(blank_z), attention(blank_attention), again(blank_z);
    const OnGpu<uint32_t> refused(std::vector<uint32_t>{0xffffffffu});
    encoder.encode(rows.data(), n, z.data(), attention.data(), refused.data(), nullptr);
    encoder.encode(rows.data(), n, again.data(), nullptr, nullptr, nullptr);
    check(cudaDeviceSynchronize(), "the scene encoder's test");
    const auto z_device = z.host(), attention_device = attention.host();
    expect_sample(z_device, attention_device, " (device)");
    expect(again.host() == z_device, what + " differs from run to run");
    expect(refused.host()[0] == 0xffffffffu, what + " refused a good row");

    std::vector<float> z_host = blank_z, attention_host = blank_attention;
    encoder.encode_host(p.rows.data(), n, z_host.data(), attention_host.data());
    expect_sample(z_host, attention_host, " (host)");
    expect(z_host == z_device && attention_host == attention_device, what + " host and device forms differ");

    const auto targets = random_floats(size_t(n * out), seed);
    const OnGpu<float> targets_on(targets), scores(blank_scores);
    for (bool one : {false, true}) {
      std::vector<float> scores_host = blank_scores;
      const auto best = encoder.score_host(p.rows.data(), n, targets.data(), one, scores_host.data(), nullptr, 10);
      expect(scores_host.back() == poison, what + " wrote past its scores");
      expect_scores(expect, p, z_host, targets, one, scores_host, what);
      encoder.score(rows.data(), n, targets_on.data(), one, scores.data(), nullptr, nullptr, nullptr);
      const auto best_device = encoder.top_k(scores.data(), n, 10, nullptr);
      expect(scores.host() == scores_host, what + " scores of host and device forms differ");
      const auto wanted = top_k(scores_host.data(), n, 10);
      const auto same = [](const Scored& a, const Scored& b) { return a.row == b.row && a.score == b.score; };
      for (const auto& got : {best, best_device, encoder.score_host(p.rows.data(), n, targets.data(), one, nullptr, nullptr, 10)})
        expect(std::equal(got.begin(), got.end(), wanted.begin(), wanted.end(), same), what + " best rows");
    }
  }
}

void check_refusal(const Expect& expect, int device) {
  for (int64_t n : {100, 60000}) {
    const EncoderProblem p = make_encoder_problem({{4, 16, 2, 20, 12, 8}, 12, n}, 5);
    const SceneEncoder on_cpu(p.shape, p.weights(), p.table(), Dtype::f32, Isa::scalar);
    const CudaSceneEncoder encoder(p.shape, p.weights(), p.table(), Dtype::f32, device);
    std::vector<float> z(size_t(n * 8)), wanted_z = z;
    const auto message = [&](const auto& call) -> std::string {
      try {
        call();
      } catch (const std::out_of_range& error) {
        return error.what();
      }
      return "accepted";
    };
    for (const auto& [field, entry] : {std::pair{3, 12}, {1, -2}, {2, 1}}) {
      std::vector<int32_t> rows = p.rows;
      rows[size_t((n - 7) * 4 + field)] = entry;
      const std::string wanted = message([&] { on_cpu.encode(rows.data(), n, wanted_z.data(), nullptr, {.isa = Isa::scalar}); });
      rows.back() = 4000;  // a later one is not the one that is named
      const std::string got = message([&] { encoder.encode_host(rows.data(), n, z.data(), nullptr); });
      expect(got == wanted && got != "accepted", "CUDA encoder says \"" + got + "\", the CPU \"" + wanted + "\"");
    }
    // And goes on working.
    encoder.encode_host(p.rows.data(), n, z.data(), nullptr);
    expect(std::all_of(z.begin(), z.end(), [](float x) { return std::isfinite(x); }), "CUDA encoder after a refusal");
  }
}

void check_selection(const Expect& expect, int device) {
  const EncoderProblem p = make_encoder_problem({{1, 16, 2, 8, 8, 8}, 3, 1}, 9);
  const CudaSceneEncoder encoder(p.shape, p.weights(), p.table(), Dtype::f32, device);
  std::mt19937_64 engine(3);
  for (int64_t n : {1, 1000, 100000, 3000000})
    for (int64_t k : {1, 100, 5000}) {
      auto scores = random_floats(size_t(n), engine());
      for (float& x : scores) x = engine() % 50 == 0 ? NAN : k == 5000 ? std::round(x) : x;  // many equal ones
      const OnGpu<float> there(scores);
      const auto wanted = top_k(scores.data(), n, k), got = encoder.top_k(there.data(), n, k, nullptr);
      bool same = got.size() == wanted.size();
      for (size_t i = 0; same && i < got.size(); i++) same = got[i].row == wanted[i].row && got[i].score == wanted[i].score;
      expect(same, "CUDA selection of " + std::to_string(k) + " from " + std::to_string(n));
    }
}

void check_threads(const Expect& expect, int device) {
  const EncoderProblem p = make_encoder_problem({{10, 128, 4, 512, 256, 128}, 300, 40000}, 8);
  const CudaSceneEncoder encoder(p.shape, p.weights(), p.table(), Dtype::bf16, device);
  std::vector<float> wanted(size_t(p.n_rows) * 128);
  encoder.encode_host(p.rows.data(), p.n_rows, wanted.data(), nullptr);
  std::atomic<int> wrong{0};
  std::vector<std::thread> callers;
  for (int t = 0; t < 4; t++)
    callers.emplace_back([&, t] {
      for (int i = 0; i < 6; i++) {
        const int64_t n = i % 2 ? p.n_rows - t : 300 + t;
        std::vector<float> z(size_t(n) * 128, poison);
        encoder.encode_host(p.rows.data(), n, z.data(), nullptr);
        wrong += !std::equal(z.begin(), z.end(), wanted.begin());
      }
    });
  for (auto& caller : callers) caller.join();
  expect(wrong == 0, "CUDA encoder called from several threads");
  std::atomic<bool> cancel{true};
  bool thrown = false;
  try {
    encoder.encode_host(p.rows.data(), p.n_rows, wanted.data(), nullptr, &cancel);
  } catch (const Cancelled&) {
    thrown = true;
  }
  expect(thrown, "a cancelled CUDA encoder call went on");
}

// ---- Timings.

double median(std::vector<double> x) {
  std::nth_element(x.begin(), x.begin() + std::ptrdiff_t(x.size() / 2), x.end());
  return x[x.size() / 2];
}

// Median microseconds of a call on a stream, after a warm-up: events around `calls` of them, so that launches overlap as they would.
template <class Call>
double event_microseconds(cudaStream_t stream, int calls, const Call& call) {
  cudaEvent_t from, to;
  check(cudaEventCreate(&from), "event");
  check(cudaEventCreate(&to), "event");
  std::vector<double> times;
  int turn = 0;
  for (int i = 0; i < 14; i++) {
    check(cudaEventRecord(from, stream), "event");
    for (int j = 0; j < calls; j++) call(turn++);
    check(cudaEventRecord(to, stream), "event");
    check(cudaEventSynchronize(to), "timed calls");
    float milliseconds;
    check(cudaEventElapsedTime(&milliseconds, from, to), "event");
    if (i >= 3) times.push_back(1e3 * double(milliseconds) / calls);
  }
  cudaEventDestroy(from);
  cudaEventDestroy(to);
  return median(times);
}

template <class Call>
double wall_microseconds(const Call& call) {
  std::vector<double> times;
  for (int i = 0; i < 14; i++) {
    const auto from = std::chrono::steady_clock::now();
    call(i);
    if (i >= 3) times.push_back(std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - from).count());
  }
  return median(times);
}

}  // namespace

void run_cuda_encoder_tests(const Expect& expect, int random_cases, int device) {
  check(cudaSetDevice(device), "set device");
  uint64_t seed = 600;
  check_selection(expect, device);
  check_refusal(expect, device);
  check_threads(expect, device);
  for (int64_t rows : {0, 1, 2, 17, 63, 64, 65, 512, 513, 9000, 70001}) check_case(expect, {{10, 128, 4, 512, 256, 128}, 300, rows}, seed++, device);
  for (int64_t rows : {1, 47, 3000}) {
    check_case(expect, {{3, 24, 3, 50, 17, 9}, 31, rows}, seed++, device);
    check_case(expect, {{1, 16, 1, 64, 32, 16}, 1, rows, 6}, seed++, device);
    check_case(expect, {{5, 96, 12, 100, 70, 300}, 60, rows, 3}, seed++, device);
    check_case(expect, {{4, 200, 5, 60, 40, 33}, 50, rows}, seed++, device);
    check_case(expect, {{6, 64, 32, 40, 30, 31}, 40, rows, 2}, seed++, device);
    check_case(expect, {{40, 128, 8, 2048, 512, 128}, 5000, rows}, seed++, device);
  }
  check_case(expect, {{3, 16, 2, 8, 8, 4}, 0, 5}, seed++, device);
  std::mt19937_64 engine(78);
  const auto below = [&](int n) { return int(engine() % uint64_t(n)); };
  for (int i = 0; i < random_cases; i++) {
    const int heads = 1 + below(6);
    check_case(expect, {{1 + below(12), heads * (1 + below(40)), heads, 1 + below(300), 1 + below(150), 1 + below(200)}, 1 + below(60), 1 + below(400), 0.2 + below(30) / 10.0},
               3000 + uint64_t(i), device);
  }
}

void bench_cuda_encoder(int device) {
  check(cudaSetDevice(device), "set device");
  cudaDeviceProp properties;
  check(cudaGetDeviceProperties(&properties, device), "device properties");
  cudaStream_t stream;
  check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "stream");
  const EncoderShape shape{10, 128, 4, 512, 256, 128};
  constexpr int64_t most = int64_t(4) << 20, host_most = int64_t(1) << 20;
  const auto target = random_floats(128, 4);
  const OnGpu<float> z(size_t(most) * 128), scores(static_cast<size_t>(most)), target_on(target);
  std::vector<float> z_host(size_t(host_most) * 128, poison), scores_host(static_cast<size_t>(host_most), poison);
  for (int entries : {1000, 100000}) {
    const EncoderProblem p = make_encoder_problem({shape, entries, most}, 1);
    const OnGpu<int32_t> rows(p.rows);
    for (Dtype compute : {Dtype::bf16, Dtype::f32}) {
      const CudaSceneEncoder encoder(shape, p.weights(), p.table(), compute, device);
      const auto report = [&](const char* form, int64_t n, double microseconds, double error) {
        std::printf("{\"bench\":\"encoder\",\"device\":\"%s\",\"case\":{\"rows\":%lld,\"dtype\":\"%s\",\"form\":\"%s\",\"entries\":%d},\"rowsPerSecond\":%.0f,\"microseconds\":%.2f",
                    properties.name, static_cast<long long>(n), name(compute), form, entries, double(n) / microseconds * 1e6, microseconds);
        if (error >= 0) std::printf(",\"error\":%.2e", error);
        std::printf("}\n");
        std::fflush(stdout);
      };
      for (int64_t n = entries == 1000 ? 64 : int64_t(1) << 20; n <= most; n *= 4) {
        // Other rows at every call, as far as there are any: a small batch would come from the cache otherwise.
        const int64_t places = std::min<int64_t>(64, most / n);
        const auto from = [&](int turn) { return turn % places * n * 10; };
        const int calls = int(std::clamp<int64_t>((int64_t(1) << 21) / n, 1, 50));
        check(cudaMemset(z.data(), 0xff, size_t(n) * 128 * sizeof(float)), "poison");
        encoder.encode(rows.data(), n, z.data(), nullptr, nullptr, nullptr);
        check(cudaDeviceSynchronize(), "the scene encoder");
        const auto sample = sampled(n, 48);
        const EncoderAnswer exact = answer(p, rows_of(p.rows, sample, 10));
        std::vector<float> got;
        for (int64_t row : sample) {
          const auto one = z.host(size_t(row) * 128, 128);
          got.insert(got.end(), one.begin(), one.end());
        }
        const double error = largest_error(got.data(), exact.z);
        report("device encode", n, event_microseconds(stream, calls, [&](int turn) { encoder.encode(rows.data() + from(turn), n, z.data(), nullptr, nullptr, stream); }), error);
        report("device score", n,
               event_microseconds(stream, calls, [&](int turn) { encoder.score(rows.data() + from(turn), n, target_on.data(), true, scores.data(), nullptr, nullptr, stream); }), -1);
        // Replayed from a graph: what is left of the launch.
        if (n <= 4096) {
          cudaGraph_t graph;
          cudaGraphExec_t replay;
          check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "capture");
          encoder.encode(rows.data(), n, z.data(), nullptr, nullptr, stream);
          check(cudaStreamEndCapture(stream, &graph), "capture");
          check(cudaGraphInstantiate(&replay, graph, 0), "graph");
          report("device encode, graph", n, event_microseconds(stream, calls, [&](int) { check(cudaGraphLaunch(replay, stream), "graph"); }), -1);
          cudaGraphExecDestroy(replay);
          cudaGraphDestroy(graph);
        }
        report("device top 100", n, wall_microseconds([&](int) { encoder.top_k(scores.data(), n, 100, stream); }), -1);
        if (n > host_most) continue;
        report("host encode", n, wall_microseconds([&](int turn) { encoder.encode_host(p.rows.data() + from(turn), n, z_host.data(), nullptr); }), -1);
        report("host score, top 100", n,
               wall_microseconds([&](int turn) { encoder.score_host(p.rows.data() + from(turn), n, target.data(), true, scores_host.data(), nullptr, 100); }), -1);
      }
    }
  }
  cudaStreamDestroy(stream);
}

}  // namespace larr::test
