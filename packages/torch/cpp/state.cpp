// What surrounds the operators: scopes, gradient mode, autocast, random state, threads, and what this LibTorch is.
#include "addon.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <ATen/autocast_mode.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <c10/core/GradMode.h>
#include <torch/version.h>

#include <dlfcn.h>

#include <cstring>
#include <mutex>

namespace larr {
namespace {

// ---- scopes ----

Scope* newScope(Environment& environment) {
  const uint32_t id = environment.nextScope++;
  auto scope = std::make_unique<Scope>();
  scope->id = id;
  scope->parent = environment.current;
  return environment.scopes.emplace(id, std::move(scope)).first->second.get();
}

Scope* liveScope(Call& call, size_t i) {
  Scope* scope = call.environment().findScope(static_cast<uint32_t>(call.read().integer(call.at(i), "scope")));
  if (scope == nullptr) throw ArgumentError{"TENSOR_SCOPE", "this scope has ended"};
  return scope;
}

/// Makes a scope without entering it → its id.
LARR_FUNCTION(createScope) { return call.number(newScope(call.environment())->id); }

/// Makes a scope and enters it → its id.
LARR_FUNCTION(beginScope) {
  Scope* scope = newScope(call.environment());
  call.environment().current = scope;
  return call.number(scope->id);
}

/// (scope, kept tensors): moves those kept to the parent and disposes of the rest.
LARR_FUNCTION(endScope) {
  Environment& environment = call.environment();
  const Reader read = call.read();
  Scope* scope = liveScope(call, 0);
  Scope* parent = scope->parent;
  if (call.has(1)) {
    uint32_t length = 0;
    check(napi_get_array_length(call.env(), call.at(1), &length), "kept");
    for (uint32_t i = 0; i < length; ++i) {
      napi_value element = nullptr;
      check(napi_get_element(call.env(), call.at(1), i, &element), "kept");
      Handle* handle = read.handleOrNull(element);
      if (handle == nullptr || handle->scope != scope) continue;
      environment.leave(handle);
      environment.enter(handle, parent);
    }
  }
  while (scope->first != nullptr) dispose(environment, scope->first);
  // An asynchronous scope may outlive the one it was begun in.
  for (auto& [id, other] : environment.scopes) {
    if (other->parent == scope) other->parent = parent;
  }
  if (environment.current == scope) environment.current = parent;
  environment.scopes.erase(scope->id);
  return call.undefined();
}

/// The current scope's id.
LARR_FUNCTION(currentScope) { return call.number(call.environment().current->id); }
/// Makes a scope the current one → whether it lives still.
LARR_FUNCTION(enterScope) {
  Scope* scope = call.environment().findScope(static_cast<uint32_t>(call.read().integer(call.at(0), "scope")));
  if (scope != nullptr) call.environment().current = scope;
  return call.boolean(scope != nullptr);
}

/// Takes a tensor out of every scope.
LARR_FUNCTION(keep) {
  Environment& environment = call.environment();
  call.read().tensor(call.at(0), "tensor");
  Handle* handle = call.read().handleOrNull(call.at(0));
  environment.leave(handle);
  environment.enter(handle, &environment.root);
  return call.at(0);
}

LARR_FUNCTION(memoryStats) {
  std::unordered_set<const void*> storages;
  double tensors = 0, bytes = 0;
  call.environment().eachHandle([&](const Handle& handle) {
    ++tensors;
    const at::Tensor& tensor = handle.tensor;
    const at::Tensor& plain = tensor.layout() == at::kSparse ? tensor._values() : tensor;
    if (!plain.has_storage() || !storages.insert(plain.storage().unsafeGetStorageImpl()).second) return;
    bytes += static_cast<double>(plain.storage().nbytes());
  });
  napi_value result = nullptr;
  check(napi_create_object(call.env(), &result), "memoryStats");
  check(napi_set_named_property(call.env(), result, "tensors", call.number(tensors)), "memoryStats");
  check(napi_set_named_property(call.env(), result, "bytes", call.number(bytes)), "memoryStats");
  return result;
}

// ---- gradient mode and autocast ----

LARR_FUNCTION(gradEnabled) { return call.boolean(c10::GradMode::is_enabled()); }
LARR_FUNCTION(setGradEnabled) {
  c10::GradMode::set_enabled(call.read().boolean(call.at(0), "enabled"));
  return call.undefined();
}

LARR_FUNCTION(autocastEnabled) { return call.boolean(at::autocast::is_autocast_enabled(at::kCPU)); }
LARR_FUNCTION(setAutocastEnabled) {
  const bool enabled = call.read().boolean(call.at(0), "enabled");
  for (const at::DeviceType device : {at::kCPU, at::kCUDA}) {
    if (enabled) at::autocast::set_autocast_dtype(device, at::kBFloat16);
    at::autocast::set_autocast_enabled(device, enabled);
  }
  // Copies of weights made in bf16 would be stale after the next optimiser step.
  if (!enabled) at::autocast::clear_cache();
  return call.undefined();
}

// ---- random numbers ----

LARR_FUNCTION(manualSeed) {
  at::manual_seed(static_cast<uint64_t>(call.read().integer(call.at(0), "seed")));
  return call.undefined();
}

std::vector<at::Generator> generators() {
  std::vector<at::Generator> all{at::detail::getDefaultCPUGenerator()};
  if (at::globalContext().hasCUDA()) {
    const auto devices = at::detail::getCUDAHooks().deviceCount();
    for (int i = 0; i < devices; ++i) {
      all.push_back(at::globalContext().defaultGenerator(at::Device(at::kCUDA, static_cast<c10::DeviceIndex>(i))));
    }
  }
  return all;
}

/// The generators' states one after another: the CPU's, then each CUDA device's.
LARR_FUNCTION(getRngState) {
  std::vector<at::Tensor> states;
  for (at::Generator& generator : generators()) {
    const std::lock_guard<std::mutex> lock(generator.mutex());
    states.push_back(generator.get_state());
  }
  const at::Tensor all = at::cat(states).contiguous();
  void* memory = nullptr;
  napi_value buffer = nullptr, array = nullptr;
  check(napi_create_arraybuffer(call.env(), all.nbytes(), &memory, &buffer), "state");
  std::memcpy(memory, all.const_data_ptr(), all.nbytes());
  check(napi_create_typedarray(call.env(), napi_uint8_array, all.nbytes(), buffer, 0, &array), "state");
  return array;
}

LARR_FUNCTION(setRngState) {
  napi_typedarray_type type = napi_uint8_array;
  size_t length = 0;
  void* memory = nullptr;
  if (napi_get_typedarray_info(call.env(), call.at(0), &type, &length, &memory, nullptr, nullptr) != napi_ok || type != napi_uint8_array) {
    throw ArgumentError{"TENSOR_ARGUMENT", "state must be a Uint8Array, as getRngState() gave it"};
  }
  const at::Tensor all = at::from_blob(memory, {static_cast<int64_t>(length)}, at::kByte).clone();
  int64_t offset = 0;
  for (at::Generator& generator : generators()) {
    const std::lock_guard<std::mutex> lock(generator.mutex());
    const int64_t size = generator.get_state().numel();
    if (offset + size > all.numel()) {
      // A state saved without a GPU says nothing about the GPU's generators.
      if (offset > 0) break;
      throw ArgumentError{"TENSOR_ARGUMENT", "state has " + std::to_string(length) + " bytes, but a generator's state has " + std::to_string(size)};
    }
    generator.set_state(all.narrow(0, offset, size).clone());
    offset += size;
  }
  return call.undefined();
}

// ---- threads and versions ----

LARR_FUNCTION(setNumThreads) {
  const int64_t threads = call.read().integer(call.at(0), "threads");
  if (threads < 1 || threads > 4096) throw ArgumentError{"TENSOR_ARGUMENT", "threads must be from 1 to 4096, not " + std::to_string(threads)};
  at::set_num_threads(static_cast<int>(threads));
  return call.undefined();
}
LARR_FUNCTION(getNumThreads) { return call.number(at::get_num_threads()); }
LARR_FUNCTION(cudaAvailable) { return call.boolean(at::globalContext().hasCUDA() && at::detail::getCUDAHooks().deviceCount() > 0); }

/// → [name, bytes of memory] of each CUDA device.
LARR_FUNCTION(cudaDevices) {
  const int count = at::globalContext().hasCUDA() ? at::detail::getCUDAHooks().deviceCount() : 0;
  napi_value devices = nullptr;
  check(napi_create_array_with_length(call.env(), static_cast<size_t>(count), &devices), "devices");
  if (count == 0) return devices;
  // The driver, which a CUDA LibTorch has loaded already, knows both; naming it here would need CUDA's headers to build.
  void* driver = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_NOLOAD);
  const auto deviceOf = reinterpret_cast<int (*)(int*, int)>(driver ? dlsym(driver, "cuDeviceGet") : nullptr);
  const auto nameOf = reinterpret_cast<int (*)(char*, int, int)>(driver ? dlsym(driver, "cuDeviceGetName") : nullptr);
  const auto memoryOf = reinterpret_cast<int (*)(size_t*, int)>(driver ? dlsym(driver, "cuDeviceTotalMem_v2") : nullptr);
  for (int i = 0; i < count; ++i) {
    int device = 0;
    char name[256] = "CUDA device";
    size_t bytes = 0;
    if (deviceOf != nullptr && nameOf != nullptr && memoryOf != nullptr && deviceOf(&device, i) == 0) {
      nameOf(name, sizeof name, device);
      memoryOf(&bytes, device);
    }
    napi_value pair = nullptr;
    check(napi_create_array_with_length(call.env(), 2, &pair), "devices");
    check(napi_set_element(call.env(), pair, 0, call.text(name)), "devices");
    check(napi_set_element(call.env(), pair, 1, call.number(static_cast<double>(bytes))), "devices");
    check(napi_set_element(call.env(), devices, static_cast<uint32_t>(i), pair), "devices");
  }
  if (driver != nullptr) dlclose(driver);
  return devices;
}

/// (device) → [bytes of live tensors, the most there were, bytes held from the device] of LibTorch's allocator, all threads together.
LARR_FUNCTION(cudaMemory) {
  const at::Device device = call.read().device(call.at(0), "device");
  if (!device.is_cuda()) throw ArgumentError{"TENSOR_DEVICE", "'" + device.str() + "' is no CUDA device"};
#if TORCH_VERSION_MAJOR > 2 || TORCH_VERSION_MINOR >= 9
  at::globalContext().lazyInitDevice(at::kCUDA);
  auto* allocator = dynamic_cast<c10::DeviceAllocator*>(c10::GetAllocator(at::kCUDA));
  TORCH_CHECK(allocator != nullptr, "this LibTorch's CUDA allocator keeps no statistics");
  const auto stats = allocator->getDeviceStats(device.has_index() ? device.index() : 0);
  napi_value result = nullptr;
  check(napi_create_array_with_length(call.env(), 3, &result), "memory");
  const int64_t figures[] = {stats.allocated_bytes[0].current, stats.allocated_bytes[0].peak, stats.reserved_bytes[0].current};
  for (uint32_t i = 0; i < 3; ++i) check(napi_set_element(call.env(), result, i, call.number(static_cast<double>(figures[i]))), "memory");
  return result;
#else
  TORCH_CHECK(false, "LibTorch ", TORCH_VERSION, " tells nothing of its CUDA memory; 2.9 does");
#endif
}

/// Waits until all work queued on a CUDA device is done.
LARR_FUNCTION(synchronize) {
  const at::Device device = call.read().device(call.at(0), "device");
  if (device.is_cuda()) at::detail::getCUDAHooks().deviceSynchronize(device.has_index() ? device.index() : 0);
  return call.undefined();
}

LARR_FUNCTION(versions) {
  napi_value result = nullptr;
  check(napi_create_object(call.env(), &result), "versions");
  const auto put = [&](const char* name, napi_value value) { check(napi_set_named_property(call.env(), result, name, value), name); };
  put("libtorch", call.text(TORCH_VERSION));
  // Nothing here calls the driver, which may be broken: whoever tells versions may well be looking for that.
  if (const auto& hooks = at::detail::getCUDAHooks(); hooks.hasCUDART()) {
    const long version = hooks.versionCUDART();  // 12060 is 12.6
    put("cuda", call.text(std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10)));
  } else {
    put("cuda", call.null());
  }
  put("cpuCapability", call.text(at::get_cpu_capability()));
  put("build", call.text(at::show_config()));
  return result;
}

LARR_FUNCTION(setErrorFactory) {
  check(napi_create_reference(call.env(), call.at(0), 1, &call.environment().makeError), "setErrorFactory");
  return call.undefined();
}

}  // namespace

std::vector<Function> stateFunctions() {
  return {{"createScope", createScope}, {"beginScope", beginScope}, {"endScope", endScope}, {"currentScope", currentScope},
          {"enterScope", enterScope}, {"keep", keep}, {"memoryStats", memoryStats}, {"gradEnabled", gradEnabled},
          {"setGradEnabled", setGradEnabled}, {"autocastEnabled", autocastEnabled}, {"setAutocastEnabled", setAutocastEnabled},
          {"manualSeed", manualSeed}, {"getRngState", getRngState}, {"setRngState", setRngState}, {"setNumThreads", setNumThreads},
          {"getNumThreads", getNumThreads}, {"cudaAvailable", cudaAvailable}, {"cudaDevices", cudaDevices},
          {"cudaMemory", cudaMemory}, {"synchronize", synchronize}, {"versions", versions}, {"setErrorFactory", setErrorFactory}};
}

}  // namespace larr
