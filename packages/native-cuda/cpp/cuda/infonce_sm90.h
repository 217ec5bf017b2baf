// The walks of InfoNCE on Hopper (sm_90a): bf16, d up to 128.
#pragma once
#include "infonce_layout.h"
#include "launch.h"

namespace larr::cuda::inline LARR_SIDE::infonce {

// Where prepare puts element x of a row: tiles of 128 rows, panels of 64 columns, swizzled as the tensor cores read them, so that a
// tile is one contiguous copy and needs no tensor map.
template <int D>
struct HopperPacking {
  static constexpr int tile = 128;
#if defined(__CUDACC__)
  __device__ static int64_t at(int row, int x) {
    const int r = row % tile, column = x % 64;
    return (int64_t(row / tile) * (D / 64) + x / 64) * tile * 64 + r * 64 + (((column >> 3) ^ (r & 7)) << 3) + (column & 7);
  }
#endif
};

template <int D>
struct HopperWalks {
  using Packing = HopperPacking<D>;
  static Cut cut(int multiprocessors) { return {256, 256, 128, 128, 128, multiprocessors, multiprocessors}; }
  void pass1(const Plan& p, Queue queue) const;
  void pass2(const Plan& p, Queue queue) const;
};

}  // namespace larr::cuda::infonce
