// Blocks of rows through a network, over a register type V of the including source; products as in simd/panels.h.
#include "../simd/functions.h"
#include "../simd/panels.h"
#include "plan.h"

namespace larr::ranker_detail {
namespace {

using F = V::F;
constexpr int W = V::W;
constexpr int rows_of_registers = V::MR;

size_t packed_floats(int out, int in) { return size_t(out) * size_t(in); }

void pack(const float* weight, int out, int in, float* packed) { pack_panels<V>(weight, out, in, packed); }

Panels<V> panels(const Dense& dense) { return {dense.weight, dense.in, dense.out}; }

void product(const Dense& dense, const float* x, int n, const float* bias, float* y, int64_t y_stride) {
  panels(dense).multiply(x, dense.in, n, [&](int r, int c, F sum) { V::store(y + r * y_stride + c, bias ? V::add(sum, V::load(bias + c)) : sum); });
}

// The first operand of max is what a NaN meets: it goes through, so that a row with one says so.
inline F relu(F x) { return V::max(V::set(0), x); }

// Sums of first layers that are known, and what the pair's columns add.
void run_input(const Plan& plan, const Step& step, const Block& block, float* scratch) {
  const int used = (block.rows + rows_of_registers - 1) / rows_of_registers * rows_of_registers;
  const int last = block.rows - 1;
  const auto known = [&](int r, int c) {
    const int row = r < last ? r : last;
    return V::add(V::load(block.of_context[row] + step.first + c), V::load(block.of_poi[row] + step.first + c));
  };
  const auto put = [&](int r, int c, F sum) {
    V::store(scratch + int64_t(step.to[0]) * block_rows + int64_t(r) * step.width + c, step.relu ? relu(sum) : sum);
  };
  if (plan.pair == 0) {
    for (int r = 0; r < used; r++)
      for (int c = 0; c < step.width; c += W) put(r, c, known(r, c));
    return;
  }
  // What is kept of a POI was last read some requests ago: it is on its way while the pair's columns are multiplied.
  const auto soon = [&](int r, int c) { __builtin_prefetch(block.of_poi[r < last ? r : last] + step.first + c); };
  panels(step.dense).multiply(block.pair, plan.pair, block.rows, [&](int r, int c, F sum) { put(r, c, V::add(sum, known(r, c))); }, soon);
}

void run_linear(const Step& step, int n, float* scratch) {
  const float* x = scratch + int64_t(step.from) * block_rows;
  float* y = scratch + int64_t(step.to[0]) * block_rows;
  panels(step.dense).multiply(x, step.from_width, n, [&](int r, int c, F sum) {
    if (step.bias) sum = V::add(sum, V::load(step.bias + c));
    V::store(y + int64_t(r) * step.width + c, step.relu ? relu(sum) : sum);
  });
}

// One row's gate: shares [experts] of the experts it sees; logits are those of all experts.
inline void shares(const float* logits, const int* seen, int count, float* share) {
  float top = logits[seen[0]];
  for (int e = 1; e < count; e++) top = logits[seen[e]] > top ? logits[seen[e]] : top;
  for (int e = 0; e < count; e++) share[e] = logits[seen[e]] - top;
  for (int e = count; e % W; e++) share[e] = 0;
  for (int e = 0; e < count; e += W) V::store(share + e, exp2_scaled<V>(V::max(V::set(-85), V::load(share + e)), V::set(1.44269504088896341f)));
  float sum = 0;
  for (int e = 0; e < count; e++) sum += share[e];
  for (int e = 0; e < count; e++) share[e] /= sum;
}

void run_mix(const Step& step, int n, float* scratch) {
  alignas(64) float share[max_experts + W];
  const auto row_of = [&](int reg, int r, int width) { return scratch + int64_t(reg) * block_rows + int64_t(r) * width; };
  for (int r = 0; r < n; r++) {
    const int* seen = step.seen.data();
    for (size_t g = 0; g < step.to.size(); g++) {
      int count = 0;
      while (seen[count] >= 0) count++;
      shares(row_of(step.gates[g], r, step.from_width), seen, count, share);
      float* to = row_of(step.to[g], r, step.width);
      for (int c = 0; c < step.width; c += W) {
        F sum = V::set(0);
        for (int e = 0; e < count; e++)
          sum = V::fma(V::set(share[e]), V::load(row_of(step.experts[size_t(seen[e])], r, step.width) + c), sum);
        V::store(to + c, sum);
      }
      seen += count + 1;
    }
  }
}

// 1 / (1 + e^-x), and NaN of NaN. Both have room for n rounded up to W.
void sigmoid(const float* x, int n, float* p) {
  for (int i = 0; i < n; i += W) {
    const F e = exp2_scaled<V>(V::max(V::set(-87), V::min(V::set(87), V::load(x + i))), V::set(-1.44269504088896341f));
    V::store(p + i, V::add(V::set(1), e));
  }
  for (int i = 0; i < n; i++) p[i] = x[i] == x[i] ? 1 / p[i] : x[i];
}

// What IDs add to the logits of a row: their terms, and the squares of their sum.
void add_shallow(const Plan& plan, const Block& block, float (*logit)[block_rows + W]) {
  const int tasks = int(plan.logits.size());
  for (int r = 0; r < block.rows; r++) {
    const float *context = block.of_context[r] + plan.sums, *poi = block.of_poi[r] + plan.sums;
    const float* pair = block.shallow ? block.shallow + int64_t(r) * plan.shallow : nullptr;
    F squares[2] = {V::set(0), V::set(0)};
    for (int c = 0; c < plan.squares; c += W) {
      F sum = V::add(V::load(context + c), V::load(poi + c));
      if (pair) sum = V::add(sum, V::load(pair + c));
      const F square = V::mul(sum, sum);
      for (int k = 0; k < tasks; k++) squares[k] = V::fma(V::load(plan.half + k * plan.squares + c), square, squares[k]);
    }
    for (int k = 0; k < tasks; k++) {
      const int c = plan.squares + k;
      const float terms = context[c] + poi[c] + (pair ? pair[c] : 0);
      logit[k][r] += terms + V::sum(squares[k]);
    }
  }
}

void run_block(const Plan& plan, const Block& block, float* scratch, float* click, float* order) {
  for (int r = 0; plan.shallow > 0 && r < block.rows; r++)
    for (int c = 0; c < plan.shallow; c += pad) __builtin_prefetch(block.of_poi[r] + plan.sums + c);
  for (const Step& step : plan.steps) switch (step.kind) {
      case RankerStep::input: run_input(plan, step, block, scratch); break;
      case RankerStep::linear: run_linear(step, block.rows, scratch); break;
      case RankerStep::mix: run_mix(step, block.rows, scratch); break;
    }
  alignas(64) float logit[2][block_rows + W], p[2][block_rows + W];
  for (size_t task = 0; task < plan.logits.size(); task++) {
    const float* from = scratch + int64_t(plan.logits[task]) * block_rows;
    for (int r = 0; r < block.rows; r++) logit[task][r] = from[int64_t(r) * pad] + (task == 0 ? plan.click_shift : 0);
    for (int r = block.rows; r % W; r++) logit[task][r] = 0;
  }
  if (plan.shallow > 0) add_shallow(plan, block, logit);
  for (size_t task = 0; task < plan.logits.size(); task++) sigmoid(logit[task], block.rows, p[task]);
  for (int r = 0; r < block.rows; r++) {
    click[r] = p[0][r];
    if (order) order[r] = p[0][r] * p[1][r];
  }
}

}  // namespace
}  // namespace larr::ranker_detail
