// The kernels against their float64 references, on every instruction set this machine has. `kernel_tests [cases]`: first fixed shapes,
// then that many random ones (200 unless told). Ends 1 and says which case where one is off.
#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <random>
#include <thread>

#include "../encoder/plan.h"
#include "../infonce/plan.h"
#include "cuda_encoder.h"
#include "emulated.h"
#include "larr/cuda.h"
#include "larr/kernels.h"

using namespace larr;

namespace larr::infonce_detail {
extern const Path emulated_amx;
}
namespace larr::encoder_detail {
extern const Path emulated_amx;
}

namespace {

int failures = 0, checks = 0;
void expect(bool good, const std::string& what) {
  checks++;
  if (good) return;
  failures++;
  if (failures < 40) std::fprintf(stderr, "FAILED %s\n", what.c_str());
}

struct Random {
  std::mt19937_64 engine;
  explicit Random(uint64_t seed) : engine(seed) {}
  double normal() { return std::normal_distribution<double>()(engine); }
  int below(int n) { return std::uniform_int_distribution<int>(0, n - 1)(engine); }
};

// What the cases run on: the CPU's own paths, the portable CUDA kernels emulated on it, or a GPU.
enum class Target { cpu, emulated_gpu, gpu };
Target target = Target::cpu;

struct Variant {
  Isa isa = Isa::scalar;
  enum { isa_path, emulated_amx, emulated_gpu, gpu_best, gpu_portable } kind = isa_path;
  std::string name(Dtype dtype) const {
    const char* paths[] = {isa_name(isa), "amx (emulated)", "cuda (emulated)", "cuda", "cuda (portable)"};
    return paths[kind] + std::string(dtype == Dtype::bf16 ? " bf16" : " f32");
  }
};

std::vector<Variant> variants(Dtype dtype, const std::vector<Isa>& isas, bool small) {
  if (target == Target::emulated_gpu) return {{Isa::scalar, Variant::emulated_gpu}};
  if (target == Target::gpu) return {{Isa::scalar, Variant::gpu_best}, {Isa::scalar, Variant::gpu_portable}};
  std::vector<Variant> all;
  for (Isa isa : isas) all.push_back({isa});
#if defined(LARR_TEST_AMX)
  const auto& here = supported_isas();
  if (small && dtype == Dtype::bf16 && std::find(here.begin(), here.end(), Isa::avx512bf16) != here.end())
    all.push_back({Isa::avx512bf16, Variant::emulated_amx});
#else
  (void)dtype, (void)small;
#endif
  return all;
}

void run_infonce(const Variant& v, const InfoNce& p, InfoNceOut& out) {
  switch (v.kind) {
    case Variant::isa_path: return infonce(p, out, {.isa = v.isa});
    case Variant::emulated_amx:
#if defined(LARR_TEST_AMX)
      return infonce_detail::run(infonce_detail::emulated_amx, p, out, {});
#else
      return;
#endif
    case Variant::emulated_gpu: return test::infonce_emulated(p, out);
    case Variant::gpu_best: return infonce_on_cuda(p, out, 0);
    case Variant::gpu_portable: return infonce_on_cuda(p, out, 0, CudaPath::portable);
  }
}

constexpr float poison = 7.5e33f;

struct NceCase {
  int64_t batch, dim;
  double scale;
  int groups;  // 0 none, 1 some equal, 2 all the same, 3 all different
  bool normalised;
  double alignment = 1;  // how much of q_i is in k_i; far below 0: k_i is -q_i
};

std::string name(const NceCase& c) {
  return std::string("infonce B=") + std::to_string(c.batch) + " d=" + std::to_string(c.dim) + " scale=" + std::to_string(c.scale) +
         " groups=" + std::to_string(c.groups) + (c.normalised ? " cosine " : " dot ");
}

double largest(const std::vector<double>& x) {
  double top = 0;
  for (double v : x) top = std::max(top, std::fabs(v));
  return top;
}

void check_infonce(const NceCase& c, uint64_t seed, const std::vector<Isa>& isas) {
  Random random(seed);
  const size_t size = size_t(c.batch * c.dim);
  std::vector<float> q(size), k(size);
  for (float& x : q) x = float(random.normal());
  for (size_t i = 0; i < size; i++) k[i] = float(random.normal() + c.alignment * double(q[i]));
  if (c.normalised)
    for (auto* m : {&q, &k})
      for (int64_t i = 0; i < c.batch; i++) {
        double n = 0;
        for (int64_t x = 0; x < c.dim; x++) n += std::pow(double((*m)[size_t(i * c.dim + x)]), 2);
        for (int64_t x = 0; x < c.dim; x++) (*m)[size_t(i * c.dim + x)] /= float(std::sqrt(n));
      }
  std::vector<int32_t> groups(static_cast<size_t>(c.batch));
  for (int64_t i = 0; i < c.batch; i++)
    groups[size_t(i)] = c.groups == 1 ? random.below(int(c.batch / 2 + 1)) : c.groups == 2 ? 5 : int32_t(i) - 3;
  InfoNce p;
  p.q = q.data(), p.k = k.data(), p.batch = c.batch, p.dim = c.dim, p.scale = c.scale;
  p.groups = c.groups ? groups.data() : nullptr;
  const size_t b = size_t(c.batch);
  std::vector<double> rlr(b), rlc(b), rdq(size), rdk(size);
  double rloss, rdscale;
  infonce_reference(p, &rloss, &rdscale, rlr.data(), rlc.data(), rdq.data(), rdk.data());
  for (Dtype dtype : {Dtype::f32, Dtype::bf16})
    for (const Variant& v : variants(dtype, isas, c.batch <= 400)) {
      p.compute = dtype;
      const std::string what = name(c) + v.name(dtype);
      std::vector<float> lr(b, poison), lc(b, poison), dq(size, poison), dk(size, poison);
      InfoNceOut out;
      out.lse_row = lr.data(), out.lse_col = lc.data(), out.dq = dq.data(), out.dk = dk.data();
      run_infonce(v, p, out);
      // Largest |s| decides how far rounded operands move a logit: 2^-24 (f32, d terms) or at most 2 * 2^-9 (bf16) of |q||k| scale.
      double s_max = 0;
      for (int64_t i = 0; i < c.batch; i++) {
        double qn = 0, kn = 0;
        for (int64_t x = 0; x < c.dim; x++) qn += std::pow(double(q[size_t(i * c.dim + x)]), 2), kn += std::pow(double(k[size_t(i * c.dim + x)]), 2);
        s_max = std::max(s_max, std::max(qn, kn));
      }
      s_max *= std::fabs(c.scale);
      const double logit = dtype == Dtype::f32 ? 1e-6 * (1 + s_max * 0.5) : 4e-3 * (1 + s_max);
      const double lse_tolerance = logit + 2e-6 * std::fabs(largest(rlr));
      double worst = 0, worst_g = 0;
      // not std::max: a NaN must not be lost
      const auto note = [](double& most, double x) { most = x <= most ? most : x; };
      for (size_t i = 0; i < b; i++) note(worst, std::fabs(lr[i] - rlr[i])), note(worst, std::fabs(lc[i] - rlc[i]));
      expect(worst <= lse_tolerance, what + " lse off by " + std::to_string(worst));
      expect(std::fabs(out.loss - rloss) <= logit, what + " loss " + std::to_string(out.loss) + " not " + std::to_string(rloss));
      const double g = std::max(largest(rdq), largest(rdk));
      for (size_t i = 0; i < size; i++) note(worst_g, std::fabs(dq[i] - rdq[i])), note(worst_g, std::fabs(dk[i] - rdk[i]));
      // A gradient's scale without cancellation: scale / (2 B) * (2 + 2) * largest entry.
      double entry = 0;
      for (size_t i = 0; i < size; i++) entry = std::max({entry, std::fabs(double(q[i])), std::fabs(double(k[i]))});
      const double natural = std::fabs(c.scale) * 2 / double(c.batch) * entry;
      const double tolerance = (dtype == Dtype::f32 ? 2e-6 : 8e-3) * natural * (1 + logit * 20) + logit * 2 * std::max(g, 1e-30);
      expect(worst_g <= tolerance, what + " gradient off by " + std::to_string(worst_g / natural) + " of its scale");
      double terms = std::fabs(rdscale);
      for (size_t i = 0; i < size; i++) terms += std::fabs(rdq[i] * double(q[i]) / c.scale);
      expect(std::fabs(out.dscale - rdscale) <= (dtype == Dtype::f32 ? 1e-5 : 1e-2) * (1 + logit) * (terms + natural / std::fabs(c.scale) * entry * double(c.dim)),
             what + " dscale " + std::to_string(out.dscale) + " not " + std::to_string(rdscale));
      // The same bits again, and the same sums where only the loss is wanted.
      std::vector<float> dq2(size, poison), dk2(size, poison), lr2(b, poison), lc2(b, poison);
      InfoNceOut again, forward;
      again.dq = dq2.data(), again.dk = dk2.data(), again.lse_row = lr2.data(), again.lse_col = lc2.data();
      run_infonce(v, p, again);
      run_infonce(v, p, forward);
      expect(dq == dq2 && dk == dk2 && lr == lr2 && lc == lc2 && again.loss == out.loss && again.dscale == out.dscale, what + " differs from run to run");
      expect(forward.loss == out.loss, what + " forward-only loss differs");
    }
}

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

struct EncoderCase {
  EncoderShape shape;
  int entries;
  int64_t rows;
  double logit_size = 1;  // multiplies the query: large ones make attention sharp
};

void check_encoder(const EncoderCase& c, uint64_t seed, const std::vector<Isa>& isas) {
  Random random(seed);
  const EncoderShape& s = c.shape;
  const auto fill = [&](int64_t n, double std, double mean = 0) {
    std::vector<float> x(static_cast<size_t>(n));
    for (float& v : x) v = float(mean + std * random.normal());
    return x;
  };
  const int64_t d = s.dim, f = s.ffn, h = s.head_hidden, o = s.out;
  const double in = 1 / std::sqrt(double(d));
  auto agg = fill(d, c.logit_size), field = fill(s.fields * d, .3), ipw = fill(3 * d * d, in), ipb = fill(3 * d, .1), opw = fill(d * d, in), opb = fill(d, .1),
       n1w = fill(d, .1, 1), n1b = fill(d, .1), f1w = fill(f * d, in), f1b = fill(f, .1), f2w = fill(d * f, 1 / std::sqrt(double(f))), f2b = fill(d, .1),
       n2w = fill(d, .1, 1), n2b = fill(d, .1), h1w = fill(h * d, in), h1b = fill(h, .1), h2w = fill(o * h, 1 / std::sqrt(double(h))), h2b = fill(o, .1);
  const EncoderWeights w{agg.data(), field.data(), ipw.data(), ipb.data(), opw.data(), opb.data(), n1w.data(), n1b.data(), f1w.data(),
                         f1b.data(), f2w.data(),   f2b.data(), n2w.data(), n2b.data(), h1w.data(), h1b.data(), h2w.data(), h2b.data()};
  auto embeddings = fill(int64_t(c.entries) * d, 1);
  std::vector<int32_t> field_of(static_cast<size_t>(c.entries));
  std::vector<std::vector<int32_t>> of(size_t(s.fields));
  for (int e = 0; e < c.entries; e++) {
    field_of[size_t(e)] = e % s.fields;
    of[size_t(e % s.fields)].push_back(e);
  }
  std::vector<int32_t> rows(size_t(c.rows * s.fields));
  for (size_t i = 0; i < rows.size(); i++) {
    const auto& choices = of[i % size_t(s.fields)];
    rows[i] = choices.empty() || random.below(8) == 0 ? -1 : choices[size_t(random.below(int(choices.size())))];
  }
  if (c.rows > 1)
    for (int i = 0; i < s.fields; i++) rows[size_t(i)] = -1;  // nothing known at all
  const EncoderTable table{embeddings.data(), field_of.data(), c.entries};
  const size_t per_row = size_t(s.heads * (1 + s.fields));
  std::vector<double> rz(size_t(c.rows * o)), ra(size_t(c.rows) * per_row);
  encoder_reference(s, w, table, rows.data(), c.rows, rz.data(), ra.data());
  // What the same operators composed in f32 miss by: few and close numbers, normalised, magnify rounding in any implementation.
  std::vector<float> cz(rz.size()), ca(ra.size());
  encoder_composed(s, w, table, rows.data(), c.rows, cz.data(), ca.data());
  double composed = 0;
  for (size_t i = 0; i < rz.size(); i++) composed = std::max(composed, std::fabs(double(cz[i]) - rz[i]));
  // That is one draw of the rounding; another is what moving every number by its last bit does to the exact result.
  std::vector<double> moved_z(rz.size());
  {
    std::vector<std::vector<float>> moved;
    const auto move = [&](const std::vector<float>& x) {
      std::vector<float> y = x;
      for (float& v : y) v = std::nextafter(v, random.below(2) ? INFINITY : -INFINITY);
      return moved.emplace_back(std::move(y)).data();
    };
    moved.reserve(19);
    const EncoderWeights mw{move(agg), move(field), move(ipw), move(ipb), move(opw), move(opb), move(n1w), move(n1b), move(f1w),
                            move(f1b), move(f2w),   move(f2b), move(n2w), move(n2b), move(h1w), move(h1b), move(h2w), move(h2b)};
    encoder_reference(s, mw, {move(embeddings), field_of.data(), c.entries}, rows.data(), c.rows, moved_z.data(), nullptr);
  }
  for (size_t i = 0; i < rz.size(); i++) composed = std::max(composed, 4 * std::fabs(moved_z[i] - rz[i]));
  for (Dtype dtype : {Dtype::f32, Dtype::bf16})
    for (const Variant& v : variants(dtype, isas, true)) {
      const std::string what = "encoder rows=" + std::to_string(c.rows) + " n=" + std::to_string(s.fields) + " d=" + std::to_string(d) + " heads=" +
                               std::to_string(s.heads) + " ffn=" + std::to_string(f) + " out=" + std::to_string(o) + " " + v.name(dtype);
#if defined(LARR_TEST_AMX)
      const SceneEncoder encoder(s, w, table, dtype, v.kind == Variant::emulated_amx ? encoder_detail::emulated_amx : encoder_detail::path_of(v.isa, dtype));
#else
      const SceneEncoder encoder(s, w, table, dtype, v.isa);
#endif
      // Two or three numbers normalised are little more than their signs and order, which rounding to bf16 may turn over.
      const bool judged = dtype == Dtype::f32 || d >= 8;
      std::vector<float> z(rz.size() + 1, poison), attention(ra.size() + 1, poison);
      encoder.encode(rows.data(), c.rows, z.data(), attention.data());
      expect(z.back() == poison && attention.back() == poison, what + " wrote past its outputs");
      double worst = 0, worst_a = 0;
      for (size_t i = 0; i < rz.size(); i++) worst = std::isnan(z[i]) ? 1e9 : std::max(worst, std::fabs(double(z[i]) - rz[i]));
      for (size_t i = 0; i < ra.size(); i++) worst_a = std::isnan(attention[i]) ? 1e9 : std::max(worst_a, std::fabs(double(attention[i]) - ra[i]));
      const double scale = std::max(1.0, largest(rz));
      const double tolerance = dtype == Dtype::f32 ? 5e-6 * scale + 4 * composed : 4e-2 * scale * (1 + 16.0 / double(d)) + 3e4 * composed;
      expect(judged ? worst <= tolerance : worst < 1e9, what + " z off by " + std::to_string(worst));
      expect(worst_a <= 4e-6 * std::max(1.0, c.logit_size * c.logit_size), what + " attention off by " + std::to_string(worst_a));
      std::vector<float> again(rz.size() + 1, poison), targets(rz.size()), scores(size_t(c.rows), poison), one(size_t(c.rows), poison);
      encoder.encode(rows.data(), c.rows, again.data(), nullptr);
      expect(again == z, what + " differs from run to run");
      for (float& t : targets) t = float(random.normal());
      encoder.score(rows.data(), c.rows, targets.data(), false, scores.data(), nullptr);
      encoder.score(rows.data(), c.rows, targets.data(), true, one.data(), nullptr);
      for (int64_t i = 0; i < c.rows; i++) {
        double a = 0, b = 0;
        for (int64_t x = 0; x < o; x++) {
          a += double(z[size_t(i * o + x)]) * double(targets[size_t(i * o + x)]);
          b += double(z[size_t(i * o + x)]) * double(targets[size_t(x)]);
        }
        expect(scores[size_t(i)] == float(a) && one[size_t(i)] == float(b), what + " score");
      }
      if (c.rows > 0) {
        auto wrong = rows;
        wrong.back() = c.entries;
        bool thrown = false;
        try {
          encoder.encode(wrong.data(), c.rows, again.data(), nullptr);
        } catch (const std::out_of_range&) {
          thrown = true;
        }
        expect(thrown, what + " accepted an index past the table");
      }
    }
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

void check_not_finite() {
  std::vector<float> q(64 * 16, 0.1f), k = q;
  q[77] = INFINITY;
  InfoNce p;
  p.q = q.data(), p.k = k.data(), p.batch = 64, p.dim = 16;
  for (const Variant& v : variants(Dtype::f32, {active_isa()}, true)) {
    InfoNceOut out;
    std::vector<float> dq(q.size(), poison), dk = dq;
    out.dq = dq.data(), out.dk = dk.data();
    run_infonce(v, p, out);
    expect(std::isnan(out.loss) && std::isnan(dq[3]) && std::isnan(dk.back()), "an infinite input must give NaN, not a number");
  }
}

void check_threads_and_cancel() {
  // Several callers at once, each its own problem; one call cancelled before it begins.
  std::vector<std::thread> callers;
  for (int t = 0; t < 3; t++)
    callers.emplace_back([t] {
      Random random(uint64_t(40 + t));
      std::vector<float> q(200 * 32), k(q.size());
      for (auto* m : {&q, &k})
        for (float& x : *m) x = float(random.normal());
      InfoNce p;
      p.q = q.data(), p.k = k.data(), p.batch = 200, p.dim = 32;
      double first = 0;
      for (int i = 0; i < 6; i++) {
        std::vector<float> dq(q.size()), dk(q.size());
        InfoNceOut out;
        out.dq = dq.data(), out.dk = dk.data();
        infonce(p, out);
        if (i == 0) first = out.loss;
        if (out.loss != first) std::abort();
      }
    });
  for (auto& caller : callers) caller.join();
  std::atomic<bool> cancel{true};
  std::vector<float> q(600 * 32, 0.5f);
  InfoNce p;
  p.q = q.data(), p.k = q.data(), p.batch = 600, p.dim = 32;
  InfoNceOut out;
  bool thrown = false;
  try {
    infonce(p, out, {.cancel = &cancel});
  } catch (const Cancelled&) {
    thrown = true;
  }
  expect(thrown, "a cancelled call went on");
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
  if (small) return;
  check_infonce({1000, 96, 10, 1, true}, seed++, isas);
  check_infonce({1000, 64, 100, 0, true, .1}, seed++, isas);
  check_infonce({2400, 128, 1 / 0.07, 0, true}, seed++, {isas.back()});
}

void check_random_infonce(uint64_t seed, Random& random, const std::vector<Isa>& isas) {
  const int64_t batch = 1 + random.below(random.below(4) == 0 ? 400 : 80), dim = 1 + random.below(random.below(4) == 0 ? 256 : 70);
  const bool normalised = random.below(3) > 0;
  const double scale = normalised ? std::exp(std::log(100.0) * random.below(1000) / 1000.0) : 0.1 + random.below(100) / 100.0;
  check_infonce({batch, dim, random.below(10) == 0 ? -scale : scale, random.below(4), normalised, random.below(3) / 2.0}, seed, isas);
}

// The emulation runs every thread of a block one after another: a few cases, chosen to meet every branch.
void check_emulated_gpu(const std::vector<Isa>& isas, int cases) {
  target = Target::emulated_gpu;
  uint64_t seed = 900;
  for (const NceCase& c : {NceCase{1, 16, 1 / 0.07, 0, true}, {2, 64, 20, 2, true}, {65, 33, 1 / 0.07, 1, true}, {200, 128, 1 / 0.07, 0, true}, {130, 200, 10, 3, true},
                           {140, 48, 100, 1, true}, {65, 128, 1, 1, false}, {40, 256, 20, 0, false, 0}, {290, 24, 10, 1, true}, {100, 64, 100, 0, true, -30}})
    check_infonce(c, seed++, isas);
  Random random(77);
  for (int i = 0; i < cases / 20; i++) check_random_infonce(5000 + uint64_t(i), random, isas);
  test::check_encoder_emulated(expect, cases / 40);
  target = Target::cpu;
}

}  // namespace

// kernel_tests [--cuda] [cases] [small]: on the CPU, or on the GPU alone; `small` leaves large shapes out (sanitizers).
int main(int argc, char** argv) try {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  const auto given = [&](const char* what) { return std::find(arguments.begin(), arguments.end(), what) != arguments.end(); };
  const bool on_gpu = given("--cuda"), small = given("small");
  int cases = 200;
  for (const std::string& a : arguments)
    if (std::isdigit(static_cast<unsigned char>(a[0]))) cases = std::stoi(a);
  const auto& isas = supported_isas();
  Random random(2024);
  if (on_gpu) {
    target = Target::gpu;
    check_listed_infonce(isas, small);
    check_not_finite();
    for (int i = 0; i < cases; i++) check_random_infonce(1000 + uint64_t(i), random, isas);
#if defined(LARR_TEST_CUDA)
    test::run_cuda_encoder_tests(expect, cases);
#endif
  } else {
    check_finite_differences();
    check_top_k();
    check_gather();
    check_not_finite();
    check_threads_and_cancel();
    if (!small) check_emulated_gpu(isas, cases);
    check_listed_infonce(isas, small);
    uint64_t seed = 1;
    for (int64_t rows : {0, 1, 2, 47, 48, 49, 500}) {
      check_encoder({{10, 128, 4, 512, 256, 128}, 300, rows}, seed++, isas);
      check_encoder({{3, 24, 3, 50, 17, 9}, 31, rows}, seed++, isas);
      check_encoder({{1, 16, 1, 64, 32, 16}, 1, rows, 6}, seed++, isas);
    }
    for (int i = 0; i < cases; i++) {
      check_random_infonce(1000 + uint64_t(i), random, isas);
      const int heads = 1 + random.below(6);
      check_encoder({{1 + random.below(12), heads * (1 + random.below(24)), heads, 1 + random.below(200), 1 + random.below(100), 1 + random.below(80)},
                     1 + random.below(60), 1 + random.below(120), 0.2 + random.below(30) / 10.0},
                    1000 + uint64_t(i), isas);
    }
  }
  std::printf("{\"checks\": %d, \"failures\": %d, \"isas\": %d}\n", checks, failures, int(isas.size()));
  return failures ? 1 : 0;
} catch (const std::exception& e) {
  std::fprintf(stderr, "%s\n", e.what());
  return 1;
}
