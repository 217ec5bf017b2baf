// Memory and the current device, as what owns them.
#pragma once
#include "runtime.h"

namespace larr::cuda::inline LARR_SIDE {

// The calling thread's current device, put back afterwards.
class OnDevice {
 public:
  explicit OnDevice(int device) {
    check(cudaGetDevice(&before_), "current device");
    if (device != before_) check(cudaSetDevice(device), "set device");
  }
  OnDevice(const OnDevice&) = delete;
  ~OnDevice() { cudaSetDevice(before_); }

 private:
  int before_ = 0;
};

// Memory of the device, or of the host and pinned; kept, and grown where more is asked for. Nobody may use it while it grows.
template <bool Pinned>
class Buffer {
 public:
  Buffer() = default;
  Buffer(const Buffer&) = delete;
  ~Buffer() { release(); }
  size_t bytes() const { return bytes_; }
  template <class T>
  T* reserve(int64_t count) {
    const size_t wanted = size_t(count) * sizeof(T);
    if (wanted > bytes_) {
      release();
      if constexpr (Pinned) check(cudaMallocHost(&data_, wanted), "pinned memory");
      else check(cudaMalloc(&data_, wanted), "device memory");
      bytes_ = wanted;
    }
    return static_cast<T*>(data_);
  }

 private:
  void release() {
    if constexpr (Pinned) cudaFreeHost(data_);
    else cudaFree(data_);
    data_ = nullptr;
    bytes_ = 0;
  }
  void* data_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace larr::cuda
