// larr_native.node: what TypeScript (src/native.ts) sees of the kernels.
#include <napi.h>

#include "larr/cuda.h"
#include "larr/kernels.h"
#include "surface.h"

namespace larr::addon {
namespace {

// deviceInfo() -> {gpu: the index that LARR_DEVICE asks for or -1, isa, isas, threads, cudaCompiled}
Napi::Value device_info(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const Napi::Env env = info.Env();
    auto about = Napi::Object::New(env);
    about.Set("gpu", wanted_gpu());
    about.Set("isa", isa_name(active_isa()));
    about.Set("threads", thread_count());
    const auto& isas = supported_isas();
    auto names = Napi::Array::New(env, isas.size());
    for (uint32_t i = 0; i < isas.size(); i++) names.Set(i, isa_name(isas[i]));
    about.Set("isas", names);
    about.Set("cudaCompiled", cuda_compiled());
    return about;
  });
}

// cudaDevices() -> {devices: [{index, name, computeCapability, multiprocessors, memory}], problem?}. Starts the driver.
Napi::Value cuda_devices_call(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const Napi::Env env = info.Env();
    std::string problem;
    const auto found = cuda_devices(&problem);
    auto devices = Napi::Array::New(env, found.size());
    for (uint32_t i = 0; i < found.size(); i++) {
      auto device = Napi::Object::New(env);
      device.Set("index", found[i].index);
      device.Set("name", found[i].name);
      device.Set("computeCapability", std::to_string(found[i].major) + "." + std::to_string(found[i].minor));
      device.Set("multiprocessors", found[i].multiprocessors);
      device.Set("memory", double(found[i].memory));
      devices.Set(i, device);
    }
    auto answer = Napi::Object::New(env);
    answer.Set("devices", devices);
    if (found.empty()) answer.Set("problem", problem);
    return answer;
  });
}

// setErrorClass(KernelError)
Napi::Value set_error_class(const Napi::CallbackInfo& info) {
  Instance::of(info.Env()).error_class = Napi::Persistent(info[0].As<Napi::Function>());
  return info.Env().Undefined();
}

Napi::Object start(Napi::Env env, Napi::Object exports) {
  env.SetInstanceData(new Instance(env));
  const auto add = [&](const char* name, Napi::Value (*function)(const Napi::CallbackInfo&)) {
    exports.Set(name, Napi::Function::New(env, function, name));
  };
  add("deviceInfo", device_info);
  add("cudaDevices", cuda_devices_call);
  add("setErrorClass", set_error_class);
  add("infoNce", infonce_call);
  add("gatherRows", gather_rows_call);
  add("mapFile", map_file);
  add("makeEncoder", make_encoder);
  add("encode", encode_call);
  add("score", score_call);
  add("makeRanker", make_ranker);
  add("rankerBytes", ranker_bytes);
  add("rankRows", rank_rows);
  return exports;
}

}  // namespace
}  // namespace larr::addon

static Napi::Object start_addon(Napi::Env env, Napi::Object exports) { return larr::addon::start(env, exports); }
NODE_API_MODULE(larr_native, start_addon)
