// The AMX path of InfoNCE with its tile instructions stood in for by plain C++ (simd/amx.h).
#define LARR_AMX_EMULATED 1
#include "../infonce/bf16_amx.inl"
namespace larr::infonce_detail {
extern const Path emulated_amx;
const Path emulated_amx{Isa::amx, 32, true, true, pack, forward, backward};
}  // namespace larr::infonce_detail
