#include "row_gradients.h"

namespace larr {

RowGroups groupRows(const at::Tensor& indices, int64_t height, std::vector<int32_t>& slots) {
  const int64_t entries = indices.numel();
  const int64_t* index = indices.const_data_ptr<int64_t>();
  for (int64_t e = 0; e < entries; ++e) {
    TORCH_CHECK_INDEX(index[e] >= 0 && index[e] < height, "row ", index[e], " of a gradient is outside a table of ", height, " rows");
  }
  RowGroups groups;
  std::vector<int32_t> slotOf(static_cast<size_t>(entries));
  for (int64_t e = 0; e < entries; ++e) {
    int32_t& slot = slots[static_cast<size_t>(index[e])];
    if (slot < 0) {
      slot = static_cast<int32_t>(groups.rows.size());
      groups.rows.push_back(index[e]);
    }
    slotOf[static_cast<size_t>(e)] = slot;
  }
  groups.first.assign(groups.rows.size() + 1, 0);
  for (const int32_t slot : slotOf) ++groups.first[static_cast<size_t>(slot) + 1];
  for (size_t i = 1; i < groups.first.size(); ++i) groups.first[i] += groups.first[i - 1];
  groups.order.resize(static_cast<size_t>(entries));
  std::vector<int64_t> next(groups.first.begin(), groups.first.end() - 1);
  for (int64_t e = 0; e < entries; ++e) groups.order[static_cast<size_t>(next[static_cast<size_t>(slotOf[static_cast<size_t>(e)])]++)] = e;
  for (const int64_t row : groups.rows) slots[static_cast<size_t>(row)] = -1;
  return groups;
}

RowSums rowSums(const at::Tensor& indices, const at::Tensor& values) {
  const int64_t entries = indices.numel();
  const auto [rows, order] = at::sort(indices, /*stable=*/std::optional<bool>(true), /*dim=*/0, /*descending=*/false);
  const at::Tensor starts = at::ne(rows.slice(0, 1), rows.slice(0, 0, entries - 1));
  const at::Tensor run = at::constant_pad_nd(starts.to(at::kLong), {1, 0}).cumsum(0);  // which distinct row an entry is of
  // An embedding's backward sums rows by number, in an order that is the same each time.
  const at::Tensor sums = at::embedding_dense_backward(values.index_select(0, order), run, entries, /*padding_idx=*/-1, /*scale_grad_by_freq=*/false);
  return {rows, sums.index_select(0, run)};
}

RowGradient rowGradient(const at::Tensor& table, const at::Tensor& gradient) {
  TORCH_CHECK(gradient.layout() == at::kSparse && gradient.sparse_dim() == 1, "the gradient of a table of shape ", table.sizes(),
              " is dense: look rows up with embedding(table, index, {sparse: true}), or give the table to AdamW");
  const bool direct = table.is_cpu() && (table.scalar_type() == at::kFloat || table.scalar_type() == at::kDouble) &&
                      gradient._values().scalar_type() == table.scalar_type();
  return {gradient._indices()[0].contiguous(), gradient._values().contiguous(), direct};
}

void checkParameters(const std::vector<at::Tensor>& parameters) {
  TORCH_CHECK(!parameters.empty(), "an optimiser needs parameters");
  for (const at::Tensor& parameter : parameters) {
    TORCH_CHECK(parameter.is_leaf() && parameter.requires_grad(), "an optimiser's parameters must be leaves that require gradients: one of shape ",
                parameter.sizes(), " is not");
  }
}

void checkTables(const std::vector<at::Tensor>& tables) {
  checkParameters(tables);
  for (const at::Tensor& table : tables)
    TORCH_CHECK(table.dim() == 2 && table.is_contiguous(), "a table must be a contiguous [rows, d], not ", table.sizes());
}

}  // namespace larr
