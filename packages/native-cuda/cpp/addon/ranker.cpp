#include "larr/ranker.h"

#include "arrays.h"
#include "surface.h"

namespace larr::addon {
namespace {

// The tables belong to JavaScript and are referenced as long as the ranker is; calls under way share the ranker.
struct Handle {
  std::shared_ptr<FusedRanker> ranker;
  std::vector<Napi::ObjectReference> tables;
};

std::shared_ptr<FusedRanker> ranker_of(const Napi::Value& value) {
  if (!value.IsExternal()) throw std::invalid_argument("the ranker has been disposed of");
  return value.As<Napi::External<Handle>>().Data()->ranker;
}

size_t length_of(const Napi::Value& value) { return value.IsTypedArray() ? value.As<Napi::TypedArray>().ElementLength() : 0; }

template <class T>
std::vector<T> list_of(const Napi::Value& value, const char* name) {
  const int32_t* data = ints(value, 0, name);
  return data ? std::vector<T>(data, data + length_of(value)) : std::vector<T>();
}

}  // namespace

// makeRanker([embedding, contextIds, contextDense, z, behaviour, poi], ids: Int32Array of 0 and 1, dense: the same, mean, scale, registers,
//   steps: [kind, relu, from, to, weight, bias, gates, experts, seen][], logits, clickShift, embedding table, POI table|null, memory, second order|null, terms|null)
Napi::Value make_ranker(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    RankerProgram program;
    const int32_t* sizes = ints(info[0], 6, "inputs");
    RankerInputs& in = program.inputs;
    in.embedding = sizes[0], in.context_ids = sizes[1], in.context_dense = sizes[2], in.z = sizes[3], in.behaviour = sizes[4], in.poi = sizes[5];
    in.ids = list_of<uint8_t>(info[1], "ids");
    in.dense = list_of<uint8_t>(info[2], "dense");
    const size_t numbers = size_t(in.context_dense) + in.dense.size();
    in.mean = floats(info[3], numbers, "mean");
    in.scale = floats(info[4], numbers, "scale");
    program.registers = list_of<int>(info[5], "registers");
    const auto steps = info[6].As<Napi::Array>();
    const auto width_of = [&](int reg) {
      if (reg < 0 || size_t(reg) >= program.registers.size()) throw std::invalid_argument("ranker: there is no register " + std::to_string(reg));
      return size_t(program.registers[size_t(reg)]);
    };
    for (uint32_t i = 0; i < steps.Length(); i++) {
      const auto given = steps.Get(i).As<Napi::Array>();
      RankerStep step;
      step.kind = RankerStep::Kind(given.Get(0u).As<Napi::Number>().Int32Value());
      step.relu = given.Get(1u).ToBoolean();
      step.from = given.Get(2u).As<Napi::Number>().Int32Value();
      step.to = list_of<int>(given.Get(3u), "to");
      step.gates = list_of<int>(given.Get(6u), "gates");
      step.experts = list_of<int>(given.Get(7u), "experts");
      step.seen = list_of<uint8_t>(given.Get(8u), "seen");
      if (step.kind != RankerStep::mix && !step.to.empty()) {
        const size_t out = width_of(step.to[0]);
        const size_t wide = step.kind == RankerStep::input ? size_t(in.context_width() + in.row_width()) : width_of(step.from);
        step.weight = floats(given.Get(4u), out * wide, "a step's weight");
        step.bias = floats(given.Get(5u), out, "a step's bias");
      }
      program.steps.push_back(std::move(step));
    }
    program.logits = list_of<int>(info[7], "logits");
    program.click_shift = info[8].As<Napi::Number>().FloatValue();
    program.second_order = floats(info[12], program.logits.size() * size_t(in.embedding), "the second order");
    RankerTables tables;
    tables.embedding = floats(info[9], 0, "the embedding table");
    tables.embedding_rows = in.embedding > 0 ? int64_t(length_of(info[9])) / in.embedding : 0;
    tables.terms = floats(info[13], size_t(tables.embedding_rows) * program.logits.size(), "the terms");
    tables.pois = floats(info[10], 0, "the POI table");
    tables.poi_rows = in.poi > 0 ? int64_t(length_of(info[10])) / in.poi : 0;
    auto handle = std::make_unique<Handle>();
    handle->ranker = std::make_shared<FusedRanker>(program, tables, size_t(info[11].As<Napi::Number>().Int64Value()));
    for (int i : {9, 10, 13})
      if (info[size_t(i)].IsObject()) handle->tables.push_back(Napi::Persistent(info[size_t(i)].As<Napi::Object>()));
    const int64_t bytes = int64_t(handle->ranker->bytes());
    Napi::MemoryManagement::AdjustExternalMemory(info.Env(), bytes);
    return Napi::External<Handle>::New(info.Env(), handle.release(), [bytes](Napi::Env env, Handle* held) {
      delete held;
      Napi::MemoryManagement::AdjustExternalMemory(env, -bytes);
    });
  });
}

// rankerBytes(ranker) -> [of the weights, of what is kept of POIs]
Napi::Value ranker_bytes(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const auto ranker = ranker_of(info[0]);
    auto pair = Napi::Array::New(info.Env(), 2);
    pair.Set(0u, double(ranker->bytes()));
    pair.Set(1u, double(ranker->kept_bytes()));
    return pair;
  });
}

// rankRows(ranker, rows, contexts, context, contextIds, contextDense, z, behaviour, ids, dense, poi, kept|null, version|null, click,
//   order|null, async)
Napi::Value rank_rows(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const auto ranker = ranker_of(info[0]);
    const RankerInputs& in = ranker->program().inputs;
    RankerRows r;
    r.rows = info[1].As<Napi::Number>().Int64Value(), r.contexts = info[2].As<Napi::Number>().Int64Value();
    const size_t n = size_t(r.rows), contexts = size_t(r.contexts);
    const auto needed = [&](const void* data, bool is_needed, const char* name) {
      if (is_needed && !data) throw std::invalid_argument(std::string(name) + " is missing");
    };
    needed(r.context = ints(info[3], n, "context"), true, "context");
    needed(r.context_ids = ints(info[4], contexts * size_t(in.context_ids), "contextIds"), in.context_ids > 0, "contextIds");
    needed(r.context_dense = floats(info[5], contexts * size_t(in.context_dense), "contextDense"), in.context_dense > 0, "contextDense");
    needed(r.z = floats(info[6], contexts * size_t(in.z), "z"), in.z > 0, "z");
    needed(r.behaviour = floats(info[7], contexts * size_t(in.behaviour), "behaviour"), in.behaviour > 0, "behaviour");
    needed(r.ids = ints(info[8], n * in.ids.size(), "ids"), !in.ids.empty(), "ids");
    needed(r.dense = floats(info[9], n * in.dense.size(), "dense"), !in.dense.empty(), "dense");
    needed(r.poi = ints(info[10], n, "poi"), in.poi > 0, "poi");
    r.kept = ints(info[11], n, "kept");
    r.version = ints(info[12], n, "version");
    float* click = floats(info[13], n, "click");
    float* order = floats(info[14], n, "order");
    needed(click, true, "click");
    // the ranker's tables live as long as its handle
    std::vector<Napi::Value> pinned{info[0]};
    for (size_t i = 3; i <= 14; i++) pinned.push_back(info[i]);
    return call(
        info.Env(), info[15].ToBoolean(), std::move(pinned),
        [=](const std::atomic<bool>* cancel) { ranker->score(r, click, order, {.cancel = cancel}); },
        [](Napi::Env env) -> Napi::Value { return env.Undefined(); });
  });
}

}  // namespace larr::addon
