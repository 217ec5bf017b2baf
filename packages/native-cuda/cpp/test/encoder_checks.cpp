// One case of the scene encoder against the whole layer in float64, on every variant of the kernel.
#include <algorithm>
#include <cmath>
#include <limits>

#include "../encoder/plan.h"
#include "checks.h"

namespace larr::encoder_detail {
extern const Path emulated_amx;
}

namespace larr::test {
namespace {

SceneEncoder make(const EncoderProblem& p, Dtype dtype, const Variant& v) {
#if defined(LARR_TEST_AMX)
  return SceneEncoder(p.shape, p.weights(), p.table(), dtype, v.kind == Variant::emulated_amx ? encoder_detail::emulated_amx : encoder_detail::path_of(v.isa, dtype));
#else
  return SceneEncoder(p.shape, p.weights(), p.table(), dtype, v.isa);
#endif
}

}  // namespace

void check_encoder(const EncoderCase& c, uint64_t seed, const std::vector<Isa>& isas) {
  const EncoderProblem p = make_encoder_problem(c, seed);
  const EncoderAnswer exact = answer(p, p.rows);
  const int64_t out = c.shape.out;
  Random random(seed);
  std::vector<float> targets(exact.z.size());
  for (float& t : targets) t = float(random.normal());
  for (Dtype dtype : {Dtype::f32, Dtype::bf16})
    for (const Variant& v : variants(dtype, isas, true)) {
      const std::string what = "encoder " + p.name() + " " + v.name(dtype);
      const SceneEncoder encoder = make(p, dtype, v);
      std::vector<float> z(exact.z.size() + 1, poison), attention(exact.attention.size() + 1, poison);
      encoder.encode(p.rows.data(), c.rows, z.data(), attention.data());
      expect(z.back() == poison && attention.back() == poison, what + " wrote past its outputs");
      expect_close(expect, p, exact, dtype, z.data(), attention.data(), what);
      std::vector<float> again(z.size(), poison), scores(size_t(c.rows) + 1, poison), one = scores;
      encoder.encode(p.rows.data(), c.rows, again.data(), nullptr);
      expect(again == z, what + " differs from run to run");
      encoder.score(p.rows.data(), c.rows, targets.data(), false, scores.data(), nullptr);
      encoder.score(p.rows.data(), c.rows, targets.data(), true, one.data(), nullptr);
      expect(scores.back() == poison && one.back() == poison, what + " wrote past its scores");
      bool same = true;
      for (int64_t i = 0; i < c.rows; i++) {
        double a = 0, b = 0;
        for (int64_t x = 0; x < out; x++) {
          a += double(z[size_t(i * out + x)]) * double(targets[size_t(i * out + x)]);
          b += double(z[size_t(i * out + x)]) * double(targets[size_t(x)]);
        }
        same = same && scores[size_t(i)] == float(a) && one[size_t(i)] == float(b);
      }
      expect(same, what + " score");
      if (c.rows > 0) {
        auto wrong = p.rows;
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

void check_encoder_not_finite(const EncoderCase& c, uint64_t seed, const std::vector<Isa>& isas) {
  const EncoderProblem good = make_encoder_problem(c, seed);
  EncoderProblem bad = good;
  Random random(seed);
  if (c.entries == 0) return;
  const int entry = random.below(c.entries);
  const float values[] = {NAN, INFINITY, -INFINITY};
  bad.embeddings[size_t(entry * c.shape.dim + random.below(c.shape.dim))] = values[random.below(3)];
  const size_t out = size_t(c.shape.out), fields = size_t(c.shape.fields);
  for (Dtype dtype : {Dtype::f32, Dtype::bf16})
    for (const Variant& v : variants(dtype, isas, true)) {
      const std::string what = "encoder " + good.name() + " " + v.name(dtype);
      std::vector<float> z(size_t(c.rows) * out, poison), wanted = z;
      make(bad, dtype, v).encode(bad.rows.data(), c.rows, z.data(), nullptr);
      make(good, dtype, v).encode(good.rows.data(), c.rows, wanted.data(), nullptr);
      bool known = true, others = true;
      for (size_t i = 0; i < size_t(c.rows); i++) {
        const auto row = bad.rows.begin() + ptrdiff_t(i * fields);
        const bool uses = std::find(row, row + ptrdiff_t(fields), entry) != row + ptrdiff_t(fields);
        for (size_t x = i * out; x < (i + 1) * out; x++) {
          if (uses) known = known && std::isnan(z[x]);
          else others = others && z[x] == wanted[x];
        }
      }
      expect(known, what + " made numbers of an entry that is not finite");
      expect(others, what + " let one entry that is not finite into rows that do not name it");
    }
}

}  // namespace larr::test
