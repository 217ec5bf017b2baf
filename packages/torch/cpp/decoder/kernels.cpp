#include "kernels.h"

namespace larr::decoder {

const Kernels& kernels() {
#if defined(__x86_64__)
  switch (active_isa()) {
    case Isa::scalar: return plain;
    case Isa::avx2: return avx2;
    case Isa::avx512: return avx512;
    case Isa::avx512bf16: return avx512bf16;
    case Isa::amx: return amx();
  }
#endif
  return plain;
}

}  // namespace larr::decoder
