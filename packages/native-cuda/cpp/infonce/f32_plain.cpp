#include "../simd/plain.h"
namespace larr::infonce_detail {
namespace {
using V = plain::V;
}
}  // namespace larr::infonce_detail
#include "f32_path.inl"
namespace larr::infonce_detail {
const Path f32_plain{Isa::scalar, W, false, false, pack, forward, backward};
}
