// State of one JavaScript environment (the main thread, or one worker): its tensors, its scopes, its references.
// Nothing here is global to the process, so any number of workers can load the addon side by side.
#pragma once

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <node_api.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

namespace larr {

struct Environment;
struct Scope;

/// What a JavaScript Tensor object owns. Lives from construction to disposal (or to the finaliser, the backstop).
struct Handle {
  at::Tensor tensor;
  napi_ref reference = nullptr;  // weak, to the JavaScript object
  Handle* previous = nullptr;    // in its scope's list
  Handle* next = nullptr;
  Scope* scope = nullptr;
  int64_t bytes = 0;  // of the processor's memory that is this tensor's own; V8 is told of them while it is in no scope
  Environment* environment = nullptr;
};

/// A set of tensors that are disposed together. Scope 0 (id 0) is the environment's own: it is never ended.
struct Scope {
  uint32_t id = 0;
  Scope* parent = nullptr;
  Handle* first = nullptr;
};

struct Environment {
  napi_env env = nullptr;
  napi_ref tensorClass = nullptr;
  napi_ref makeError = nullptr;
  Handle* pending = nullptr;  // the handle that the Tensor being constructed takes

  Scope root;
  Scope* current = &root;
  std::unordered_map<uint32_t, std::unique_ptr<Scope>> scopes;
  uint32_t nextScope = 1;

  size_t liveHandles = 0;
  bool closing = false;

  explicit Environment(napi_env env) : env(env) {}

  Handle* allocate();
  /// Gives up the tensor and the handle itself.
  void release(Handle* handle);
  /// Whether a pointer found behind a JavaScript object is one of this environment's handles.
  bool owns(const void* pointer) const;

  void enter(Handle* handle, Scope* scope);
  void leave(Handle* handle);
  Scope* findScope(uint32_t id);

  /// Tells V8 about memory that its objects hold; batched, as each telling costs more than a small operator.
  void report(int64_t bytes);

  template <typename F>
  void eachHandle(F&& f) const {
    auto walk = [&](const Scope& scope) {
      for (Handle* h = scope.first; h != nullptr; h = h->next) f(*h);
    };
    walk(root);
    for (const auto& [id, scope] : scopes) walk(*scope);
  }

 private:
  // Handles come from blocks aligned to their size: owns() is then a mask and a look-up, and never reads foreign memory.
  static constexpr size_t kBlockBytes = size_t{1} << 16;
  std::unordered_set<uintptr_t> blocks_;
  std::vector<std::unique_ptr<std::byte, void (*)(std::byte*)>> memory_;
  std::vector<Handle*> free_;
  mutable uintptr_t lastBlock_ = 1;  // no block: blocks are aligned
  int64_t unreportedBytes_ = 0;
};

/// Wraps a tensor in a new JavaScript Tensor, in the current scope.
napi_value wrap(Environment& environment, at::Tensor tensor);

/// Disposes of a handle now: its JavaScript object, if it lives still, then answers TENSOR_DISPOSED.
void dispose(Environment& environment, Handle* handle);

}  // namespace larr
