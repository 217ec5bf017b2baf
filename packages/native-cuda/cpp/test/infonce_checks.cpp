// One InfoNCE case against float64, on every variant of the kernel.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <tuple>

#include "../encoder/plan.h"
#include "../infonce/plan.h"
#include "../simd/bf16.h"
#include "emulated.h"
#include "infonce_case.h"
#include "larr/cuda.h"

namespace larr::infonce_detail {
extern const Path emulated_amx;
}

namespace larr::test {
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

namespace {

void run_infonce(const Variant& v, const InfoNce& p, InfoNceOut& out) {
  switch (v.kind) {
    case Variant::isa_path: return infonce(p, out, {.isa = v.isa});
    case Variant::emulated_amx:
#if defined(LARR_TEST_AMX)
      return infonce_detail::run(infonce_detail::emulated_amx, p, out, {});
#else
      return;
#endif
    case Variant::emulated_gpu:
#if defined(LARR_TEST_EMULATED_GPU)
      return infonce_emulated(p, out);
#else
      return;
#endif
    case Variant::gpu_best: return infonce_on_cuda(p, out, 0);
    case Variant::gpu_portable: return infonce_on_cuda(p, out, 0, CudaPath::portable);
  }
}

std::string in_digits(double x) {
  char text[32];
  std::snprintf(text, sizeof text, "%.3g", x);
  return text;
}

}  // namespace

std::string name(const NceCase& c) {
  return std::string("infonce B=") + std::to_string(c.batch) + " d=" + std::to_string(c.dim) + " scale=" + in_digits(c.scale) +
         " groups=" + std::to_string(c.groups) + (c.values != Values::normal ? values_name(c.values) : c.normalised ? " cosine" : " dot") + " ";
}

namespace {

double largest(const std::vector<double>& x) {
  double top = 0;
  for (double v : x) top = std::max(top, std::fabs(v));
  return top;
}

}  // namespace

NceProblem make_problem(const NceCase& c, uint64_t seed) {
  Random random(seed);
  const size_t batch = size_t(c.batch), dim = size_t(c.dim), size = batch * dim;
  NceProblem made{std::vector<float>(size), std::vector<float>(size), std::vector<int32_t>(batch), {}};
  auto &q = made.q, &k = made.k;
  for (float& x : q) x = float(random.normal());
  for (size_t i = 0; i < size; i++) k[i] = float(random.normal() + c.alignment * double(q[i]));
  // A factor for q and another for k: their scores are of any size that `scale` leaves.
  const float factors[] = {c.values == Values::tiny ? 1e-12f : 1e7f, c.values == Values::tiny ? 1e-7f : 1e12f};
  for (auto* m : {&q, &k})
    for (size_t i = 0; i < size; i++) {
      float& x = (*m)[i];
      switch (c.values) {
        case Values::normal: break;
        case Values::zeros: x = 0; break;
        case Values::few_zeros: x = random.below(2) ? x : 0; break;
        case Values::denormal: x = m == &q ? x * 1e-40f : x; break;
        case Values::tiny:
        case Values::huge: x *= factors[m == &k]; break;
        case Values::mixed: x *= float(std::pow(10.0, random.below(9) - 4)); break;
        case Values::equal_rows: x = m == &k ? (*m)[i % dim] : x; break;
      }
    }
  if (c.normalised && c.values == Values::normal)
    for (auto* m : {&q, &k})
      for (size_t i = 0; i < batch; i++) {
        double n = 0;
        for (size_t x = 0; x < dim; x++) n += std::pow(double((*m)[i * dim + x]), 2);
        for (size_t x = 0; x < dim; x++) (*m)[i * dim + x] /= float(std::sqrt(n));
      }
  for (size_t i = 0; i < batch; i++)
    made.groups[i] = c.groups == 1   ? random.below(int(c.batch / 2 + 1))
                     : c.groups == 2 ? std::numeric_limits<int32_t>::min()
                     : i == 0        ? std::numeric_limits<int32_t>::min()
                     : i == 1        ? std::numeric_limits<int32_t>::max()
                                     : int32_t(i) - 3;
  made.p.batch = c.batch, made.p.dim = c.dim, made.p.scale = c.scale;
  made.p.q = made.q.data(), made.p.k = made.k.data();
  if (c.groups) made.p.groups = made.groups.data();
  return made;
}

NceAnswer reference_of(const InfoNce& p) {
  const size_t b = size_t(p.batch), size = b * size_t(p.dim);
  NceAnswer a{0, 0, std::vector<double>(b), std::vector<double>(b), std::vector<double>(size), std::vector<double>(size)};
  infonce_reference(p, &a.loss, &a.dscale, a.lse_row.data(), a.lse_col.data(), a.dq.data(), a.dk.data());
  return a;
}

namespace {

double largest_row(const std::vector<float>& x, int64_t dim) {
  double most = 0;
  for (size_t i = 0; i < x.size(); i += size_t(dim)) {
    double n = 0;
    for (size_t at = i; at < i + size_t(dim); at++) n += double(x[at]) * double(x[at]);
    most = std::max(most, n);
  }
  return std::sqrt(most);
}

double largest(const std::vector<float>& x) {
  double top = 0;
  for (float v : x) top = std::max(top, std::fabs(double(v)));
  return top;
}

// Infinite where one is not a number. What is behind the wanted ones is not looked at.
double worst_of(const std::vector<float>& got, const std::vector<double>& wanted) {
  double worst = 0;
  for (size_t i = 0; i < wanted.size(); i++) {
    const double error = std::fabs(double(got[i]) - wanted[i]);
    worst = error <= worst ? worst : std::isnan(error) ? INFINITY : error;
  }
  return worst;
}

// The operators a user would compose, in f32 or, as autocast has it, with operands and results of the products in bf16: scores, two
// cross-entropies, their gradient, two products. Sums lie in 16 lanes, as vector instructions leave them.
NceAnswer composed(const InfoNce& p, const std::vector<float>& q, const std::vector<float>& k) {
  const size_t b = size_t(p.batch), d = size_t(p.dim);
  const bool bf16 = p.compute == Dtype::bf16;
  const auto round = [&](float x) { return bf16 ? nearest(x, 16) : x; };
  const auto product = [&](size_t n, const auto& left, const auto& right) {
    float lanes[16] = {}, sum = 0;
    for (size_t x = 0; x < n; x++) lanes[x % 16] += round(left(x)) * round(right(x));
    for (float lane : lanes) sum += lane;
    return round(sum);
  };
  std::vector<float> s(b * b), g(b * b, 0.0f);
  NceAnswer a{0, 0, std::vector<double>(b), std::vector<double>(b), std::vector<double>(b * d), std::vector<double>(b * d)};
  for (size_t i = 0; i < b; i++)
    for (size_t j = 0; j < b; j++) {
      const float dot = product(d, [&](size_t x) { return q[i * d + x]; }, [&](size_t x) { return k[j * d + x]; });
      const bool counts = i == j || !p.groups || p.groups[i] != p.groups[j];
      s[i * b + j] = counts ? round(float(p.scale) * dot) : -INFINITY;
    }
  float loss = 0;
  for (int side = 0; side < 2; side++)
    for (size_t i = 0; i < b; i++) {
      const auto at = [&](size_t j) { return side ? j * b + i : i * b + j; };
      float top = -INFINITY, sum = 0;
      for (size_t j = 0; j < b; j++) top = std::max(top, s[at(j)]);
      for (size_t j = 0; j < b; j++) sum += std::exp(s[at(j)] - top);
      const float lse = top + std::log(sum);
      (side ? a.lse_col : a.lse_row)[i] = double(lse);
      loss += lse - s[at(i)];
      for (size_t j = 0; j < b; j++) g[at(j)] += (std::exp(s[at(j)] - lse) - float(i == j)) / float(2 * b);
    }
  a.loss = double(loss / float(2 * b));
  for (size_t i = 0; i < b; i++)
    for (size_t x = 0; x < d; x++) {
      a.dq[i * d + x] = double(float(p.scale) * product(b, [&](size_t j) { return g[i * b + j]; }, [&](size_t j) { return k[j * d + x]; }));
      a.dk[i * d + x] = double(float(p.scale) * product(b, [&](size_t j) { return g[j * b + i]; }, [&](size_t j) { return q[j * d + x]; }));
    }
  return a;
}

double worst_of(const std::vector<double>& got, const std::vector<double>& wanted) {
  double worst = 0;
  for (size_t i = 0; i < got.size(); i++) worst = std::max(worst, std::fabs(got[i] - wanted[i]));
  return worst;
}

}  // namespace

void compare(const NceCase& c, const NceProblem& problem, const NceAnswer& exact, Dtype dtype, const NceOutputs& got, const std::string& what) {
  const auto &q = problem.q, &k = problem.k;
  const size_t size = q.size();
  const double q_row = largest_row(q, c.dim), k_row = largest_row(k, c.dim), scale = std::fabs(c.scale);
  const bool f32 = dtype == Dtype::f32;
  expect(got.lse_row.back() == poison && got.lse_col.back() == poison && got.dq.back() == poison && got.dk.back() == poison, what + " wrote past its outputs");
  // Largest |s| decides how far rounded operands move a logit: 2^-24 (f32, d terms) or at most 2 * 2^-8 (bf16; half of it where many
  // are added) of |q||k| scale; and products below the smallest normal number are lost, in bf16 operands too.
  const double s_max = scale * std::max(q_row * k_row, c.values == Values::normal ? std::max(q_row * q_row, k_row * k_row) : 0.0);
  const double lost = (f32 ? 1.5e-45 : 1.2e-38) * double(c.dim) * (1 + largest(q) + largest(k));
  const double logit = (f32 ? 1e-6 * (1 + s_max * 0.5) : (c.values == Values::normal && c.dim >= 8 ? 4e-3 : 8e-3) * (1 + s_max)) + scale * lost;
  const double lse_tolerance = logit + 2e-6 * std::fabs(largest(exact.lse_row));
  const double worst = std::max(worst_of(got.lse_row, exact.lse_row), worst_of(got.lse_col, exact.lse_col));
  expect(worst <= lse_tolerance, what + " lse off by " + in_digits(worst));
  expect(std::fabs(got.loss - exact.loss) <= logit, what + " loss " + in_digits(got.loss) + " not " + in_digits(exact.loss));
  // A gradient's scale without cancellation: scale / (2 B) * (2 + 2) * the other side's largest entry. Where rounding moves logits by
  // about one, shares of the softmax may be anything: then up to what all shares of a row together can make of it.
  const double both = std::max(largest(q), largest(k));
  for (const auto& [side_got, wanted, other, side] : {std::tuple{&got.dq, &exact.dq, c.values == Values::normal ? both : largest(k), " dq"},
                                                      std::tuple{&got.dk, &exact.dk, c.values == Values::normal ? both : largest(q), " dk"}}) {
    const double natural = scale * 2 / double(c.batch) * other, any = scale * (3 + double(c.batch)) / double(c.batch) * other;
    const double g = c.values == Values::normal ? std::max(largest(exact.dq), largest(exact.dk)) : largest(*wanted);
    const double tolerance = std::min(any, (f32 ? (c.values == Values::normal ? 2e-6 : 4e-6) : 8e-3) * natural * (1 + logit * 20) + logit * 2 * g) + 1e-30 * (1 + logit) + scale * (f32 ? 1e-44 : 4e-38) * double(c.batch);
    const double off = worst_of(*side_got, *wanted);
    expect(off <= tolerance, what + side + " off by " + in_digits(off / natural) + " of its scale");
  }
  double terms = std::fabs(exact.dscale);
  if (scale > 0)
    for (size_t i = 0; i < size; i++) terms += std::fabs(exact.dq[i] * double(q[i]) / c.scale);
  else terms = 2 * q_row * k_row;
  const double entries = c.values == Values::normal ? both * both : largest(q) * largest(k);
  const double dscale_tolerance = (f32 ? 1e-5 : 1e-2) * (1 + logit) * (terms + 2 / double(c.batch) * entries * double(c.dim)) + lost * double(c.batch) +
                                  (c.values == Values::normal ? 0 : 2 * logit * q_row * k_row);
  const double any_dscale = (3 + double(c.batch)) * q_row * k_row;
  expect(std::fabs(got.dscale - exact.dscale) <= (logit < 0.5 ? dscale_tolerance : std::max(any_dscale, dscale_tolerance)),
         what + " dscale " + in_digits(got.dscale) + " not " + in_digits(exact.dscale));
}

void check_infonce(const NceCase& c, uint64_t seed, const std::vector<Isa>& isas) {
  NceProblem made = make_problem(c, seed);
  const NceAnswer exact = reference_of(made.p);
  for (Dtype dtype : {Dtype::f32, Dtype::bf16})
    for (const Variant& v : variants(dtype, isas, c.batch <= 400)) {
      made.p.compute = dtype;
      const std::string what = name(c) + v.name(dtype);
      const auto run = [&] {
        NceOutputs got(size_t(c.batch), size_t(c.dim));
        InfoNceOut out = got.from(0, size_t(c.dim));
        run_infonce(v, made.p, out);
        got.loss = out.loss, got.dscale = out.dscale;
        return got;
      };
      const NceOutputs got = run();
      compare(c, made, exact, dtype, got, what);
      // The same bits again, and the same sums where only the loss is wanted.
      expect(run() == got, what + " differs from run to run");
      InfoNceOut forward;
      run_infonce(v, made.p, forward);
      expect(forward.loss == got.loss, what + " forward-only loss differs");
    }
}

void check_infonce_against_composed(const NceCase& c, uint64_t seed, const std::vector<Isa>& isas) {
  NceProblem made = make_problem(c, seed);
  InfoNce& p = made.p;
  const size_t b = size_t(c.batch), size = made.q.size();
  const NceAnswer exact = reference_of(p);
  const double gradient = std::max(largest(exact.dq), largest(exact.dk));
  for (Dtype dtype : {Dtype::f32, Dtype::bf16}) {
    p.compute = dtype;
    const NceAnswer other = composed(p, made.q, made.k);
    // Stated: what a result of that size loses by being f32, and rounding's luck.
    const double lse_slack = dtype == Dtype::f32 ? 2e-6 : 1e-4, gradient_slack = dtype == Dtype::f32 ? 3e-7 : 1e-4;
    const double lse_most = std::max(worst_of(other.lse_row, exact.lse_row), worst_of(other.lse_col, exact.lse_col)) + lse_slack;
    const double gradient_most = std::max(worst_of(other.dq, exact.dq), worst_of(other.dk, exact.dk)) + gradient_slack * gradient;
    const double loss_most = std::fabs(other.loss - exact.loss) + lse_slack;
    for (const Variant& v : variants(dtype, isas, c.batch <= 400)) {
      std::vector<float> lr(b, poison), lc(b, poison), dq(size, poison), dk(size, poison);
      InfoNceOut out;
      out.lse_row = lr.data(), out.lse_col = lc.data(), out.dq = dq.data(), out.dk = dk.data();
      run_infonce(v, p, out);
      const double lse = std::max(worst_of(lr, exact.lse_row), worst_of(lc, exact.lse_col));
      const double g = std::max(worst_of(dq, exact.dq), worst_of(dk, exact.dk)), loss = std::fabs(out.loss - exact.loss);
      const std::string what = name(c) + v.name(dtype) + " is further from float64 than the composed operators: ";
      expect(lse <= lse_most, what + "lse " + in_digits(lse) + ", " + in_digits(lse_most));
      expect(g <= gradient_most, what + "gradients " + in_digits(g) + ", " + in_digits(gradient_most));
      expect(loss <= loss_most, what + "loss " + in_digits(loss) + ", " + in_digits(loss_most));
    }
  }
}

void spoil(NceProblem& problem, uint64_t seed) {
  Random random(seed);
  const size_t at = size_t(random.below(int(problem.q.size())));
  auto& side = random.below(2) ? problem.q : problem.k;
  switch (random.below(5)) {
    case 0: side[at] = NAN; break;
    case 1: side[at] = INFINITY; break;
    case 2: side[at] = -INFINITY; break;
    // What f32 has no numbers for: a product, and a score.
    case 3: problem.q[at] = problem.k[at] = 1e16f, problem.p.scale = 1e-6; break;
    default: problem.q[at] = problem.k[at] = 1e10f, problem.p.scale = 1e12; break;
  }
}

void check_infonce_not_finite(const NceCase& c, uint64_t seed, const std::vector<Isa>& isas) {
  NceProblem made = make_problem(c, seed);
  spoil(made, seed);
  for (Dtype dtype : {Dtype::f32, Dtype::bf16})
    for (const Variant& v : variants(dtype, isas, true)) {
      made.p.compute = dtype;
      const size_t b = size_t(c.batch), size = made.q.size();
      std::vector<float> lr(b, poison), lc(b, poison), dq(size, poison), dk(size, poison);
      InfoNceOut out;
      out.lse_row = lr.data(), out.lse_col = lc.data(), out.dq = dq.data(), out.dk = dk.data();
      run_infonce(v, made.p, out);
      bool all = std::isnan(out.loss) && std::isnan(out.dscale);
      for (const auto* x : {&lr, &lc, &dq, &dk})
        for (float y : *x) all = all && std::isnan(y);
      expect(all, name(c) + v.name(dtype) + " gave a number for what is not finite");
    }
}

}  // namespace larr::test
