// What the kernel tests share: counting checks, random numbers, the variants of a kernel that a case runs on, and the checks of one case.
#pragma once
#include <cstdint>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "encoder_case.h"
#include "larr/kernels.h"

namespace larr::test {

// Counts a check and says what failed.
void expect(bool good, const std::string& what);
extern int failures, checks;

struct Random {
  std::mt19937_64 engine;
  explicit Random(uint64_t seed) : engine(seed) {}
  double normal() { return std::normal_distribution<double>()(engine); }
  int below(int n) { return std::uniform_int_distribution<int>(0, n - 1)(engine); }
};

// What the cases run on: the CPU's own paths, the portable CUDA kernels emulated on it, or a GPU.
enum class Target { cpu, emulated_gpu, gpu };
extern Target target;

struct Variant {
  Isa isa = Isa::scalar;
  enum { isa_path, emulated_amx, emulated_gpu, gpu_best, gpu_portable } kind = isa_path;
  std::string name(Dtype dtype) const {
    const char* paths[] = {isa_name(isa), "amx (emulated)", "cuda (emulated)", "cuda", "cuda (portable)"};
    return paths[kind] + std::string(dtype == Dtype::bf16 ? " bf16" : " f32");
  }
};

// Of the instruction sets given; `small`: the case is small enough for emulated tiles.
std::vector<Variant> variants(Dtype dtype, const std::vector<Isa>& isas, bool small);

struct NceCase {
  int64_t batch, dim;
  double scale;
  int groups;  // 0 none, 1 some equal, 2 all the same, 3 all different, with the ends of int32
  bool normalised;
  double alignment = 1;  // how much of q_i is in k_i; far below 0: k_i is -q_i
  Values values = Values::normal;  // other kinds are not normalised; q and k are made of it, and `scale` of what makes scores of them
};

void check_infonce(const NceCase& c, uint64_t seed, const std::vector<Isa>& isas);
// Errors against float64 are at most those of the operators composed in the same type, plus a stated tolerance.
void check_infonce_against_composed(const NceCase& c, uint64_t seed, const std::vector<Isa>& isas);
// The answers to inputs that are not finite, or whose scores f32 has no numbers for.
void check_infonce_not_finite(const NceCase& c, uint64_t seed, const std::vector<Isa>& isas);
// Over a ring of so many ranks, the batch shared out among them as the seed says.
void check_ring(const NceCase& c, int size, uint64_t seed, const std::vector<Isa>& isas);
void check_ring_not_finite(const NceCase& c, int size, uint64_t seed, const std::vector<Isa>& isas);
void check_ring_errors();
void check_encoder(const EncoderCase& c, uint64_t seed, const std::vector<Isa>& isas);
// Of the random case that the seed names.
void check_ranker(uint64_t seed, const std::vector<Isa>& isas);
void check_ranker_threads(uint64_t seed);
void check_encoder_not_finite(const EncoderCase& c, uint64_t seed, const std::vector<Isa>& isas);

// Random cases first .. first + count, the same for the same seed whichever are run; `large`: batches to 400 and rows to 120 too.
void fuzz(uint64_t seed, int first, int count, bool large, const std::vector<Isa>& isas);

// The kernels' threads and the addon's (device/threads.h, addon/runners.h).
void check_threads();

}  // namespace larr::test
