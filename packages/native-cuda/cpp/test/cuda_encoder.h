// The scene encoder's tests and timings on a real GPU, for cuda_tests and cuda_bench.
#pragma once
#include "encoder_case.h"

namespace larr::test {

void run_cuda_encoder_tests(const Expect& expect, int random_cases, int device = 0);
// One JSON line a case on stdout: rows a second and microseconds a call (median), and the error of sampled rows against float64.
void bench_cuda_encoder(int device = 0);

}  // namespace larr::test
