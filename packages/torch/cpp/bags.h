// Sums and means of rows of a table that learns nothing: LibTorch's embedding_bag spends more on each row's call than on its numbers.
#pragma once

#include <ATen/ATen.h>

#include <optional>

namespace larr {

/// As at::embedding_bag without weights of samples; where a gradient is wanted, the table is not contiguous f32 on the CPU, or index or offsets are
/// not [n] whole numbers there, nothing.
/// @throws c10::IndexError for an index or an offset that is outside
std::optional<at::Tensor> plainBags(const at::Tensor& table, const at::Tensor& index, const at::Tensor& offsets, bool mean, std::optional<int64_t> paddingIndex);

}  // namespace larr
