// Products of rows with packed weights, over a register type V. A lane of an operand is one float, or two bf16 along the summed width (V::per).
// Weights lie in panels of W columns, [out / W][in / per][W] lanes; activations are broadcast. No <cmath>: everything here must stay inside
// the including source's instruction set.
#pragma once
#include <cstddef>
#include <cstdint>

namespace larr {

// Packs weight [out, in], f32, out a multiple of W: out * in floats.
template <class V>
inline __attribute__((always_inline)) void pack_panels(const float* weight, int out, int in, float* packed) {
  for (int panel = 0; panel < out; panel += V::W)
    for (int s = 0; s < in; s++)
      for (int l = 0; l < V::W; l++) *packed++ = weight[int64_t(panel + l) * in + s];
}

// Where nobody has to hear of what comes soon.
struct Unannounced {
  void operator()(int, int) const {}
};

template <class V>
struct Panels {
  using F = typename V::F;
  using Lane = float __attribute__((may_alias));
  static constexpr int W = V::W, rows = V::MR;

  int depth, out;  // lanes of a row, columns
  const Lane* weight;
  Panels(const void* packed, int in, int out_) : depth(in / V::per), out(out_), weight(static_cast<const Lane*>(packed)) {}

  // epilogue(row, column, sum of W columns from there) for every row, rounded up to whole register blocks: x [n][stride lanes] and what the
  // epilogue writes must have room for them. soon(row, column) for the same some time before.
  template <class Epilogue, class Soon = Unannounced>
  inline __attribute__((always_inline)) void multiply(const void* x, int64_t stride, int n, Epilogue&& epilogue, Soon&& soon = {}) const {
    const auto* left = static_cast<const Lane*>(x);
    int column = 0;
    for (; column + V::NV * W <= out; column += V::NV * W) columns<V::NV>(left, stride, n, column, soon, epilogue);
    for (; column + 2 * W <= out; column += 2 * W) columns<2>(left, stride, n, column, soon, epilogue);
    for (; column < out; column += W) columns<1>(left, stride, n, column, soon, epilogue);
  }

 private:
  template <int N, class Soon, class Epilogue>
  inline __attribute__((always_inline)) void columns(const Lane* x, int64_t stride, int n, int column, Soon&& soon, Epilogue&& epilogue) const {
    const Lane* first = weight + int64_t(column) * depth;
    const int64_t panel = int64_t(depth) * W;
    for (int i = 0; i < n; i += rows) {
      for (int r = 0; r < rows; r++)
        for (int v = 0; v < N; v++) soon(i + r, column + v * W);
      F acc[rows][N];
#pragma GCC unroll 8
      for (int r = 0; r < rows; r++)
#pragma GCC unroll 8
        for (int v = 0; v < N; v++) acc[r][v] = V::set(0);
      const Lane* left = x + int64_t(i) * stride;
      const Lane* right = first;
      for (int s = 0; s < depth; s++) {
        F b[N];
#pragma GCC unroll 8
        for (int v = 0; v < N; v++) b[v] = V::load(right + v * panel);
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++) {
          const F a = V::set(left[r * stride]);
#pragma GCC unroll 8
          for (int v = 0; v < N; v++) acc[r][v] = V::dot(a, b[v], acc[r][v]);
        }
        left++;
        right += W;
      }
#pragma GCC unroll 8
      for (int r = 0; r < rows; r++)
#pragma GCC unroll 8
        for (int v = 0; v < N; v++) epilogue(i + r, column + v * W, acc[r][v]);
    }
  }
};

}  // namespace larr
