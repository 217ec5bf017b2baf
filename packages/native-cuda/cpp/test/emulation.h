// A CUDA block on the CPU, for tests: its threads are fibers of one system thread, switched at barriers and at everything a warp does
// together. Shared memory is filled with NaN before each block, and asynchronous copies arrive only when they are waited for, so that a
// missing barrier or wait shows. Written for x86-64 and any other machine with ucontext.
#pragma once
#include "../cuda/side.h"

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <utility>

#define LARR_KERNEL
#define LARR_DEVICE inline
#define LARR_UNROLL
#define LARR_UNROLL_BY(n)
#define LARR_BOUNDS(threads, blocks)

namespace larr::cuda::inline LARR_SIDE {

struct Extent {
  int x = 1, y = 1, z = 1;
};

namespace emulation {

struct Position {
  int thread = 0, threads = 0;
  Extent block, grid;
  char* shared = nullptr;
};
// Of the fiber that runs.
extern Position here;

void block_barrier();
void warp_barrier();
// All 32 lanes give `bytes` bytes each (at most 64); returns all lanes' in lane order, valid until the next exchange.
const char* warp_exchange(const void* mine, size_t bytes);
void copy_async(void* shared, const void* global);
void copies_commit();
void copies_wait(int pending);
// Runs body() as every thread of every block.
void run(Extent grid, int threads, size_t shared_bytes, const std::function<void()>& body);

}  // namespace emulation

inline int thread_index() { return emulation::here.thread; }
inline int block_threads() { return emulation::here.threads; }
inline int block_x() { return emulation::here.block.x; }
inline int block_y() { return emulation::here.block.y; }
inline int block_z() { return emulation::here.block.z; }
inline int grid_x() { return emulation::here.grid.x; }
inline int grid_y() { return emulation::here.grid.y; }
inline char* shared_memory() { return emulation::here.shared; }
inline void block_barrier() { emulation::block_barrier(); }
inline void warp_barrier() { emulation::warp_barrier(); }

template <class T>
T emulated_shuffle(T value, int from) {
  T out;
  std::memcpy(&out, emulation::warp_exchange(&value, sizeof value) + size_t(from) * sizeof value, sizeof value);
  return out;
}
inline float warp_shuffle_xor(float value, int lanes) { return emulated_shuffle(value, (thread_index() & 31) ^ lanes); }
inline double warp_shuffle_xor(double value, int lanes) { return emulated_shuffle(value, (thread_index() & 31) ^ lanes); }
inline int warp_shuffle(int value, int lane) { return emulated_shuffle(value, lane); }

void mma_bf16(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1);
void mma_tf32(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1);
void warp_load_matrices(uint32_t (&r)[4], const void* row);
void warp_load_matrices_transposed(uint32_t (&r)[4], const void* row);

inline void copy_async(void* shared, const void* global) { emulation::copy_async(shared, global); }
inline void copies_commit() { emulation::copies_commit(); }
template <int Pending>
void copies_wait() {
  emulation::copies_wait(Pending);
}

float exp2_fast(float x);
uint32_t pack_bf16(float low, float high);
inline float bits_to_float(uint32_t bits) {
  float x;
  std::memcpy(&x, &bits, 4);
  return x;
}
inline uint32_t float_to_bits(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  return bits;
}
inline void memory_fence() {}
inline void wait_for_previous_kernel() {}
inline void bring_up_next_kernel() {}
inline void atomic_max(int32_t* at, int32_t value) { *at = *at > value ? *at : value; }
inline void atomic_min(uint32_t* at, uint32_t value) { *at = *at < value ? *at : value; }
inline uint32_t atomic_add(uint32_t* at, uint32_t value) {
  const uint32_t before = *at;
  *at = before + value;
  return before;
}

}  // namespace larr::cuda
