#include "../simd/plain.h"
namespace larr::ranker_detail {
namespace {
using V = plain::V;
}
}  // namespace larr::ranker_detail
#include "path.inl"
namespace larr::ranker_detail {
const Path f32_plain{W, packed_floats, pack, product, run_block};
}
