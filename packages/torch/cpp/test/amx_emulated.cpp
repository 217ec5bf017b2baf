// The decoder's products on AMX with the tile instructions stood in for by plain C++ (simd/amx.h).
#define LARR_AMX_EMULATED 1
#include "../decoder/amx.inl"

namespace larr::decoder {
extern const Kernels emulated_amx;
const Kernels emulated_amx = withTiles();
}  // namespace larr::decoder
