#include "../simd/avx512.h"
namespace larr::encoder_detail {
namespace {
using V = avx512::V;
}
}  // namespace larr::encoder_detail
#include "f32_path.inl"
namespace larr::encoder_detail {
const Path f32_avx512{W, false, packed_bytes, pack, scratch_bytes<M>, block<M>};
}
