// AMX tiles: eight, each 16 rows of 64 bytes. LARR_AMX_EMULATED (tests alone) stands in for the instructions in plain C++, so that the
// loops around them are checked on machines without AMX. Tile numbers must be literals, as the instructions' operands are.
#pragma once
#include <immintrin.h>

#include <cstdint>
#include <cstring>

namespace larr::amx {
namespace {

struct alignas(64) Config {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

#if defined(LARR_AMX_EMULATED)

struct Tile {
  alignas(64) unsigned char row[16][64];
};
thread_local Tile tiles[8];
thread_local bool configured = false;

inline void require() {
  if (!configured) __builtin_trap();  // the instruction would fault too
}
inline void load(int t, const void* from, int64_t stride) {
  require();
  for (int r = 0; r < 16; r++) std::memcpy(tiles[t].row[r], static_cast<const char*>(from) + r * stride, 64);
}
inline void store(int t, void* to, int64_t stride) {
  require();
  for (int r = 0; r < 16; r++) std::memcpy(static_cast<char*>(to) + r * stride, tiles[t].row[r], 64);
}
inline void zero(int t) {
  require();
  std::memset(&tiles[t], 0, sizeof tiles[t]);
}
inline float widened(const unsigned char* at) {
  uint16_t half;
  std::memcpy(&half, at, 2);
  const uint32_t bits = uint32_t(half) << 16;
  float x;
  std::memcpy(&x, &bits, 4);
  return x;
}
// c[m][n] += sum_k a[m][2k] b[k][2n] + sum_k a[m][2k + 1] b[k][2n + 1], in that order; but unlike the instruction's, denormal numbers count.
inline void multiply(int c, int a, int b) {
  require();
  for (int m = 0; m < 16; m++)
    for (int n = 0; n < 16; n++) {
      float sum, part[2] = {};
      for (int k = 0; k < 16; k++)
        for (int half = 0; half < 2; half++)
          part[half] += widened(tiles[a].row[m] + 4 * k + 2 * half) * widened(tiles[b].row[k] + 4 * n + 2 * half);
      std::memcpy(&sum, tiles[c].row[m] + 4 * n, 4);
      sum += part[0] + part[1];
      std::memcpy(tiles[c].row[m] + 4 * n, &sum, 4);
    }
}
inline void configure(const Config&) { configured = true; }
inline void release() { configured = false; }

#define LARR_TILE_LOAD(tile, from, stride) ::larr::amx::load(tile, from, stride)
#define LARR_TILE_STORE(tile, to, stride) ::larr::amx::store(tile, to, stride)
#define LARR_TILE_ZERO(tile) ::larr::amx::zero(tile)
#define LARR_TILE_MULTIPLY(c, a, b) ::larr::amx::multiply(c, a, b)

#else

// Not by GCC's macros: they do not tell the compiler that a tile is loaded from memory, nor that a configuration is 64 bytes long, so it might
// put off or leave out the stores before them. The operand of unknown length is GCC's way of saying "what lies from here on".
inline void configure(const Config& config) { __asm__ volatile("ldtilecfg\t%0" : : "m"(config)); }
inline void release() { __asm__ volatile("tilerelease"); }

#define LARR_TILE_LOAD(tile, from, stride)                           \
  __asm__ volatile("tileloadd\t(%0,%1,1), %%tmm" #tile               \
                   :                                                 \
                   : "r"(static_cast<const void*>(from)), "r"(int64_t(stride)), "m"(*reinterpret_cast<const char(*)[]>(from)))
#define LARR_TILE_STORE(tile, to, stride) \
  __asm__ volatile("tilestored\t%%tmm" #tile ", (%0,%1,1)" : : "r"(static_cast<void*>(to)), "r"(int64_t(stride)) : "memory")
#define LARR_TILE_ZERO(tile) __asm__ volatile("tilezero\t%tmm" #tile)
#define LARR_TILE_MULTIPLY(c, a, b) __asm__ volatile("tdpbf16ps\t%tmm" #b ", %tmm" #a ", %tmm" #c)

#endif

// Tiles are set up for as long as this lives: a thread that holds none is cheaper to switch.
struct Session {
  Session() { configure(Config()); }
  ~Session() { release(); }
  Session(const Session&) = delete;
};

}  // namespace
}  // namespace larr::amx
