// Scratch memory that outlives a call: fresh pages cost more than the arithmetic on them (docs/performance.md), so blocks go back
// to a list and are handed out again. 64-byte aligned; large ones ask for huge pages.
#pragma once
#include <cstddef>
#include <utility>

namespace larr {

class Workspace {
 public:
  explicit Workspace(size_t bytes);  // contents undefined; throws std::bad_alloc
  ~Workspace();
  Workspace(Workspace&& other) noexcept : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;
  void* data() const { return data_; }

 private:
  void* data_;
  size_t bytes_;
};

// Hands out 64-byte aligned pieces of one workspace: first measured with a null base, then cut.
class Cutter {
 public:
  explicit Cutter(void* base = nullptr) : base_(static_cast<char*>(base)) {}
  template <class T>
  T* take(size_t count) {
    const size_t at = used_;
    used_ += (count * sizeof(T) + 63) & ~size_t(63);
    return base_ ? reinterpret_cast<T*>(base_ + at) : nullptr;
  }
  size_t used() const { return used_; }

 private:
  char* base_;
  size_t used_ = 0;
};

}  // namespace larr
