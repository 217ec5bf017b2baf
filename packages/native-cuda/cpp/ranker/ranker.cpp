// The fused ranker: checks and packs a program, keeps what follows from POIs alone, spreads blocks of rows over threads.
#include <algorithm>
#include <atomic>
#include <cstring>
#include <mutex>
#include <string>
#include <unordered_map>

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

// Features of the row that follow from the POI alone, and the others, by their place.
struct Features {
  std::vector<int> poi_ids, pair_ids, poi_dense, pair_dense;
  explicit Features(const RankerInputs& in) {
    for (int f = 0; f < int(in.ids.size()); f++) (in.ids[size_t(f)] ? poi_ids : pair_ids).push_back(f);
    for (int f = 0; f < int(in.dense.size()); f++) (in.dense[size_t(f)] ? poi_dense : pair_dense).push_back(f);
  }
};

[[noreturn]] void refuse(const std::string& what) { throw std::invalid_argument("ranker: " + what); }

void check(const RankerProgram& p) {
  const RankerInputs& in = p.inputs;
  for (int size : {in.embedding, in.context_ids, in.context_dense, in.z, in.behaviour, in.poi})
    if (size < 0) refuse("an input has a negative size");
  const auto wide = (int64_t(in.context_ids) + int64_t(in.ids.size())) * in.embedding + in.context_dense + int64_t(in.dense.size()) + in.z +
                    int64_t(in.behaviour) + in.poi;
  if (wide < 1) refuse("the network reads nothing");
  if (wide > most_floats) refuse("the network reads " + std::to_string(wide) + " numbers a row");
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
      if (experts > max_experts) refuse("a mix step names " + std::to_string(experts) + " experts, more than " + std::to_string(max_experts));
      if (step.to.empty() || experts == 0 || step.gates.size() != step.to.size() || step.seen.size() != step.to.size() * experts)
        refuse("a mix step names " + std::to_string(experts) + " experts, " + std::to_string(step.gates.size()) + " gates and " +
               std::to_string(step.to.size()) + " results");
      const int width = read(step.experts[0]);
      for (int expert : step.experts)
        if (read(expert) != width) refuse("experts of one mix step differ in width");
      for (int gate : step.gates)
        if (read(gate) != int(experts)) refuse("a gate is not as wide as there are experts");
      for (size_t g = 0; g < step.to.size(); g++) {
        if (known(step.to[g]) != width) refuse("a mix step's result is not as wide as its experts");
        if (std::count(step.to.begin(), step.to.end(), step.to[g]) > 1) refuse("a mix step writes two results to one register");
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
  // Throws std::bad_alloc.
  Kept(int64_t rows, int64_t pois, int width) : width_(width), rows_(rows), pois_(pois), place_(std::make_unique<std::atomic<uint64_t>[]>(size_t(pois))) {
    void* memory = std::aligned_alloc(64, size_t(rows) * size_t(width) * sizeof(float));
    if (!memory) throw std::bad_alloc();
    data_.reset(static_cast<float*>(memory));
  }

  int64_t pois() const { return pois_; }
  int64_t free() const { return rows_ - used_.load(std::memory_order_relaxed); }
  size_t bytes() const {
    return size_t(std::min(rows_, used_.load(std::memory_order_relaxed))) * size_t(width_) * sizeof(float) + size_t(pois_) * sizeof(place_[0]);
  }

  // Null where this state of the POI is not here.
  const float* find(int32_t poi, int32_t version) const {
    if (poi >= pois_) return nullptr;
    const uint64_t at = place_[size_t(poi)].load(std::memory_order_acquire);
    return uint32_t(at) != 0 && uint32_t(at >> 32) == uint32_t(version) ? row(int64_t(uint32_t(at)) - 1) : nullptr;
  }

  // The first of so many rows that nobody else writes, or -1 where there is no room for them.
  int64_t take(int64_t count) {
    const int64_t first = used_.fetch_add(count, std::memory_order_relaxed);
    return first + count <= rows_ ? first : -1;
  }
  float* row(int64_t index) const { return data_.get() + index * width_; }
  // Shows readers a row that has been written.
  void show(int32_t poi, int32_t version, int64_t index) {
    place_[size_t(poi)].store(uint64_t(uint32_t(version)) << 32 | uint64_t(index + 1), std::memory_order_release);
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

// The one that calls read now. What it keeps decides no result, and neither does a machine without the memory for it.
class Keeping {
 public:
  Keeping(size_t memory, int width) : memory_(memory), width_(width) {}

  std::shared_ptr<Kept> now() const {
    std::lock_guard lock(mutex_);
    return kept_;
  }

  // One with room for so many rows and a place for so many POIs, as much of it empty as has to be; null where that is more than may be kept.
  std::shared_ptr<Kept> with(int64_t rows, int64_t pois) {
    std::lock_guard lock(mutex_);
    if (kept_ && kept_->free() >= rows && kept_->pois() >= pois) return kept_;
    // Tables of POIs grow: some more places than are named now. A quarter of the memory may go to places.
    const auto places = size_t(std::max(pois + pois / 4 + 64, kept_ ? kept_->pois() : 0));
    if (places * sizeof(uint64_t) > memory_ / 4) return nullptr;
    const auto most = int64_t((memory_ - places * sizeof(uint64_t)) / (size_t(width_) * sizeof(float)));
    if (most < rows) return nullptr;
    try {
      kept_ = std::make_shared<Kept>(most, int64_t(places), width_);
    } catch (const std::bad_alloc&) {
      return nullptr;
    }
    return kept_;
  }

 private:
  size_t memory_;
  int width_;
  mutable std::mutex mutex_;  // guards kept_
  std::shared_ptr<Kept> kept_;
};

// Columns of the network's input by what they follow from.
struct Columns {
  std::vector<int> context, poi, pair;
  explicit Columns(const RankerInputs& in, const Features& features) {
    const int wide = in.context_width(), width = wide + in.row_width();
    for (int c = 0; c < wide; c++) context.push_back(c);
    const auto put = [&](std::vector<int>& to, const std::vector<int>& ids, const std::vector<int>& dense) {
      for (int f : ids)
        for (int i = 0; i < in.embedding; i++) to.push_back(wide + f * in.embedding + i);
      for (int f : dense) to.push_back(wide + int(in.ids.size()) * in.embedding + f);
    };
    put(poi, features.poi_ids, features.poi_dense);
    for (int i = 0; i < in.poi; i++) poi.push_back(width - in.poi + i);
    put(pair, features.pair_ids, features.pair_dense);
  }
};

// Some columns of a weight [out, wide], beside each other: [out, columns].
void pick(const float* weight, int out, int wide, const std::vector<int>& columns, float* to) {
  for (int o = 0; o < out; o++)
    for (size_t i = 0; i < columns.size(); i++) to[size_t(o) * columns.size() + i] = weight[int64_t(o) * wide + columns[i]];
}

}  // namespace

struct FusedRanker::State {
  RankerProgram program;
  const Path* path;
  RankerTables tables;
  Features features;
  Plan plan;
  Dense of_context, of_poi;
  const float* bias = nullptr;  // [plan.sums] of all input steps
  std::vector<float> mean, scale;
  std::vector<std::vector<float>> floats;
  size_t bytes = 0;
  std::unique_ptr<Keeping> keeping;

  State(const RankerProgram& given, const RankerTables& with, const Path& on) : program(given), path(&on), tables(with), features(given.inputs) {}

  const float* keep(std::vector<float> values) {
    bytes += values.size() * sizeof(float);
    return floats.emplace_back(std::move(values)).data();
  }

  // W [out, in], packed; nothing where in is 0.
  Dense pack(const std::vector<float>& weight, int out, int in) {
    if (in == 0) return {0, out, nullptr};
    std::vector<float> packed(path->packed_floats(out, in));
    path->pack(weight.data(), out, in, packed.data());
    return {in, out, keep(std::move(packed))};
  }

  void lay_out();
  void pack_steps();
  void lay_out_shallow();
};

// Places of the registers in a block's scratch, and of the input steps among the first layers' sums.
void FusedRanker::State::lay_out() {
  int64_t registers = 0, sums = 0;
  for (int width : program.registers) registers += padded(width);
  for (const RankerStep& step : program.steps)
    if (step.kind == RankerStep::input) sums += padded(program.registers[size_t(step.to[0])]);
  if (sums == 0) refuse("no step reads the inputs");
  if (registers > most_floats || sums > most_floats) refuse("its registers are " + std::to_string(std::max(registers, sums)) + " numbers a row");
  plan.registers = int(registers);
  plan.sums = int(sums);

  std::vector<int> offset;
  int next = 0, first = 0;
  for (int width : program.registers) offset.push_back(next), next += padded(width);
  for (const RankerStep& step : program.steps) {
    Step one{};
    one.kind = step.kind, one.relu = step.relu;
    for (int reg : step.to) one.to.push_back(offset[size_t(reg)]);
    one.width = padded(program.registers[size_t(step.to[0])]);
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
      first += one.width;
    } else {
      one.from = offset[size_t(step.from)], one.from_width = padded(program.registers[size_t(step.from)]);
    }
    plan.steps.push_back(std::move(one));
  }
  for (int reg : program.logits) plan.logits.push_back(offset[size_t(reg)]);
  plan.click_shift = program.click_shift;
}

void FusedRanker::State::pack_steps() {
  const RankerInputs& in = program.inputs;
  const int wide = in.context_width() + in.row_width();
  const Columns columns(in, features);
  plan.pair = int(columns.pair.size());
  std::vector<float> context(size_t(plan.sums) * columns.context.size(), 0.0f), poi(size_t(plan.sums) * columns.poi.size(), 0.0f),
      all_bias(size_t(plan.sums), 0.0f);
  for (size_t i = 0; i < plan.steps.size(); i++) {
    const RankerStep& step = program.steps[i];
    Step& one = plan.steps[i];
    if (step.kind == RankerStep::mix) continue;
    const int out = program.registers[size_t(step.to[0])];
    if (step.kind == RankerStep::input) {
      pick(step.weight, out, wide, columns.context, context.data() + size_t(one.first) * columns.context.size());
      pick(step.weight, out, wide, columns.poi, poi.data() + size_t(one.first) * columns.poi.size());
      if (step.bias) std::copy_n(step.bias, out, all_bias.begin() + one.first);
      std::vector<float> own(size_t(one.width) * columns.pair.size(), 0.0f);
      pick(step.weight, out, wide, columns.pair, own.data());
      one.dense = pack(own, one.width, plan.pair);
    } else {
      const int width = program.registers[size_t(step.from)];
      std::vector<float> own(size_t(one.width) * size_t(one.from_width), 0.0f), bias_of(size_t(one.width), 0.0f);
      for (int o = 0; o < out; o++) std::copy_n(step.weight + int64_t(o) * width, width, own.begin() + int64_t(o) * one.from_width);
      if (step.bias) std::copy_n(step.bias, out, bias_of.begin());
      one.dense = pack(own, one.width, one.from_width);
      one.bias = step.bias ? keep(std::move(bias_of)) : nullptr;
    }
  }
  of_context = pack(context, plan.sums, int(columns.context.size()));
  of_poi = pack(poi, plan.sums, int(columns.poi.size()));
  bias = keep(std::move(all_bias));
}

void FusedRanker::State::lay_out_shallow() {
  if (!tables.terms && !program.second_order) return;
  const int wide = program.inputs.embedding;
  if (wide < 1) refuse("what IDs add needs their embeddings");
  plan.squares = program.second_order ? padded(wide) : 0;
  plan.shallow = plan.squares + pad;
  if (!program.second_order) return;
  std::vector<float> half(program.logits.size() * size_t(plan.squares), 0.0f);
  for (size_t k = 0; k < program.logits.size(); k++)
    for (int d = 0; d < wide; d++) half[k * size_t(plan.squares) + size_t(d)] = program.second_order[k * size_t(wide) + size_t(d)] / 2;
  plan.half = keep(std::move(half));
}

FusedRanker::FusedRanker(const RankerProgram& program, const RankerTables& tables, size_t memory, Isa isa) {
  check(program);
  state_ = std::make_unique<State>(program, tables, path_of(isa));
  State& s = *state_;
  const RankerInputs& in = program.inputs;
  const size_t dense = size_t(in.context_dense) + in.dense.size();
  s.mean.assign(in.mean, in.mean + dense);
  s.scale.assign(in.scale, in.scale + dense);
  s.lay_out();
  s.pack_steps();
  s.lay_out_shallow();
  s.keeping = std::make_unique<Keeping>(memory, s.plan.known());
  for (RankerStep& step : s.program.steps) step.weight = step.bias = nullptr;
  s.program.inputs.mean = s.program.inputs.scale = s.program.second_order = nullptr;
}

FusedRanker::~FusedRanker() = default;
const RankerProgram& FusedRanker::program() const { return state_->program; }
size_t FusedRanker::bytes() const { return state_->bytes; }
size_t FusedRanker::kept_bytes() const {
  const auto kept = state_->keeping->now();
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

// One call: first layers of the contexts, then of the POIs, then all of the candidates.
class FusedRanker::Call {
 public:
  Call(const State& state, const RankerRows& rows, const Run& run)
      : s_(state), in_(state.program.inputs), rows_(rows), run_(run), contexts_(sizeof(float) * size_t(rows.contexts) * size_t(state.plan.known())),
        of_context_(size_t(rows.rows)), of_poi_(size_t(rows.rows)) {}

  void score(float* click, float* order) {
    add_contexts();
    add_pois();
    run_blocks(click, order);
  }

 private:
  const State& s_;
  const RankerInputs& in_;
  const RankerRows& rows_;
  const Run& run_;
  Workspace contexts_;
  std::vector<const float*> of_context_, of_poi_;  // [rows]: sums of the first layers, and of the IDs
  std::shared_ptr<Kept> kept_;                     // what of_poi_ points into
  std::unique_ptr<Workspace> pois_;                // the same

  float* put_dense(float* to, const float* values, const std::vector<int>& features) const {
    for (int f : features) *to++ = (values[f] - s_.mean[size_t(in_.context_dense + f)]) * s_.scale[size_t(in_.context_dense + f)];
    return to;
  }
  float* put_ids(float* to, int64_t row, const std::vector<int>& features) const {
    const int count = int(in_.ids.size());
    for (int f : features) to = std::copy_n(row_of("ids", s_.tables.embedding, s_.tables.embedding_rows, in_.embedding, rows_.ids, row * count + f), in_.embedding, to);
    return to;
  }
  void put_pair(float* to, int64_t row) const {
    to = put_ids(to, row, s_.features.pair_ids);
    if (!in_.dense.empty()) put_dense(to, rows_.dense + row * int64_t(in_.dense.size()), s_.features.pair_dense);
  }

  // What so many IDs add beside the network, summed into `to` [plan.shallow]. They have been looked up before.
  template <class Id>
  void put_shallow(float* to, int count, const Id& id) const {
    const int tasks = int(s_.plan.logits.size());
    std::fill_n(to, s_.plan.shallow, 0.0f);
    for (int f = 0; f < count; f++) {
      const float* v = s_.tables.embedding + int64_t(id(f)) * in_.embedding;
      for (int d = 0; s_.plan.squares > 0 && d < in_.embedding; d++) to[d] += v[d];
      for (int k = 0; s_.tables.terms && k < tasks; k++) to[s_.plan.squares + k] += s_.tables.terms[int64_t(id(f)) * tasks + k];
    }
  }
  void put_shallow(float* to, int64_t row, const std::vector<int>& features) const {
    const int32_t* ids = rows_.ids + row * int64_t(in_.ids.size());
    put_shallow(to, int(features.size()), [&](int f) { return ids[features[size_t(f)]]; });
  }

  // Sums of the first layers for so many gathered rows x [count, layer.in]: in blocks of rows, or of columns where the rows are too few for all
  // threads (which are then awake when the candidates come). Behind them what IDs add beside the network.
  template <class Gather, class Shallow, class Result>
  void sum(const Dense& layer, int64_t count, const float* bias, const Gather& gather, const Shallow& shallow, const Result& result) const {
    const int sums = s_.plan.sums;
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
          s_.path->product(part, x, used, bias ? bias + first : nullptr, y, columns);
          for (int i = 0; i < used; i++) std::memcpy(result(from + i) + first, y + int64_t(i) * columns, sizeof(float) * size_t(columns));
          if (s_.plan.shallow > 0 && first == 0)
            for (int i = 0; i < used; i++) shallow(from + i, result(from + i) + sums);
        },
        run_.cancel);
  }

  void add_contexts() {
    auto* sums = static_cast<float*>(contexts_.data());
    for (int64_t i = 0; i < rows_.rows; i++) {
      if (rows_.context[i] < 0 || rows_.context[i] >= rows_.contexts) outside("context", i, rows_.context[i], rows_.contexts);
      of_context_[size_t(i)] = sums + int64_t(rows_.context[i]) * s_.plan.known();
    }
    sum(
        s_.of_context, rows_.contexts, s_.bias,
        [&](int64_t c, float* to) {
          for (int f = 0; f < in_.context_ids; f++)
            to = std::copy_n(row_of("contextIds", s_.tables.embedding, s_.tables.embedding_rows, in_.embedding, rows_.context_ids, c * in_.context_ids + f),
                             in_.embedding, to);
          for (int f = 0; f < in_.context_dense; f++)
            *to++ = (rows_.context_dense[c * in_.context_dense + f] - s_.mean[size_t(f)]) * s_.scale[size_t(f)];
          if (in_.z > 0) to = std::copy_n(rows_.z + c * in_.z, in_.z, to);
          if (in_.behaviour > 0) std::copy_n(rows_.behaviour + c * in_.behaviour, in_.behaviour, to);
        },
        [&](int64_t c, float* to) { put_shallow(to, in_.context_ids, [&](int f) { return rows_.context_ids[c * in_.context_ids + f]; }); },
        [&](int64_t c) { return sums + c * s_.plan.known(); });
  }

  // What is missing of the rows: those of POIs that may be kept, each once, and those of no POI.
  struct Missing {
    std::vector<int64_t> keep, others;      // the first row of each
    std::vector<std::pair<int64_t, size_t>> again;  // a row, and the place in `keep` of the POI that it repeats
    int64_t pois = 0;                       // one more than the largest number of a POI
  };

  Missing look_up() {
    Missing missing;
    std::unordered_map<int64_t, size_t> seen;  // version << 32 | poi
    for (int64_t i = 0; i < rows_.rows; i++) {
      const int32_t poi = rows_.kept && rows_.version ? rows_.kept[i] : -1;
      of_poi_[size_t(i)] = kept_ && poi >= 0 ? kept_->find(poi, rows_.version[i]) : nullptr;
      if (of_poi_[size_t(i)]) continue;
      if (poi < 0) {
        missing.others.push_back(i);
        continue;
      }
      missing.pois = std::max<int64_t>(missing.pois, int64_t(poi) + 1);
      const auto [found, fresh] = seen.try_emplace(int64_t(rows_.version[i]) << 32 | poi, missing.keep.size());
      if (fresh) missing.keep.push_back(i);
      else missing.again.emplace_back(i, found->second);
    }
    return missing;
  }

  // What is kept is taken; what is missing is computed, and kept where there is room.
  void add_pois() {
    kept_ = s_.keeping->now();
    Missing missing = look_up();
    const int known = s_.plan.known();
    int64_t first = -1;
    if (!missing.keep.empty()) {
      const auto next = s_.keeping->with(int64_t(missing.keep.size()), missing.pois);
      if (next && next != kept_) {
        kept_ = next;
        missing = look_up();
      }
      if (next) first = kept_->take(int64_t(missing.keep.size()));
    }
    // Rows that are not kept lie in memory of this call.
    std::vector<int64_t> rows = missing.keep;
    rows.insert(rows.end(), missing.others.begin(), missing.others.end());
    const size_t lasting = first < 0 ? 0 : missing.keep.size();
    pois_ = std::make_unique<Workspace>(sizeof(float) * (rows.size() - lasting) * size_t(known));
    const auto place = [&](size_t m) {
      return m < lasting ? kept_->row(first + int64_t(m)) : static_cast<float*>(pois_->data()) + int64_t(m - lasting) * known;
    };
    if (s_.of_poi.in == 0)
      for (size_t m = 0; m < rows.size(); m++) std::fill_n(place(m), known, 0.0f);
    else
      sum(
          s_.of_poi, int64_t(rows.size()), nullptr,
          [&](int64_t m, float* to) {
            const int64_t row = rows[size_t(m)];
            to = put_ids(to, row, s_.features.poi_ids);
            if (!in_.dense.empty()) to = put_dense(to, rows_.dense + row * int64_t(in_.dense.size()), s_.features.poi_dense);
            if (in_.poi > 0) std::copy_n(row_of("poi", s_.tables.pois, s_.tables.poi_rows, in_.poi, rows_.poi, row), in_.poi, to);
          },
          [&](int64_t m, float* to) { put_shallow(to, rows[size_t(m)], s_.features.poi_ids); },
          [&](int64_t m) { return place(size_t(m)); });
    for (size_t m = 0; m < rows.size(); m++) of_poi_[size_t(rows[m])] = place(m);
    for (const auto& [row, m] : missing.again) of_poi_[size_t(row)] = place(m);
    for (size_t m = 0; m < lasting; m++) kept_->show(rows_.kept[rows[m]], rows_.version[rows[m]], first + int64_t(m));
  }

  void run_blocks(float* click, float* order) const {
    const int pair = s_.plan.pair, shallow = s_.features.pair_ids.empty() ? 0 : s_.plan.shallow;
    // As many blocks for each thread, of the same size but for whole registers; a row's result does not depend on the block it is in.
    const int64_t n = rows_.rows, threads = thread_count(), rounds = (n + block_rows * threads - 1) / (block_rows * threads);
    const int64_t per_block = std::clamp<int64_t>((n + rounds * threads - 1) / (rounds * threads) + 5, 12, block_rows) / 6 * 6;
    parallel(
        int((n + per_block - 1) / per_block),
        [&](int b) {
          const int64_t from = int64_t(b) * per_block;
          const int used = int(std::min<int64_t>(per_block, n - from));
          const Workspace memory(sizeof(float) * size_t(block_rows) * size_t(pair + s_.plan.registers + shallow));
          float* x = static_cast<float*>(memory.data());
          std::fill(x + int64_t(used) * pair, x + int64_t(block_rows) * pair, 0.0f);
          for (int i = 0; i < used; i++) put_pair(x + int64_t(i) * pair, from + i);
          float* scratch = x + int64_t(block_rows) * pair;
          float* ids = shallow > 0 ? scratch + int64_t(block_rows) * s_.plan.registers : nullptr;
          for (int i = 0; ids && i < used; i++) put_shallow(ids + int64_t(i) * shallow, from + i, s_.features.pair_ids);
          const Block block{used, x, of_context_.data() + from, of_poi_.data() + from, ids};
          s_.path->block(s_.plan, block, scratch, click + from, order ? order + from : nullptr);
        },
        run_.cancel);
  }
};

void FusedRanker::score(const RankerRows& rows, float* click, float* order, const Run& run) const {
  if ((order != nullptr) != (state_->plan.logits.size() > 1)) refuse(std::string("the model learnt ") + (order ? "no orders" : "orders too"));
  if (rows.rows > 0) Call(*state_, rows, run).score(click, order);
}

}  // namespace larr
