#include "bf16_amx.inl"
namespace larr::encoder_detail {
const Path bf16_amx{W, true, packed_bytes, pack, scratch_bytes<M>, block<M>};
}
