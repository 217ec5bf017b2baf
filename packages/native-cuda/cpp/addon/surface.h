// The functions the addon exports, each beside its JavaScript signature in its source.
#pragma once
#include <napi.h>

#include "calls.h"

namespace larr::addon {

Napi::Value infonce_call(const Napi::CallbackInfo& info);
Napi::Value gather_rows_call(const Napi::CallbackInfo& info);
Napi::Value map_file(const Napi::CallbackInfo& info);
Napi::Value make_encoder(const Napi::CallbackInfo& info);
Napi::Value encode_call(const Napi::CallbackInfo& info);
Napi::Value score_call(const Napi::CallbackInfo& info);
Napi::Value make_ranker(const Napi::CallbackInfo& info);
Napi::Value ranker_bytes(const Napi::CallbackInfo& info);
Napi::Value rank_rows(const Napi::CallbackInfo& info);

// Every C++ exception of `body` becomes a KernelError at the border.
template <class Body>
Napi::Value guarded(Napi::Env env, const Body& body) {
  try {
    return body();
  } catch (const Napi::Error&) {
    throw;
  } catch (...) {
    throw to_error(env, std::current_exception());
  }
}

}  // namespace larr::addon
