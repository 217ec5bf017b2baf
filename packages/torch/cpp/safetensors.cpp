// safetensors files: mapped into memory on reading, written whole or not at all. The header is read and written in
// src/safetensors.ts, where its errors are told; here are the bytes.
#include "addon.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace larr {
namespace {

[[noreturn]] void systemError(const std::string& what, const std::string& path) {
  throw ArgumentError{"TENSOR_FILE", what + " " + path + ": " + std::strerror(errno)};
}

struct File {
  int descriptor;
  explicit File(int descriptor) : descriptor(descriptor) {}
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  ~File() { close(); }
  int close() {
    const int result = descriptor >= 0 ? ::close(descriptor) : 0;
    descriptor = -1;
    return result;
  }
};

/// A private mapping: writing to a tensor of it changes memory, never the file.
struct Mapping {
  void* memory;
  size_t bytes;
  Mapping(void* memory, size_t bytes) : memory(memory), bytes(bytes) {}
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  ~Mapping() { munmap(memory, bytes); }
};

at::ScalarType storedType(const std::string& name) {
  if (name == "F32") return at::kFloat;
  if (name == "F64") return at::kDouble;
  if (name == "BF16") return at::kBFloat16;
  if (name == "F16") return at::kHalf;
  if (name == "I64") return at::kLong;
  if (name == "I32") return at::kInt;
  if (name == "I16") return at::kShort;
  if (name == "BOOL") return at::kBool;
  throw ArgumentError{"TENSOR_FILE", "dtype " + name + " is not supported"};
}

/// (path, file size, [[dtype, shape, byte offset in the file], …]) → tensors that share the mapping.
LARR_FUNCTION(mapTensors) {
  const Reader read = call.read();
  const std::string path = read.text(call.at(0), "path");
  const size_t bytes = static_cast<size_t>(read.integer(call.at(1), "size"));
  uint32_t count = 0;
  check(napi_get_array_length(call.env(), call.at(2), &count), "entries");
  if (count == 0) return call.result(std::vector<at::Tensor>{});

  File file{open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  if (file.descriptor < 0) systemError("cannot open", path);
  struct stat status {};
  if (fstat(file.descriptor, &status) != 0) systemError("cannot read", path);
  if (static_cast<size_t>(status.st_size) != bytes) throw ArgumentError{"TENSOR_FILE", path + " changed while it was read"};
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE, file.descriptor, 0);
  if (memory == MAP_FAILED) systemError("cannot map", path);
  const auto mapping = std::make_shared<Mapping>(memory, bytes);

  std::vector<at::Tensor> tensors;
  tensors.reserve(count);
  for (uint32_t i = 0; i < count; ++i) {
    napi_value entry = nullptr, field[3] = {};
    check(napi_get_element(call.env(), call.at(2), i, &entry), "entries");
    for (uint32_t j = 0; j < 3; ++j) check(napi_get_element(call.env(), entry, j, &field[j]), "entries");
    const at::ScalarType type = storedType(read.text(field[0], "dtype"));
    const std::vector<int64_t> shape = read.integers(field[1], "shape");
    const size_t offset = static_cast<size_t>(read.integer(field[2], "offset"));
    char* start = static_cast<char*>(memory) + offset;
    const size_t element = c10::elementSize(type);
    const bool aligned = reinterpret_cast<uintptr_t>(start) % element == 0;
    size_t size = element;
    for (const int64_t extent : shape) size *= static_cast<size_t>(extent);
    TORCH_CHECK(offset <= bytes && size <= bytes - offset, "entry ", i, " lies outside the file");
    at::Tensor tensor;
    if (size == 0) {
      tensor = at::empty(shape, type);
    } else if (aligned) {
      tensor = at::from_blob(start, shape, [mapping](void*) {}, at::TensorOptions().dtype(type));
    } else {
      tensor = at::empty(shape, type);
      std::memcpy(tensor.mutable_data_ptr(), start, size);
    }
    // f16 is no dtype here; f32 holds all its values.
    tensors.push_back(type == at::kHalf ? tensor.to(at::kFloat) : tensor);
  }
  return call.result(tensors);
}

void writeAll(int descriptor, const void* memory, size_t bytes, const std::string& path) {
  const char* at = static_cast<const char*>(memory);
  while (bytes > 0) {
    const ssize_t written = write(descriptor, at, std::min(bytes, size_t{1} << 30));
    if (written < 0) {
      if (errno == EINTR) continue;
      systemError("cannot write", path);
    }
    at += written;
    bytes -= static_cast<size_t>(written);
  }
}

/// (path, temporary path beside it, header, tensors in the header's order): written to the temporary, synced, then renamed.
LARR_FUNCTION(writeTensors) {
  const Reader read = call.read();
  const std::string path = read.text(call.at(0), "path"), temporary = read.text(call.at(1), "temporary");
  void* header = nullptr;
  size_t headerBytes = 0;
  check(napi_get_typedarray_info(call.env(), call.at(2), nullptr, &headerBytes, &header, nullptr, nullptr), "header");
  const std::vector<at::Tensor> tensors = read.tensors(call.at(3), "tensors");

  File file{open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666)};
  if (file.descriptor < 0) systemError("cannot create", temporary);
  try {
    writeAll(file.descriptor, header, headerBytes, temporary);
    for (const at::Tensor& tensor : tensors) {
      const at::Tensor plain = tensor.detach().to(at::kCPU).contiguous();
      writeAll(file.descriptor, plain.const_data_ptr(), plain.nbytes(), temporary);
    }
    if (fsync(file.descriptor) != 0) systemError("cannot sync", temporary);
    if (file.close() != 0) systemError("cannot close", temporary);
    if (rename(temporary.c_str(), path.c_str()) != 0) systemError("cannot rename " + temporary + " to", path);
  } catch (...) {
    unlink(temporary.c_str());
    throw;
  }
  // The rename itself must reach the disk: sync the directory. Some file systems refuse; the file is whole all the same.
  const size_t slash = path.find_last_of('/');
  const std::string directory = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  File folder{open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  if (folder.descriptor >= 0) fsync(folder.descriptor);
  return call.undefined();
}

}  // namespace

std::vector<Function> safetensorsFunctions() { return {{"mapTensors", mapTensors}, {"writeTensors", writeTensors}}; }

}  // namespace larr
