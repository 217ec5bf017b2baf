// The fused ranker: checks and packs a program, keeps what follows from POIs alone, spreads blocks of rows over threads.
#include <algorithm>
#include <atomic>
#include <cstring>
#include <mutex>
#include <string>

#include "../device/threads.h"
#include "../device/workspace.h"
#include "plan.h"

namespace larr {

using namespace ranker_detail;

const Path& ranker_detail::path_of(Isa isa) {
#if defined(__x86_64__)
  switch (isa) {
    case Isa::scalar: return f32_plain;
    case Isa::avx2: return f32_avx2;
    default: return f32_avx512;
  }
#endif
  (void)isa;
  return f32_plain;
}

namespace {

[[noreturn]] void refuse(const std::string& what) { throw std::invalid_argument("ranker: " + what); }

void check(const RankerProgram& p) {
  const RankerInputs& in = p.inputs;
  for (int size : {in.embedding, in.context_ids, in.context_dense, in.z, in.behaviour, in.poi})
    if (size < 0) refuse("an input has a negative size");
  if (in.context_width() + in.row_width() < 1) refuse("the network reads nothing");
  if (in.context_dense + int(in.dense.size()) > 0 && (!in.mean || !in.scale)) refuse("dense inputs need a mean and a scale");
  for (int width : p.registers)
    if (width < 1 || width > (1 << 20)) refuse("a register is " + std::to_string(width) + " wide");
  std::vector<uint8_t> written(p.registers.size(), 0);
  const auto known = [&](int reg) {
    if (reg < 0 || reg >= int(p.registers.size())) refuse("there is no register " + std::to_string(reg));
    return p.registers[size_t(reg)];
  };
  const auto read = [&](int reg) {
    const int width = known(reg);
    if (!written[size_t(reg)]) refuse("register " + std::to_string(reg) + " is read before it is written");
    return width;
  };
  for (const RankerStep& step : p.steps) {
    if (step.kind == RankerStep::mix) {
      const size_t experts = step.experts.size();
      if (step.to.empty() || experts == 0 || experts > max_experts || step.gates.size() != step.to.size() || step.seen.size() != step.to.size() * experts)
        refuse("a mix step names " + std::to_string(experts) + " experts, " + std::to_string(step.gates.size()) + " gates and " +
               std::to_string(step.to.size()) + " results");
      const int width = read(step.experts[0]);
      for (int expert : step.experts)
        if (read(expert) != width) refuse("experts of one mix step differ in width");
      for (int gate : step.gates)
        if (read(gate) != int(experts)) refuse("a gate is not as wide as there are experts");
      for (size_t g = 0; g < step.to.size(); g++) {
        if (known(step.to[g]) != width) refuse("a mix step's result is not as wide as its experts");
        if (std::none_of(step.seen.begin() + long(g * experts), step.seen.begin() + long((g + 1) * experts), [](uint8_t s) { return s; }))
          refuse("a gate sees no expert");
        // A result must not overwrite what a later gate still reads.
        for (int expert : step.experts)
          if (expert == step.to[g]) refuse("a mix step writes over its own expert");
        for (int gate : step.gates)
          if (gate == step.to[g]) refuse("a mix step writes over its own gate");
        written[size_t(step.to[g])] = 1;
      }
      continue;
    }
    if (step.to.size() != 1 || !step.weight) refuse("a step lacks its weight or its result");
    known(step.to[0]);
    if (step.kind == RankerStep::linear) {
      read(step.from);
      if (step.from == step.to[0]) refuse("a linear step writes over what it reads");
    }
    written[size_t(step.to[0])] = 1;
  }
  if (p.logits.empty() || p.logits.size() > 2) refuse("one or two logits are wanted, not " + std::to_string(p.logits.size()));
  for (int reg : p.logits)
    if (read(reg) != 1) refuse("a logit is not 1 wide");
}

// Rows that are kept, one a POI. Rows are only ever added, so a reader needs no lock: when it is full, a new one takes its place, and it goes
// with the last call that reads it.
class Kept {
 public:
  Kept(int64_t rows, int64_t pois, int width) : width_(width), rows_(rows), pois_(pois), place_(std::make_unique<std::atomic<uint64_t>[]>(size_t(pois))) {
    void* memory = std::aligned_alloc(64, size_t(rows) * size_t(width) * sizeof(float));
    if (!memory) throw std::bad_alloc();
    data_.reset(static_cast<float*>(memory));
  }

  int64_t pois() const { return pois_; }
  int64_t free() const { return rows_ - used_.load(std::memory_order_relaxed); }
  size_t bytes() const { return size_t(std::min(rows_, used_.load(std::memory_order_relaxed))) * size_t(width_) * sizeof(float) + size_t(pois_) * sizeof(uint64_t); }

  // Null where this state of the POI is not here.
  const float* find(int32_t poi, int32_t version) const {
    if (poi >= pois_) return nullptr;
    const uint64_t at = place_[size_t(poi)].load(std::memory_order_acquire);
    return uint32_t(at) != 0 && uint32_t(at >> 32) == uint32_t(version) ? row(int64_t(uint32_t(at)) - 1) : nullptr;
  }

  // Room for so many rows, or -1.
  int64_t take(int64_t count) {
    const int64_t first = used_.fetch_add(count, std::memory_order_relaxed);
    return first + count <= rows_ ? first : -1;
  }
  float* row(int64_t index) const { return data_.get() + index * width_; }
  // Shows readers a row that has been written.
  void show(int32_t poi, int32_t version, int64_t index) {
    if (poi < pois_) place_[size_t(poi)].store(uint64_t(uint32_t(version)) << 32 | uint64_t(index + 1), std::memory_order_release);
  }

 private:
  struct Free {
    void operator()(float* memory) const { std::free(memory); }
  };
  int64_t width_, rows_, pois_;
  std::unique_ptr<float, Free> data_;
  std::unique_ptr<std::atomic<uint64_t>[]> place_;  // version << 32 | row + 1
  std::atomic<int64_t> used_{0};
};

}  // namespace

struct FusedRanker::State {
  RankerProgram program;
  const Path* path;
  const float *embedding, *pois;
  int64_t embedding_rows, poi_rows;
  Plan plan;
  Dense of_context, of_poi;
  const float* bias = nullptr;     // [plan.sums] of all input steps
  std::vector<float> mean, scale;
  std::vector<int> poi_ids, pair_ids, poi_dense, pair_dense;  // features of the row, by their place
  std::vector<std::vector<float>> floats;
  size_t bytes = 0;
  int64_t most_kept = 0;           // rows
  mutable std::mutex mutex;        // guards kept
  mutable std::shared_ptr<Kept> kept;

  const float* keep(std::vector<float> values) {
    bytes += values.size() * sizeof(float);
    return floats.emplace_back(std::move(values)).data();
  }

  // W [out, in] of which the columns given count, beside each other.
  Dense pack(const std::vector<float>& wide, int out, int in) {
    if (in == 0) return {0, out, nullptr};
    std::vector<float> packed(path->packed_floats(out, in));
    path->pack(wide.data(), out, in, packed.data());
    return {in, out, keep(std::move(packed))};
  }

  std::shared_ptr<Kept> kept_for(int64_t missing, int64_t pois) const {
    std::lock_guard lock(mutex);
    if (!kept || kept->free() < missing || kept->pois() < pois) {
      // Tables of POIs grow: some more places than are named now.
      const int64_t places = std::max(pois + pois / 4 + 1024, kept ? kept->pois() : 0);
      kept = std::make_shared<Kept>(most_kept, places, plan.sums);
    }
    return kept;
  }
  std::shared_ptr<Kept> kept_now() const {
    std::lock_guard lock(mutex);
    return kept;
  }
};

FusedRanker::FusedRanker(const RankerProgram& program, const float* embedding, int64_t embedding_rows, const float* pois, int64_t poi_rows, size_t memory,
                         Isa isa)
    : state_(std::make_unique<State>()) {
  check(program);
  State& s = *state_;
  s.program = program;
  s.path = &path_of(isa);
  s.embedding = embedding, s.embedding_rows = embedding_rows;
  s.pois = pois, s.poi_rows = poi_rows;
  const RankerInputs& in = program.inputs;
  const int dense = in.context_dense + int(in.dense.size());
  s.mean.assign(in.mean, in.mean + dense);
  s.scale.assign(in.scale, in.scale + dense);
  for (int f = 0; f < int(in.ids.size()); f++) (in.ids[size_t(f)] ? s.poi_ids : s.pair_ids).push_back(f);
  for (int f = 0; f < int(in.dense.size()); f++) (in.dense[size_t(f)] ? s.poi_dense : s.pair_dense).push_back(f);

  // Columns of x by what they follow from.
  const int wide_context = in.context_width(), width = wide_context + in.row_width();
  std::vector<int> context_columns, poi_columns, pair_columns;
  for (int c = 0; c < wide_context; c++) context_columns.push_back(c);
  const auto embeddings = [&](std::vector<int>& to, const std::vector<int>& features) {
    for (int f : features)
      for (int i = 0; i < in.embedding; i++) to.push_back(wide_context + f * in.embedding + i);
  };
  const auto numbers = [&](std::vector<int>& to, const std::vector<int>& features) {
    for (int f : features) to.push_back(wide_context + int(in.ids.size()) * in.embedding + f);
  };
  embeddings(poi_columns, s.poi_ids), numbers(poi_columns, s.poi_dense);
  for (int i = 0; i < in.poi; i++) poi_columns.push_back(width - in.poi + i);
  embeddings(pair_columns, s.pair_ids), numbers(pair_columns, s.pair_dense);
  s.plan.pair = int(pair_columns.size());

  std::vector<int> offset;
  for (int w : program.registers) offset.push_back(s.plan.registers), s.plan.registers += padded(w);
  for (const RankerStep& step : program.steps)
    if (step.kind == RankerStep::input) s.plan.sums += padded(program.registers[size_t(step.to[0])]);
  if (s.plan.sums == 0) refuse("no step reads the inputs");
  std::vector<float> all_context(size_t(s.plan.sums) * context_columns.size(), 0.0f), all_poi(size_t(s.plan.sums) * poi_columns.size(), 0.0f),
      all_bias(size_t(s.plan.sums), 0.0f);
  const auto pick = [&](const float* weight, int out, int wide, const std::vector<int>& columns, float* to) {
    for (int o = 0; o < out; o++)
      for (size_t i = 0; i < columns.size(); i++) to[size_t(o) * columns.size() + i] = weight[int64_t(o) * wide + columns[i]];
  };
  int first = 0;
  for (const RankerStep& step : program.steps) {
    Step one{};
    one.kind = step.kind, one.relu = step.relu;
    for (int reg : step.to) one.to.push_back(offset[size_t(reg)]);
    const int out = program.registers[size_t(step.to[0])];
    one.width = padded(out);
    if (step.kind == RankerStep::mix) {
      for (int reg : step.gates) one.gates.push_back(offset[size_t(reg)]);
      for (int reg : step.experts) one.experts.push_back(offset[size_t(reg)]);
      one.from_width = padded(int(step.experts.size()));
      for (size_t g = 0; g < step.to.size(); g++) {
        for (size_t e = 0; e < step.experts.size(); e++)
          if (step.seen[g * step.experts.size() + e]) one.seen.push_back(int(e));
        one.seen.push_back(-1);
      }
    } else if (step.kind == RankerStep::input) {
      one.first = first;
      pick(step.weight, out, width, context_columns, all_context.data() + size_t(first) * context_columns.size());
      pick(step.weight, out, width, poi_columns, all_poi.data() + size_t(first) * poi_columns.size());
      if (step.bias) std::copy_n(step.bias, out, all_bias.begin() + first);
      std::vector<float> own(size_t(one.width) * pair_columns.size(), 0.0f);
      pick(step.weight, out, width, pair_columns, own.data());
      one.dense = s.pack(own, one.width, s.plan.pair);
      first += one.width;
    } else {
      const int in_width = program.registers[size_t(step.from)];
      one.from = offset[size_t(step.from)], one.from_width = padded(in_width);
      std::vector<float> own(size_t(one.width) * size_t(one.from_width), 0.0f), bias(size_t(one.width), 0.0f);
      for (int o = 0; o < out; o++) std::copy_n(step.weight + int64_t(o) * in_width, in_width, own.begin() + int64_t(o) * one.from_width);
      if (step.bias) std::copy_n(step.bias, out, bias.begin());
      one.dense = s.pack(own, one.width, one.from_width);
      one.bias = step.bias ? s.keep(std::move(bias)) : nullptr;
    }
    s.plan.steps.push_back(std::move(one));
  }
  s.of_context = s.pack(all_context, s.plan.sums, int(context_columns.size()));
  s.of_poi = s.pack(all_poi, s.plan.sums, int(poi_columns.size()));
  s.bias = s.keep(std::move(all_bias));
  for (int reg : program.logits) s.plan.logits.push_back(offset[size_t(reg)]);
  s.plan.click_shift = program.click_shift;
  s.most_kept = int64_t(memory / (size_t(s.plan.sums) * sizeof(float)));
  for (RankerStep& step : s.program.steps) step.weight = step.bias = nullptr;
  s.program.inputs.mean = s.program.inputs.scale = nullptr;
}

FusedRanker::~FusedRanker() = default;
const RankerProgram& FusedRanker::program() const { return state_->program; }
size_t FusedRanker::bytes() const { return state_->bytes; }
size_t FusedRanker::kept_bytes() const {
  const auto kept = state_->kept_now();
  return kept ? kept->bytes() : 0;
}

namespace {

[[noreturn]] void outside(const char* name, int64_t at, int64_t index, int64_t rows) {
  throw std::out_of_range(std::string(name) + "[" + std::to_string(at) + "] = " + std::to_string(index) + " is not from 0 to " + std::to_string(rows - 1));
}

const float* row_of(const char* name, const float* table, int64_t rows, int width, const int32_t* indices, int64_t at) {
  const int64_t index = indices[at];
  if (index < 0 || index >= rows) outside(name, at, index, rows);
  return table + index * width;
}

}  // namespace

void FusedRanker::score(const RankerRows& rows, float* click, float* order, const Run& run) const {
  const State& s = *state_;
  const RankerInputs& in = s.program.inputs;
  const int F = int(in.ids.size()), D = int(in.dense.size()), d = in.embedding, sums = s.plan.sums;
  const int64_t n = rows.rows, contexts = rows.contexts;
  if (n == 0) return;
  if ((order != nullptr) != (s.plan.logits.size() > 1)) refuse("the model learnt " + std::string(order ? "no orders" : "orders too"));
  for (int64_t i = 0; i < n; i++)
    if (rows.context[i] < 0 || rows.context[i] >= contexts) outside("context", i, rows.context[i], contexts);

  const auto dense = [&](float* to, const float* values, const std::vector<int>& features) {
    for (int f : features) *to++ = (values[f] - s.mean[size_t(in.context_dense + f)]) * s.scale[size_t(in.context_dense + f)];
    return to;
  };
  const auto ids = [&](float* to, int64_t row, const std::vector<int>& features) {
    for (int f : features) to = std::copy_n(row_of("ids", s.embedding, s.embedding_rows, d, rows.ids, row * F + f), d, to);
    return to;
  };
  // Sums of the first layers for so many gathered rows x [count, layer.in]: in blocks of rows, or of columns where the rows are too few for all
  // threads (which are then awake when the candidates come).
  const auto sum = [&](const Dense& layer, int64_t count, const float* bias, const auto& gather, const auto& result) {
    const int64_t blocks = (count + block_rows - 1) / block_rows;
    constexpr int panel = 64;
    const int panels = (sums + panel - 1) / panel, parts = blocks == 1 ? std::min(thread_count(), panels) : 1;
    parallel(
        int(blocks) * parts,
        [&](int task) {
          const int64_t from = int64_t(task / parts) * block_rows;
          const int first = panels * (task % parts) / parts * panel, columns = std::min(sums, panels * (task % parts + 1) / parts * panel) - first;
          const int used = int(std::min<int64_t>(block_rows, count - from));
          const Workspace memory(sizeof(float) * size_t(block_rows) * size_t(layer.in + columns));
          float* x = static_cast<float*>(memory.data());
          float* y = x + int64_t(block_rows) * layer.in;
          std::fill(x + int64_t(used) * layer.in, x + int64_t(block_rows) * layer.in, 0.0f);
          for (int i = 0; i < used; i++) gather(from + i, x + int64_t(i) * layer.in);
          const Dense part{layer.in, columns, layer.weight + int64_t(first) * layer.in};
          s.path->product(part, x, used, bias ? bias + first : nullptr, y, columns);
          for (int i = 0; i < used; i++) std::memcpy(result(from + i) + first, y + int64_t(i) * columns, sizeof(float) * size_t(columns));
        },
        run.cancel);
  };

  // Contexts.
  const Workspace context_memory(sizeof(float) * size_t(contexts) * size_t(sums));
  float* of_context = static_cast<float*>(context_memory.data());
  sum(
      s.of_context, contexts, s.bias,
      [&](int64_t c, float* to) {
        for (int f = 0; f < in.context_ids; f++)
          to = std::copy_n(row_of("contextIds", s.embedding, s.embedding_rows, d, rows.context_ids, c * in.context_ids + f), d, to);
        for (int f = 0; f < in.context_dense; f++) *to++ = (rows.context_dense[c * in.context_dense + f] - s.mean[size_t(f)]) * s.scale[size_t(f)];
        if (in.z > 0) to = std::copy_n(rows.z + c * in.z, in.z, to);
        if (in.behaviour > 0) std::copy_n(rows.behaviour + c * in.behaviour, in.behaviour, to);
      },
      [&](int64_t c) { return of_context + c * sums; });

  // POIs: what is kept is taken, what is missing is computed and kept where there is room.
  std::vector<const float*> of_poi(static_cast<size_t>(n)), contexts_of(static_cast<size_t>(n));
  for (int64_t i = 0; i < n; i++) contexts_of[size_t(i)] = of_context + int64_t(rows.context[i]) * sums;
  std::shared_ptr<Kept> kept;
  std::vector<int64_t> missing;
  const bool keeps = rows.kept && rows.version && s.most_kept > 0;
  int64_t most = -1;
  const auto look = [&] {
    missing.clear();
    for (int64_t i = 0; i < n; i++) {
      const int32_t poi = keeps ? rows.kept[i] : -1;
      most = std::max<int64_t>(most, poi);
      const float* found = kept && poi >= 0 ? kept->find(poi, rows.version[i]) : nullptr;
      of_poi[size_t(i)] = found;
      if (!found) missing.push_back(i);
    }
  };
  if (keeps) kept = s.kept_now();
  look();
  int64_t first = -1;
  if (keeps && !missing.empty() && int64_t(missing.size()) <= s.most_kept && most >= 0) {
    const auto next = s.kept_for(int64_t(missing.size()), most + 1);
    if (next != kept) kept = next, look();
    first = kept->take(int64_t(missing.size()));
  }
  const Workspace poi_memory(first < 0 ? sizeof(float) * missing.size() * size_t(sums) : 0);
  const auto place = [&](int64_t m) { return first < 0 ? static_cast<float*>(poi_memory.data()) + m * sums : kept->row(first + m); };
  if (s.of_poi.in == 0) std::fill_n(place(0), missing.size() * size_t(sums), 0.0f);
  sum(
      s.of_poi, s.of_poi.in == 0 ? 0 : int64_t(missing.size()), nullptr,
      [&](int64_t m, float* to) {
        const int64_t row = missing[size_t(m)];
        to = ids(to, row, s.poi_ids);
        if (D > 0) to = dense(to, rows.dense + row * D, s.poi_dense);
        if (in.poi > 0) std::copy_n(row_of("poi", s.pois, s.poi_rows, in.poi, rows.poi, row), in.poi, to);
      },
      place);
  for (size_t m = 0; m < missing.size(); m++) {
    const int64_t row = missing[m];
    of_poi[size_t(row)] = place(int64_t(m));
    if (first >= 0 && rows.kept[row] >= 0) kept->show(rows.kept[row], rows.version[row], first + int64_t(m));
  }

  // As many blocks for each thread, of the same size but for whole registers; a row's result does not depend on the block it is in.
  const int64_t threads = thread_count(), rounds = (n + block_rows * threads - 1) / (block_rows * threads);
  const int64_t per_block = std::clamp<int64_t>((n + rounds * threads - 1) / (rounds * threads) + 5, 12, block_rows) / 6 * 6;
  parallel(
      int((n + per_block - 1) / per_block),
      [&](int b) {
        const int64_t from = int64_t(b) * per_block;
        const int used = int(std::min<int64_t>(per_block, n - from));
        const int pair = s.plan.pair;
        const Workspace memory(sizeof(float) * size_t(block_rows) * size_t(pair + s.plan.registers));
        float* x = static_cast<float*>(memory.data());
        std::fill(x + int64_t(used) * pair, x + int64_t(block_rows) * pair, 0.0f);
        for (int i = 0; i < used; i++) {
          float* to = ids(x + int64_t(i) * pair, from + i, s.pair_ids);
          if (D > 0) dense(to, rows.dense + (from + i) * D, s.pair_dense);
        }
        const Block block{used, x, contexts_of.data() + from, of_poi.data() + from};
        s.path->block(s.plan, block, x + int64_t(block_rows) * pair, click + from, order ? order + from : nullptr);
      },
      run.cancel);
}

}  // namespace larr
