#include "../simd/avx512.h"
namespace larr::infonce_detail {
namespace {
using V = avx512::V;
}
}  // namespace larr::infonce_detail
#include "f32_path.inl"
namespace larr::infonce_detail {
const Path f32_avx512{Isa::avx512, W, false, false, pack, forward, backward};
}
