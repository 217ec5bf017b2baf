#include "../simd/avx2.h"
namespace larr::ranker_detail {
namespace {
using V = avx2::V;
}
}  // namespace larr::ranker_detail
#include "path.inl"
namespace larr::ranker_detail {
const Path f32_avx2{W, packed_floats, pack, product, run_block};
}
