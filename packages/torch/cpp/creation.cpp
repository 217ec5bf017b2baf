// Tensors from nothing and from JavaScript's arrays.
#include "addon.h"

namespace larr {
namespace {

/// (…, dtype, device, requiresGrad) from argument `first` on.
struct Options {
  at::TensorOptions tensor;
  bool requiresGrad = false;
};

Options options(Call& call, size_t first, at::ScalarType dtype = at::kFloat) {
  const Reader read = call.read();
  Options result;
  result.tensor = at::TensorOptions()
                      .dtype(call.has(first) ? read.dtype(call.at(first), "dtype") : dtype)
                      .device(call.has(first + 1) ? read.device(call.at(first + 1), "device") : at::Device(at::kCPU));
  result.requiresGrad = call.has(first + 2) && read.boolean(call.at(first + 2), "requiresGrad");
  return result;
}

napi_value finish(Call& call, at::Tensor tensor, const Options& options) {
  if (options.requiresGrad) tensor.set_requires_grad(true);
  return call.result(std::move(tensor));
}

at::ScalarType elementType(napi_typedarray_type type) {
  switch (type) {
    case napi_float32_array: return at::kFloat;
    case napi_float64_array: return at::kDouble;
    case napi_bigint64_array: return at::kLong;
    case napi_int32_array: return at::kInt;
    case napi_uint8_array: return at::kByte;
    case napi_int8_array: return at::kChar;
    case napi_int16_array: return at::kShort;
    case napi_uint16_array: return at::kBFloat16;
    default: throw ArgumentError{"TENSOR_ARGUMENT", "data must be a typed array of f32, f64, i64, i32, i16, i8, u8 (bool) or u16 (bf16 bits)"};
  }
}

LARR_FUNCTION(fromTypedArray) {  // (data, shape, dtype, device, requiresGrad)
  const Reader read = call.read();
  napi_typedarray_type type = napi_float32_array;
  size_t length = 0;
  void* memory = nullptr;
  if (napi_get_typedarray_info(call.env(), call.at(0), &type, &length, &memory, nullptr, nullptr) != napi_ok) {
    throw ArgumentError{"TENSOR_ARGUMENT", "data must be a typed array"};
  }
  const std::vector<int64_t> shape = read.integers(call.at(1), "shape");
  int64_t wanted = 1;
  for (const int64_t extent : shape) {
    TORCH_CHECK(extent >= 0, "a shape has no negative sizes: ", at::IntArrayRef(shape));
    wanted *= extent;
  }
  TORCH_CHECK(wanted == static_cast<int64_t>(length), "data has ", length, " elements, but shape ", at::IntArrayRef(shape), " has ", wanted);
  const at::ScalarType element = elementType(type);
  const Options wantedOptions = options(call, 2, element == at::kByte ? at::kBool : element);
  // JavaScript may change or move its memory at any time, so the tensor has its own: one copy, converted on the way.
  at::Tensor tensor = at::empty(shape, wantedOptions.tensor);
  if (length > 0) {
    const at::Tensor given = at::from_blob(memory, shape, at::TensorOptions().dtype(element));
    // From pageable memory the copy to a GPU waits until all work queued there is done. What each batch brings goes through
    // pinned memory instead, which LibTorch keeps for reuse; what is larger is loaded once and may wait.
    constexpr size_t kStaged = size_t{8} << 20;
    if (tensor.is_cuda() && given.nbytes() <= kStaged) {
      const at::Tensor staged = at::empty(shape, given.options().pinned_memory(true));
      tensor.copy_(staged.copy_(given), /*non_blocking=*/true);
    } else {
      tensor.copy_(given);
    }
  }
  return finish(call, std::move(tensor), wantedOptions);
}

LARR_FUNCTION(full) {  // (shape, value, dtype, device, requiresGrad)
  const Options o = options(call, 2);
  return finish(call, at::full(call.read().integers(call.at(0), "shape"), call.read().scalar(call.at(1), "value"), o.tensor), o);
}
LARR_FUNCTION(zeros) {
  const Options o = options(call, 1);
  return finish(call, at::zeros(call.read().integers(call.at(0), "shape"), o.tensor), o);
}
LARR_FUNCTION(empty) {
  const Options o = options(call, 1);
  return finish(call, at::empty(call.read().integers(call.at(0), "shape"), o.tensor), o);
}
LARR_FUNCTION(rand) {
  const Options o = options(call, 1);
  return finish(call, at::rand(call.read().integers(call.at(0), "shape"), o.tensor), o);
}
LARR_FUNCTION(randn) {
  const Options o = options(call, 1);
  return finish(call, at::randn(call.read().integers(call.at(0), "shape"), o.tensor), o);
}
LARR_FUNCTION(randint) {  // (low, high, shape, dtype, device, requiresGrad)
  const Options o = options(call, 3, at::kLong);
  const Reader read = call.read();
  return finish(call, at::randint(read.integer(call.at(0), "low"), read.integer(call.at(1), "high"), read.integers(call.at(2), "shape"), o.tensor), o);
}
LARR_FUNCTION(randperm) {  // (n, dtype, device, requiresGrad)
  const Options o = options(call, 1, at::kLong);
  return finish(call, at::randperm(call.read().integer(call.at(0), "n"), o.tensor), o);
}
LARR_FUNCTION(arange) {  // (start, end, step, dtype, device, requiresGrad)
  const Reader read = call.read();
  const at::Scalar start = read.scalar(call.at(0), "start"), end = read.scalar(call.at(1), "end"), step = read.scalar(call.at(2), "step");
  const bool whole = start.isIntegral(false) && end.isIntegral(false) && step.isIntegral(false);
  const Options o = options(call, 3, whole ? at::kLong : at::kFloat);
  return finish(call, at::arange(start, end, step, o.tensor), o);
}
LARR_FUNCTION(eye) {
  const Options o = options(call, 1);
  return finish(call, at::eye(call.read().integer(call.at(0), "n"), o.tensor), o);
}
LARR_FUNCTION(fullLike) {  // (tensor, value)
  return call.result(at::full_like(call.read().tensor(call.at(0), "tensor"), call.read().scalar(call.at(1), "value")));
}
LARR_FUNCTION(randnLike) { return call.result(at::randn_like(call.read().tensor(call.at(0), "tensor"))); }

/// The orthonormal factor of a standard normal matrix, signs made unique: uniform over orthogonal matrices (Mezzadri 2007).
LARR_FUNCTION(orthogonal_) {  // (tensor [rows, columns], gain)
  c10::NoGradGuard noGrad;
  const at::Tensor& tensor = call.read().tensor(call.at(0), "tensor");
  const double gain = call.read().number(call.at(1), "gain");
  TORCH_CHECK(tensor.dim() == 2, "an orthogonal matrix has two dims");
  const bool wide = tensor.size(0) < tensor.size(1);
  const auto compute = tensor.options().dtype(tensor.scalar_type() == at::kDouble ? at::kDouble : at::kFloat);
  const at::Tensor random = at::randn(wide ? at::IntArrayRef{tensor.size(1), tensor.size(0)} : tensor.sizes(), compute);
  auto [q, r] = at::linalg_qr(random);
  at::Tensor signs = at::sign(at::diagonal(r));
  signs.masked_fill_(at::eq(signs, 0), 1);
  const at::Tensor factor = q * signs;
  tensor.copy_(at::mul(wide ? factor.t() : factor, gain));
  return call.at(0);
}

}  // namespace

std::vector<Function> creationFunctions() {
  return {{"fromTypedArray", fromTypedArray}, {"full", full}, {"zeros", zeros}, {"empty", empty}, {"rand", rand}, {"randn", randn},
          {"randint", randint}, {"randperm", randperm}, {"arange", arange}, {"eye", eye}, {"fullLike", fullLike},
          {"randnLike", randnLike}, {"orthogonal_", orthogonal_}};
}

}  // namespace larr
