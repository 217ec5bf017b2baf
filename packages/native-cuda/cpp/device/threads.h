// The kernels' own threads. A region is n numbered tasks; which thread runs which task never decides a result.
#pragma once
#include <atomic>

namespace larr {

// Runs task(0) .. task(n-1), each once, on up to thread_count() threads, the caller among them; returns when all are done.
// The first exception a task throws is thrown again here, after the others have ended; raised `cancel` skips what has not begun
// and throws Cancelled. Regions of several callers run side by side.
void parallel(int n, void (*task)(void* context, int index), void* context, const std::atomic<bool>* cancel = nullptr);

template <class F>
void parallel(int n, const F& body, const std::atomic<bool>* cancel = nullptr) {
  parallel(n, [](void* context, int index) { (*static_cast<const F*>(context))(index); }, const_cast<F*>(&body), cancel);
}

}  // namespace larr
