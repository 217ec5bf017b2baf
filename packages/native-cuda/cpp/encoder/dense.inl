// Products of a block of activations with packed weights. Lanes as in infonce/path.inl: one float, or two bf16 along the summed width.
// Weights lie in panels of W columns, [out / W][in / per][W] lanes; activations are broadcast. The including source gives
// M::Activation and M::store.
#include "block.inl"

namespace larr::encoder_detail {
namespace {

struct Registers {
  static constexpr int rows = V::MR, terms = V::terms;
  using Lane = float __attribute__((may_alias));

  template <int N, class Epilogue>
  static inline __attribute__((always_inline)) void columns(const Lane* x, int x_stride, int rows_used, const Dense& dense, int column,
                                                            Epilogue&& epilogue) {
    const int depth = dense.in / V::per;
    const Lane* weight = static_cast<const Lane*>(dense.weight) + int64_t(column) * depth;
    const int64_t panel = int64_t(depth) * W;
    for (int i = 0; i < rows_used; i += rows) {
      F acc[rows][N];
#pragma GCC unroll 8
      for (int r = 0; r < rows; r++)
#pragma GCC unroll 8
        for (int v = 0; v < N; v++) acc[r][v] = V::set(0);
      const Lane* left = x + int64_t(i) * x_stride;
      const Lane* right = weight;
      for (int s = 0; s < depth; s++) {
        F b[N];
#pragma GCC unroll 8
        for (int v = 0; v < N; v++) b[v] = V::load(right + v * panel);
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++) {
          const F a = V::set(left[r * x_stride]);
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

  template <class Activation, class Epilogue>
  static void dense(const Activation* activations, int stride, int rows_used, const Dense& d, Epilogue&& epilogue) {
    const auto* x = reinterpret_cast<const Lane*>(activations);
    int column = 0;
    for (; column + V::NV * W <= d.out; column += V::NV * W) columns<V::NV>(x, stride / V::per, rows_used, d, column, epilogue);
    for (; column < d.out; column += W) columns<1>(x, stride / V::per, rows_used, d, column, epilogue);
  }
};

}  // namespace
}  // namespace larr::encoder_detail
