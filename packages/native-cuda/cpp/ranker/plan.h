// What the instruction-set paths of the ranker see: packed weights, and blocks of gathered rows.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "larr/ranker.h"

namespace larr::ranker_detail {

constexpr int block_rows = 96;  // the registers of a block (about 5 KiB a row) stay in L2 beside the weights' panels
constexpr int pad = 16;         // registers' widths are padded with zeros
constexpr int max_experts = 256;  // that one mix step may see

constexpr int most_floats = 1 << 22;  // of a row's inputs, and of its registers

inline int padded(int n) { return (n + pad - 1) / pad * pad; }

// y = x W^T, W [out, in] packed by the path.
struct Dense {
  int in = 0, out = 0;  // out is padded
  const float* weight = nullptr;
};

struct Step {
  RankerStep::Kind kind;
  bool relu;
  Dense dense;
  const float* bias;       // [dense.out] of linear; null where it has none
  int from;                // offset of a register in a block's scratch, in floats a row
  int from_width;          // padded, of gates too
  int first;               // of input: its first column among the sums of all input steps
  std::vector<int> to, gates, experts;
  int width;               // of to, padded
  std::vector<int> seen;   // of mix: experts of gate 0, -1, of gate 1, -1, ...
};

struct Plan {
  std::vector<Step> steps;
  int registers = 0;       // floats a row of all registers
  int pair = 0;            // columns of the row that do not follow from the POI alone
  int sums = 0;            // columns of all input steps
  std::vector<int> logits;
  float click_shift = 0;
  // What IDs add beside the network: columns behind the sums, 0 where they add nothing. First the sum S of their embeddings (`squares` columns, 0 without
  // second order), then that of their terms (`pad` columns, one a logit).
  int shallow = 0, squares = 0;
  const float* half = nullptr;  // [logits, squares]: u / 2
  int known() const { return sums + shallow; }  // columns of what is known of a context, and of a POI
};

// One block's rows: sums of the first layers that are known already, and the columns still to be multiplied.
struct Block {
  int rows;                 // n <= block_rows
  const float* pair;        // [rows rounded up to 8, plan.pair]
  const float* const* of_context;  // [rows] -> [plan.known()], the bias included
  const float* const* of_poi;      // [rows] -> [plan.known()]
  const float* shallow;            // [rows, plan.shallow] of the pair's IDs; null where there are none
};

struct Path {
  int lanes;
  size_t (*packed_floats)(int out, int in);
  void (*pack)(const float* weight, int out, int in, float* packed);
  // y [n, dense.out] = x [n, dense.in] W^T + bias (null: none). x and y have room for n rounded up to 8 rows.
  void (*product)(const Dense& dense, const float* x, int n, const float* bias, float* y, int64_t y_stride);
  // click [n], order [n] or null. scratch [n rounded up to 8, plan.registers].
  void (*block)(const Plan& plan, const Block& block, float* scratch, float* click, float* order);
};

const Path& path_of(Isa isa);
extern const Path f32_plain, f32_avx2, f32_avx512;

}  // namespace larr::ranker_detail
