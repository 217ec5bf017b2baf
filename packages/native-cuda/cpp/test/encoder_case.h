// Random scene encoders with their float64 answers, for the tests of the emulated and the real GPU.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "../device/threads.h"
#include "larr/kernels.h"

namespace larr::test {

constexpr float poison = 7.5e33f;

// Counts a check, and says `what` failed where it is not `good`.
using Expect = std::function<void(bool good, const std::string& what)>;

// Kinds of numbers that a random case is made of.
enum class Values { normal, zeros, few_zeros, denormal, tiny, huge, mixed, equal_rows };
constexpr int values_kinds = 8;

inline const char* values_name(Values v) {
  constexpr const char* names[values_kinds] = {"", " zeros", " few zeros", " denormal", " tiny", " huge", " mixed", " equal rows"};
  return names[int(v)];
}

struct EncoderCase {
  EncoderShape shape;
  int entries;
  int64_t rows;
  double logit_size = 1;  // multiplies the query: large ones make attention sharp
  Values values = Values::normal;
};

// w in the order of EncoderWeights.
inline EncoderWeights weights_of(const std::vector<std::vector<float>>& w) {
  return {w[0].data(), w[1].data(),  w[2].data(),  w[3].data(),  w[4].data(),  w[5].data(),  w[6].data(),  w[7].data(),  w[8].data(),
          w[9].data(), w[10].data(), w[11].data(), w[12].data(), w[13].data(), w[14].data(), w[15].data(), w[16].data(), w[17].data()};
}

struct EncoderProblem {
  EncoderShape shape;
  double logit_size;
  std::vector<std::vector<float>> weight;  // in the order of EncoderWeights
  std::vector<float> embeddings;
  std::vector<int32_t> field_of, rows;
  int64_t n_rows;
  Values values = Values::normal;

  EncoderWeights weights() const { return weights_of(weight); }
  EncoderTable table() const { return {embeddings.data(), field_of.data(), int64_t(field_of.size())}; }
  std::string name() const {
    return "rows=" + std::to_string(n_rows) + " n=" + std::to_string(shape.fields) + " d=" + std::to_string(shape.dim) + " heads=" + std::to_string(shape.heads) +
           " ffn=" + std::to_string(shape.ffn) + " hidden=" + std::to_string(shape.head_hidden) + " out=" + std::to_string(shape.out) + values_name(values);
  }
};

inline EncoderProblem make_encoder_problem(const EncoderCase& c, uint64_t seed) {
  std::mt19937_64 engine(seed);
  std::normal_distribution<double> normal;
  const EncoderShape& s = c.shape;
  EncoderProblem p{s, c.logit_size, {}, {}, {}, {}, c.rows, c.values};
  const auto fill = [&](int64_t n, double std, double mean = 0) {
    std::vector<float> x(static_cast<size_t>(n));
    for (float& v : x) v = float(mean + std * normal(engine));
    return x;
  };
  const int64_t d = s.dim, f = s.ffn, h = s.head_hidden, o = s.out;
  const double in = 1 / std::sqrt(double(d));
  p.weight = {fill(d, c.logit_size), fill(s.fields * d, .3),
              fill(3 * d * d, in), fill(3 * d, .1), fill(d * d, in), fill(d, .1), fill(d, .1, 1), fill(d, .1),
              fill(f * d, in), fill(f, .1), fill(d * f, 1 / std::sqrt(double(f))), fill(d, .1), fill(d, .1, 1), fill(d, .1),
              fill(h * d, in), fill(h, .1), fill(o * h, 1 / std::sqrt(double(h))), fill(o, .1)};
  p.embeddings = fill(int64_t(c.entries) * d, 1);
  const auto change = [&](std::vector<float>& x, int64_t width) {
    for (size_t i = 0; i < x.size(); i++) {
      float& v = x[i];
      switch (c.values) {
        case Values::normal: break;
        case Values::zeros: v = 0; break;
        case Values::few_zeros: v = engine() % 2 ? v : 0; break;
        case Values::denormal: v *= 1e-40f; break;
        case Values::tiny: v *= 1e-12f; break;
        case Values::huge: v *= 1e6f; break;
        case Values::mixed: v *= std::pow(10.0f, float(int(engine() % 9)) - 4); break;
        case Values::equal_rows: v = x[i % size_t(width)]; break;
      }
    }
  };
  // What the scene says; of the weights, sometimes those that mix it too.
  change(p.embeddings, d);
  if (c.values != Values::normal && engine() % 3 == 0) change(p.weight[1], d), change(p.weight[4], d), change(p.weight[8], d);
  std::vector<std::vector<int32_t>> of(static_cast<size_t>(s.fields));
  for (int e = 0; e < c.entries; e++) {
    p.field_of.push_back(e % s.fields);
    of[size_t(e % s.fields)].push_back(e);
  }
  p.rows.resize(size_t(c.rows * s.fields));
  for (size_t i = 0; i < p.rows.size(); i++) {
    const auto& choices = of[i % size_t(s.fields)];
    p.rows[i] = choices.empty() || engine() % 8 == 0 ? -1 : choices[engine() % choices.size()];
  }
  if (c.rows > 1) std::fill_n(p.rows.begin(), s.fields, -1);  // nothing known at all
  return p;
}

// The exact answers for some rows, and how far rounding alone moves them.
struct EncoderAnswer {
  std::vector<double> z, attention;
  double scale = 1;     // of z
  // Of the same operators composed in f32, and of moving every number by its last bit.
  double rounding = 0, attention_rounding = 0;
};

inline EncoderAnswer answer(const EncoderProblem& p, const std::vector<int32_t>& rows) {
  const int64_t fields = p.shape.fields, n = int64_t(rows.size()) / fields, out = p.shape.out, per_row = int64_t(p.shape.heads) * (1 + fields);
  auto weight = p.weight;
  auto embeddings = p.embeddings;
  std::mt19937_64 engine(rows.size());
  const auto move = [&](std::vector<float>& x) {
    for (float& v : x) v = std::nextafter(v, engine() % 2 ? std::numeric_limits<float>::infinity() : -std::numeric_limits<float>::infinity());
  };
  for (auto& w : weight) move(w);
  move(embeddings);
  EncoderTable moved_table = p.table();
  moved_table.embeddings = embeddings.data();
  EncoderAnswer a;
  a.z.resize(size_t(n * out));
  a.attention.resize(size_t(n * per_row));
  std::vector<float> composed(a.z.size()), composed_attention(a.attention.size());
  std::vector<double> moved(a.z.size()), moved_attention(a.attention.size());
  parallel(int(n), [&](int row) {
    const int32_t* here = rows.data() + row * fields;
    encoder_reference(p.shape, weights_of(p.weight), p.table(), here, 1, a.z.data() + row * out, a.attention.data() + row * per_row);
    encoder_composed(p.shape, weights_of(p.weight), p.table(), here, 1, composed.data() + row * out, composed_attention.data() + row * per_row);
    encoder_reference(p.shape, weights_of(weight), moved_table, here, 1, moved.data() + row * out, moved_attention.data() + row * per_row);
  });
  for (size_t i = 0; i < a.z.size(); i++) {
    a.scale = std::max(a.scale, std::fabs(a.z[i]));
    a.rounding = std::max({a.rounding, std::fabs(double(composed[i]) - a.z[i]), 4 * std::fabs(moved[i] - a.z[i])});
  }
  for (size_t i = 0; i < a.attention.size(); i++)
    a.attention_rounding = std::max({a.attention_rounding, std::fabs(double(composed_attention[i]) - a.attention[i]), 4 * std::fabs(moved_attention[i] - a.attention[i])});
  return a;
}

inline double z_tolerance(const EncoderProblem& p, const EncoderAnswer& a, Dtype compute) {
  if (compute == Dtype::f32) return 5e-6 * a.scale + 4 * a.rounding;
  // Two or three numbers normalised are little more than their signs and order, which rounding to bf16 may turn over: there only NaN fails.
  return p.shape.dim < 8 ? 1e9 : 4e-2 * a.scale * (1 + 16.0 / double(p.shape.dim)) + 3e4 * a.rounding;
}

// Infinite where any is NaN or the sizes differ.
template <class T>
double largest_error(const T* got, const std::vector<double>& wanted) {
  double worst = 0;
  for (size_t i = 0; i < wanted.size(); i++) {
    if (!std::isfinite(got[i])) return std::numeric_limits<double>::infinity();
    worst = std::max(worst, std::fabs(double(got[i]) - wanted[i]));
  }
  return worst;
}

inline void expect_close(const Expect& expect, const EncoderProblem& p, const EncoderAnswer& a, Dtype compute, const float* z, const float* attention,
                         const std::string& what) {
  const double z_error = largest_error(z, a.z);
  expect(z_error <= z_tolerance(p, a, compute), what + " z off by " + std::to_string(z_error) + ", more than " + std::to_string(z_tolerance(p, a, compute)));
  if (!attention) return;
  const double attention_error = largest_error(attention, a.attention);
  expect(attention_error <= 4e-6 * std::max(1.0, p.logit_size * p.logit_size) + (p.values == Values::normal ? 0 : 4 * a.attention_rounding), what + " attention off by " + std::to_string(attention_error));
}

// Scores against the z of the same call, summed in double.
inline void expect_scores(const Expect& expect, const EncoderProblem& p, const std::vector<float>& z, const std::vector<float>& targets, bool one_target,
                          const std::vector<float>& scores, const std::string& what) {
  const int64_t out = p.shape.out;
  double worst = 0;
  for (int64_t i = 0; i < p.n_rows; i++) {
    double sum = 0, size = 1;
    for (int64_t c = 0; c < out; c++) {
      const double term = double(z[size_t(i * out + c)]) * double(targets[size_t((one_target ? 0 : i * out) + c)]);
      sum += term;
      size += std::fabs(term);
    }
    const double error = std::fabs(double(scores[size_t(i)]) - sum) / size;
    worst = std::isnan(error) ? std::numeric_limits<double>::infinity() : std::max(worst, error);
  }
  expect(worst <= 1e-6, what + (one_target ? " scores of one target" : " scores") + " off by " + std::to_string(worst) + " of their terms");
}

// The CUDA kernels emulated on the CPU: listed cases, then random ones (encoder_emulated.cpp).
void check_encoder_emulated(const Expect& expect, int random_cases);

}  // namespace larr::test
