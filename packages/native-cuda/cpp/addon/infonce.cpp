#include "arrays.h"
#include "calls.h"
#include "larr/cuda.h"
#include "larr/kernels.h"
#include "surface.h"

namespace larr::addon {

// infoNce(q, k, groups|null, batch, dim, scale, bf16, lseRow, lseCol, dq|null, dk|null, gpu, async) -> [loss, dscale]; gpu -1: the processor
Napi::Value infonce_call(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    InfoNce p;
    p.batch = info[3].As<Napi::Number>().Int64Value();
    p.dim = info[4].As<Napi::Number>().Int64Value();
    const size_t size = size_t(p.batch) * size_t(p.dim);
    p.q = floats(info[0], size, "q");
    p.k = floats(info[1], size, "k");
    p.groups = ints(info[2], size_t(p.batch), "groups");
    p.scale = info[5].As<Napi::Number>().DoubleValue();
    p.compute = info[6].ToBoolean() ? Dtype::bf16 : Dtype::f32;
    auto out = std::make_shared<InfoNceOut>();
    out->lse_row = floats(info[7], size_t(p.batch), "lseRow");
    out->lse_col = floats(info[8], size_t(p.batch), "lseCol");
    out->dq = floats(info[9], size, "dq");
    out->dk = floats(info[10], size, "dk");
    const int gpu = info[11].As<Napi::Number>().Int32Value();
    return call(
        info.Env(), info[12].ToBoolean(), {info[0], info[1], info[2], info[7], info[8], info[9], info[10]},
        [p, out, gpu](const std::atomic<bool>* cancel) {
          if (gpu < 0) return infonce(p, *out, {.cancel = cancel});
          infonce_on_cuda(p, *out, gpu);
        },
        [out](Napi::Env env) -> Napi::Value {
          auto pair = Napi::Array::New(env, 2);
          pair.Set(0u, out->loss);
          pair.Set(1u, out->dscale);
          return pair;
        });
  });
}

}  // namespace larr::addon
