// Sparse gradients of embedding tables, row by row: what the optimisers of tables have in common.
#pragma once

#include "addon.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <initializer_list>
#include <vector>

namespace larr {

/// The entries of an uncoalesced gradient, ordered by the row that they name.
struct RowGroups {
  std::vector<int64_t> rows;   // the distinct rows, as they first appear
  std::vector<int64_t> first;  // where the entries of each begin in `order`; one more than rows
  std::vector<int64_t> order;  // entries, those of a row side by side and in their own order
};

/// A counting sort, so that sums over a row are the same at any thread count.
/// `slots`: of each row of the table −1, before and after; kept by the caller so that a step costs what its entries cost.
RowGroups groupRows(const at::Tensor& indices, int64_t height, std::vector<int32_t>& slots);

/// Calls update(offset of the row in the table's memory, sum of its gradients [d]) for every row, on several threads.
/// `touched`: what update reads at that offset. Rows lie anywhere, so they are asked for before they are needed.
template <typename T, typename Update>
void eachRowSum(const RowGroups& groups, const T* values, int64_t d, std::initializer_list<const T*> touched, const Update& update) {
  const int64_t unique = static_cast<int64_t>(groups.rows.size());
  at::parallel_for(0, unique, std::max<int64_t>(1, 16384 / std::max<int64_t>(d, 1)), [&](int64_t begin, int64_t end) {
    constexpr int64_t ahead = 8, line = 64 / sizeof(T);
    const auto ask = [d](const T* row) {
      for (int64_t j = 0; j < d; j += line) __builtin_prefetch(row + j);
    };
    std::vector<T> sum(static_cast<size_t>(d));
    const int64_t last = static_cast<int64_t>(groups.order.size()) - 1;
    for (int64_t i = begin; i < end; ++i) {
      const int64_t later = groups.rows[static_cast<size_t>(std::min(i + ahead, end - 1))] * d;
      for (const T* base : touched) ask(base + later);
      std::fill(sum.begin(), sum.end(), T{0});
      for (int64_t o = groups.first[static_cast<size_t>(i)]; o < groups.first[static_cast<size_t>(i) + 1]; ++o) {
        ask(values + groups.order[static_cast<size_t>(std::min(o + 2 * ahead, last))] * d);
        const T* g = values + groups.order[static_cast<size_t>(o)] * d;
        for (int64_t j = 0; j < d; ++j) sum[static_cast<size_t>(j)] += g[j];
      }
      update(groups.rows[static_cast<size_t>(i)] * d, sum.data());
    }
  });
}

/// For other devices and dtypes: of every entry its row and the sum of that row's entries. Nothing here has a size that depends on
/// how many rows are distinct, so a step never waits for the device; entries of one row are alike and may all be written.
struct RowSums {
  at::Tensor rows, sums;  // [entries], [entries, d]
};
RowSums rowSums(const at::Tensor& indices, const at::Tensor& values);

/// A table's sparse gradient: its indices and values. @throws where it is dense; `dense` names the optimiser for those.
struct RowGradient {
  at::Tensor indices, values;
  bool direct;  // plain memory on the CPU, in the table's own float32 or float64
};
RowGradient rowGradient(const at::Tensor& table, const at::Tensor& gradient);

/// Leaves that require gradients.
void checkParameters(const std::vector<at::Tensor>& parameters);
/// And contiguous matrices.
void checkTables(const std::vector<at::Tensor>& tables);

/// A native object that JavaScript holds, and the one at hand.
template <typename T>
napi_value external(Call& call, std::unique_ptr<T> object) {
  napi_value value = nullptr;
  check(napi_create_external(call.env(), object.get(), [](napi_env, void* data, void*) { delete static_cast<T*>(data); }, nullptr, &value),
        "optimiser");
  object.release();
  return value;
}

template <typename T>
T& optimiser(Call& call) {
  void* data = nullptr;
  check(napi_get_value_external(call.env(), call.at(0), &data), "optimiser");
  return *static_cast<T*>(data);
}

}  // namespace larr
