// The AMX path of the scene encoder with its tile instructions stood in for by plain C++ (simd/amx.h).
#define LARR_AMX_EMULATED 1
#include "../encoder/bf16_amx.inl"
namespace larr::encoder_detail {
extern const Path emulated_amx;
const Path emulated_amx{W, true, packed_bytes, pack, scratch_bytes<M>, block<M>};
}  // namespace larr::encoder_detail
