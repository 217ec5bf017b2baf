// Weights and activations between products are bf16, multiplied on AMX tiles. Weights lie
// as in bf16_avx512.cpp: a panel of 16 columns in pairs is what a B tile wants.
#include "../simd/amx.h"
#include "../simd/avx512.h"
#include "../simd/bf16.h"
namespace larr::encoder_detail {
namespace {
struct V : avx512::V {
  static constexpr int terms = 4;
};
}  // namespace
}  // namespace larr::encoder_detail
#include "block.inl"

namespace larr::encoder_detail {
namespace {

// Sums of 48 x 16, 32 x 32 or 16 x 64, as many rows as a block has: the more, the less often a weight is loaded, and a tile unit that does
// 16 rows at a time would wait for all of them from L2. a: rows `a_stride` bytes apart; b: panels `panel` bytes apart; steps of 32 summed.
struct ThreeByOne {
  static constexpr int rows = 48, columns = 16;
  // Three sums in turn: 48 of the 52 cycles that a product takes until it can be added to; four tiles of rows would not leave two for weights.
  static void multiply(const char* a, int64_t a_stride, const char* b, int64_t, int steps, bool) {
    LARR_TILE_ZERO(0);
    LARR_TILE_ZERO(1);
    LARR_TILE_ZERO(2);
    for (int s = 0; s < steps; s += 2) {
      LARR_TILE_LOAD(6, b, 64);
      LARR_TILE_LOAD(3, a, a_stride);
      LARR_TILE_MULTIPLY(0, 3, 6);
      LARR_TILE_LOAD(4, a + 16 * a_stride, a_stride);
      LARR_TILE_MULTIPLY(1, 4, 6);
      LARR_TILE_LOAD(5, a + 32 * a_stride, a_stride);
      LARR_TILE_MULTIPLY(2, 5, 6);
      if (s + 1 == steps) break;
      LARR_TILE_LOAD(7, b + 1024, 64);
      LARR_TILE_LOAD(3, a + 64, a_stride);
      LARR_TILE_MULTIPLY(0, 3, 7);
      LARR_TILE_LOAD(4, a + 64 + 16 * a_stride, a_stride);
      LARR_TILE_MULTIPLY(1, 4, 7);
      LARR_TILE_LOAD(5, a + 64 + 32 * a_stride, a_stride);
      LARR_TILE_MULTIPLY(2, 5, 7);
      a += 128;
      b += 2048;
    }
  }
  static void put(float* out) {
    LARR_TILE_STORE(0, out, 64);
    LARR_TILE_STORE(1, out + 16 * 16, 64);
    LARR_TILE_STORE(2, out + 32 * 16, 64);
  }
};

struct TwoByTwo {
  static constexpr int rows = 32, columns = 32;
  static void multiply(const char* a, int64_t a_stride, const char* b, int64_t panel, int steps, bool) {
    LARR_TILE_ZERO(0);
    LARR_TILE_ZERO(1);
    LARR_TILE_ZERO(2);
    LARR_TILE_ZERO(3);
    for (int s = 0; s < steps; s++, a += 64, b += 1024) {
      LARR_TILE_LOAD(4, a, a_stride);
      LARR_TILE_LOAD(6, b, 64);
      LARR_TILE_MULTIPLY(0, 4, 6);
      LARR_TILE_LOAD(7, b + panel, 64);
      LARR_TILE_MULTIPLY(1, 4, 7);
      LARR_TILE_LOAD(5, a + 16 * a_stride, a_stride);
      LARR_TILE_MULTIPLY(2, 5, 6);
      LARR_TILE_MULTIPLY(3, 5, 7);
    }
  }
  static void put(float* out) {
    LARR_TILE_STORE(0, out, 128);
    LARR_TILE_STORE(1, out + 16, 128);
    LARR_TILE_STORE(2, out + 16 * 32, 128);
    LARR_TILE_STORE(3, out + 16 * 32 + 16, 128);
  }
};

struct OneByFour {
  static constexpr int rows = 16, columns = 64;
  // Widths are padded to 32: `whole` says that there are four panels, not two.
  static void multiply(const char* a, int64_t a_stride, const char* b, int64_t panel, int steps, bool whole) {
    LARR_TILE_ZERO(0);
    LARR_TILE_ZERO(1);
    LARR_TILE_ZERO(2);
    LARR_TILE_ZERO(3);
    for (int s = 0; s < steps; s++, a += 64, b += 1024) {
      LARR_TILE_LOAD(4, a, a_stride);
      LARR_TILE_LOAD(5, b, 64);
      LARR_TILE_MULTIPLY(0, 4, 5);
      LARR_TILE_LOAD(6, b + panel, 64);
      LARR_TILE_MULTIPLY(1, 4, 6);
      if (!whole) continue;
      LARR_TILE_LOAD(5, b + 2 * panel, 64);
      LARR_TILE_MULTIPLY(2, 4, 5);
      LARR_TILE_LOAD(6, b + 3 * panel, 64);
      LARR_TILE_MULTIPLY(3, 4, 6);
    }
  }
  static void put(float* out) {
    LARR_TILE_STORE(0, out, 256);
    LARR_TILE_STORE(1, out + 16, 256);
    LARR_TILE_STORE(2, out + 32, 256);
    LARR_TILE_STORE(3, out + 48, 256);
  }
};

struct M {
  using Activation = uint16_t;
  using Session = amx::Session;
  static constexpr int rows = 16, terms = 4;
  static_assert(block_rows <= ThreeByOne::rows);
  static void store(uint16_t* p, F x) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), (__m256i)(_mm512_cvtneps_pbh(x))); }

  // The tile unit works on the next sums while these are finished; why they are stored only then: infonce/bf16_amx.inl.
  template <class T, class Epilogue>
  static void products(const uint16_t* x, int stride, const Dense& d, Epilogue&& epilogue) {
    alignas(64) float out[2][T::rows * T::columns];
    const auto start = [&](int column) {
      T::multiply(reinterpret_cast<const char*>(x), 2 * int64_t(stride), static_cast<const char*>(d.weight) + 2 * int64_t(column) * d.in,
                  2 * 16 * int64_t(d.in), d.in / 32, column + T::columns <= d.out);
    };
    start(0);
    T::put(out[0]);
    for (int column = 0, turn = 0; column < d.out; column += T::columns, turn ^= 1) {
      const bool more = column + T::columns < d.out;
      if (more) start(column + T::columns);
      const int width = more || column + T::columns == d.out ? T::columns : d.out - column;
      for (int r = 0; r < T::rows; r++)
        for (int c = 0; c < width; c += W) epilogue(r, column + c, V::load(out[turn] + r * T::columns + c));
      if (more) T::put(out[turn ^ 1]);
    }
  }

  template <class Epilogue>
  static void dense(const uint16_t* x, int stride, int rows_used, const Dense& d, Epilogue&& epilogue) {
    if (rows_used == ThreeByOne::rows) products<ThreeByOne>(x, stride, d, epilogue);
    else if (rows_used == TwoByTwo::rows) products<TwoByTwo>(x, stride, d, epilogue);
    else products<OneByFour>(x, stride, d, epilogue);
  }
};

size_t packed_bytes(int out, int in) { return sizeof(uint16_t) * size_t(out) * size_t(in); }

void pack(const float* weight, int out, int in, void* packed) {
  auto* to = static_cast<uint16_t*>(packed);
  for (int panel = 0; panel < out; panel += 16)
    for (int s = 0; s < in; s += 2)
      for (int l = 0; l < 16; l++)
        for (int half = 0; half < 2; half++) *to++ = top_half(weight[int64_t(panel + l) * in + s + half]);
}

}  // namespace
}  // namespace larr::encoder_detail
