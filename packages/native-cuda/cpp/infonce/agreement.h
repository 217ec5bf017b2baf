// How the ranks of a ring come to the same end: what one was given, or fails at, all of them hear of before anything waits for it.
#pragma once
#include <exception>
#include <vector>

#include "larr/ring.h"

namespace larr::infonce_detail {

// What the ranks have agreed to compute.
struct Terms {
  std::vector<int64_t> batches;  // [size]
  int64_t total = 0;
  bool grouped = false, gradients = false;
};

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

  // Throws std::invalid_argument on all ranks where an attempt failed on one or their problems are not parts of one.
  Terms terms(const InfoNce& problem, bool gradients, Isa isa);

 private:
  Ring& ring_;
  std::exception_ptr failure_;
};

}  // namespace larr::infonce_detail
