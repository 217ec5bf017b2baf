#include "../simd/avx2.h"
namespace larr::infonce_detail {
namespace {
using V = avx2::V;
}
}  // namespace larr::infonce_detail
#include "f32_path.inl"
namespace larr::infonce_detail {
const Path f32_avx2{Isa::avx2, W, false, false, pack, forward, backward};
}
