#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "arrays.h"
#include "larr/kernels.h"
#include "surface.h"

namespace larr::addon {

// gatherRows(table, tableRows, width, rows, out)
Napi::Value gather_rows_call(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const int64_t table_rows = info[1].As<Napi::Number>().Int64Value(), width = info[2].As<Napi::Number>().Int64Value();
    const size_t n = info[3].As<Napi::TypedArray>().ElementLength();
    const float* table = floats(info[0], size_t(table_rows) * size_t(width), "table");
    const int32_t* rows = ints(info[3], n, "rows");
    float* out = floats(info[4], n * size_t(width), "out");
    gather_rows(table, table_rows, width, rows, int64_t(n), out);
    return info.Env().Undefined();
  });
}

// mapFile(path) -> ArrayBuffer over the file's pages. Private and writable: a write changes this process's copy of the page alone,
// never the file, where a mapping without write permission would end the process.
Napi::Value map_file(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const std::string path = info[0].As<Napi::String>();
    const auto fail = [&](const char* what) { throw std::runtime_error(std::string(what) + " " + path + ": " + std::strerror(errno)); };
    const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (file < 0) fail("cannot open");
    struct stat about;
    if (fstat(file, &about) != 0 || !S_ISREG(about.st_mode)) {
      const int code = errno;
      close(file);
      errno = S_ISREG(about.st_mode) ? code : EINVAL;
      fail("cannot map");
    }
    const size_t size = size_t(about.st_size);
    if (size == 0) {
      close(file);
      return Napi::ArrayBuffer::New(info.Env(), 0);
    }
    void* data = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, file, 0);
    const int code = errno;
    close(file);
    errno = code;
    if (data == MAP_FAILED) fail("cannot map");
    return Napi::ArrayBuffer::New(info.Env(), data, size, [size](Napi::Env, void* pages) { munmap(pages, size); });
  });
}

}  // namespace larr::addon
