#include "../simd/avx2.h"
namespace larr::encoder_detail {
namespace {
using V = avx2::V;
}
}  // namespace larr::encoder_detail
#include "f32_path.inl"
namespace larr::encoder_detail {
const Path f32_avx2{W, false, packed_bytes, pack, scratch_bytes<M>, block<M>};
}
