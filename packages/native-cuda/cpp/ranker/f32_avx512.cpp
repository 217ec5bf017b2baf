#include "../simd/avx512.h"
namespace larr::ranker_detail {
namespace {
using V = avx512::V;
}
}  // namespace larr::ranker_detail
#include "path.inl"
namespace larr::ranker_detail {
const Path f32_avx512{W, packed_floats, pack, product, run_block};
}
