// The portable CUDA kernels of InfoNCE, run on the CPU by the emulation.
#include "../cuda/infonce_kernels.inl"
#include "../cuda/infonce_layout.h"
#include "emulated.h"

namespace larr::test {
namespace {

using namespace cuda::infonce;

template <class S>
void run(const InfoNce& problem, InfoNceOut& out) {
  Plan p{};
  p.q = problem.q, p.k = problem.k;
  p.bf16_storage = problem.storage == Dtype::bf16;
  p.q_stride = problem.q_stride ? problem.q_stride : problem.dim, p.k_stride = problem.k_stride ? problem.k_stride : problem.dim;
  p.scale_value = float(problem.scale);
  p.groups = problem.groups;
  p.lse_row = out.lse_row, p.lse_col = out.lse_col, p.dq = out.dq, p.dk = out.dk;
  // Few blocks asked for, so that chunks and splits both come to be.
  cut_into_blocks(p, problem.batch, problem.dim, {128, S::BM, S::BN, S::BM, S::BN, 5, 5}, out.dq);
  const Workspace memory(lay_out(p, nullptr, S::D, S::bf16, out.dq));
  lay_out(p, memory.data(), S::D, S::bf16, out.dq);
  double result[2];
  p.result = result;
  launch_all<typename S::T, S::D>(p, PortableWalks<S>{}, nullptr);
  out.loss = result[0];
  out.dscale = result[1];
}

}  // namespace

void infonce_emulated(const InfoNce& problem, InfoNceOut& out) {
  const bool bf16 = problem.compute == Dtype::bf16;
  switch (padded_dim(problem.dim)) {
    case 64: return bf16 ? run<Bf16Tiles<64>>(problem, out) : run<F32Tiles<64>>(problem, out);
    case 128: return bf16 ? run<Bf16Tiles<128>>(problem, out) : run<F32Tiles<128>>(problem, out);
    default: return bf16 ? run<Bf16Tiles<256>>(problem, out) : run<F32Tiles<256>>(problem, out);
  }
}

}  // namespace larr::test
