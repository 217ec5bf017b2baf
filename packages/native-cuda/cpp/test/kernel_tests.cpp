// The kernels against their float64 references, on every instruction set this machine has. `kernel_tests [cases]`: first fixed shapes,
// then that many random ones (200 unless told). Ends 1 and says which case where one is off.
#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstdio>
#include <cstring>

#include "checks.h"
#include "cuda_encoder.h"
#include "emulated.h"
#include "larr/cuda.h"

namespace larr::test {

int failures = 0, checks = 0;
Target target = Target::cpu;

void expect(bool good, const std::string& what) {
  checks++;
  if (good) return;
  failures++;
  if (failures < 40) std::fprintf(stderr, "FAILED %s\n", what.c_str());
}

namespace {

void check_finite_differences() {
  Random random(3);
  const int64_t b = 5, d = 7;
  std::vector<float> q(size_t(b * d)), k(q.size());
  for (auto* m : {&q, &k})
    for (float& x : *m) x = float(random.normal());
  const int32_t groups[5] = {1, 2, 1, 3, 4};
  InfoNce p;
  p.q = q.data(), p.k = k.data(), p.batch = b, p.dim = d, p.scale = 0.8, p.groups = groups;
  std::vector<double> l1(5), l2(5), dq(q.size()), dk(q.size());
  double loss, dscale, other, unused;
  infonce_reference(p, &loss, &dscale, l1.data(), l2.data(), dq.data(), dk.data());
  const auto loss_at = [&] {
    infonce_reference(p, &other, &unused, l1.data(), l2.data(), nullptr, nullptr);
    return other;
  };
  for (auto [m, g] : {std::pair{&q, &dq}, std::pair{&k, &dk}})
    for (size_t i = 0; i < m->size(); i++) {
      const float x = (*m)[i], h = 1.0f / 1024;
      (*m)[i] = x + h;
      const double up = loss_at(), top = double((*m)[i]);
      (*m)[i] = x - h;
      const double slope = (up - loss_at()) / (top - double((*m)[i]));
      (*m)[i] = x;
      expect(std::fabs(slope - (*g)[i]) < 1e-5, "reference gradient against finite differences");
    }
  p.scale = 0.8 + 1e-4;
  const double up = loss_at();
  p.scale = 0.8 - 1e-4;
  expect(std::fabs((up - loss_at()) / 2e-4 - dscale) < 1e-6, "reference dscale against finite differences");
}

void check_top_k() {
  Random random(11);
  for (int trial = 0; trial < 50; trial++) {
    const int n = random.below(200), k = random.below(30);
    std::vector<float> scores(static_cast<size_t>(n));
    for (float& x : scores) x = random.below(10) == 0 ? NAN : float(random.below(20));
    std::vector<Scored> all;
    for (int i = 0; i < n; i++)
      if (!std::isnan(scores[size_t(i)])) all.push_back({i, scores[size_t(i)]});
    std::stable_sort(all.begin(), all.end(), [](auto& a, auto& b) { return a.score > b.score; });
    const auto best = top_k(scores.data(), n, k);
    bool same = best.size() == std::min<size_t>(all.size(), size_t(k));
    for (size_t i = 0; same && i < best.size(); i++) same = best[i].row == all[i].row && best[i].score == all[i].score;
    expect(same, "top-k of " + std::to_string(n) + " scores");
  }
}

void check_gather() {
  const float table[6] = {1, 2, 3, 4, 5, 6};
  const int32_t rows[4] = {2, -1, 0, 2};
  float out[8];
  std::fill(out, out + 8, poison);
  gather_rows(table, 3, 2, rows, 4, out);
  const float wanted[8] = {5, 6, 0, 0, 1, 2, 5, 6};
  expect(!std::memcmp(out, wanted, sizeof out), "gather_rows");
  const int32_t bad[1] = {3};
  bool thrown = false;
  try {
    gather_rows(table, 3, 2, bad, 1, out);
  } catch (const std::out_of_range&) {
    thrown = true;
  }
  expect(thrown, "gather_rows accepted a row past the table");
}

// The shapes and values of kernels.md's list, on the target.
void check_listed_infonce(const std::vector<Isa>& isas, bool small) {
  uint64_t seed = 1;
  for (int64_t batch : {1, 2, 17, 63, 64, 65, 200}) {
    for (int64_t dim : {16, 33, 64, 128, 200, 256}) check_infonce({batch, dim, 1 / 0.07, int(seed % 4), true}, seed, isas), seed++;
    for (double tau : {0.01, 0.05, 0.1, 1.0}) check_infonce({batch, 48, 1 / tau, int(seed % 4), true}, seed, isas), seed++;
    check_infonce({batch, 40, 1, 1, false}, seed++, isas);
    check_infonce({batch, 40, 20, 1, false, 0}, seed++, isas);
    // Every score far below 0, and the batch no multiple of any tile: nothing of the padding may show.
    check_infonce({batch, 64, 100, 0, true, -30}, seed++, isas);
  }
  for (double tau : {0.02, 0.07, 1.0})
    for (int64_t batch : {17, 65, small ? 80 : 300}) check_infonce_against_composed({batch, std::min<int64_t>(3 * batch, 250), 1 / tau, int(batch % 3), true}, seed, isas), seed++;
  if (small) return;
  check_infonce_against_composed({600, 128, 1 / 0.07, 0, true, 0.3}, seed++, isas);
  check_infonce({1000, 200, 20, 2, true}, seed++, {isas.back()});
  check_infonce({1000, 96, 10, 1, true}, seed++, isas);
  check_infonce({1000, 64, 100, 0, true, .1}, seed++, isas);
  check_infonce({2400, 128, 1 / 0.07, 0, true}, seed++, {isas.back()});
}

void check_listed_ring(const std::vector<Isa>& isas) {
  uint64_t seed = 1;
  for (int size : {1, 2, 3, 5}) {
    for (int64_t batch : {1, 5, 64, 201}) {
      for (int64_t dim : {16, 33, 128, 250}) check_ring({batch, dim, 1 / 0.07, int(seed % 4), true}, size, seed, isas), seed++;
      for (double tau : {0.01, 0.05, 1.0}) check_ring({batch, 48, 1 / tau, int(seed % 4), true}, size, seed, isas), seed++;
      check_ring({batch, 64, 100, 0, true, -30}, size, seed++, isas);
      check_ring({batch, 40, 20, 1, false, 0}, size, seed++, isas);
    }
    // More than one unit of rows on a rank, on several threads.
    check_ring({700, 33, 1 / 0.07, 0, true}, size, seed++, isas);
    check_ring({610, 40, 100, 1, true, .1}, size, seed++, isas);
    check_ring({1100, 16, 20, 2, true}, size, seed++, isas);
  }
}

void check_listed(const std::vector<Isa>& isas) {
  check_listed_infonce(isas, false);
  check_listed_ring(isas);
  uint64_t seed = 1;
  for (int64_t rows : {0, 1, 2, 47, 48, 49, 500}) {
    check_encoder({{10, 128, 4, 512, 256, 128}, 300, rows}, seed++, isas);
    check_encoder({{3, 24, 3, 50, 17, 9}, 31, rows}, seed++, isas);
    check_encoder({{1, 16, 1, 64, 32, 16}, 1, rows, 6}, seed++, isas);
  }
}

// Blocks, panels and threads all come to be, in as little time as that takes under a sanitizer.
void check_few(const std::vector<Isa>& isas) {
  uint64_t seed = 1;
  for (const NceCase& c : {NceCase{1, 16, 1 / 0.07, 0, true}, {65, 33, 100, 1, true}, {200, 40, 1 / 0.07, 2, true}, {401, 16, 10, 0, true}}) check_infonce(c, seed++, isas);
  for (const NceCase& c : {NceCase{3, 16, 1 / 0.07, 0, true}, {65, 33, 100, 1, true}, {430, 16, 10, 0, true}}) check_ring(c, 3, seed++, isas);
  check_encoder({{4, 32, 2, 40, 24, 16}, 60, 130}, seed++, isas);
  check_encoder({{3, 24, 3, 50, 17, 9}, 20'000, 61}, seed++, {isas.back()});  // folded as rows name its entries
}

void check_not_finite(const std::vector<Isa>& isas) {
  uint64_t seed = 1;
  for (const NceCase& c : {NceCase{64, 16, 1, 0, false}, {1, 3, 20, 2, true}, {200, 65, 10, 1, true}}) check_infonce_not_finite(c, seed++, isas);
}

#if defined(LARR_TEST_EMULATED_GPU)
// The emulation runs every thread of a block one after another: a few cases, chosen to meet every branch.
void check_emulated_gpu(const std::vector<Isa>& isas, int cases) {
  target = Target::emulated_gpu;
  uint64_t seed = 900;
  for (const NceCase& c : {NceCase{1, 16, 1 / 0.07, 0, true}, {2, 64, 20, 2, true}, {65, 33, 1 / 0.07, 1, true}, {200, 128, 1 / 0.07, 0, true}, {130, 200, 10, 3, true},
                           {140, 48, 100, 1, true}, {65, 128, 1, 1, false}, {40, 256, 20, 0, false, 0}, {290, 24, 10, 1, true}, {100, 64, 100, 0, true, -30}})
    check_infonce(c, seed++, isas);
  check_not_finite(isas);
  fuzz(5, 0, cases / 20, true, isas);
  check_encoder_emulated(expect, cases / 40);
  target = Target::cpu;
}
#endif

}  // namespace
}  // namespace larr::test

// kernel_tests [--cuda] [cases] [small]: fixed shapes, then that many random ones (200 unless told), on the CPU or on the GPU alone;
// `small`: few shapes, and small random ones (sanitizers).
// kernel_tests --fuzz [cases] [large] [seed=N] [from=I]: random cases alone (10,000 unless told), small ones unless `large`.
int main(int argc, char** argv) try {
  using namespace larr;
  using namespace larr::test;
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  int cases = -1, from = 0;
  uint64_t seed = 2024;
  bool on_gpu = false, only_fuzz = false, small = false, large = false;
  for (const std::string& a : arguments) {
    if (a == "--cuda") on_gpu = true;
    else if (a == "--fuzz") only_fuzz = true;
    else if (a == "small") small = true;
    else if (a == "large") large = true;
    else if (a.starts_with("seed=")) seed = std::stoull(a.substr(5));
    else if (a.starts_with("from=")) from = std::stoi(a.substr(5));
    else if (std::isdigit(static_cast<unsigned char>(a[0]))) cases = std::stoi(a);
    else throw std::invalid_argument("kernel_tests: unknown argument " + a);
  }
  if (cases < 0) cases = only_fuzz ? 10'000 : 200;
  const auto& isas = supported_isas();
  if (only_fuzz) {
    if (on_gpu) target = Target::gpu;
    fuzz(seed, from, cases, large, isas);
  } else if (on_gpu) {
    target = Target::gpu;
    check_listed_infonce(isas, small);
    check_not_finite(isas);
    fuzz(seed, from, cases, true, isas);
#if defined(LARR_TEST_CUDA)
    run_cuda_encoder_tests(expect, cases);
#endif
  } else {
    check_finite_differences();
    check_top_k();
    check_gather();
    check_not_finite(isas);
    check_ring_not_finite({200, 65, 10, 1, true}, 3, 1, isas);
    check_ring_errors();
    check_threads();
#if defined(LARR_TEST_EMULATED_GPU)
    if (!small) check_emulated_gpu(isas, cases);
#endif
    if (small) check_few(isas);
    else check_listed(isas);
    for (uint64_t network = 0; network < (small ? 2 : 8); network++) check_ranker(network, isas);
    for (uint64_t network = 0; network < 3; network++) check_ranker_threads(network);
    fuzz(seed, from, cases, !small, isas);
  }
  std::printf("{\"checks\": %d, \"failures\": %d, \"isas\": %d}\n", checks, failures, int(isas.size()));
  return failures ? 1 : 0;
} catch (const std::exception& e) {
  std::fprintf(stderr, "%s\n", e.what());
  return 1;
}
