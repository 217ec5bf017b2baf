#include "calls.h"

#include <atomic>
#include <list>

#include "failure.h"
#include "larr/kernels.h"

namespace larr::addon {

struct Call final : Task {
  Instance* instance;
  Work work;
  Result result;
  std::vector<Napi::ObjectReference> pinned;
  Napi::Promise::Deferred deferred;
  std::exception_ptr failure;
  std::atomic<bool> cancel{false};
  std::list<std::unique_ptr<Call>>::iterator place;

  Call(Instance* instance_, Work work_, Result result_, Napi::Env env)
      : instance(instance_), work(std::move(work_)), result(std::move(result_)), deferred(Napi::Promise::Deferred::New(env)) {}
  void run() noexcept override;
  void ended() noexcept override;
};

namespace {

void settle_call(Napi::Env env, Napi::Function, Call* call) {
  if (!env) return;  // the environment is ending; Instance::end has dealt with the call
  Instance* instance = call->instance;
  const std::unique_ptr<Call> owned = std::move(*call->place);
  instance->calls.erase(call->place);
  // A worker that is being terminated still gets here, and then nothing of JavaScript can be made any more: nobody is left to tell.
  try {
    if (--instance->open == 0) instance->settle.Unref(env);
    if (call->failure) {
      call->deferred.Reject(to_error(env, call->failure).Value());
      return;
    }
    try {
      call->deferred.Resolve(call->result(env));
    } catch (const Napi::Error& error) {
      call->deferred.Reject(error.Value());
    }
  } catch (const Napi::Error&) {
  }
}

}  // namespace

void Call::run() noexcept {
  try {
    if (cancel.load()) throw Cancelled();
    work(&cancel);
  } catch (...) {
    failure = std::current_exception();
  }
}

// Settling is asked for while the environment is held back from ending.
void Call::ended() noexcept { instance->settle.NonBlockingCall(this, settle_call); }

Instance::Instance(Napi::Env env) {
  settle = Napi::ThreadSafeFunction::New(env, Napi::Function::New(env, [](const Napi::CallbackInfo&) {}), "larr kernels", 0, 1);
  settle.Unref(env);
  // Runs before the environment's own teardown frees anything.
  napi_add_env_cleanup_hook(env, [](void* instance) { static_cast<Instance*>(instance)->end(); }, this);
}

Instance::~Instance() = default;

void Instance::end() {
  for (auto& call : calls) call->cancel.store(true);
  tasks.wait();
  calls.clear();
}

Napi::Error to_error(Napi::Env env, std::exception_ptr failure) {
  const auto [code, message] = report(failure);
  const auto& type = Instance::of(env).error_class;
  if (type.IsEmpty()) return Napi::Error::New(env, message);
  return Napi::Error(env, type.New({Napi::String::New(env, code), Napi::String::New(env, message)}));
}

Napi::Value call(Napi::Env env, bool async, std::vector<Napi::Value> pinned, Work work, Result result) {
  if (!async) {
    try {
      work(nullptr);
    } catch (...) {
      throw to_error(env, std::current_exception());
    }
    return result(env);
  }
  Instance& instance = Instance::of(env);
  auto owned = std::make_unique<Call>(&instance, std::move(work), std::move(result), env);
  Call* call = owned.get();
  for (const Napi::Value& value : pinned)
    if (value.IsObject()) call->pinned.push_back(Napi::Persistent(value.As<Napi::Object>()));
  instance.calls.push_front(std::move(owned));
  call->place = instance.calls.begin();
  const Napi::Value promise = call->deferred.Promise();
  if (instance.open++ == 0) instance.settle.Ref(env);
  try {
    instance.tasks.start(*call);
  } catch (...) {
    if (--instance.open == 0) instance.settle.Unref(env);
    instance.calls.pop_front();
    throw to_error(env, std::current_exception());
  }
  return promise;
}

}  // namespace larr::addon
