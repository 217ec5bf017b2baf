// The CUDA kernels of the scene encoder, run on the CPU by the emulation, against the float64 layer; and their host form with the addon's
// wiring over it, on a runtime that is emulated as well.
#include "larr/cuda.h"

namespace larr {
namespace {
std::vector<CudaDevice> emulated_devices(std::string*) { return {{0, "an emulated GPU", 8, 0, 2, size_t(1) << 30}, {1, "an old one", 7, 5, 2, size_t(1) << 30}}; }
}  // namespace
}  // namespace larr

// A class of its own: the program may hold the real one, too.
#define CudaSceneEncoder EmulatedSceneEncoder
#define cuda_devices emulated_devices
#include "../cuda/encoder_host.inl"
#undef cuda_devices
#include "../addon/scene_kernel.h"

#include "emulated.h"
#include "encoder_case.h"

namespace larr::test {
namespace {

using cuda::EncoderCall;
using cuda::EncoderImage;
using cuda::EncoderPlan;

constexpr size_t shared_memory_of_a_gpu = 227 * 1024;
// Two multiprocessors: blocks of rows come after one another, as in a long call.
constexpr int multiprocessors = 2;

struct Emulated {
  EncoderImage image;
  EncoderPlan plan;
  uint32_t refused = 0xffffffffu;

  Emulated(const EncoderProblem& p, Dtype compute, size_t shared_limit)
      : image(cuda::pack_encoder(p.shape, p.weights(), p.table(), compute, shared_limit)), plan(image.at(image.bytes.data())) {}

  void run(const std::vector<int32_t>& rows, int64_t n, float* z, float* attention, const float* targets, bool one_target, float* scores) {
    refused = 0xffffffffu;
    cuda::launch_encoder(plan, {rows.data(), n, z, attention, targets, one_target ? 0 : plan.out, scores, &refused}, multiprocessors, nullptr);
  }
};

void check_case(const Expect& expect, const EncoderCase& c, uint64_t seed, size_t shared_limit = shared_memory_of_a_gpu) {
  const EncoderProblem p = make_encoder_problem(c, seed);
  const EncoderAnswer exact = answer(p, p.rows);
  std::mt19937_64 engine(seed);
  for (Dtype compute : {Dtype::f32, Dtype::bf16}) {
    Emulated encoder(p, compute, shared_limit);
    const std::string what = "emulated CUDA encoder " + p.name() + (encoder.plan.fused ? " fused" : " general") + (compute == Dtype::bf16 ? " bf16" : " f32");
    std::vector<float> z(exact.z.size() + 1, poison), attention(exact.attention.size() + 1, poison), again = z;
    std::vector<float> targets(exact.z.size()), scores(size_t(p.n_rows) + 1, poison), one = scores;
    encoder.run(p.rows, p.n_rows, z.data(), attention.data(), nullptr, false, nullptr);
    expect(z.back() == poison && attention.back() == poison, what + " wrote past its outputs");
    expect(encoder.refused == 0xffffffffu, what + " refused a good row");
    expect_close(expect, p, exact, compute, z.data(), attention.data(), what);
    for (float& t : targets) t = float(std::normal_distribution<double>()(engine));
    encoder.run(p.rows, p.n_rows, again.data(), nullptr, targets.data(), false, scores.data());
    expect(again == z, what + " differs from run to run");
    encoder.run(p.rows, p.n_rows, nullptr, nullptr, targets.data(), true, one.data());
    expect(scores.back() == poison && one.back() == poison, what + " wrote past its scores");
    expect_scores(expect, p, z, targets, false, scores, what);
    expect_scores(expect, p, z, targets, true, one, what);
  }
}

void check_refusal(const Expect& expect) {
  for (size_t shared_limit : {shared_memory_of_a_gpu, size_t(24 * 1024)}) {
    EncoderProblem p = make_encoder_problem({{4, 16, 2, 20, 12, 8}, 12, 150}, 5);
    const std::string what = shared_limit == shared_memory_of_a_gpu ? "emulated CUDA encoder fused" : "emulated CUDA encoder general";
    // Past the table, below -1, and of another field; the first in memory is named, and the row scored as if it were missing.
    for (const auto& [at, entry] : {std::pair{140 * 4 + 3, 12}, {77 * 4 + 1, -2}, {33 * 4 + 2, 1}}) {
      std::vector<int32_t> rows = p.rows, missing = p.rows;
      rows[590] = 99;
      rows[size_t(at)] = entry;
      missing[590] = missing[size_t(at)] = -1;
      Emulated encoder(p, Dtype::f32, shared_limit);
      std::vector<float> z(150 * 8, poison), wanted = z;
      encoder.run(rows, 150, z.data(), nullptr, nullptr, false, nullptr);
      expect(encoder.refused == uint32_t(at), what + " names refused index " + std::to_string(encoder.refused) + ", not " + std::to_string(at));
      encoder.run(missing, 150, wanted.data(), nullptr, nullptr, false, nullptr);
      expect(z == wanted, what + " did not leave a refused entry out");
    }
  }
  const EncoderProblem wide = make_encoder_problem({{1, 2048, 1, 8, 8, 8}, 1, 1}, 6);
  bool thrown = false;
  try {
    cuda::pack_encoder(wide.shape, wide.weights(), wide.table(), Dtype::f32, 48 * 1024);
  } catch (const std::invalid_argument&) {
    thrown = true;
  }
  expect(thrown, "an encoder wider than a block's shared memory was accepted");
}

void check_select(const Expect& expect) {
  std::mt19937_64 engine(12);
  for (int trial = 0; trial < 24; trial++) {
    const int64_t n = 1 + int64_t(engine() % (trial % 4 ? 300 : 9000)), k = 1 + int64_t(engine() % uint64_t(trial % 3 ? n : std::min<int64_t>(n, 20)));
    std::vector<float> scores(static_cast<size_t>(n));
    for (float& x : scores) {
      const uint64_t kind = engine() % 12;
      x = kind == 0 ? NAN : kind == 1 ? -0.0f : kind == 2 ? 0.0f : kind == 3 ? INFINITY : trial % 2 ? float(engine() % 9) - 4 : std::normal_distribution<float>()(engine);
    }
    if (trial == 5) std::fill(scores.begin(), scores.end(), NAN);
    if (trial == 6) std::fill(scores.begin(), scores.end(), -INFINITY);
    const auto wanted = top_k(scores.data(), n, k);
    auto selection = std::make_unique<cuda::Selection>();
    std::vector<Scored> got(size_t(k) + 1, Scored{-7, poison});
    cuda::launch_select(scores.data(), n, k, selection.get(), got.data(), multiprocessors, nullptr);
    bool same = selection->chosen == wanted.size() && got.back().row == -7;
    got.resize(std::min<size_t>(selection->chosen, size_t(k)));
    std::sort(got.begin(), got.end(), [](const Scored& a, const Scored& b) { return a.score != b.score ? a.score > b.score : a.row < b.row; });
    for (size_t i = 0; same && i < got.size(); i++) same = got[i].row == wanted[i].row && got[i].score == wanted[i].score;
    expect(same, "emulated CUDA selection of " + std::to_string(k) + " from " + std::to_string(n));
  }
}

using addon::make_scene_kernel;
using addon::SceneKernel;

std::shared_ptr<const SceneKernel> on_gpu(const EncoderProblem& p, Dtype compute, int gpu = 0) {
  return make_scene_kernel<EmulatedSceneEncoder>(p.shape, p.weights(), p.table(), compute, gpu);
}

template <class Error, class Call>
std::string refusal(const Call& call) {
  try {
    call();
  } catch (const Error& e) {
    return e.what();
  } catch (const std::exception& e) {
    return std::string("another error: ") + e.what();
  }
  return "no error";
}

// Against the kernels called directly, which the cases above hold against float64: rows that are read where they lie, or copied in chunks,
// and the best of them chosen by the processor, or by the GPU.
void check_host_form(const Expect& expect) {
  for (const auto& [shape, rows] : {std::pair{EncoderShape{3, 8, 2, 8, 8, 4}, 1}, {EncoderShape{3, 8, 2, 8, 8, 4}, 20}, {EncoderShape{3, 8, 2, 8, 8, 4}, 39},
                                    {EncoderShape{3, 8, 2, 8, 8, 4}, 75}, {EncoderShape{2, 200, 5, 12, 8, 3}, 41}, {EncoderShape{3, 8, 2, 8, 8, 4}, 0}})
    for (Dtype compute : {Dtype::f32, Dtype::bf16}) {
      const EncoderProblem p = make_encoder_problem({shape, 12, rows}, 40 + uint64_t(rows));
      const std::string what = "emulated CUDA host form " + p.name() + (compute == Dtype::bf16 ? " bf16" : " f32");
      const size_t n = size_t(rows), out = size_t(shape.out), per_row = size_t(shape.heads) * size_t(1 + shape.fields);
      std::mt19937_64 engine(7);
      std::vector<float> targets(n * out + out), z(n * out + 1, poison), z2 = z, attention(n * per_row + 1, poison), attention2 = attention;
      for (float& t : targets) t = float(std::normal_distribution<double>()(engine));
      std::vector<float> scores(n + 1, poison), scores2 = scores;
      Emulated direct(p, compute, shared_memory_of_a_gpu);
      const auto kernel = on_gpu(p, compute);
      expect(kernel->why_cpu().empty() && !kernel->reads_table(), what + " is on the processor");
      direct.run(p.rows, rows, z.data(), attention.data(), nullptr, false, nullptr);
      for (int call = 0; call < 2; call++) {  // the second works in the first one's buffers
        std::fill(z2.begin(), z2.end(), poison), std::fill(attention2.begin(), attention2.end(), poison);
        kernel->encode(p.rows.data(), rows, z2.data(), attention2.data(), nullptr);
        expect(z == z2 && attention == attention2, what + " encode");
      }
      for (bool one : {false, true}) {
        direct.run(p.rows, rows, nullptr, nullptr, targets.data(), one, scores.data());
        for (int64_t k : {int64_t(0), int64_t(7), int64_t(rows) + 3}) {
          std::fill(scores2.begin(), scores2.end(), poison), std::fill(attention2.begin(), attention2.end(), poison);
          const auto best = kernel->score(p.rows.data(), rows, targets.data(), one, scores2.data(), k == 7 ? attention2.data() : nullptr, k, nullptr);
          const auto wanted = top_k(scores.data(), rows, k);
          bool same = scores == scores2 && best.size() == wanted.size() && (k != 7 || attention == attention2);
          for (size_t i = 0; same && i < best.size(); i++) same = best[i].row == wanted[i].row && best[i].score == wanted[i].score;
          expect(same, what + (one ? " score of one target, best " : " score, best ") + std::to_string(k));
        }
      }
    }
}

void check_host_errors(const Expect& expect) {
  const EncoderProblem p = make_encoder_problem({{3, 8, 2, 8, 8, 4}, 12, 50}, 50);
  std::vector<float> z(50 * 4, poison), wanted = z, scores(50), targets(50 * 4, 1.0f);
  const auto kernel = on_gpu(p, Dtype::f32);
  kernel->encode(p.rows.data(), 50, wanted.data(), nullptr, nullptr);
  // Refused as on the processor, in the same words; what was under way is done with, and the next call is right.
  for (int64_t at : {int64_t(2), int64_t(20 * 3), int64_t(49 * 3 + 1)})
    for (int32_t entry : {12, -2, int32_t(at % 3 == 0 ? 1 : 0)}) {
      auto rows = p.rows;
      rows[size_t(at)] = entry;
      const SceneEncoder here(p.shape, p.weights(), p.table(), Dtype::f32);
      const auto told = refusal<std::out_of_range>([&] { here.encode(rows.data(), 50, z.data(), nullptr); });
      expect(refusal<std::out_of_range>([&] { kernel->encode(rows.data(), 50, z.data(), nullptr, nullptr); }) == told, "emulated CUDA host form: encode did not say: " + told);
      expect(refusal<std::out_of_range>([&] { kernel->score(rows.data(), 50, targets.data(), false, scores.data(), nullptr, 3, nullptr); }) == told,
             "emulated CUDA host form: score did not say: " + told);
      kernel->encode(p.rows.data(), 50, z.data(), nullptr, nullptr);
      expect(z == wanted, "emulated CUDA host form after a refused row");
    }
  const std::atomic<bool> cancel = true;
  expect(refusal<Cancelled>([&] { kernel->encode(p.rows.data(), 50, z.data(), nullptr, &cancel); }) == Cancelled().what(), "emulated CUDA host form: encode was not cancelled");
  expect(refusal<Cancelled>([&] { kernel->score(p.rows.data(), 50, targets.data(), false, scores.data(), nullptr, 0, &cancel); }) == Cancelled().what(),
         "emulated CUDA host form: score was not cancelled");
  // Whichever call of the runtime fails: an error with its number, or none where nothing came of it; nothing lost, and the next call is right.
  const long before = emulated_runtime.allocations;
  for (const bool made : {false, true}) {  // a kernel that is there already, or the calls that make one too
    bool failed = true;
    int call = 0;
    for (; failed && call < 200; call++) {
      emulated_runtime = {.calls_until_failure = -1, .failure = cudaErrorLaunchFailure, .device = 0, .allocations = emulated_runtime.allocations};
      std::shared_ptr<const SceneKernel> other = made ? on_gpu(p, Dtype::f32) : nullptr;
      emulated_runtime.calls_until_failure = call;
      const auto told = refusal<cuda::Failure>([&] {
        if (!other) other = on_gpu(p, Dtype::f32);
        other->score(p.rows.data(), 50, targets.data(), false, scores.data(), nullptr, 5, nullptr);
        other->encode(p.rows.data(), 50, z.data(), nullptr, nullptr);
      });
      failed = emulated_runtime.calls_until_failure < 0;  // it came to that call
      emulated_runtime.calls_until_failure = -1;
      expect(told == "no error" || told.find("made to fail") != std::string::npos, "emulated CUDA host form, call " + std::to_string(call) + " failing: " + told);
      if (!other) continue;
      std::fill(z.begin(), z.end(), poison);
      other->encode(p.rows.data(), 50, z.data(), nullptr, nullptr);
      expect(z == wanted, "emulated CUDA host form after a call of the runtime failed");
    }
    expect(call > 10 && !failed, "emulated CUDA host form: the runtime failed at " + std::to_string(call) + " places");
  }
  expect(emulated_runtime.allocations == before, "emulated CUDA host form lost " + std::to_string(emulated_runtime.allocations - before) + " buffers");
  expect(refusal<CudaMissing>([&] { on_gpu(p, Dtype::f32, 2); }).find("no CUDA device 2") != std::string::npos, "a GPU that is not there was accepted");
  expect(refusal<CudaMissing>([&] { on_gpu(p, Dtype::f32, 1); }).find("older than") != std::string::npos, "a GPU that is too old was accepted");
  // Too wide for the GPU: the processor takes it, and says why.
  const EncoderProblem wide = make_encoder_problem({{1, 2048, 1, 8, 8, 8}, 3, 5}, 6);
  emulated_runtime.shared_memory = 48 * 1024;
  const auto taken = on_gpu(wide, Dtype::f32);
  emulated_runtime.shared_memory = 227 * 1024;
  expect(taken->why_cpu().find("bytes of shared memory") != std::string::npos && taken->reads_table(), "an encoder too wide for the GPU is not on the processor");
  std::vector<float> there(5 * 8, poison), here = there;
  taken->encode(wide.rows.data(), 5, there.data(), nullptr, nullptr);
  SceneEncoder(wide.shape, wide.weights(), wide.table(), Dtype::f32).encode(wide.rows.data(), 5, here.data(), nullptr);
  expect(there == here, "an encoder too wide for the GPU gives other numbers on the processor");
  expect(on_gpu(p, Dtype::f32, -1)->why_cpu().empty(), "the processor was asked for, and gives a reason");
}

}  // namespace

void check_encoder_emulated(const Expect& expect, int random_cases) {
  uint64_t seed = 300;
  check_select(expect);
  check_refusal(expect);
  check_host_form(expect);
  check_host_errors(expect);
  check_case(expect, {{10, 128, 4, 512, 256, 128}, 300, 33}, seed++);
  check_case(expect, {{10, 128, 4, 64, 33, 128}, 90, 300}, seed++);           // several blocks a multiprocessor
  check_case(expect, {{3, 24, 3, 50, 17, 9}, 31, 1}, seed++);                 // one row, odd sizes
  check_case(expect, {{3, 24, 3, 50, 17, 9}, 31, 65}, seed++);
  check_case(expect, {{1, 16, 1, 64, 32, 16}, 1, 17, 6}, seed++);             // large logits
  check_case(expect, {{5, 96, 12, 100, 70, 300}, 60, 40, 3}, seed++);         // several groups of output columns
  check_case(expect, {{2, 40, 8, 30, 20, 65}, 9, 20}, seed++);                // heads narrower than a load
  check_case(expect, {{4, 200, 5, 60, 40, 33}, 50, 13}, seed++);              // too wide for the fused kernel
  check_case(expect, {{6, 64, 32, 40, 30, 31}, 40, 21, 2}, seed++);           // heads too narrow for it
  check_case(expect, {{10, 128, 4, 96, 64, 128}, 300, 30}, seed++, 40 * 1024);  // too little shared memory for it
  check_case(expect, {{3, 1, 1, 1, 1, 1}, 7, 19}, seed++);
  check_case(expect, {{3, 16, 2, 8, 8, 4}, 0, 5}, seed++);                    // an empty table
  check_case(expect, {{3, 16, 2, 8, 8, 4}, 9, 0}, seed++);                    // no rows
  std::mt19937_64 engine(77);
  const auto below = [&](int n) { return int(engine() % uint64_t(n)); };
  for (int i = 0; i < random_cases; i++) {
    const int heads = 1 + below(6);
    check_case(expect, {{1 + below(12), heads * (1 + below(24)), heads, 1 + below(200), 1 + below(100), 1 + below(150)}, 1 + below(60), 1 + below(80), 0.2 + below(30) / 10.0},
               2000 + uint64_t(i));
  }
}

}  // namespace larr::test
