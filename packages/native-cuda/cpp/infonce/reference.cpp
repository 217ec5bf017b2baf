// The definition, in double, one pair at a time.
#include <cmath>
#include <cstring>
#include <limits>

#include "larr/kernels.h"

namespace larr {
namespace {

double element(const void* data, Dtype storage, int64_t at) {
  if (storage == Dtype::f32) return double(static_cast<const float*>(data)[at]);
  const uint32_t bits = uint32_t(static_cast<const uint16_t*>(data)[at]) << 16;
  float x;
  std::memcpy(&x, &bits, 4);
  return double(x);
}

}  // namespace

void infonce_reference(const InfoNce& p, double* loss, double* dscale, double* lse_row, double* lse_col, double* dq, double* dk) {
  const int64_t b = p.batch, d = p.dim, q_stride = p.q_stride ? p.q_stride : d, k_stride = p.k_stride ? p.k_stride : d;
  const auto q = [&](int64_t i, int64_t x) { return element(p.q, p.storage, i * q_stride + x); };
  const auto k = [&](int64_t j, int64_t x) { return element(p.k, p.storage, j * k_stride + x); };
  const auto counts = [&](int64_t i, int64_t j) { return i == j || !p.groups || p.groups[i] != p.groups[j]; };
  const auto dot = [&](int64_t i, int64_t j) {
    double sum = 0;
    for (int64_t x = 0; x < d; x++) sum += q(i, x) * k(j, x);
    return sum;
  };
  std::vector<double> rows(size_t(b), -std::numeric_limits<double>::infinity()), columns = rows, row_sum(size_t(b), 0.0), column_sum = row_sum;
  for (int64_t i = 0; i < b; i++)
    for (int64_t j = 0; j < b; j++)
      if (counts(i, j)) {
        const double s = p.scale * dot(i, j);
        rows[size_t(i)] = std::fmax(rows[size_t(i)], s);
        columns[size_t(j)] = std::fmax(columns[size_t(j)], s);
      }
  for (int64_t i = 0; i < b; i++)
    for (int64_t j = 0; j < b; j++)
      if (counts(i, j)) {
        const double s = p.scale * dot(i, j);
        row_sum[size_t(i)] += std::exp(s - rows[size_t(i)]);
        column_sum[size_t(j)] += std::exp(s - columns[size_t(j)]);
      }
  *loss = *dscale = 0;
  for (int64_t i = 0; i < b; i++) {
    lse_row[i] = rows[size_t(i)] + std::log(row_sum[size_t(i)]);
    lse_col[i] = columns[size_t(i)] + std::log(column_sum[size_t(i)]);
    *loss += (lse_row[i] + lse_col[i] - 2 * p.scale * dot(i, i)) / (2 * double(b));
  }
  if (!dq || !dk) return;
  std::fill(dq, dq + b * d, 0.0);
  std::fill(dk, dk + b * d, 0.0);
  for (int64_t i = 0; i < b; i++)
    for (int64_t j = 0; j < b; j++) {
      if (!counts(i, j)) continue;
      const double product = dot(i, j), s = p.scale * product;
      const double g = (std::exp(s - lse_row[i]) + std::exp(s - lse_col[j]) - (i == j ? 2 : 0)) / (2 * double(b));
      *dscale += g * product;
      for (int64_t x = 0; x < d; x++) {
        dq[i * d + x] += p.scale * g * k(j, x);
        dk[j * d + x] += p.scale * g * q(i, x);
      }
    }
}

}  // namespace larr
