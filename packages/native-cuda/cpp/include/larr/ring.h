// What carries blocks of a batch between the processes of one job, in a ring: the kernels know neither MPI nor sockets.
#pragma once
#include <cstddef>

#include "larr/kernels.h"

namespace larr {

// One rank's end of a ring. All ranks make the same calls in the same order, from one thread at a time. A job that lost a rank cannot go
// on: where a shift fails while others may still be under way, the transport ends the process and does not throw, for what was begun
// would write into memory that others have by then.
class Ring {
 public:
  virtual ~Ring() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;
  // Begins to send `bytes` to rank + 1 and to receive as many from rank - 1 (both modulo size), and returns. Neither buffer may be
  // written, nor the second one read, until wait(). Several may be under way: what is received comes in the order of the calls.
  virtual void begin_shift(const void* send, void* receive, size_t bytes) = 0;
  // Until everything begun has left and arrived. How much of it moves before depends on the transport.
  virtual void wait() = 0;
  // Every rank's values on every rank: all [size][count], in rank order; as many on each rank. Not between begin_shift and wait.
  virtual void gather(const double* own, int count, double* all) = 0;
};

// infonce over the batches of all ranks, as if their rows stood in one: B is the sum of the ranks' batches. Every rank calls it with its
// own rows q_r and k_r (partners of each other) and their group ids, which mean the same on all ranks.
//   pass 1   blocks of K go round with their columns' sums and maxima; every rank adds what its rows have for them
//   pass 2   K goes round with its columns' log-sum-exps and its gradient, to which every rank adds
// What travels next is begun before the block that is here is computed with, and waited for after; gradients one step behind. Whether it
// moves meanwhile is the transport's: MPI without asynchronous progress may leave long messages to wait(). Each rank holds its own rows,
// two visiting blocks and three gradients of blocks: O(largest batch * dim), never all of K, never a block of S.
//   batch      may differ from rank to rank and be 0 (pointers are not looked at then), but not on all
//   dim, scale, compute, run.isa; groups given or not, dq and dk given or not (where there are rows): the same on every rank
//   loss, dscale          of the whole batch, the same bits on every rank
//   lse_row, lse_col, dq, dk   of the rank's own rows: its gradients are those of the whole batch's loss
// Numbers that `infonce` answers with NaN, on any rank, make NaN on every one. std::invalid_argument on every rank where one was given
// bad arguments or they are not the same; Cancelled on every rank where one was cancelled. The same bits for the same inputs, number of
// ranks, instruction set and thread counts; for a ring of one, those of `infonce`.
void infonce_ring(const InfoNce& local, InfoNceOut& out, Ring& ring, const Run& run = {});

}  // namespace larr
