// The Tensor class: what is not generated.
#include "addon.h"

#include <cstring>

namespace larr {
namespace {

void finalise(napi_env, void* data, void*) {
  Handle* handle = static_cast<Handle*>(data);
  Environment& environment = *handle->environment;
  if (handle->reference != nullptr) {
    napi_delete_reference(environment.env, handle->reference);
    handle->reference = nullptr;
  }
  environment.release(handle);
  if (environment.closing && environment.liveHandles == 0) delete &environment;
}

napi_value construct(napi_env env, napi_callback_info info) {
  return guarded(env, info, "Tensor", [](Call& call) -> napi_value {
    Environment& environment = call.environment();
    Handle* handle = environment.pending;
    if (handle == nullptr) {
      throw ArgumentError{"TENSOR_ARGUMENT", "tensors are made by functions, tensor(data, shape) for one, not by `new`"};
    }
    check(napi_wrap(call.env(), call.self(), handle, finalise, nullptr, &handle->reference), "Tensor");
    environment.pending = nullptr;
    return call.self();
  });
}

at::Tensor readable(const at::Tensor& tensor) {
  at::Tensor plain = tensor.detach();
  if (plain.layout() != at::kStrided) plain = plain.to_dense();
  return plain.to(at::kCPU).contiguous();
}

napi_value typedArray(Call& call, const at::Tensor& plain, napi_typedarray_type type) {
  const size_t bytes = plain.nbytes();
  void* memory = nullptr;
  napi_value buffer = nullptr, array = nullptr;
  check(napi_create_arraybuffer(call.env(), bytes, &memory, &buffer), "array");
  if (bytes > 0) std::memcpy(memory, plain.const_data_ptr(), bytes);
  check(napi_create_typedarray(call.env(), type, static_cast<size_t>(plain.numel()), buffer, 0, &array), "array");
  return array;
}

LARR_FUNCTION(shape) {
  const at::Tensor& self = call.selfTensor();
  napi_value array = nullptr;
  check(napi_create_array_with_length(call.env(), static_cast<size_t>(self.dim()), &array), "shape");
  for (int64_t i = 0; i < self.dim(); ++i) {
    check(napi_set_element(call.env(), array, static_cast<uint32_t>(i), call.number(static_cast<double>(self.size(i)))), "shape");
  }
  return array;
}
LARR_FUNCTION(dtype) { return call.text(dtypeName(call.selfTensor().scalar_type())); }
LARR_FUNCTION(device) { return call.text(call.selfTensor().device().str()); }
LARR_FUNCTION(requiresGrad) { return call.boolean(call.selfTensor().requires_grad()); }
LARR_FUNCTION(numel) { return call.number(static_cast<double>(call.selfTensor().numel())); }
LARR_FUNCTION(ndim) { return call.number(static_cast<double>(call.selfTensor().dim())); }
LARR_FUNCTION(sparse) { return call.boolean(call.selfTensor().layout() != at::kStrided); }
LARR_FUNCTION(disposed) { return call.boolean(call.read().handleOrNull(call.self()) == nullptr); }

LARR_FUNCTION(grad) {
  const at::Tensor& grad = call.selfTensor().grad();
  return grad.defined() ? call.result(grad) : call.null();
}
LARR_FUNCTION(setGrad) {
  const at::Tensor& self = call.selfTensor();
  if (!call.has(0)) {
    self.mutable_grad() = at::Tensor();
    return call.undefined();
  }
  const at::Tensor& grad = call.read().tensor(call.at(0), "grad");
  TORCH_CHECK(grad.sizes() == self.sizes() && grad.scalar_type() == self.scalar_type() && grad.device() == self.device(),
              "grad must have the shape, dtype and device of its tensor");
  self.mutable_grad() = grad.detach();
  return call.undefined();
}

LARR_FUNCTION(item) {
  const at::Tensor& self = call.selfTensor();
  TORCH_CHECK(self.numel() == 1, "item() needs a tensor of one element");
  return call.number(self.item().toDouble());
}

LARR_FUNCTION(toFloat32Array) { return typedArray(call, readable(call.selfTensor()).to(at::kFloat), napi_float32_array); }

LARR_FUNCTION(toArray) {
  const at::Tensor plain = readable(call.selfTensor());
  switch (plain.scalar_type()) {
    case at::kFloat: return typedArray(call, plain, napi_float32_array);
    case at::kDouble: return typedArray(call, plain, napi_float64_array);
    case at::kBFloat16: return typedArray(call, plain, napi_uint16_array);
    case at::kLong: return typedArray(call, plain, napi_bigint64_array);
    case at::kInt: return typedArray(call, plain, napi_int32_array);
    case at::kShort: return typedArray(call, plain, napi_int16_array);
    case at::kBool: return typedArray(call, plain, napi_uint8_array);
    default: throw ArgumentError{"TENSOR_ARGUMENT", std::string("no typed array holds ") + dtypeName(plain.scalar_type())};
  }
}

LARR_FUNCTION(backward) {
  std::optional<at::Tensor> gradient;
  if (call.has(0)) gradient = call.read().tensor(call.at(0), "gradient");
  call.selfTensor().backward(gradient.value_or(at::Tensor()));
  return call.undefined();
}

LARR_FUNCTION(requiresGrad_) {
  call.selfTensor().set_requires_grad(!call.has(0) || call.read().boolean(call.at(0), "on"));
  return call.self();
}

LARR_FUNCTION(convert) {  // (dtype?, device?)
  const at::Tensor& self = call.selfTensor();
  const Reader read = call.read();
  const at::ScalarType dtype = call.has(0) ? read.dtype(call.at(0), "dtype") : self.scalar_type();
  const at::Device device = call.has(1) ? read.device(call.at(1), "device") : self.device();
  return call.result(self.to(device, dtype));
}

LARR_FUNCTION(normal_) {
  c10::NoGradGuard noGrad;
  call.selfTensor().normal_(call.read().number(call.at(0), "mean"), call.read().number(call.at(1), "std"));
  return call.self();
}

LARR_FUNCTION(uniform_) {
  c10::NoGradGuard noGrad;
  call.selfTensor().uniform_(call.read().number(call.at(0), "low"), call.read().number(call.at(1), "high"));
  return call.self();
}

LARR_FUNCTION(disposeSelf) {
  if (Handle* handle = call.read().handleOrNull(call.self())) dispose(call.environment(), handle);
  return call.undefined();
}

}  // namespace

napi_value defineTensorClass(Environment& environment, const std::vector<Function>& operators) {
  std::vector<napi_property_descriptor> members;
  const auto getter = [&](const char* name, napi_callback get, napi_callback set = nullptr) {
    members.push_back({name, nullptr, nullptr, get, set, nullptr, napi_configurable, &environment});
  };
  const auto method = [&](const char* name, napi_callback callback) {
    members.push_back({name, nullptr, callback, nullptr, nullptr, nullptr, napi_default_method, &environment});
  };
  getter("shape", shape);
  getter("dtype", dtype);
  getter("device", device);
  getter("requiresGrad", requiresGrad);
  getter("numel", numel);
  getter("ndim", ndim);
  getter("sparse", sparse);
  getter("disposed", disposed);
  getter("grad", grad, setGrad);
  method("item", item);
  method("toFloat32Array", toFloat32Array);
  method("toArray", toArray);
  method("backward", backward);
  method("requiresGrad_", requiresGrad_);
  method("convert", convert);
  method("normal_", normal_);
  method("uniform_", uniform_);
  method("dispose", disposeSelf);
  for (const Function& function : operators) method(function.name, function.callback);

  napi_value constructor = nullptr;
  check(napi_define_class(environment.env, "Tensor", NAPI_AUTO_LENGTH, construct, &environment, members.size(), members.data(), &constructor),
        "Tensor");
  check(napi_create_reference(environment.env, constructor, 1, &environment.tensorClass), "Tensor");
  return constructor;
}

}  // namespace larr
