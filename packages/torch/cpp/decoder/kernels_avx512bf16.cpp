#include "avx512bf16.h"
#include "kernels.inl"
namespace larr::decoder {
const Kernels avx512bf16 = table;
}
