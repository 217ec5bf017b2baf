// Hopper's own instructions (sm_90a): bulk copies that complete on barriers in shared memory, products by a whole warpgroup, and
// registers moved between warpgroups. PTX ISA: mbarrier, cp.async.bulk, wgmma, setmaxnreg.
#pragma once
#include <cstdint>

#include "portable.h"

namespace larr::cuda::hopper {

LARR_DEVICE void barrier_init(uint64_t* barrier, int arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;\n" ::"r"(shared_address(barrier)), "r"(arrivals) : "memory");
}
// Makes barriers that one thread has initialised known to the copy engine.
LARR_DEVICE void barriers_ready() { asm volatile("fence.mbarrier_init.release.cluster;\n" ::: "memory"); }
LARR_DEVICE void arrive(uint64_t* barrier) { asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];\n" ::"r"(shared_address(barrier)) : "memory"); }
LARR_DEVICE void arrive_expecting(uint64_t* barrier, uint32_t bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;\n" ::"r"(shared_address(barrier)), "r"(bytes) : "memory");
}
// Until the phase of this parity is over.
LARR_DEVICE void wait(uint64_t* barrier, uint32_t parity) {
  asm volatile(
      "{\n"
      ".reg .pred done;\n"
      "again:\n"
      "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
      "@done bra over;\n"
      "bra again;\n"
      "over:\n"
      "}\n" ::"r"(shared_address(barrier)),
      "r"(parity)
      : "memory");
}
// Contiguous bytes (a multiple of 16) from global to shared memory; they count towards what the barrier expects.
LARR_DEVICE void copy_bulk(void* shared, const void* global, uint32_t bytes, uint64_t* barrier) {
  asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];\n" ::"r"(shared_address(shared)), "l"(global), "r"(bytes),
               "r"(shared_address(barrier))
               : "memory");
}

template <int Registers>
LARR_DEVICE void take_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;\n" ::"n"(Registers));
}
template <int Registers>
LARR_DEVICE void give_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;\n" ::"n"(Registers));
}

// Matrix descriptors (PTX ISA, "Matrix descriptor"): start, leading and stride byte offsets in units of 16, mode 1 = 128-byte swizzle.
LARR_DEVICE uint64_t descriptor(const void* start, uint32_t leading_bytes, uint32_t stride_bytes) {
  return uint64_t((shared_address(start) & 0x3ffff) >> 4) | uint64_t(leading_bytes >> 4) << 16 | uint64_t(stride_bytes >> 4) << 32 | uint64_t(1) << 62;
}
// Rows are the operand's M or N, the depth runs along them: eight rows are 1024 bytes.
LARR_DEVICE uint64_t rows_descriptor(const void* start) { return descriptor(start, 16, 1024); }
// Rows are the depth, M or N runs along them, panel after panel.
LARR_DEVICE uint64_t columns_descriptor(const void* start, uint32_t panel_bytes) { return descriptor(start, panel_bytes, 1024); }

LARR_DEVICE void products_fence() { asm volatile("wgmma.fence.sync.aligned;\n" ::: "memory"); }
LARR_DEVICE void products_commit() { asm volatile("wgmma.commit_group.sync.aligned;\n" ::: "memory"); }
template <int Pending>
LARR_DEVICE void products_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;\n" ::"n"(Pending) : "memory");
}

#define LARR_8(d, i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), "+f"(d[i + 6]), "+f"(d[i + 7])
#define LARR_32(d, i) LARR_8(d, i), LARR_8(d, i + 8), LARR_8(d, i + 16), LARR_8(d, i + 24)
#define LARR_REGISTERS_32                                                                                                              \
  "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31}"
#define LARR_REGISTERS_64                                                                                                              \
  "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,"            \
  "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63}"

// d (+)= a b: 64 rows of a warpgroup, 128 columns, depth 16, both from shared memory along their rows. `accumulate` false: d is overwritten.
LARR_DEVICE void product_64x128(float (&d)[64], uint64_t a, uint64_t b, bool accumulate) {
  asm volatile(
      "{\n"
      ".reg .pred p;\n"
      "setp.ne.b32 p, %66, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 " LARR_REGISTERS_64 ", %64, %65, p, 1, 1, 0, 0;\n"
      "}\n"
      : LARR_32(d, 0), LARR_32(d, 32)
      : "l"(a), "l"(b), "r"(int(accumulate)));
}
// d (+)= a b: a from registers (A fragment of 64 x 16), b from shared memory; transposed: b's rows are the depth.
template <bool Transposed>
LARR_DEVICE void product_of_registers(float (&d)[64], const uint32_t* a, uint64_t b, bool accumulate) {
  asm volatile(
      "{\n"
      ".reg .pred p;\n"
      "setp.ne.b32 p, %69, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 " LARR_REGISTERS_64 ", {%64,%65,%66,%67}, %68, p, 1, 1, %70;\n"
      "}\n"
      : LARR_32(d, 0), LARR_32(d, 32)
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(int(accumulate)), "n"(int(Transposed)));
}
template <bool Transposed>
LARR_DEVICE void product_of_registers(float (&d)[32], const uint32_t* a, uint64_t b, bool accumulate) {
  asm volatile(
      "{\n"
      ".reg .pred p;\n"
      "setp.ne.b32 p, %37, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 " LARR_REGISTERS_32 ", {%32,%33,%34,%35}, %36, p, 1, 1, %38;\n"
      "}\n"
      : LARR_32(d, 0)
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(int(accumulate)), "n"(int(Transposed)));
}

#undef LARR_8
#undef LARR_32
#undef LARR_REGISTERS_32
#undef LARR_REGISTERS_64

}  // namespace larr::cuda::hopper
