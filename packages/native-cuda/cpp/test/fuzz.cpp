// Random cases. Every case is made of the seed and its own number alone, so that one that fails can be run by itself.
#include <cmath>
#include <cstdio>

#include "checks.h"

namespace larr::test {
namespace {

NceCase random_infonce(Random& random, bool large) {
  NceCase c{};
  c.batch = random.below(12) == 0 ? 1 : 1 + random.below(!large ? 40 : random.below(4) == 0 ? 400 : 80);
  c.dim = 1 + random.below(!large ? 48 : random.below(4) == 0 ? 256 : 70);
  // Over a block of rows and a panel of columns now and then.
  if (!large && random.below(60) == 0) c.batch = 190 + random.below(8), c.dim = 1 + random.below(20);
  c.groups = random.below(4);
  c.alignment = random.below(3) / 2.0;
  if (random.below(3) > 0) {
    c.normalised = random.below(3) > 0;
    c.scale = c.normalised ? std::exp(std::log(100.0) * random.below(1000) / 1000.0) : 0.1 + random.below(100) / 100.0;
  } else {
    c.values = Values(random.below(values_kinds));
    // Scores from far below one to far above, whatever the numbers' size.
    const double size[values_kinds] = {1, 1, 1, 1e-40, 1e-19, 1e19, 1e4, 1};
    c.scale = std::min(9e28, std::pow(10.0, random.below(9) - 4) / size[int(c.values)]);
    if (random.below(20) == 0) c.scale = 0;
  }
  if (random.below(10) == 0) c.scale = -c.scale;
  return c;
}

EncoderCase random_encoder(Random& random, bool large) {
  EncoderCase c{};
  const int heads = 1 + random.below(6);
  c.shape = large ? EncoderShape{1 + random.below(12), heads * (1 + random.below(24)), heads, 1 + random.below(200), 1 + random.below(100), 1 + random.below(80)}
                  : EncoderShape{1 + random.below(6), heads * (1 + random.below(8)), heads, 1 + random.below(40), 1 + random.below(30), 1 + random.below(20)};
  c.entries = random.below(30) == 0 ? 0 : 1 + random.below(large ? 60 : 20);
  c.rows = random.below(40) == 0 ? 0 : random.below(8) == 0 ? 1 : 1 + random.below(large ? 120 : 14);
  c.logit_size = 0.2 + random.below(30) / 10.0;
  if (random.below(3) == 0) c.values = Values(random.below(values_kinds));
  return c;
}

}  // namespace

void fuzz(uint64_t seed, int first, int count, bool large, const std::vector<Isa>& isas) {
  for (int i = first; i < first + count; i++) {
    const uint64_t own = seed * 1'000'003 + uint64_t(i);
    Random random(own);
    const int before = failures;
    check_infonce(random_infonce(random, large), own, isas);
    if (target == Target::cpu) check_encoder(random_encoder(random, large), own, isas);
    if (i % 16 == 0) {
      check_infonce_not_finite(random_infonce(random, large), own, isas);
      if (target == Target::cpu) check_encoder_not_finite(random_encoder(random, large), own, isas);
    }
    if (i % 4 == 0 && target == Target::cpu) check_ring(random_infonce(random, large), 1 + random.below(5), own, isas);
    if (i % 48 == 0 && target == Target::cpu) check_ring_not_finite(random_infonce(random, large), 1 + random.below(5), own, isas);
    if (failures > before) std::fprintf(stderr, "  that was case %d of seed %llu\n", i, static_cast<unsigned long long>(seed));
  }
}

}  // namespace larr::test
