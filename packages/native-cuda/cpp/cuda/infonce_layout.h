// Sizes of one InfoNCE call on a GPU: how the passes are cut into blocks, and where its scratch memory lies.
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>

#include "../device/workspace.h"
#include "infonce_plan.h"

namespace larr::cuda::inline LARR_SIDE::infonce {

constexpr int most_dim = 256;
constexpr int most_chunks = 256;  // of column sums: what keeps scratch memory in O(batch)

inline int padded_dim(int64_t dim) { return dim <= 64 ? 64 : dim <= 128 ? 128 : 256; }

// Tiles of the two passes, in rows and columns, and how many blocks of each keep the device busy; `rows` is padded to row_unit.
struct Cut {
  int row_unit, sum_rows, sum_columns, gradient_rows, gradient_columns;
  int sum_blocks, gradient_blocks;
};

// Blocks of one walk: all row tiles, and the columns in as many parts as fill the device.
inline int splits_for(int blocks, int wanted, int column_tiles) { return std::clamp(wanted / std::max(1, blocks), 1, column_tiles); }

inline void cut_into_blocks(Plan& p, int64_t batch, int64_t dim, const Cut& cut, bool backward) {
  p.batch = int32_t(batch), p.dim = int32_t(dim);
  p.rows = (p.batch + cut.row_unit - 1) / cut.row_unit * cut.row_unit;
  const int tiles = p.rows / cut.sum_rows;
  p.sum_chunks = std::min(tiles, most_chunks);
  p.sum_splits = splits_for(p.sum_chunks, cut.sum_blocks, p.rows / cut.sum_columns);
  p.gradient_splits = splits_for(2 * (p.rows / cut.gradient_rows), cut.gradient_blocks, p.rows / cut.gradient_columns);
  p.norm_blocks = std::min(most_norm_blocks, p.rows / 16);
  p.finish_blocks = backward ? std::min(most_finish_blocks, p.rows / 16) : 0;
}

// Points everything into one block of memory; returns its size, which a null base is enough to ask for.
inline size_t lay_out(Plan& p, void* base, int depth, bool bf16, bool backward) {
  Cutter cut(base);
  const size_t rows = size_t(p.rows), matrix = rows * size_t(depth);
  p.q_packed = bf16 ? static_cast<void*>(cut.take<uint16_t>(matrix)) : cut.take<float>(matrix);
  p.k_packed = bf16 ? static_cast<void*>(cut.take<uint16_t>(matrix)) : cut.take<float>(matrix);
  p.diagonal = cut.take<double>(rows);
  p.own = cut.take<double>(rows);
  p.ids = cut.take<int32_t>(rows);
  p.norms = cut.take<float>(2 * size_t(p.norm_blocks));
  p.mode = cut.take<Mode>(1);
  p.finished = cut.take<uint32_t>(2);
  p.row_max = cut.take<int32_t>(rows);
  p.column_max = cut.take<int32_t>(rows);
  p.row_sum = cut.take<float>(rows * size_t(p.sum_splits));
  p.column_sum = cut.take<float>(rows * size_t(p.sum_chunks));
  p.row_weight = cut.take<float>(rows);
  p.column_weight = cut.take<float>(rows);
  p.loss_part = cut.take<double>(rows / 32);
  p.dscale_part = cut.take<double>(size_t(p.finish_blocks));
  p.gradient_part = backward ? cut.take<float>(matrix * 2 * size_t(p.gradient_splits)) : nullptr;
  return cut.used();
}

inline void check_sizes(int64_t batch, int64_t dim, double scale) {
  const auto refuse = [](const std::string& what) { throw std::invalid_argument("infonce: " + what); };
  if (batch < 1 || batch > (int64_t(1) << 24)) refuse("on a GPU batch must be from 1 to 16777216, got " + std::to_string(batch));
  if (dim < 1 || dim > most_dim) refuse("on a GPU dim must be from 1 to " + std::to_string(most_dim) + ", got " + std::to_string(dim));
  if (!(scale - scale == 0)) refuse("scale must be finite, got " + std::to_string(scale));
}

}  // namespace larr::cuda::infonce
