// Lanes are floats: operands are plain rows, and K once more in panels.
#include "path.inl"

namespace larr::infonce_detail {
namespace {

void pack(const Plan& p, const float* q, const float* k, int64_t row, int64_t end) {
  for (int64_t i = row * p.stride; i < end * p.stride; i++) {
    static_cast<float*>(p.q_pairs)[i] = q[i];
    static_cast<float*>(p.k_pairs)[i] = k[i];
  }
  for (int64_t j = row; j < end; j += columns) {
    float* panel = static_cast<float*>(p.k_panels) + j * p.stride;
    for (int64_t s = 0; s < p.dim; s++)
      for (int l = 0; l < columns; l++) panel[s * columns + l] = k[(j + l) * p.stride + s];
  }
}

void put(const F (&g)[MR][NV], Lane* tile, int64_t i, int64_t j) {
#pragma GCC unroll 8
  for (int r = 0; r < MR; r++)
#pragma GCC unroll 8
    for (int v = 0; v < NV; v++) V::store(tile + (i + r) * tile_cols + j + v * W, g[r][v]);
}

}  // namespace
}  // namespace larr::infonce_detail
