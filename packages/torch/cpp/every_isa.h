// Plain loops for every instruction set: the compiler makes a copy for each, and the one that suits is chosen when the addon is loaded.
#pragma once

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define LARR_EVERY_ISA __attribute__((target_clones("arch=skylake-avx512", "arch=haswell", "default")))
#else
#define LARR_EVERY_ISA
#endif
// Into each copy, and not called by it.
#define LARR_INLINE inline __attribute__((always_inline))
