#include "amx.inl"

namespace larr::decoder {
// avx512bf16 is a constant, and there before anything is computed at the start of the program.
const Kernels amx = withTiles();
}  // namespace larr::decoder
