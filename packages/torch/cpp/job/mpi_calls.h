// What the addon asks of MPI, as a table of C functions. They live in a library of their own (larr_mpi.so), which is opened when a
// job is joined: the addon runs where there is no MPI, and nothing of MPI's is loaded where one process works alone.
#pragma once

#include <cstddef>
#include <cstdint>

namespace larr {

/// Every function that answers with text gives null when all went well, else what MPI said, good until the next call. MPI need not say
/// anything: it is asked to return errors, but may end the process instead, as Open MPI does at what goes wrong in `meet` once it is
/// under way (parts of different lengths, say). All but `abort` are called from one thread at a time, and those after `join` by all
/// ranks in the same order.
struct MpiCalls {
  struct Place {
    int rank, size;
    int local_rank, local_size;  // among the ranks of this machine
  };
  /// MPI's own name and version; may be asked before `join`.
  const char* (*library)();
  /// Refuses an MPI that cannot be called from several threads in turn.
  const char* (*join)(Place* place);
  /// Each rank's `bytes`, as many on each, in rank order, on all ranks. Waits without taking a processor: it is where ranks wait for
  /// each other.
  const char* (*meet)(const void* mine, void* all, int bytes);
  /// Part r of `parts` goes to rank r; what rank r sent stands at part r of `received`.
  const char* (*exchange)(const void* parts, void* received, int bytes_each);
  /// Each rank has its own part of `all` in place; afterwards it has everybody's.
  const char* (*spread)(void* all, int bytes_each);
  const char* (*broadcast)(void* data, size_t bytes, int root);
  /// Begins to send to rank + 1 and to receive from rank - 1; any number of them, until `wait`. Long messages may move only inside MPI's
  /// calls, which means in `wait`. After an error of either, what was begun may still be written to.
  const char* (*begin_shift)(const void* send, void* receive, size_t bytes);
  const char* (*wait)();
  /// When all ranks have met: MPI's end in this process, where `join` began it.
  const char* (*leave)();
  /// Ends every rank, this one too, with the exit status `code`.
  void (*abort)(int code);
};

/// The one symbol of larr_mpi.so, a function `const MpiCalls* larr_mpi_calls(int version)`: null for another version of the table.
constexpr int kMpiCallsVersion = 1;

}  // namespace larr
