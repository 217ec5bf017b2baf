// Adagrad over the rows that a sparse gradient holds (Duchi, Hazan and Singer 2011): sum ← sum + g², row ← row − lr g ∕ (√sum + eps).
#include "row_gradients.h"

#include <ATen/autocast_mode.h>

#include <cmath>

namespace larr {
namespace {

/// Rows that no gradient names keep their values and sums untouched.
struct RowwiseAdagrad {
  std::vector<at::Tensor> tables, sums;
  std::vector<std::vector<int32_t>> slots;  // for groupRows
};

LARR_FUNCTION(adagradCreate) {  // (tables, the value that every sum starts at)
  auto adagrad = std::make_unique<RowwiseAdagrad>();
  adagrad->tables = call.read().tensors(call.at(0), "tables");
  const double initial = call.read().number(call.at(1), "initial");
  checkTables(adagrad->tables);
  c10::NoGradGuard noGrad;
  for (const at::Tensor& table : adagrad->tables) {
    adagrad->sums.push_back(at::full_like(table, initial));
    adagrad->slots.emplace_back(table.is_cpu() ? static_cast<size_t>(table.size(0)) : 0, -1);
  }
  return external(call, std::move(adagrad));
}

template <typename T>
void updateRows(at::Tensor& table, at::Tensor& sum, std::vector<int32_t>& slots, const RowGradient& gradient, double lr, double eps) {
  const int64_t d = table.size(1);
  T* tableData = table.mutable_data_ptr<T>();
  T* sumData = sum.mutable_data_ptr<T>();
  const T rate = static_cast<T>(lr), floor = static_cast<T>(eps);
  eachRowSum<T>(groupRows(gradient.indices, table.size(0), slots), gradient.values.const_data_ptr<T>(), d, {tableData, sumData},
                [&](int64_t at, const T* g) {
    for (int64_t j = 0; j < d; ++j) {
      const T s = sumData[at + j] += g[j] * g[j];
      tableData[at + j] -= rate * g[j] / (std::sqrt(s) + floor);
    }
  });
}

LARR_FUNCTION(adagradStep) {  // (adagrad, lr, eps)
  c10::NoGradGuard noGrad;
  RowwiseAdagrad& adagrad = optimiser<RowwiseAdagrad>(call);
  const double lr = call.read().number(call.at(1), "lr"), eps = call.read().number(call.at(2), "eps");
  for (size_t t = 0; t < adagrad.tables.size(); ++t) {
    at::Tensor& table = adagrad.tables[t];
    if (!table.grad().defined()) continue;
    const RowGradient gradient = rowGradient(table, table.grad());
    if (gradient.direct) {
      if (table.scalar_type() == at::kFloat) {
        updateRows<float>(table, adagrad.sums[t], adagrad.slots[t], gradient, lr, eps);
      } else {
        updateRows<double>(table, adagrad.sums[t], adagrad.slots[t], gradient, lr, eps);
      }
      // Written behind autograd's back: a graph that saved the table must not go backward through new values.
      table.unsafeGetTensorImpl()->bump_version();
    } else if (gradient.indices.numel() > 0) {
      const auto [rows, g] = rowSums(gradient.indices, gradient.values);
      const at::Tensor s = at::index_select(adagrad.sums[t], 0, rows) + g * g;
      const at::Tensor updated = at::index_select(table, 0, rows) - g / (s.sqrt() + eps) * lr;
      adagrad.sums[t].index_copy_(0, rows, s);
      table.index_copy_(0, rows, updated);
    }
  }
  at::autocast::clear_cache();  // its bf16 copies are stale now
  return call.undefined();
}

/// → the sums of table i, sharing memory.
LARR_FUNCTION(adagradState) {  // (adagrad, i)
  RowwiseAdagrad& adagrad = optimiser<RowwiseAdagrad>(call);
  const size_t i = static_cast<size_t>(call.read().integer(call.at(1), "i"));
  TORCH_CHECK(i < adagrad.tables.size(), "the optimiser has ", adagrad.tables.size(), " tables");
  return call.result(adagrad.sums[i]);
}

LARR_FUNCTION(adagradDispose) {
  optimiser<RowwiseAdagrad>(call) = RowwiseAdagrad();
  return call.undefined();
}

}  // namespace

std::vector<Function> adagradFunctions() {
  return {{"adagradCreate", adagradCreate}, {"adagradStep", adagradStep}, {"adagradState", adagradState}, {"adagradDispose", adagradDispose}};
}

}  // namespace larr
