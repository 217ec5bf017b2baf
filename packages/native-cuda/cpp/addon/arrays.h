// Reading arguments. The TypeScript surface has checked kinds and shapes and worded the errors; what is checked again here is what
// memory safety rests on.
#pragma once
#include <napi.h>

#include <stdexcept>
#include <string>

namespace larr::addon {

// The elements of a typed array, or null for null and undefined. Throws where it is another kind or holds fewer than `least` elements.
template <class T>
T* elements(const Napi::Value& value, napi_typedarray_type type, size_t least, const char* name) {
  if (value.IsNull() || value.IsUndefined()) return nullptr;
  if (!value.IsTypedArray()) throw std::invalid_argument(std::string(name) + " is not a typed array");
  napi_typedarray_type actual;
  size_t length;
  void* data;
  napi_get_typedarray_info(value.Env(), value, &actual, &length, &data, nullptr, nullptr);
  if (actual != type) throw std::invalid_argument(std::string(name) + " is a typed array of another kind");
  if (length < least)
    throw std::invalid_argument(std::string(name) + " holds " + std::to_string(length) + " elements, needs " + std::to_string(least));
  static T none{};
  return data ? static_cast<T*>(data) : &none;
}

inline float* floats(const Napi::Value& value, size_t least, const char* name) {
  return elements<float>(value, napi_float32_array, least, name);
}
inline int32_t* ints(const Napi::Value& value, size_t least, const char* name) { return elements<int32_t>(value, napi_int32_array, least, name); }

}  // namespace larr::addon
