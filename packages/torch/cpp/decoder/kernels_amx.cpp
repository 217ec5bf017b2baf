#include "amx.inl"

namespace larr::decoder {

// Made when it is first asked for: this source's code must not run at the start of a program, on processors that may not have its instructions.
const Kernels& amx() {
  static const Kernels kernels = withTiles();
  return kernels;
}

}  // namespace larr::decoder
