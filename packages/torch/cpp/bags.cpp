#include "bags.h"

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>

#include "every_isa.h"

namespace larr {
namespace {

struct Bags {
  const float* table;  // [rows, width]
  int64_t rows, width;
  const int64_t* index;
  const int64_t* offsets;  // [count]
  int64_t indices, count;
  int64_t padding;  // a row that does not count; −1: none
  bool mean;
};

constexpr int64_t ahead = 8;  // rows: they lie anywhere in the table

LARR_INLINE void prefetchRow(const Bags& p, int64_t row) {
  if (row < 0 || row >= p.rows) return;
  for (int64_t j = 0; j < p.width; j += 16) __builtin_prefetch(p.table + row * p.width + j);
}

/// Bags [begin, end) → [·, width]; the place of an index that no row has, or −1.
LARR_INLINE int64_t sumRows(const Bags& p, int64_t begin, int64_t end, float* out) {
  for (int64_t bag = begin; bag < end; ++bag) {
    float* __restrict to = out + bag * p.width;
    for (int64_t j = 0; j < p.width; ++j) to[j] = 0;
    const int64_t last = bag + 1 < p.count ? p.offsets[bag + 1] : p.indices;
    int64_t number = 0;
    for (int64_t i = p.offsets[bag]; i < last; ++i) {
      if (i + ahead < p.indices) prefetchRow(p, p.index[i + ahead]);
      const int64_t row = p.index[i];
      if (row < 0 || row >= p.rows) return i;
      if (row == p.padding) continue;
      const float* __restrict from = p.table + row * p.width;
      for (int64_t j = 0; j < p.width; ++j) to[j] += from[j];
      ++number;
    }
    if (!p.mean || number < 2) continue;
    const float share = 1 / static_cast<float>(number);
    for (int64_t j = 0; j < p.width; ++j) to[j] *= share;
  }
  return -1;
}
LARR_EVERY_ISA(sumBags, sumRows)

}  // namespace

std::optional<at::Tensor> plainBags(const at::Tensor& table, const at::Tensor& index, const at::Tensor& offsets, bool mean, std::optional<int64_t> paddingIndex) {
  const auto whole = [](const at::Tensor& x) { return x.is_cpu() && x.dim() == 1 && (x.scalar_type() == at::kLong || x.scalar_type() == at::kInt); };
  if (!table.is_cpu() || table.scalar_type() != at::kFloat || table.dim() != 2 || !table.is_contiguous() || !whole(index) || !whole(offsets)) return std::nullopt;
  if (at::GradMode::is_enabled() && table.requires_grad()) return std::nullopt;
  const at::Tensor rows = index.to(at::kLong).contiguous(), starts = offsets.to(at::kLong).contiguous();
  TORCH_CHECK_INDEX(!paddingIndex || (*paddingIndex >= -table.size(0) && *paddingIndex < table.size(0)), "paddingIndex ", paddingIndex.value_or(0),
                    " is none of the ", table.size(0), " rows of the table");
  int64_t padding = paddingIndex.value_or(-1);
  if (padding < 0 && paddingIndex) padding += table.size(0);
  Bags p{table.const_data_ptr<float>(), table.size(0), table.size(1), rows.const_data_ptr<int64_t>(), starts.const_data_ptr<int64_t>(), rows.numel(), starts.numel(), padding, mean};
  for (int64_t bag = 0; bag < p.count; ++bag) {
    TORCH_CHECK_INDEX(p.offsets[bag] >= (bag == 0 ? 0 : p.offsets[bag - 1]) && p.offsets[bag] <= p.indices && (bag > 0 || p.offsets[0] == 0),
                      "offsets must rise from 0 to at most the ", p.indices, " indices, and offset ", bag, " is ", p.offsets[bag]);
  }
  const at::Tensor out = at::empty({p.count, p.width}, table.options());
  float* to = out.data_ptr<float>();
  const int64_t work = p.width * (p.indices / std::max<int64_t>(1, p.count) + 1);
  at::parallel_for(0, p.count, std::max<int64_t>(1, 16384 / std::max<int64_t>(1, work)), [&](int64_t begin, int64_t end) {
    const int64_t wrong = sumBags(p, begin, end, to);
    TORCH_CHECK_INDEX(wrong < 0, "index ", p.index[wrong], " is none of the ", p.rows, " rows of the table");
  });
  return out;
}

}  // namespace larr
