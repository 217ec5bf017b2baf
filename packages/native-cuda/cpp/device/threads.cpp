// A pool of threads made at the first call and never joined: at exit the process ends with them asleep, so no exit can wait on or
// outlive them. Not OpenMP: its runtime keeps one pool per calling thread (a server has many callers), and ThreadSanitizer can't see it.
#include "threads.h"

#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>

#include "larr/kernels.h"

namespace larr {
namespace {

struct Region {
  int n;
  void (*task)(void*, int);
  void* context;
  const std::atomic<bool>* cancel;
  std::atomic<int> next{0};
  int helpers = 0;  // guarded by Pool::mutex
  std::mutex failure_mutex;
  std::exception_ptr failure;
  std::atomic<bool> stop{false};

  Region(int n_, void (*task_)(void*, int), void* context_, const std::atomic<bool>* cancel_)
      : n(n_), task(task_), context(context_), cancel(cancel_) {}

  void work() {
    for (;;) {
      const int index = next.fetch_add(1, std::memory_order_relaxed);
      if (index >= n) return;
      if (stop.load(std::memory_order_relaxed)) continue;
      if (cancel && cancel->load(std::memory_order_relaxed)) {
        fail(std::make_exception_ptr(Cancelled()));
        continue;
      }
      try {
        task(context, index);
      } catch (...) {
        fail(std::current_exception());
      }
    }
  }

  void fail(std::exception_ptr error) {
    std::lock_guard lock(failure_mutex);
    if (!failure) failure = error;
    stop.store(true, std::memory_order_relaxed);
  }
};

struct Pool {
  std::mutex mutex;
  std::condition_variable wake, done;
  std::deque<Region*> regions;
  std::atomic<int> waiting{0};  // regions that may still want a helper; lets idle threads spin briefly without the mutex

  explicit Pool(int helpers) {
    for (int i = 0; i < helpers; i++) try {
        std::thread([this] { serve(); }).detach();
      } catch (const std::system_error&) {
        break;  // the system gives no more: fewer do the same work, and those that run need this object
      }
  }

  void serve() {
    std::unique_lock lock(mutex);
    for (;;) {
      if (regions.empty()) {
        lock.unlock();
        for (int spin = 0; spin < 2000 && waiting.load(std::memory_order_relaxed) == 0; spin++) {
#if defined(__x86_64__)
          __builtin_ia32_pause();
#endif
        }
        lock.lock();
        wake.wait(lock, [&] { return !regions.empty(); });
      }
      Region* region = regions.front();
      region->helpers++;
      lock.unlock();
      region->work();
      lock.lock();
      // Its tasks are all taken: nobody else needs to come.
      if (!regions.empty() && regions.front() == region) {
        regions.pop_front();
        waiting.fetch_sub(1, std::memory_order_relaxed);
      }
      if (--region->helpers == 0) done.notify_all();
    }
  }

  void run(Region& region) {
    {
      std::lock_guard lock(mutex);
      regions.push_back(&region);
      waiting.fetch_add(1, std::memory_order_relaxed);
    }
    wake.notify_all();
    region.work();
    std::unique_lock lock(mutex);
    for (auto it = regions.begin(); it != regions.end(); ++it) {
      if (*it != &region) continue;
      regions.erase(it);
      waiting.fetch_sub(1, std::memory_order_relaxed);
      break;
    }
    done.wait(lock, [&] { return region.helpers == 0; });
  }
};

}  // namespace

void parallel(int n, void (*task)(void*, int), void* context, const std::atomic<bool>* cancel) {
  Region region(n, task, context, cancel);
  if (n <= 1 || thread_count() == 1) {
    region.work();
  } else {
    static Pool& pool = *new Pool(thread_count() - 1);
    pool.run(region);
  }
  if (region.failure) std::rethrow_exception(region.failure);
}

}  // namespace larr
