// One call from JavaScript: its arguments read and checked, its errors turned into TensorErrors.
#pragma once

#include "environment.h"

#include <c10/util/OptionalArrayRef.h>

#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace larr {

/// A JavaScript exception is already pending; nothing more to report.
struct PendingException {};

/// An argument that is not what the operator takes. `code` is a TensorError code.
struct ArgumentError {
  std::string code;
  std::string message;
};

/// The second operand of arithmetic and comparisons: a tensor, or a number.
using Operand = std::variant<std::reference_wrapper<const at::Tensor>, at::Scalar>;

/// Calls f with the tensor or with the scalar.
template <typename F>
auto visitOperand(const Operand& operand, F&& f) {
  if (const auto* tensor = std::get_if<std::reference_wrapper<const at::Tensor>>(&operand)) return f(tensor->get());
  return f(std::get<at::Scalar>(operand));
}

/// Reads JavaScript values; `name` is the argument's name for messages.
struct Reader {
  Environment& environment;
  napi_env env;

  explicit Reader(Environment& e) : environment(e), env(e.env) {}

  napi_valuetype type(napi_value value) const;
  bool absent(napi_value value) const;  // undefined or null

  const at::Tensor& tensor(napi_value value, const char* name) const;
  Handle* handleOrNull(napi_value value) const;
  Operand operand(napi_value value, const char* name) const;
  at::Scalar scalar(napi_value value, const char* name) const;
  double number(napi_value value, const char* name) const;
  int64_t integer(napi_value value, const char* name) const;
  bool boolean(napi_value value, const char* name) const;
  std::string text(napi_value value, const char* name) const;
  std::vector<int64_t> integers(napi_value value, const char* name) const;  // a number or an array of them
  std::vector<at::Tensor> tensors(napi_value value, const char* name) const;
  at::ScalarType dtype(napi_value value, const char* name) const;
  at::Device device(napi_value value, const char* name) const;
  napi_value property(napi_value object, const char* name) const;
};

/// The arguments of one callback. Generated glue and hand-written functions are written against this.
class Call {
 public:
  static constexpr size_t kMaximum = 12;

  Call(napi_env env, napi_callback_info info, const char* name);

  napi_env env() const { return env_; }
  Environment& environment() const { return *environment_; }
  Reader read() const { return Reader(*environment_); }
  napi_value self() const { return self_; }
  const at::Tensor& selfTensor() const { return read().tensor(self_, "this"); }
  napi_value at(size_t i) const { return i < count_ ? values_[i] : undefined_; }
  bool has(size_t i) const { return i < count_ && !read().absent(values_[i]); }

  napi_value result(at::Tensor tensor) const { return wrap(*environment_, std::move(tensor)); }
  napi_value result(const std::vector<at::Tensor>& tensors) const;
  napi_value result(const std::tuple<at::Tensor, at::Tensor>& pair) const;
  napi_value number(double value) const;
  napi_value boolean(bool value) const;
  napi_value text(const std::string& value) const;
  napi_value undefined() const { return undefined_; }
  napi_value null() const;

  /// Throws, in JavaScript, what the C++ exception now being handled says.
  void raise() noexcept;

 private:
  std::vector<std::vector<int64_t>> shapes() const;
  void throwError(const char* code, const std::string& message) noexcept;

  napi_env env_;
  Environment* environment_ = nullptr;
  const char* name_;
  size_t count_ = kMaximum;
  napi_value values_[kMaximum];
  napi_value self_ = nullptr;
  napi_value undefined_ = nullptr;
};

/// Runs a callback's body and turns every C++ exception into a TensorError.
template <typename F>
napi_value guarded(napi_env env, napi_callback_info info, const char* name, F&& body) noexcept {
  Call call(env, info, name);
  try {
    return body(call);
  } catch (...) {
    call.raise();
    return nullptr;
  }
}

/// Throws ArgumentError unless Node-API answered napi_ok.
void check(napi_status status, const char* what);

const char* dtypeName(at::ScalarType type);
at::ScalarType dtypeOf(const std::string& name);

/// One native function, as registered with JavaScript.
struct Function {
  const char* name;
  napi_callback callback;
};

}  // namespace larr

/// Declares a native function: LARR_FUNCTION(name) { ... uses `call` ... }
#define LARR_FUNCTION(NAME)                                                            \
  static napi_value body_##NAME(larr::Call& call);                                     \
  static napi_value NAME(napi_env env, napi_callback_info info) {                      \
    return larr::guarded(env, info, #NAME, body_##NAME);                               \
  }                                                                                    \
  static napi_value body_##NAME([[maybe_unused]] larr::Call& call)
