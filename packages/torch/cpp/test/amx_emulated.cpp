// The decoder's products on AMX with the tile instructions stood in for by plain C++ (simd/amx.h).
#define LARR_AMX_EMULATED 1
#include "../decoder/amx.inl"

namespace larr::decoder {
const Kernels& emulatedAmx();
bool tilesConfigured();

const Kernels& emulatedAmx() {
  static const Kernels kernels = withTiles();
  return kernels;
}

// Whether a call has left this thread's tiles set up.
bool tilesConfigured() { return amx::configured; }

}  // namespace larr::decoder
