// Which instruction sets this machine has, which of them its operating system saves, and which of them LARR_ISA allows; and what
// LARR_THREADS and LARR_DEVICE ask for.
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <thread>

#include "larr/cuda.h"
#include "larr/kernels.h"
#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#endif

namespace larr {
namespace {

#if defined(__x86_64__)
uint64_t enabled_state() {
  uint32_t low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (uint64_t(high) << 32) | low;
}

// Linux gives AMX's 8 KiB of tile state to a process only once it has asked (arch_prctl ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA = 18).
bool amx_permitted() {
  constexpr int request = 0x1023, tile_data = 18;
  return syscall(SYS_arch_prctl, request, tile_data) == 0;
}
#endif

std::vector<Isa> detect() {
  std::vector<Isa> found{Isa::scalar};
#if defined(__x86_64__)
  unsigned a, b, c, d;
  if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE) || !(c & bit_FMA) || !(c & bit_AVX)) return found;
  const uint64_t state = enabled_state();
  unsigned b7, c7, d7, a71 = 0, unused;
  if (!__get_cpuid_count(7, 0, &a, &b7, &c7, &d7)) return found;
  if (a >= 1) __get_cpuid_count(7, 1, &a71, &unused, &unused, &unused);
  if ((state & 0x6) != 0x6 || !(b7 & (1u << 5))) return found;
  found.push_back(Isa::avx2);
  const unsigned avx512 = (1u << 16) | (1u << 17) | (1u << 30) | (1u << 31);  // F, DQ, BW, VL
  if ((state & 0xe6) != 0xe6 || (b7 & avx512) != avx512) return found;
  found.push_back(Isa::avx512);
  if (!(a71 & (1u << 5))) return found;
  found.push_back(Isa::avx512bf16);
  const bool amx = (d7 & (1u << 24)) && (d7 & (1u << 22));  // AMX-TILE, AMX-BF16
  if (amx && (state & 0x60000) == 0x60000 && amx_permitted()) found.push_back(Isa::amx);
#endif
  return found;
}

Isa choose() {
  const auto& isas = supported_isas();
  const char* wanted = std::getenv("LARR_ISA");
  if (!wanted || !*wanted) return isas.back();
  std::string names;
  for (Isa isa : isas) {
    if (!std::strcmp(wanted, isa_name(isa))) return isa;
    names += std::string(names.empty() ? "" : ", ") + isa_name(isa);
  }
  throw std::invalid_argument("LARR_ISA=" + std::string(wanted) + " is not available here; this machine has " + names);
}

}  // namespace

const char* isa_name(Isa isa) {
  switch (isa) {
    case Isa::scalar: return "scalar";
    case Isa::avx2: return "avx2";
    case Isa::avx512: return "avx512";
    case Isa::avx512bf16: return "avx512bf16";
    case Isa::amx: return "amx";
  }
  return "unknown";
}

const std::vector<Isa>& supported_isas() {
  static const std::vector<Isa> isas = detect();
  return isas;
}

Isa active_isa() {
  static const Isa isa = choose();
  return isa;
}

int thread_count() {
  static const int count = [] {
    if (const char* wanted = std::getenv("LARR_THREADS"); wanted && *wanted) {
      char* end = nullptr;
      const long n = std::strtol(wanted, &end, 10);
      if (*end || n < 1 || n > 1024) throw std::invalid_argument("LARR_THREADS=" + std::string(wanted) + " is not a number from 1 to 1024");
      return int(n);
    }
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set) > 0 ? CPU_COUNT(&set) : 1;
    const unsigned n = std::thread::hardware_concurrency();
    return n ? int(n) : 1;
  }();
  return count;
}

int wanted_gpu() {
  const char* wanted = std::getenv("LARR_DEVICE");
  if (!wanted || !*wanted || !std::strcmp(wanted, "cpu")) return -1;
  const std::string_view text = wanted;
  int index = 0;
  if (text != "cuda") {
    const char *first = wanted + std::strlen("cuda:"), *last = wanted + text.size();
    if (!text.starts_with("cuda:") || first == last || std::any_of(first, last, [](char c) { return c < '0' || c > '9'; }) ||
        std::from_chars(first, last, index).ec != std::errc())
      throw std::invalid_argument("LARR_DEVICE=" + std::string(text) + " is no device; it must be cpu, cuda or cuda:<number>");
  }
  if (!cuda_compiled()) throw std::invalid_argument("LARR_DEVICE=" + std::string(text) + " is not available: this build has no CUDA kernels (there was no nvcc when it was made)");
  return index;
}

}  // namespace larr
