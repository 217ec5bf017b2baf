// The addon's own threads, without anything of Node: what is given to them runs there, and who gave it can wait until nothing of it is
// left. Shared by all environments of the process.
#pragma once
#include <condition_variable>
#include <mutex>

namespace larr::addon {

class Task {
 public:
  virtual ~Task() = default;
  virtual void run() noexcept = 0;
  // After run(), on the same thread. The giver lives until this returns, and may end it and the task right after.
  virtual void ended() noexcept = 0;
};

// Who gives tasks. Must outlive them: wait() first.
class Giver {
 public:
  // Runs `task` on one of the threads. Throws std::system_error where not one can be made, std::bad_alloc; nothing is given then.
  void start(Task& task);
  // Until every task given has ended.
  void wait();

 private:
  friend struct Runners;
  std::mutex mutex_;
  std::condition_variable idle_;
  int running_ = 0;  // tasks that have not ended; guarded by mutex_
};

}  // namespace larr::addon
