// Calls from JavaScript into the kernels: at once (sync form), or on the addon's own threads with a promise. Neither the event loop
// nor libuv's pool ever waits on a kernel. While a promise is open its arrays are referenced, and when an environment ends (a worker
// is terminated, the process exits) its open calls are cancelled and waited for before the arrays' memory can go.
#pragma once
#include <napi.h>

#include <atomic>
#include <functional>
#include <list>
#include <memory>
#include <string>
#include <vector>

#include "runners.h"

namespace larr::addon {

struct Call;

// One per environment (napi instance data): workers each have their own.
struct Instance {
  explicit Instance(Napi::Env env);
  ~Instance();
  static Instance& of(Napi::Env env) { return *env.GetInstanceData<Instance>(); }

  Napi::FunctionReference error_class;  // KernelError(code, message)
  Napi::ThreadSafeFunction settle;
  int open = 0;                     // promises not yet settled; JavaScript's thread only
  std::list<std::unique_ptr<Call>> calls;  // JavaScript's thread only

  Giver tasks;

  void end();  // cancels and waits
};

// The exception in flight as a KernelError. Call inside a catch block.
Napi::Error to_error(Napi::Env env, std::exception_ptr failure);

using Work = std::function<void(const std::atomic<bool>* cancel)>;
using Result = std::function<Napi::Value(Napi::Env)>;

// Runs `work`, then makes `result` of it on JavaScript's thread. `pinned` stay referenced until then.
Napi::Value call(Napi::Env env, bool async, std::vector<Napi::Value> pinned, Work work, Result result);

}  // namespace larr::addon
