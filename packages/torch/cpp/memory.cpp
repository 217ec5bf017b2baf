// Fresh pages cost more than the arithmetic on them: a training step that allocates and frees large tensors would spend half
// its time in page faults (docs/kernels.md, "Page faults decide much"). So freed memory is kept, and large tensors get huge pages.
#include "addon.h"

#include <climits>
#include <cstdlib>
#if defined(__GLIBC__)
#include <malloc.h>
#endif

namespace larr {

void keepFreedMemory() {
#if defined(__GLIBC__)
  // mallopt takes an int, so 2 GiB is the most there is. A limit that the user has set stands.
  if (std::getenv("MALLOC_MMAP_THRESHOLD_") == nullptr) mallopt(M_MMAP_THRESHOLD, INT_MAX);
  if (std::getenv("MALLOC_TRIM_THRESHOLD_") == nullptr) mallopt(M_TRIM_THRESHOLD, INT_MAX);
#endif
  // c10 reads it at its first large allocation, which is still to come.
  setenv("THP_MEM_ALLOC_ENABLE", "1", 0);
}

}  // namespace larr
