#include "workspace.h"

#include <sys/mman.h>

#include <cstdlib>
#include <mutex>
#include <new>
#include <vector>

namespace larr {
namespace {

struct Block {
  void* data;
  size_t bytes;
};

constexpr size_t huge_page = size_t(2) << 20;
constexpr size_t kept_blocks = 4;

struct Free {
  std::mutex mutex;
  std::vector<Block> blocks;
};

Free& free_blocks() {
  static Free& list = *new Free;  // never destroyed: a call may still run while the process exits
  return list;
}

}  // namespace

Workspace::Workspace(size_t bytes) {
  {
    Free& list = free_blocks();
    std::lock_guard lock(list.mutex);
    // The smallest that fits, unless it is far too large to tie up for this.
    size_t best = list.blocks.size();
    for (size_t i = 0; i < list.blocks.size(); i++) {
      if (list.blocks[i].bytes < bytes) continue;
      if (best == list.blocks.size() || list.blocks[i].bytes < list.blocks[best].bytes) best = i;
    }
    if (best < list.blocks.size()) {
      data_ = list.blocks[best].data;
      bytes_ = list.blocks[best].bytes;
      list.blocks.erase(list.blocks.begin() + ptrdiff_t(best));
      return;
    }
  }
  const size_t alignment = bytes >= huge_page ? huge_page : 4096;
  bytes_ = (bytes + alignment - 1) / alignment * alignment;
  data_ = std::aligned_alloc(alignment, bytes_);
  if (!data_) throw std::bad_alloc();
  if (alignment == huge_page) madvise(data_, bytes_, MADV_HUGEPAGE);
}

Workspace::~Workspace() {
  if (!data_) return;
  Free& list = free_blocks();
  std::lock_guard lock(list.mutex);
  list.blocks.push_back({data_, bytes_});
  if (list.blocks.size() <= kept_blocks) return;
  size_t smallest = 0;
  for (size_t i = 1; i < list.blocks.size(); i++)
    if (list.blocks[i].bytes < list.blocks[smallest].bytes) smallest = i;
  std::free(list.blocks[smallest].data);
  list.blocks.erase(list.blocks.begin() + ptrdiff_t(smallest));
}

}  // namespace larr
