#include "arrays.h"
#include "larr/kernels.h"
#include "scene_kernel.h"
#include "surface.h"

namespace larr::addon {
namespace {

// The table belongs to JavaScript and is referenced as long as an encoder that reads it is. Calls under way share the encoder and reference its handle.
struct Handle {
  std::shared_ptr<const SceneKernel> encoder;
  Napi::ObjectReference table;
};

std::shared_ptr<const SceneKernel> encoder_of(const Napi::Value& value) {
  if (!value.IsExternal()) throw std::invalid_argument("the scene scorer has been disposed of");
  return value.As<Napi::External<Handle>>().Data()->encoder;
}

}  // namespace

// makeEncoder(table, fieldOf, weights: Float32Array[18] in the order of EncoderWeights, [fields, d, heads, ffn, headHidden, out], bf16, gpu)
//   -> [encoder, why it is not on that GPU (empty where it is)]; gpu -1: the processor
Napi::Value make_encoder(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const int32_t* dims = ints(info[3], 6, "dims");
    const EncoderShape shape{dims[0], dims[1], dims[2], dims[3], dims[4], dims[5]};
    const size_t n = size_t(shape.fields), d = size_t(shape.dim), f = size_t(shape.ffn), h = size_t(shape.head_hidden), o = size_t(shape.out);
    EncoderTable table;
    table.entries = int64_t(info[1].As<Napi::TypedArray>().ElementLength());
    table.field_of = ints(info[1], size_t(table.entries), "fieldOf");
    table.embeddings = floats(info[0], size_t(table.entries) * d, "table");
    const auto list = info[2].As<Napi::Array>();
    uint32_t at = 0;
    const auto next = [&](size_t count) -> const float* {
      const float* data = floats(list.Get(at++), count, "a weight");
      if (!data) throw std::invalid_argument("a weight is missing");
      return data;
    };
    EncoderWeights w;
    w.agg = next(d), w.field = next(n * d);
    w.in_proj_weight = next(3 * d * d), w.in_proj_bias = next(3 * d);
    w.out_proj_weight = next(d * d), w.out_proj_bias = next(d);
    w.norm1_weight = next(d), w.norm1_bias = next(d);
    w.ffn1_weight = next(f * d), w.ffn1_bias = next(f);
    w.ffn2_weight = next(d * f), w.ffn2_bias = next(d);
    w.norm2_weight = next(d), w.norm2_bias = next(d);
    w.head1_weight = next(h * d), w.head1_bias = next(h);
    w.head2_weight = next(o * h), w.head2_bias = next(o);
    auto made = make_scene_kernel(shape, w, table, info[4].ToBoolean() ? Dtype::bf16 : Dtype::f32, info[5].As<Napi::Number>().Int32Value());
    const int64_t bytes = int64_t(made->bytes());
    auto answer = Napi::Array::New(info.Env(), 2);
    answer.Set(1u, made->why_cpu());
    auto* handle = new Handle{made, made->reads_table() ? Napi::Persistent(info[0].As<Napi::Object>()) : Napi::ObjectReference()};
    Napi::MemoryManagement::AdjustExternalMemory(info.Env(), bytes);
    answer.Set(0u, Napi::External<Handle>::New(info.Env(), handle, [bytes](Napi::Env env, Handle* held) {
      delete held;
      Napi::MemoryManagement::AdjustExternalMemory(env, -bytes);
    }));
    return answer;
  });
}

// encode(encoder, rows, nRows, z, attention|null, async)
Napi::Value encode_call(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const auto encoder = encoder_of(info[0]);
    const EncoderShape& shape = encoder->shape();
    const int64_t n = info[2].As<Napi::Number>().Int64Value();
    const int32_t* rows = ints(info[1], size_t(n) * size_t(shape.fields), "rows");
    float* z = floats(info[3], size_t(n) * size_t(shape.out), "out");
    float* attention = floats(info[4], size_t(n) * size_t(shape.heads) * size_t(1 + shape.fields), "attention");
    return call(
        info.Env(), info[5].ToBoolean(), {info[0], info[1], info[3], info[4]},
        [=](const std::atomic<bool>* cancel) { encoder->encode(rows, n, z, attention, cancel); },
        [](Napi::Env env) -> Napi::Value { return env.Undefined(); });
  });
}

// score(encoder, rows, nRows, targets, oneTarget, scores, attention|null, topK, async) -> [rows: Int32Array, scores: Float32Array]
Napi::Value score_call(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const auto encoder = encoder_of(info[0]);
    const EncoderShape& shape = encoder->shape();
    const int64_t n = info[2].As<Napi::Number>().Int64Value(), k = info[7].As<Napi::Number>().Int64Value();
    const bool one_target = info[4].ToBoolean();
    const int32_t* rows = ints(info[1], size_t(n) * size_t(shape.fields), "rows");
    const float* targets = floats(info[3], size_t(one_target ? 1 : n) * size_t(shape.out), "targets");
    float* scores = floats(info[5], size_t(n), "scores");
    float* attention = floats(info[6], size_t(n) * size_t(shape.heads) * size_t(1 + shape.fields), "attention");
    auto best = std::make_shared<std::vector<Scored>>();
    return call(
        info.Env(), info[8].ToBoolean(), {info[0], info[1], info[3], info[5], info[6]},
        [=](const std::atomic<bool>* cancel) { *best = encoder->score(rows, n, targets, one_target, scores, attention, k, cancel); },
        [best](Napi::Env env) -> Napi::Value {
          auto best_rows = Napi::Int32Array::New(env, best->size());
          auto best_scores = Napi::Float32Array::New(env, best->size());
          for (size_t i = 0; i < best->size(); i++) best_rows[i] = (*best)[i].row, best_scores[i] = (*best)[i].score;
          auto pair = Napi::Array::New(env, 2);
          pair.Set(0u, best_rows);
          pair.Set(1u, best_scores);
          return pair;
        });
  });
}

}  // namespace larr::addon
