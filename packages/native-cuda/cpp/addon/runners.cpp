#include "runners.h"

#include <algorithm>
#include <deque>
#include <system_error>
#include <thread>
#include <utility>

#include "larr/kernels.h"

namespace larr::addon {

// Never joined, their state never destroyed (see device/threads.cpp).
struct Runners {
  std::mutex mutex;
  std::condition_variable wake;
  std::deque<std::pair<Giver*, Task*>> queue;

  Runners() {
    // More than one, so that a short call need not wait for a long one; the kernels themselves spread over all processors.
    const int count = std::clamp(thread_count(), 2, 4);
    for (int i = 0; i < count; i++) try {
        std::thread([this] { serve(); }).detach();
      } catch (const std::system_error&) {
        // Fewer will do; the first one must be, and nobody runs in this object yet.
        if (i == 0) throw;
        break;
      }
  }

  void serve() {
    std::unique_lock lock(mutex);
    for (;;) {
      wake.wait(lock, [&] { return !queue.empty(); });
      const auto [giver, task] = queue.front();
      queue.pop_front();
      lock.unlock();
      task->run();
      {
        // Under the giver's mutex: once `running_` is 0 it may go, and the task with it.
        std::lock_guard ended(giver->mutex_);
        task->ended();
        if (--giver->running_ == 0) giver->idle_.notify_all();
      }
      lock.lock();
    }
  }
};

void Giver::start(Task& task) {
  static Runners& all = *new Runners;
  {
    std::lock_guard lock(all.mutex);
    all.queue.emplace_back(this, &task);
    std::lock_guard own(mutex_);  // before any thread can take it
    running_++;
  }
  all.wake.notify_one();
}

void Giver::wait() {
  std::unique_lock lock(mutex_);
  idle_.wait(lock, [&] { return running_ == 0; });
}

}  // namespace larr::addon
