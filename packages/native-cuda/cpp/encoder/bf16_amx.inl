// Weights and activations between products are bf16, multiplied on AMX tiles: 16 rows times 64 columns (1 x 4 tiles) at a time. Weights
// lie as in bf16_avx512.cpp: a panel of 16 columns in pairs is what a B tile wants.
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

struct M {
  using Activation = uint16_t;
  static constexpr int rows = 16, terms = 4;
  static void store(uint16_t* p, F x) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), (__m256i)(_mm512_cvtneps_pbh(x))); }

  // Four panels, or two (widths are padded to 32), beside each other; `out` [16][64].
  static void tiles(const uint16_t* x, int stride, const Dense& d, int column, bool four, float* out) {
    const char *a = reinterpret_cast<const char*>(x), *b = static_cast<const char*>(d.weight) + 2 * int64_t(column) * d.in;
    const int64_t panel = 2 * 16 * int64_t(d.in);
    LARR_TILE_ZERO(0);
    LARR_TILE_ZERO(1);
    LARR_TILE_ZERO(2);
    LARR_TILE_ZERO(3);
    for (int s = 0; s < d.in; s += 32, a += 64, b += 1024) {
      LARR_TILE_LOAD(4, a, 2 * stride);
      LARR_TILE_LOAD(5, b, 64);
      LARR_TILE_MULTIPLY(0, 4, 5);
      LARR_TILE_LOAD(6, b + panel, 64);
      LARR_TILE_MULTIPLY(1, 4, 6);
      if (!four) continue;
      LARR_TILE_LOAD(5, b + 2 * panel, 64);
      LARR_TILE_MULTIPLY(2, 4, 5);
      LARR_TILE_LOAD(6, b + 3 * panel, 64);
      LARR_TILE_MULTIPLY(3, 4, 6);
    }
    LARR_TILE_STORE(0, out, 256);
    LARR_TILE_STORE(1, out + 16, 256);
    if (!four) return;
    LARR_TILE_STORE(2, out + 32, 256);
    LARR_TILE_STORE(3, out + 48, 256);
  }

  template <class Epilogue>
  static void dense(const uint16_t* x, int stride, int rows_used, const Dense& d, Epilogue&& epilogue) {
    const amx::Session session;
    alignas(64) float out[2][16 * 64];  // two take turns: the tile unit works on one while the other is finished
    const int across = (d.out + 63) / 64, blocks = across * (rows_used / rows);
    const auto start = [&](int block) {
      const int column = block % across * 64;
      tiles(x + int64_t(block / across * rows) * stride, stride, d, column, column + 64 <= d.out, out[block & 1]);
    };
    start(0);
    for (int block = 0; block < blocks; block++) {
      if (block + 1 < blocks) start(block + 1);
      const int row = block / across * rows, column = block % across * 64, width = column + 64 <= d.out ? 64 : 32;
      for (int r = 0; r < rows; r++)
        for (int c = 0; c < width; c += W) epilogue(row + r, column + c, V::load(out[block & 1] + r * 64 + c));
    }
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
