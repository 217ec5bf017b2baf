#include "call.h"

#include <ATen/Context.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace larr {

void check(napi_status status, const char* what) {
  if (status == napi_ok) return;
  if (status == napi_pending_exception) throw PendingException();
  throw ArgumentError{"TENSOR_ARGUMENT", std::string(what) + " failed (Node-API status " + std::to_string(status) + ")"};
}

namespace {

const char* typeName(napi_valuetype type) {
  switch (type) {
    case napi_undefined: return "undefined";
    case napi_null: return "null";
    case napi_boolean: return "a boolean";
    case napi_number: return "a number";
    case napi_string: return "a string";
    case napi_symbol: return "a symbol";
    case napi_function: return "a function";
    case napi_bigint: return "a bigint";
    default: return "an object";
  }
}

[[noreturn]] void wrongType(const char* name, const char* wanted, napi_valuetype got) {
  throw ArgumentError{"TENSOR_ARGUMENT", std::string(name) + " must be " + wanted + ", not " + typeName(got)};
}

constexpr double kSafeInteger = 9007199254740992.0;

}  // namespace

napi_valuetype Reader::type(napi_value value) const {
  napi_valuetype type = napi_undefined;
  napi_typeof(env, value, &type);
  return type;
}

bool Reader::absent(napi_value value) const {
  const napi_valuetype t = type(value);
  return t == napi_undefined || t == napi_null;
}

Handle* Reader::handleOrNull(napi_value value) const {
  void* pointer = nullptr;
  if (napi_unwrap(env, value, &pointer) != napi_ok || !environment.owns(pointer)) return nullptr;
  return static_cast<Handle*>(pointer);
}

const at::Tensor& Reader::tensor(napi_value value, const char* name) const {
  if (Handle* handle = handleOrNull(value)) return handle->tensor;
  napi_value constructor = nullptr;
  bool isTensor = false;
  if (type(value) == napi_object && napi_get_reference_value(env, environment.tensorClass, &constructor) == napi_ok &&
      napi_instanceof(env, value, constructor, &isTensor) == napi_ok && isTensor) {
    throw ArgumentError{"TENSOR_DISPOSED", std::string(name) + " is a tensor that was disposed of already"};
  }
  wrongType(name, "a tensor", type(value));
}

at::Scalar Reader::scalar(napi_value value, const char* name) const {
  const double x = number(value, name);
  // A whole number stays an integer, so that `i64.add(2)` is i64; a float tensor takes either alike.
  if (std::abs(x) <= kSafeInteger && x == std::trunc(x)) return at::Scalar(static_cast<int64_t>(x));
  return at::Scalar(x);
}

Operand Reader::operand(napi_value value, const char* name) const {
  if (Handle* handle = handleOrNull(value)) return std::cref(handle->tensor);
  const napi_valuetype t = type(value);
  if (t == napi_number) return scalar(value, name);
  if (t == napi_boolean) return at::Scalar(boolean(value, name));
  if (t == napi_object) return std::cref(tensor(value, name));  // throws what is wrong with it
  wrongType(name, "a tensor or a number", t);
}

double Reader::number(napi_value value, const char* name) const {
  double result = 0;
  if (napi_get_value_double(env, value, &result) == napi_ok) return result;
  const napi_valuetype t = type(value);
  if (t == napi_bigint) {
    int64_t whole = 0;
    bool lossless = false;
    napi_get_value_bigint_int64(env, value, &whole, &lossless);
    return static_cast<double>(whole);
  }
  wrongType(name, "a number", t);
}

int64_t Reader::integer(napi_value value, const char* name) const {
  const double x = number(value, name);
  if (!(std::abs(x) <= kSafeInteger) || x != std::trunc(x)) {
    throw ArgumentError{"TENSOR_ARGUMENT", std::string(name) + " must be a whole number, not " + std::to_string(x)};
  }
  return static_cast<int64_t>(x);
}

bool Reader::boolean(napi_value value, const char* name) const {
  bool result = false;
  if (napi_get_value_bool(env, value, &result) != napi_ok) wrongType(name, "a boolean", type(value));
  return result;
}

std::string Reader::text(napi_value value, const char* name) const {
  size_t length = 0;
  if (napi_get_value_string_utf8(env, value, nullptr, 0, &length) != napi_ok) wrongType(name, "a string", type(value));
  std::string result(length, '\0');
  check(napi_get_value_string_utf8(env, value, result.data(), length + 1, &length), name);
  return result;
}

std::vector<int64_t> Reader::integers(napi_value value, const char* name) const {
  const napi_valuetype t = type(value);
  if (t == napi_number) return {integer(value, name)};
  bool isArray = false;
  if (t == napi_object) napi_is_array(env, value, &isArray);
  if (!isArray) wrongType(name, "a whole number or an array of them", t);
  uint32_t length = 0;
  check(napi_get_array_length(env, value, &length), name);
  std::vector<int64_t> result(length);
  for (uint32_t i = 0; i < length; ++i) {
    napi_value element = nullptr;
    check(napi_get_element(env, value, i, &element), name);
    result[i] = integer(element, name);
  }
  return result;
}

std::vector<at::Tensor> Reader::tensors(napi_value value, const char* name) const {
  bool isArray = false;
  napi_is_array(env, value, &isArray);
  if (!isArray) wrongType(name, "an array of tensors", type(value));
  uint32_t length = 0;
  check(napi_get_array_length(env, value, &length), name);
  std::vector<at::Tensor> result;
  result.reserve(length);
  for (uint32_t i = 0; i < length; ++i) {
    napi_handle_scope scope = nullptr;
    check(napi_open_handle_scope(env, &scope), name);
    napi_value element = nullptr;
    const napi_status status = napi_get_element(env, value, i, &element);
    Handle* handle = status == napi_ok ? handleOrNull(element) : nullptr;
    if (handle != nullptr) result.push_back(handle->tensor);
    if (handle == nullptr && status == napi_ok) {
      const std::string place = std::string(name) + "[" + std::to_string(i) + "]";
      try {
        tensor(element, place.c_str());
      } catch (...) {
        napi_close_handle_scope(env, scope);
        throw;
      }
    }
    napi_close_handle_scope(env, scope);
    check(status, name);
  }
  return result;
}

const char* dtypeName(at::ScalarType type) {
  switch (type) {
    case at::kFloat: return "f32";
    case at::kDouble: return "f64";
    case at::kBFloat16: return "bf16";
    case at::kLong: return "i64";
    case at::kInt: return "i32";
    case at::kShort: return "i16";
    case at::kBool: return "bool";
    default: return c10::toString(type);
  }
}

at::ScalarType dtypeOf(const std::string& name) {
  if (name == "f32") return at::kFloat;
  if (name == "f64") return at::kDouble;
  if (name == "bf16") return at::kBFloat16;
  if (name == "i64") return at::kLong;
  if (name == "i32") return at::kInt;
  if (name == "i16") return at::kShort;
  if (name == "bool") return at::kBool;
  throw ArgumentError{"TENSOR_ARGUMENT", "'" + name + "' is no dtype: take one of f32, f64, bf16, i64, i32, i16, bool"};
}

at::ScalarType Reader::dtype(napi_value value, const char* name) const { return dtypeOf(text(value, name)); }

at::Device Reader::device(napi_value value, const char* name) const {
  if (absent(value)) return at::Device(at::kCPU);
  const std::string spelled = text(value, name);
  if (spelled == "cpu") return at::Device(at::kCPU);
  // 'cuda' or 'cuda:N'
  const bool numbered = spelled.size() > 5 && spelled.size() <= 8 && spelled.rfind("cuda:", 0) == 0 &&
                        std::all_of(spelled.begin() + 5, spelled.end(), [](char c) { return c >= '0' && c <= '9'; });
  if (spelled != "cuda" && !numbered) {
    throw ArgumentError{"TENSOR_ARGUMENT", "'" + spelled + "' is no device: take 'cpu', 'cuda' or 'cuda:N'"};
  }
  const int devices = at::globalContext().hasCUDA() ? at::detail::getCUDAHooks().deviceCount() : 0;
  if (devices == 0) {
    throw ArgumentError{"TENSOR_DEVICE", "'" + spelled + "' was asked for, but this LibTorch sees no CUDA device"};
  }
  if (numbered && std::stoi(spelled.substr(5)) >= devices) {
    throw ArgumentError{"TENSOR_DEVICE", "'" + spelled + "' was asked for, but the last CUDA device is 'cuda:" + std::to_string(devices - 1) + "'"};
  }
  return at::Device(spelled);
}

napi_value Reader::property(napi_value object, const char* name) const {
  napi_value value = nullptr;
  check(napi_get_named_property(env, object, name, &value), name);
  return value;
}

Call::Call(napi_env env, napi_callback_info info, const char* name) : env_(env), name_(name) {
  void* data = nullptr;
  napi_get_cb_info(env, info, &count_, values_, &self_, &data);
  environment_ = static_cast<Environment*>(data);
  if (count_ > kMaximum) count_ = kMaximum;
  napi_get_undefined(env, &undefined_);
}

napi_value Call::result(const std::vector<at::Tensor>& tensors) const {
  napi_value array = nullptr;
  check(napi_create_array_with_length(env_, tensors.size(), &array), "array");
  for (size_t i = 0; i < tensors.size(); ++i) {
    check(napi_set_element(env_, array, static_cast<uint32_t>(i), result(tensors[i])), "array");
  }
  return array;
}

napi_value Call::result(const std::tuple<at::Tensor, at::Tensor>& pair) const {
  napi_value array = nullptr;
  check(napi_create_array_with_length(env_, 2, &array), "array");
  check(napi_set_element(env_, array, 0, result(std::get<0>(pair))), "array");
  check(napi_set_element(env_, array, 1, result(std::get<1>(pair))), "array");
  return array;
}

napi_value Call::number(double value) const {
  napi_value result = nullptr;
  check(napi_create_double(env_, value, &result), "number");
  return result;
}

napi_value Call::null() const {
  napi_value result = nullptr;
  check(napi_get_null(env_, &result), "null");
  return result;
}

napi_value Call::boolean(bool value) const {
  napi_value result = nullptr;
  check(napi_get_boolean(env_, value, &result), "boolean");
  return result;
}

napi_value Call::text(const std::string& value) const {
  napi_value result = nullptr;
  check(napi_create_string_utf8(env_, value.data(), value.size(), &result), "string");
  return result;
}

std::vector<std::vector<int64_t>> Call::shapes() const {
  std::vector<std::vector<int64_t>> shapes;
  const Reader reader = read();
  auto add = [&](napi_value value) {
    if (Handle* handle = reader.handleOrNull(value)) shapes.push_back(handle->tensor.sizes().vec());
  };
  auto look = [&](napi_value value) {
    if (value == nullptr || reader.type(value) != napi_object) return;
    bool isArray = false;
    napi_is_array(env_, value, &isArray);
    if (!isArray) return add(value);
    uint32_t length = 0;
    napi_get_array_length(env_, value, &length);
    for (uint32_t i = 0; i < length && shapes.size() < 32; ++i) {
      napi_value element = nullptr;
      if (napi_get_element(env_, value, i, &element) == napi_ok) add(element);
    }
  };
  look(self_);
  for (size_t i = 0; i < count_; ++i) look(values_[i]);
  return shapes;
}

void Call::throwError(const char* code, const std::string& message) noexcept {
  bool pending = false;
  if (napi_is_exception_pending(env_, &pending) != napi_ok || pending) return;
  napi_value arguments[4] = {}, makeError = nullptr, error = nullptr, global = nullptr;
  const auto all = shapes();
  const bool made =
      napi_create_string_utf8(env_, code, NAPI_AUTO_LENGTH, &arguments[0]) == napi_ok &&
      napi_create_string_utf8(env_, name_, NAPI_AUTO_LENGTH, &arguments[1]) == napi_ok &&
      napi_create_string_utf8(env_, message.data(), message.size(), &arguments[2]) == napi_ok &&
      napi_create_array_with_length(env_, all.size(), &arguments[3]) == napi_ok;
  if (!made) return;
  for (size_t i = 0; i < all.size(); ++i) {
    napi_value shape = nullptr;
    if (napi_create_array_with_length(env_, all[i].size(), &shape) != napi_ok) return;
    for (size_t j = 0; j < all[i].size(); ++j) {
      napi_value extent = nullptr;
      if (napi_create_int64(env_, all[i][j], &extent) != napi_ok) return;
      napi_set_element(env_, shape, static_cast<uint32_t>(j), extent);
    }
    napi_set_element(env_, arguments[3], static_cast<uint32_t>(i), shape);
  }
  if (environment_->makeError != nullptr && napi_get_global(env_, &global) == napi_ok &&
      napi_get_reference_value(env_, environment_->makeError, &makeError) == napi_ok && makeError != nullptr &&
      napi_call_function(env_, global, makeError, 4, arguments, &error) == napi_ok) {
    napi_throw(env_, error);
    return;
  }
  if (napi_is_exception_pending(env_, &pending) == napi_ok && !pending) {
    napi_throw_error(env_, code, message.c_str());
  }
}

void Call::raise() noexcept {
  try {
    throw;
  } catch (const PendingException&) {
    return;
  } catch (const ArgumentError& error) {
    throwError(error.code.c_str(), error.message);
  } catch (const c10::OutOfMemoryError& error) {
    throwError("TENSOR_MEMORY", error.what_without_backtrace());
  } catch (const c10::IndexError& error) {
    throwError("TENSOR_INDEX", error.what_without_backtrace());
  } catch (const c10::Error& error) {
    const std::string message = error.what_without_backtrace();
    // Not every allocation fails with an exception of its own: the host's, CUDA's runtime and its libraries say it in words.
    constexpr const char* exhausted[] = {"can't allocate memory", "CUDA error: out of memory", "STATUS_ALLOC_FAILED"};
    const bool memory = std::any_of(std::begin(exhausted), std::end(exhausted),
                                    [&](const char* words) { return message.find(words) != std::string::npos; });
    throwError(memory ? "TENSOR_MEMORY" : "TENSOR_OPERATOR", message);
  } catch (const std::bad_alloc&) {
    throwError("TENSOR_MEMORY", "out of memory");
  } catch (const std::exception& error) {
    throwError("TENSOR_OPERATOR", error.what());
  } catch (...) {
    throwError("TENSOR_OPERATOR", "an unknown C++ exception");
  }
}

}  // namespace larr
