// The portable CUDA kernels on the CPU (emulation.h), as kernel_tests calls them.
#pragma once
#include "larr/kernels.h"

namespace larr::test {

void infonce_emulated(const InfoNce& problem, InfoNceOut& out);

}  // namespace larr::test
