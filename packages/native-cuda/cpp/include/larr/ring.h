// What carries blocks of a batch between the processes of one job, in a ring: the kernels know neither MPI nor sockets.
#pragma once
#include <cstddef>

namespace larr {

// One rank's end of a ring. All ranks make the same calls in the same order, from one thread at a time. What fails in the transport
// is thrown; a job that lost a rank cannot go on.
class Ring {
 public:
  virtual ~Ring() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;
  // Begins to send `bytes` to rank + 1 and to receive as many from rank - 1 (both modulo size), and returns. Neither buffer may be
  // written, nor the second one read, until wait(). Several may be under way: what is received comes in the order of the calls.
  virtual void begin_shift(const void* send, void* receive, size_t bytes) = 0;
  // Until everything begun has left and arrived.
  virtual void wait() = 0;
  // Sums over all ranks, in place: the same bits on every rank.
  virtual void sum(double* values, int count) = 0;
};

}  // namespace larr
