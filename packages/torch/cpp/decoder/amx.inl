// Products of bf16 operands on AMX tiles; everything else is AVX-512's. A block is 32 rows by 64 columns, two by two tiles of sums at a time: the
// packed operand's lanes are what a tile of the right side holds (pairs along the depth, 16 columns of them), so it is read where it lies, and so is
// the left side, but for rows and pieces of the depth that are no whole tile, which go through a buffer with zeros behind them. The sums go through L1
// to the vector registers for what follows a product. A row's bits are its own: the order of its sums is that of the depth, whatever tile it is in.
// By Intel's figures (a product 16 cycles, a tile loaded in 8) four products wait for nothing of their four tiles while those are in L1.
#include <simd/amx.h>

#include "avx512bf16.h"
#include "numbers.inl"

namespace larr::decoder {
namespace {

#include "products.inl"

constexpr int64_t tileRows = 16;
constexpr int64_t tileLanes = 16;
constexpr int64_t tileBytes = 64;  // of a row: 16 lanes, or 16 sums
constexpr int64_t blockRows = 2 * tileRows;

struct Tiles : Half {
  static constexpr int64_t lanesAtOnce = tileLanes;
};

constexpr int64_t chainSteps = chain / tileLanes;

// Tiles 0 to 3 are a block of M × N tiles of sums, M and N 1 or 2. All strides and steps are in bytes.
inline void clear() {
  LARR_TILE_ZERO(0);
  LARR_TILE_ZERO(1);
  LARR_TILE_ZERO(2);
  LARR_TILE_ZERO(3);
}

template <int M, int N>
inline void storeTiles(float* sums, int64_t stride) {
  char* to = reinterpret_cast<char*>(sums);
  LARR_TILE_STORE(0, to, stride);
  if constexpr (N == 2) LARR_TILE_STORE(1, to + tileBytes, stride);
  if constexpr (M == 2) {
    LARR_TILE_STORE(2, to + tileRows * stride, stride);
    if constexpr (N == 2) LARR_TILE_STORE(3, to + tileRows * stride + tileBytes, stride);
  }
}

// += a [16 M][16 lanes a step] · b [16 lanes a step][16 N]
template <int M, int N>
inline void multiplyTiles(const char* a, int64_t aStride, int64_t aStep, const char* b, int64_t bStride, int64_t steps) {
  for (int64_t s = 0; s < steps; s++) {
    LARR_TILE_LOAD(4, a, aStride);
    LARR_TILE_LOAD(6, b, bStride);
    LARR_TILE_MULTIPLY(0, 4, 6);
    if constexpr (N == 2) {
      LARR_TILE_LOAD(7, b + tileBytes, bStride);
      LARR_TILE_MULTIPLY(1, 4, 7);
    }
    if constexpr (M == 2) {
      LARR_TILE_LOAD(5, a + tileRows * aStride, aStride);
      LARR_TILE_MULTIPLY(2, 5, 6);
      if constexpr (N == 2) LARR_TILE_MULTIPLY(3, 5, 7);
    }
    a += aStep;
    b += tileLanes * bStride;
  }
}

// Rows of a left operand: how many there are, and what there is of each.
struct Rows {
  const char* at;
  int64_t stride, count, bytes;
};

// sums [16 M][16 N], rows `width` floats apart, = a · b; b: lanes `bStride` bytes apart, zeros behind the last one of a whole tile.
template <int M, int N>
void sumsOf(const Rows& a, const char* b, int64_t bStride, float* sums, int64_t width) {
  alignas(64) char piece[M * tileRows * tileBytes];  // all rows of a block that has not its full number, or of a step that has not its full width
  const int64_t steps = up(a.bytes, tileBytes) / tileBytes, whole = a.count == M * tileRows ? a.bytes / tileBytes : 0;
  int64_t first = 0;
  do {
    const int64_t end = smaller(steps, first + chainSteps), direct = smaller(end, larger(first, whole));
    clear();
    multiplyTiles<M, N>(a.at + first * tileBytes, a.stride, tileBytes, b + first * tileLanes * bStride, bStride, direct - first);
    for (int64_t s = direct; s < end; s++) {
      __builtin_memset(piece, 0, sizeof piece);
      for (int64_t r = 0; r < a.count; r++) __builtin_memcpy(piece + r * tileBytes, a.at + r * a.stride + s * tileBytes, size_t(smaller(tileBytes, a.bytes - s * tileBytes)));
      multiplyTiles<M, N>(piece, tileBytes, 0, b + s * tileLanes * bStride, bStride, 1);
    }
    if (first == 0) {
      storeTiles<M, N>(sums, width * 4);
    } else {
      alignas(64) float more[M * tileRows * N * W];
      storeTiles<M, N>(more, N * W * 4);
      for (int64_t r = 0; r < M * tileRows; r++)
        for (int64_t v = 0; v < N; v++) V::store(sums + r * width + v * W, V::add(V::load(sums + r * width + v * W), V::load(more + (r * N + v) * W)));
    }
    first = end;
  } while (first < steps);
}

// The block of a product, its sums [rows, panel] in `sums`, to where it is wanted.
template <int N>
void finishBlock(const Product& p, int64_t row, int64_t rows, int64_t panel, const float* sums) {
  constexpr int64_t width = N * W;
  const int64_t column = panel * panelWidth<Tiles>;
  if (p.add || p.gated.data || p.columns - column < width) return finish<Tiles>(p, row, rows, panel, sums, width, false);
  const int64_t at = row * p.outStep + column;
  F bias[N];
  for (int v = 0; v < N; v++) bias[v] = p.bias ? V::load(p.bias + column + v * W) : V::set(0);
  for (int64_t r = 0; r < rows; r++)
#pragma GCC unroll 4
    for (int v = 0; v < N; v++) {
      F sum = V::add(V::load(sums + r * width + v * W), bias[v]);
      if (p.relu) sum = V::max(V::set(0), sum);  // not a number stays one
      if (p.out.dtype == Dtype::bf16) V::store16(static_cast<uint16_t*>(p.out.data) + at + r * p.outStep + v * W, sum);
      else V::store(static_cast<float*>(p.out.data) + at + r * p.outStep + v * W, sum);
    }
}

// Calls f<M, N>(column) for pairs of columns of tiles and the one that is left; M: as many tiles as the rows take.
template <int N, class Body>
inline void overTiles(int64_t rows, const Body& body) {
  for (int v = 0; v < N; v += 2) {
    if (rows > tileRows) {
      if (v + 1 < N) body.template operator()<2, 2>(v);
      else body.template operator()<2, 1>(v);
    } else if (v + 1 < N) {
      body.template operator()<1, 2>(v);
    } else {
      body.template operator()<1, 1>(v);
    }
  }
}

template <int N>
void productBlockOf(const Product& p, int64_t row, int64_t rows, int64_t panel) {
  constexpr int64_t width = N * W;
  const Rows a{static_cast<const char*>(p.a.data) + (row * p.aStep + p.begin) * 2, p.aStep * 2, rows, (p.end - p.begin) * 2};
  const char* b = reinterpret_cast<const char*>(p.packed + panel * lanesOf<Tiles>(p.depth) * panelWidth<Tiles> + p.begin / 2 * width);
  if (p.out.data && !p.gated.data) {
    const int64_t size = p.out.dtype == Dtype::bf16 ? 2 : 4;
    prefetchBlock(static_cast<const char*>(p.out.data) + (row * p.outStep + panel * panelWidth<Tiles>) * size, rows, p.outStep * size, width * size);
  }
  alignas(64) float sums[blockRows * width];
  overTiles<N>(rows, [&]<int M, int C>(int v) { sumsOf<M, C>(a, b + v * tileBytes, width * 4, sums + v * W, width); });
  finishBlock<N>(p, row, rows, panel, sums);
}

void productOfTiles(const Product& p, int64_t begin, int64_t end) {
  const amx::Session session;
  // As many rows as stay in a quarter of the second cache, 2 MiB, while every panel passes.
  const int64_t bytes = larger<int64_t>(1, (p.end - p.begin) * 2);
  const int64_t rows = larger<int64_t>(2, smaller<int64_t>(32, (int64_t{512} << 10) / bytes / blockRows)) * blockRows;
  for (int64_t row = begin; row < end; row += rows)
    for (int64_t panel = 0; panel < p.panels; panel++)
      withVectors<Tiles>(p.gated.data ? Tiles::NV : vectorsOf<Tiles>(p.columns - panel * panelWidth<Tiles>), [&]<int N>() {
        const int64_t last = smaller(end, row + rows);
        for (int64_t at = row; at < last; at += blockRows) productBlockOf<N>(p, at, smaller(blockRows, last - at), panel);
      });
}

// Rows and columns of 16 lanes exchanged.
inline void transpose(F (&row)[16]) {
  __m512 a[16];
  for (int i = 0; i < 16; i += 2) {
    a[i] = _mm512_unpacklo_ps(row[i], row[i + 1]);
    a[i + 1] = _mm512_unpackhi_ps(row[i], row[i + 1]);
  }
  const auto pairs = [](__m512 x, __m512 y, auto unpack) { return _mm512_castpd_ps(unpack(_mm512_castps_pd(x), _mm512_castps_pd(y))); };
  const auto low = [](__m512d x, __m512d y) { return _mm512_unpacklo_pd(x, y); };
  const auto high = [](__m512d x, __m512d y) { return _mm512_unpackhi_pd(x, y); };
  // b[4 g + c], quarter q: column 4 q + c of rows 4 g to 4 g + 3
  __m512 b[16];
  for (int g = 0; g < 4; g++) {
    b[4 * g] = pairs(a[4 * g], a[4 * g + 2], low);
    b[4 * g + 1] = pairs(a[4 * g], a[4 * g + 2], high);
    b[4 * g + 2] = pairs(a[4 * g + 1], a[4 * g + 3], low);
    b[4 * g + 3] = pairs(a[4 * g + 1], a[4 * g + 3], high);
  }
  for (int c = 0; c < 4; c++) {
    const __m512 even = _mm512_shuffle_f32x4(b[c], b[4 + c], 0x88), odd = _mm512_shuffle_f32x4(b[c], b[4 + c], 0xdd);
    const __m512 even2 = _mm512_shuffle_f32x4(b[8 + c], b[12 + c], 0x88), odd2 = _mm512_shuffle_f32x4(b[8 + c], b[12 + c], 0xdd);
    row[c] = _mm512_shuffle_f32x4(even, even2, 0x88);
    row[8 + c] = _mm512_shuffle_f32x4(even, even2, 0xdd);
    row[4 + c] = _mm512_shuffle_f32x4(odd, odd2, 0x88);
    row[12 + c] = _mm512_shuffle_f32x4(odd, odd2, 0xdd);
  }
}

void outerOfTiles(const Outer& p, int64_t begin, int64_t end, float* scratch) {
  const amx::Session session;
  constexpr int64_t width = panelWidth<Tiles>;
  const int64_t deep = lanesOf<Tiles>(p.depth), steps = deep / tileLanes, panels = up(p.columns, width) / width;
  for (int64_t block = begin; block < end; block++) {
    const int64_t first = block * blockRows, rows = smaller(blockRows, p.rows - first);
    // aᵀ, [steps][rows][lanes of a step]: a left operand lies along the summed dimension
    for (int64_t s = 0; s < steps; s++)
      for (int64_t i = 0; i < blockRows; i += W) {
        F lane[16];
        for (int64_t k = 0; k < tileLanes; k++) lane[k] = laneOf<Tiles>(p.a, s * tileLanes + k, p.depth, p.rows, p.aStep, first + i);
        transpose(lane);
        for (int64_t r = 0; r < W; r++) V::store(scratch + ((s * blockRows + i + r) * tileLanes), lane[r]);
      }
    const char* a = reinterpret_cast<const char*>(scratch);
    for (int64_t panel = 0; panel < panels; panel++)
      withVectors<Tiles>(vectorsOf<Tiles>(p.columns - panel * width), [&]<int N>() {
        const char* b = reinterpret_cast<const char*>(p.packed + panel * deep * width);
        const int64_t columns = smaller<int64_t>(N * W, p.columns - panel * width);
        float* to = p.out + first * p.columns + panel * width;
        prefetchBlock(reinterpret_cast<const char*>(to), rows, p.columns * 4, columns * 4);
        alignas(64) float sums[blockRows * N * W];
        overTiles<N>(rows, [&]<int M, int C>(int v) {
          clear();
          multiplyTiles<M, C>(a, tileBytes, blockRows * tileBytes, b + v * tileBytes, N * W * 4, steps);
          storeTiles<M, C>(sums + v * W, N * W * 4);
        });
        if (columns < N * W) {
          for (int64_t r = 0; r < rows; r++)
            for (int64_t c = 0; c < columns; c++) to[r * p.columns + c] = (p.add ? to[r * p.columns + c] : 0) + sums[r * N * W + c];
          return;
        }
        for (int64_t r = 0; r < rows; r++)
#pragma GCC unroll 4
          for (int v = 0; v < N; v++) {
            float* at = to + r * p.columns + v * W;
            const F sum = V::load(sums + (r * N + v) * W);
            V::store(at, p.add ? V::add(V::load(at), sum) : sum);
          }
      });
  }
}

size_t panelFloats(Dtype type, int64_t depth) {
  return type == Dtype::bf16 ? size_t(lanesOf<Tiles>(depth) * panelWidth<Tiles>) : avx512bf16.panelFloats(type, depth);
}
void pack(const Packing& p, int64_t begin, int64_t end, float* to) {
  if (p.type == Dtype::bf16) packOf<Tiles>(p, begin, end, to);
  else avx512bf16.pack(p, begin, end, to);
}
void product(const Product& p, int64_t begin, int64_t end) {
  if (p.a.dtype == Dtype::bf16) productOfTiles(p, begin, end);
  else avx512bf16.product(p, begin, end);
}
void outer(const Outer& p, int64_t begin, int64_t end, float* scratch) {
  if (p.type == Dtype::bf16) outerOfTiles(p, begin, end, scratch);
  else avx512bf16.outer(p, begin, end, scratch);
}

int64_t rowsOfOuter(Dtype type) { return type == Dtype::bf16 ? blockRows : avx512bf16.outerRows(type); }

Kernels withTiles() {
  Kernels kernels = avx512bf16;
  kernels.panelFloats = panelFloats;
  kernels.pack = pack;
  kernels.product = product;
  kernels.outer = outer;
  kernels.outerRows = rowsOfOuter;
  return kernels;
}

}  // namespace
}  // namespace larr::decoder
