// What a call works with and the next can use again: streams, buffers. A call takes one and brings it back, so calls from several
// threads run side by side, each with its own.
#pragma once
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

namespace larr {

template <class T>
class Idle {
 public:
  // One that fits, or null: then the caller makes one.
  template <class Fits>
  std::unique_ptr<T> take(const Fits& fits) {
    const std::lock_guard lock(mutex_);
    for (auto& one : idle_) {
      if (!fits(*one)) continue;
      std::unique_ptr<T> found = std::move(one);
      one = std::move(idle_.back());
      idle_.pop_back();
      return found;
    }
    return nullptr;
  }
  std::unique_ptr<T> take() {
    return take([](const T&) { return true; });
  }
  void give(std::unique_ptr<T> one) {
    const std::lock_guard lock(mutex_);
    idle_.push_back(std::move(one));
  }

 private:
  std::mutex mutex_;
  std::vector<std::unique_ptr<T>> idle_;
};

}  // namespace larr
