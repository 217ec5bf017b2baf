// The thin layer that the portable kernels are written against: what a CUDA thread sees (indices, shared memory, barriers, shuffles,
// tensor-core products, asynchronous copies) under names that also exist on the CPU, where test/emulation.h runs a block's threads as
// fibers. So the tests run the very kernels that a GPU runs. Everything named warp_* or mma_* is called by all 32 threads of a warp.
//
// Fragments are those of PTX mma.sync: with g = lane / 4 and t = lane % 4,
//   accumulator [16, 8]    c[0], c[1] = (g, 2t), (g, 2t + 1)          c[2], c[3] = (g + 8, 2t), (g + 8, 2t + 1)
//   A bf16 [16, 16]        a[0] = (g, 2t..)  a[1] = (g + 8, 2t..)  a[2] = (g, 2t + 8..)  a[3] = (g + 8, 2t + 8..)   pairs, low half first
//   B bf16 [16, 8]         b[0] = rows 2t, 2t + 1 of column g         b[1] = rows 2t + 8, 2t + 9
//   A tf32 [16, 8]         a[0] = (g, t)  a[1] = (g + 8, t)  a[2] = (g, t + 4)  a[3] = (g + 8, t + 4)
//   B tf32 [8, 8]          b[0] = (t, g)  b[1] = (t + 4, g)
#pragma once
#include "side.h"

#include <cstdint>
#include <cstring>

#if defined(__CUDACC__)

#define LARR_KERNEL __global__
#define LARR_DEVICE __device__ __forceinline__
#define LARR_UNROLL _Pragma("unroll")
#define LARR_UNROLL_BY(n) LARR_PRAGMA(unroll n)
#define LARR_PRAGMA(text) _Pragma(#text)
// At most `threads` a block, at least `blocks` of them on a multiprocessor.
#define LARR_BOUNDS(threads, blocks) __launch_bounds__(threads, blocks)

namespace larr::cuda::inline LARR_SIDE {

LARR_DEVICE int thread_index() { return int(threadIdx.x); }
LARR_DEVICE int block_threads() { return int(blockDim.x); }
LARR_DEVICE int block_x() { return int(blockIdx.x); }
LARR_DEVICE int block_y() { return int(blockIdx.y); }
LARR_DEVICE int block_z() { return int(blockIdx.z); }
LARR_DEVICE int grid_x() { return int(gridDim.x); }
LARR_DEVICE int grid_y() { return int(gridDim.y); }

// The block's dynamic shared memory, 16-byte aligned.
LARR_DEVICE char* shared_memory() {
  extern __shared__ __align__(128) char larr_shared[];
  return larr_shared;
}

LARR_DEVICE void block_barrier() { __syncthreads(); }
LARR_DEVICE void warp_barrier() { __syncwarp(); }
LARR_DEVICE float warp_shuffle_xor(float value, int lanes) { return __shfl_xor_sync(0xffffffffu, value, lanes); }
LARR_DEVICE double warp_shuffle_xor(double value, int lanes) { return __shfl_xor_sync(0xffffffffu, value, lanes); }
LARR_DEVICE int warp_shuffle(int value, int lane) { return __shfl_sync(0xffffffffu, value, lane); }

LARR_DEVICE uint32_t shared_address(const void* p) { return uint32_t(__cvta_generic_to_shared(p)); }

// c += a b, [16, 16] x [16, 8], bf16 operands, f32 sums.
LARR_DEVICE void mma_bf16(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};\n"
               : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// c += a b, [16, 8] x [8, 8], tf32 operands (f32 of which ten bits of the fraction count), f32 sums.
LARR_DEVICE void mma_tf32(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};\n"
               : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// Four 8 x 8 matrices of 16-bit elements from shared memory: lane l names row l % 8 (8 elements, 16-byte aligned) of matrix l / 8.
// Thread (g, t) gets elements 2t, 2t + 1 of row g of each; transposed: rows 2t, 2t + 1 of column g.
LARR_DEVICE void warp_load_matrices(uint32_t (&r)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];\n"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(row))
               : "memory");
}
LARR_DEVICE void warp_load_matrices_transposed(uint32_t (&r)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];\n"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(row))
               : "memory");
}

// 16 bytes from global to shared memory; arrived once copies_wait says so and a barrier followed.
LARR_DEVICE void copy_async(void* shared, const void* global) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;\n" ::"r"(shared_address(shared)), "l"(global) : "memory");
}
LARR_DEVICE void copies_commit() { asm volatile("cp.async.commit_group;\n" ::: "memory"); }
// Until at most `Pending` of this thread's latest groups are under way.
template <int Pending>
LARR_DEVICE void copies_wait() {
  asm volatile("cp.async.wait_group %0;\n" ::"n"(Pending) : "memory");
}

LARR_DEVICE float exp2_fast(float x) {  // 2 ulp; under -126 gives 0
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
// Both to bf16 (nearest, ties to even), `low` in the low half.
LARR_DEVICE uint32_t pack_bf16(float low, float high) {
  uint32_t y;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(y) : "f"(high), "f"(low));
  return y;
}
LARR_DEVICE float bits_to_float(uint32_t bits) { return __uint_as_float(bits); }
LARR_DEVICE uint32_t float_to_bits(float x) { return __float_as_uint(x); }
// The value before. With memory_fence() before it, the thread that completes a count sees what the others wrote before theirs.
LARR_DEVICE uint32_t atomic_add(uint32_t* at, uint32_t value) { return atomicAdd(at, value); }
LARR_DEVICE void memory_fence() { __threadfence(); }
LARR_DEVICE void atomic_max(int32_t* at, int32_t value) { atomicMax(at, value); }
LARR_DEVICE void atomic_min(uint32_t* at, uint32_t value) { atomicMin(at, value); }

// Launches may overlap (launch.h): a kernel waits for what came before it on its stream before it reads what that wrote, and says
// from when on its successor may be brought up. Without effect before sm_90.
LARR_DEVICE void wait_for_previous_kernel() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;\n" ::: "memory");
#endif
}
LARR_DEVICE void bring_up_next_kernel() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;\n" ::: "memory");
#endif
}

}  // namespace larr::cuda

#else
#include "../test/emulation.h"
#endif

namespace larr::cuda::inline LARR_SIDE {

// What one load or store moves at most.
struct alignas(16) Words {
  uint32_t w[4];
};

LARR_DEVICE int lane_index() { return thread_index() & 31; }
LARR_DEVICE int warp_index() { return thread_index() >> 5; }
LARR_DEVICE float from_bf16(uint16_t bits) { return bits_to_float(uint32_t(bits) << 16); }

// An operand of mma_tf32 as the sum of two.
struct Split {
  uint32_t high, low;
};
// high: to the nearest tf32, by adding half its last place; low: the rest, of which the tensor cores drop what is beyond tf32 themselves.
// Conversion instructions would take longer than these.
LARR_DEVICE Split split(float x) {
  const uint32_t high = (float_to_bits(x) + 0x1000) & 0xffffe000u;
  return {high, float_to_bits(x - bits_to_float(high))};
}

}  // namespace larr::cuda
