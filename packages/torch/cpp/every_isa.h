// Plain loops for every instruction set: the compiler makes a copy for each, and the one that active_isa() names is called. (GCC's
// target_clones would do it by itself, but its `arch=` versions are chosen by the maker's name for a processor, not by what it can do.)
#pragma once

#include <larr/kernels.h>

/// Into each copy, and not called by it.
#define LARR_INLINE inline __attribute__((always_inline))

#if defined(__x86_64__) && defined(__GNUC__)
#define LARR_AVX2 __attribute__((target("avx2,fma")))
#ifdef __clang__  // takes no width in a target, and would then drop all of it
#define LARR_AVX512 __attribute__((target("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl")))
#else
#define LARR_AVX512 __attribute__((target("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,prefer-vector-width=512")))
#endif
#else
#define LARR_AVX2
#define LARR_AVX512
#endif

/// Defines `name`, which calls the copy of the LARR_INLINE function `body` that suits.
#define LARR_EVERY_ISA(name, body)                                                       \
  template <typename... A>                                                               \
  auto name##Plain(A... a) {                                                             \
    return body(a...);                                                                   \
  }                                                                                      \
  template <typename... A>                                                               \
  LARR_AVX2 auto name##Avx2(A... a) {                                                    \
    return body(a...);                                                                   \
  }                                                                                      \
  template <typename... A>                                                               \
  LARR_AVX512 auto name##Avx512(A... a) {                                                \
    return body(a...);                                                                   \
  }                                                                                      \
  template <typename... A>                                                               \
  auto name(A... a) {                                                                    \
    switch (active_isa()) {                                                              \
      case Isa::scalar: return name##Plain(a...);                                        \
      case Isa::avx2: return name##Avx2(a...);                                           \
      default: return name##Avx512(a...);                                                \
    }                                                                                    \
  }
