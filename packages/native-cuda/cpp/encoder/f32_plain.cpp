#include "../simd/plain.h"
namespace larr::encoder_detail {
namespace {
using V = plain::V;
}
}  // namespace larr::encoder_detail
#include "f32_path.inl"
namespace larr::encoder_detail {
const Path f32_plain{W, false, packed_bytes, pack, scratch_bytes<M>, block<M>};
}
