#include "bf16_amx.inl"
namespace larr::infonce_detail {
const Path bf16_amx{Isa::amx, 32, true, true, pack, forward, backward};
}
