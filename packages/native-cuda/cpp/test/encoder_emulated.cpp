// The CUDA kernels of the scene encoder, run on the CPU by the emulation, against the float64 layer.
#include "../cuda/encoder_kernels.inl"
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

}  // namespace

void check_encoder_emulated(const Expect& expect, int random_cases) {
  uint64_t seed = 300;
  check_select(expect);
  check_refusal(expect);
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
