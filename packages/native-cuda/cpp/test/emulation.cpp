#include "emulation.h"

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

#include <array>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <memory>
#include <stdexcept>
#include <vector>

namespace larr::cuda::inline LARR_SIDE::emulation {

Position here;

namespace {

constexpr size_t stack_bytes = 128 * 1024;
constexpr int warp = 32;

#if defined(__x86_64__)
// Where a fiber stands: its stack, with the registers that a function keeps for its caller on top. swapcontext() would do the same and
// ask the kernel about signals at every switch, which took most of the tests' time.
using Stack = void*;
asm(R"(
.text
.type larr_switch_stack, @function
larr_switch_stack:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq (%rsi), %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size larr_switch_stack, .-larr_switch_stack
)");
extern "C" void larr_switch_stack(Stack* from, Stack* to);

void switch_to(Stack& from, Stack& to) { larr_switch_stack(&from, &to); }
void begin_at(Stack& stack, char* memory, size_t bytes, void (*entry)()) {
  auto* top = reinterpret_cast<void**>((reinterpret_cast<uintptr_t>(memory) + bytes) / 64 * 64);
  *--top = nullptr;  // nobody to return to; and calls find the stack as the ABI wants it
  *--top = reinterpret_cast<void*>(entry);
  for (int i = 0; i < 6; i++) *--top = nullptr;
  stack = top;
}
#else
using Stack = ucontext_t;
void switch_to(Stack& from, Stack& to) { swapcontext(&from, &to); }
void begin_at(Stack& stack, char* memory, size_t bytes, void (*entry)()) {
  getcontext(&stack);
  stack.uc_stack.ss_sp = memory;
  stack.uc_stack.ss_size = bytes;
  stack.uc_link = nullptr;
  makecontext(&stack, entry, 0);
}
#endif

struct Copy {
  void* to;
  char bytes[16];
};

struct Fiber {
  Stack at;
  std::unique_ptr<char[]> stack;
  bool done = false;
  // Barriers passed so far: a fiber waits while its warp, or block, has others that passed fewer.
  uint64_t warp_passed = 0, block_passed = 0;
  std::vector<std::vector<Copy>> groups;
  std::vector<Copy> open;
};

struct Block {
  std::vector<Fiber> fibers;
  // Two, used in turn: a fast lane may begin the next exchange while a slow one still reads the last.
  std::vector<std::array<std::array<char, warp * 64>, 2>> exchanged;
  std::vector<std::array<size_t, warp>> turns;
  Stack scheduler;
  const std::function<void()>* body = nullptr;
  int current = 0;
};

Block* running = nullptr;

void enter() {
  (*running->body)();
  running->fibers[size_t(running->current)].done = true;
  switch_to(running->fibers[size_t(running->current)].at, running->scheduler);
}

void yield() {
  Block& b = *running;
  switch_to(b.fibers[size_t(b.current)].at, b.scheduler);
}

// Waits until every fiber of [first, end) that still runs has passed this barrier as often as this one.
template <uint64_t Fiber::*Passed>
void barrier(int first, int end) {
  Block& b = *running;
  const uint64_t mine = ++(b.fibers[size_t(b.current)].*Passed);
  for (;;) {
    bool all = true;
    for (int i = first; i < end; i++) {
      const Fiber& other = b.fibers[size_t(i)];
      if (other.done && other.*Passed < mine) throw std::logic_error("a thread ended before a barrier that others wait at");
      all = all && other.*Passed >= mine;
    }
    if (all) return;
    yield();
  }
}

}  // namespace

void block_barrier() { barrier<&Fiber::block_passed>(0, here.threads); }

void warp_barrier() {
  const int first = here.thread / warp * warp;
  barrier<&Fiber::warp_passed>(first, first + warp);
}

const char* warp_exchange(const void* mine, size_t bytes) {
  Block& b = *running;
  const size_t w = size_t(here.thread / warp), lane = size_t(here.thread % warp);
  char* place = b.exchanged[w][b.turns[w][lane]++ % 2].data();
  std::memcpy(place + lane * bytes, mine, bytes);
  warp_barrier();
  return place;
}

void copy_async(void* shared, const void* global) {
  if (reinterpret_cast<uintptr_t>(shared) % 16 || reinterpret_cast<uintptr_t>(global) % 16) throw std::logic_error("copy_async: not 16-byte aligned");
  Copy copy{shared, {}};
  std::memcpy(copy.bytes, global, 16);
  running->fibers[size_t(running->current)].open.push_back(copy);
}

void copies_commit() {
  Fiber& f = running->fibers[size_t(running->current)];
  f.groups.push_back(std::move(f.open));
  f.open.clear();
}

void copies_wait(int pending) {
  Fiber& f = running->fibers[size_t(running->current)];
  while (f.groups.size() > size_t(pending)) {
    for (const Copy& copy : f.groups.front()) std::memcpy(copy.to, copy.bytes, 16);
    f.groups.erase(f.groups.begin());
  }
}

void run(Extent grid, int threads, size_t shared_bytes, const std::function<void()>& body) {
  if (threads % warp) throw std::logic_error("the emulation takes whole warps");
  const std::unique_ptr<char, void (*)(void*)> shared(static_cast<char*>(std::aligned_alloc(1024, (shared_bytes + 1024) / 1024 * 1024)), std::free);
  Block b;
  b.fibers.resize(size_t(threads));
  b.exchanged.resize(size_t(threads / warp));
  b.turns.resize(size_t(threads / warp));
  for (Fiber& f : b.fibers) f.stack = std::make_unique<char[]>(stack_bytes);
  b.body = &body;
  running = &b;
  for (int z = 0; z < grid.z; z++)
    for (int y = 0; y < grid.y; y++)
      for (int x = 0; x < grid.x; x++) {
        std::memset(shared.get(), 0xff, shared_bytes);
        for (auto& turn : b.turns) turn.fill(0);
        for (int i = 0; i < threads; i++) {
          Fiber& f = b.fibers[size_t(i)];
          f.done = false;
          f.warp_passed = f.block_passed = 0;
          f.groups.clear();
          f.open.clear();
          begin_at(f.at, f.stack.get(), stack_bytes, enter);
        }
        for (int left = threads; left > 0;) {
          left = 0;
          for (int i = 0; i < threads; i++) {
            Fiber& f = b.fibers[size_t(i)];
            if (f.done) continue;
            b.current = i;
            here = {i, threads, {x, y, z}, grid, shared.get()};
            switch_to(b.scheduler, f.at);
            left += !f.done;
          }
        }
      }
  running = nullptr;
}

}  // namespace larr::cuda::emulation

namespace larr::cuda::inline LARR_SIDE {
namespace {

float bf16_at(const uint32_t* registers, int i) { return bits_to_float(i % 2 ? registers[i / 2] & 0xffff0000u : registers[i / 2] << 16); }

struct Operands {
  uint32_t a[4], b[2];
};

template <class Product>
void mma(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1, const Product& product) {
  const Operands mine{{a[0], a[1], a[2], a[3]}, {b0, b1}};
  Operands all[32];
  std::memcpy(all, emulation::warp_exchange(&mine, sizeof mine), sizeof all);
  const int g = (thread_index() & 31) / 4, t = thread_index() & 3;
  for (int i = 0; i < 4; i++) c[i] += product(all, g + (i / 2) * 8, 2 * t + i % 2);
}

}  // namespace

void mma_bf16(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  mma(c, a, b0, b1, [](const Operands* all, int row, int column) {
    float sum = 0;
    for (int k = 0; k < 16; k++) {
      const Operands &of_row = all[row % 8 * 4 + k % 8 / 2], &of_column = all[column * 4 + k % 8 / 2];
      sum += bf16_at(&of_row.a[row / 8 + k / 8 * 2], k % 2) * bf16_at(&of_column.b[k / 8], k % 2);
    }
    return sum;
  });
}

void mma_tf32(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  mma(c, a, b0, b1, [](const Operands* all, int row, int column) {
    float sum = 0;
    for (int k = 0; k < 8; k++)
      sum += bits_to_float(all[row % 8 * 4 + k % 4].a[row / 8 + k / 4 * 2] & 0xffffe000u) * bits_to_float(all[column * 4 + k % 4].b[k / 4] & 0xffffe000u);
    return sum;
  });
}

namespace {

template <class Pick>
void load_matrices(uint32_t (&r)[4], const void* row, const Pick& pick) {
  if (reinterpret_cast<uintptr_t>(row) % 16) throw std::logic_error("warp_load_matrices: a row is not 16-byte aligned");
  const uint16_t* rows[32];
  std::memcpy(rows, emulation::warp_exchange(&row, sizeof row), sizeof rows);
  const int g = (thread_index() & 31) / 4, t = thread_index() & 3;
  for (int m = 0; m < 4; m++) r[m] = uint32_t(pick(rows + m * 8, g, 2 * t)) | uint32_t(pick(rows + m * 8, g, 2 * t + 1)) << 16;
  emulation::warp_barrier();  // nobody may write there before all have read
}

}  // namespace

void warp_load_matrices(uint32_t (&r)[4], const void* row) {
  load_matrices(r, row, [](const uint16_t* const* rows, int g, int at) { return rows[g][at]; });
}
void warp_load_matrices_transposed(uint32_t (&r)[4], const void* row) {
  load_matrices(r, row, [](const uint16_t* const* rows, int g, int at) { return rows[at][g]; });
}

float exp2_fast(float x) { return x < -126 ? 0.0f : std::exp2(x); }

uint32_t pack_bf16(float low, float high) {
  const auto narrow = [](float x) {
    const uint32_t bits = float_to_bits(x);
    if ((bits & 0x7fffffff) > 0x7f800000) return 0x7fffu;
    return (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  };
  return narrow(low) | narrow(high) << 16;
}

}  // namespace larr::cuda
