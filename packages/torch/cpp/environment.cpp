#include "environment.h"

#include "call.h"

#include <cstdlib>
#include <new>

namespace larr {

Handle* Environment::allocate() {
  if (free_.empty()) {
    auto* block = static_cast<std::byte*>(std::aligned_alloc(kBlockBytes, kBlockBytes));
    if (block == nullptr) throw std::bad_alloc();
    memory_.emplace_back(block, [](std::byte* p) { std::free(p); });
    blocks_.insert(reinterpret_cast<uintptr_t>(block));
    const size_t count = kBlockBytes / sizeof(Handle);
    free_.reserve(free_.size() + count);
    for (size_t i = count; i-- > 0;) free_.push_back(reinterpret_cast<Handle*>(block + i * sizeof(Handle)));
  }
  Handle* handle = free_.back();
  free_.pop_back();
  new (handle) Handle();
  handle->environment = this;
  ++liveHandles;
  return handle;
}

void Environment::release(Handle* handle) {
  leave(handle);
  handle->~Handle();
  free_.push_back(handle);
  --liveHandles;
}

bool Environment::owns(const void* pointer) const {
  const uintptr_t block = reinterpret_cast<uintptr_t>(pointer) & ~(uintptr_t{kBlockBytes} - 1);
  if (block == lastBlock_) return true;
  if (blocks_.find(block) == blocks_.end()) return false;
  lastBlock_ = block;
  return true;
}

void Environment::enter(Handle* handle, Scope* scope) {
  handle->scope = scope;
  handle->previous = nullptr;
  handle->next = scope->first;
  if (scope->first != nullptr) scope->first->previous = handle;
  scope->first = handle;
  if (scope == &root) report(handle->bytes);
}

void Environment::leave(Handle* handle) {
  if (handle->scope == nullptr) return;
  if (handle->scope == &root) report(-handle->bytes);
  if (handle->previous != nullptr) {
    handle->previous->next = handle->next;
  } else {
    handle->scope->first = handle->next;
  }
  if (handle->next != nullptr) handle->next->previous = handle->previous;
  handle->scope = nullptr;
  handle->previous = handle->next = nullptr;
}

Scope* Environment::findScope(uint32_t id) {
  if (id == 0) return &root;
  const auto found = scopes.find(id);
  return found == scopes.end() ? nullptr : found->second.get();
}

void Environment::report(int64_t bytes) {
  unreportedBytes_ += bytes;
  constexpr int64_t kBatch = int64_t{4} << 20;
  if (closing || (unreportedBytes_ < kBatch && unreportedBytes_ > -kBatch)) return;
  int64_t total = 0;
  napi_adjust_external_memory(env, unreportedBytes_, &total);
  unreportedBytes_ = 0;
}

napi_value wrap(Environment& environment, at::Tensor tensor) {
  Handle* handle = environment.allocate();
  // A view shares its base's storage, which the base's own object has told V8 about. A device's memory is none of V8's business, nor is
  // what a scope will free: told of memory that comes and goes with every step, it spent a fifth of a training's time collecting garbage.
  if (tensor.has_storage() && tensor.is_cpu() && tensor.storage().use_count() == 1) {
    handle->bytes = static_cast<int64_t>(tensor.storage().nbytes());
  }
  handle->tensor = std::move(tensor);
  environment.enter(handle, environment.current);

  napi_value constructor = nullptr, object = nullptr;
  environment.pending = handle;
  const bool made = napi_get_reference_value(environment.env, environment.tensorClass, &constructor) == napi_ok &&
                    napi_new_instance(environment.env, constructor, 0, nullptr, &object) == napi_ok;
  environment.pending = nullptr;
  if (!made) {
    // The constructor takes the handle only when it can wrap it: without an object nobody else frees it.
    if (handle->reference == nullptr) environment.release(handle);
    throw PendingException();
  }
  return object;
}

void dispose(Environment& environment, Handle* handle) {
  if (handle->reference != nullptr) {
    napi_value object = nullptr;
    if (napi_get_reference_value(environment.env, handle->reference, &object) == napi_ok && object != nullptr) {
      napi_remove_wrap(environment.env, object, nullptr);
    }
    napi_delete_reference(environment.env, handle->reference);
    handle->reference = nullptr;
  }
  environment.release(handle);
}

}  // namespace larr
