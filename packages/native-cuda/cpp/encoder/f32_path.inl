// The f32 product policy: weights in panels of W columns, [out / W][in][W]; activations broadcast.
#include "block.inl"

namespace larr::encoder_detail {
namespace {

struct M {
  using Activation = float;
  static constexpr int rows = V::MR, terms = 6;
  static void store(float* p, F x) { V::store(p, x); }

  template <int N, class Epilogue>
  static inline __attribute__((always_inline)) void columns(const float* x, int x_stride, int rows_used, const Dense& dense, int column,
                                                            Epilogue&& epilogue) {
    const float* weight = static_cast<const float*>(dense.weight) + int64_t(column) * dense.in;
    const int64_t panel = int64_t(dense.in) * W;
    for (int i = 0; i < rows_used; i += rows) {
      F acc[rows][N];
#pragma GCC unroll 8
      for (int r = 0; r < rows; r++)
#pragma GCC unroll 8
        for (int v = 0; v < N; v++) acc[r][v] = V::set(0);
      const float* left = x + int64_t(i) * x_stride;
      const float* right = weight;
      for (int s = 0; s < dense.in; s++) {
        F b[N];
#pragma GCC unroll 8
        for (int v = 0; v < N; v++) b[v] = V::load(right + v * panel);
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++) {
          const F a = V::set(left[r * x_stride]);
#pragma GCC unroll 8
          for (int v = 0; v < N; v++) acc[r][v] = V::fma(a, b[v], acc[r][v]);
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

  template <class Epilogue>
  static void dense(const float* x, int x_stride, int rows_used, const Dense& d, Epilogue&& epilogue) {
    int column = 0;
    for (; column + V::NV * W <= d.out; column += V::NV * W) columns<V::NV>(x, x_stride, rows_used, d, column, epilogue);
    for (; column < d.out; column += W) columns<1>(x, x_stride, rows_used, d, column, epilogue);
  }
};

size_t packed_bytes(int out, int in) { return sizeof(float) * size_t(out) * size_t(in); }

void pack(const float* weight, int out, int in, void* packed) {
  auto* to = static_cast<float*>(packed);
  for (int panel = 0; panel < out; panel += W)
    for (int s = 0; s < in; s++)
      for (int l = 0; l < W; l++) *to++ = weight[int64_t(panel + l) * in + s];
}

}  // namespace
}  // namespace larr::encoder_detail
