// What any form of InfoNCE over a ring is made of: how the ranks come to the same end, and how blocks of K go round.
#pragma once
#include <exception>
#include <vector>

#include "larr/ring.h"

namespace larr {

// What the ranks have agreed to compute.
struct Terms {
  std::vector<int64_t> batches;  // [size]
  int64_t total = 0;
  bool grouped = false, gradients = false;
};

// What one rank was given, or fails at, all of them hear of before anything waits for it.
class Agreement {
 public:
  explicit Agreement(Ring& ring) : ring_(ring) {}

  // body(), unless something failed before; what it throws is kept until the ranks next meet, so that none waits for one that left.
  template <class F>
  void attempt(const F& body) {
    if (failure_) return;
    try {
      body();
    } catch (...) {
      failure_ = std::current_exception();
    }
  }

  // Every rank's values, [size][values.size()], once all have come here. Where an attempt failed on some rank: throws on all of them,
  // what was kept on that one, Cancelled or std::runtime_error on the others.
  std::vector<double> reach(const std::vector<double>& values);

  // Throws std::invalid_argument on all ranks where an attempt failed on one or their problems are not parts of one. Of `problem`: batch,
  // dim, scale, compute, and whether there are groups.
  Terms terms(const InfoNce& problem, bool gradients, Isa isa);

 private:
  Ring& ring_;
  std::exception_ptr failure_;
};

// Takes every rank's block past this one, its own first: blocks[0], then blocks[1] and [2] in turn (a ring of two needs no third, one of
// one no second). Before work(step, block, whose), that block is sent on, and so is what was made for the block before it:
// behind[step % 2] is what arrived(step) leaves there, having found what the ranks before have made for the same block (at step 0
// nothing). Ends with behind[home(size)] come home. work and arrived do not throw.
template <class Work, class Arrived>
void go_round(Ring& ring, void* const (&blocks)[3], size_t bytes, void* const (&behind)[2], size_t bytes_behind, const Work& work, const Arrived& arrived) {
  const int size = ring.size();
  int here = 0;
  for (int step = 0; step < size; step++) {
    const int next = 1 + step % 2;
    if (step + 1 < size) ring.begin_shift(blocks[here], blocks[next], bytes);
    if (step > 0) ring.begin_shift(behind[(step - 1) % 2], behind[step % 2], bytes_behind);
    work(step, here, (ring.rank() - step + size) % size);
    if (size > 1) ring.wait();
    arrived(step);
    here = next;
  }
  if (size == 1) return;
  ring.begin_shift(behind[(size - 1) % 2], behind[size % 2], bytes_behind);
  ring.wait();
}
inline int home(int size) { return size == 1 ? 0 : size % 2; }

}  // namespace larr
