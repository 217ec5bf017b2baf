// The addon: one Environment for each JavaScript environment that loads it.
#include "addon.h"

#include <mutex>

namespace larr {
namespace {

void closeEnvironment(napi_env, void* data, void*) {
  Environment* environment = static_cast<Environment*>(data);
  environment->closing = true;
  // Finalisers of tensors may still be to come; the last of them deletes it.
  if (environment->liveHandles == 0) delete environment;
}

void add(Environment& environment, napi_value exports, const std::vector<Function>& functions) {
  for (const Function& function : functions) {
    napi_value value = nullptr;
    check(napi_create_function(environment.env, function.name, NAPI_AUTO_LENGTH, function.callback, &environment, &value), function.name);
    check(napi_set_named_property(environment.env, exports, function.name, value), function.name);
  }
}

napi_value initialise(napi_env env, napi_value exports) {
  static std::once_flag once;
  std::call_once(once, keepFreedMemory);
  auto* environment = new Environment(env);
  try {
    check(napi_set_instance_data(env, environment, closeEnvironment, nullptr), "instance data");
    const napi_value tensor = defineTensorClass(*environment, operatorMethods());
    check(napi_set_named_property(env, exports, "Tensor", tensor), "Tensor");
    add(*environment, exports, operatorFunctions());
    add(*environment, exports, creationFunctions());
    add(*environment, exports, stateFunctions());
    add(*environment, exports, optimiserFunctions());
    add(*environment, exports, adagradFunctions());
    add(*environment, exports, compactFunctions());
    add(*environment, exports, safetensorsFunctions());
    add(*environment, exports, jobFunctions());
  } catch (const ArgumentError& error) {
    napi_throw_error(env, error.code.c_str(), error.message.c_str());
    return nullptr;
  } catch (const PendingException&) {
    return nullptr;
  }
  return exports;
}

}  // namespace
}  // namespace larr

NAPI_MODULE_INIT() { return larr::initialise(env, exports); }
