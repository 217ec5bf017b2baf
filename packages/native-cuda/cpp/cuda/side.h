// The same kernels are compiled for a GPU and, in the tests, for the CPU: two sides, told apart by an inline namespace, since one program
// holds both. Code that is compiled for both stands in `namespace larr::cuda::inline LARR_SIDE`.
#pragma once
#if defined(__CUDACC__)
#define LARR_SIDE gpu
#else
#define LARR_SIDE emulated
#endif
