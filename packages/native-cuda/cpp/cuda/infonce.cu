// InfoNCE on a GPU: picks the kernels, cuts the problem, queues the launches; and the form over host pointers.
#include <cstring>
#include <memory>
#include <string>
#include <utility>

#include "../device/idle.h"
#include "infonce_kernels.inl"
#include "infonce_layout.h"
#include "infonce_sm90.h"
#include "larr/cuda.h"
#include "memory.h"

namespace larr {
namespace {

using namespace cuda;
using namespace cuda::infonce;

struct Gpu {
  int index, multiprocessors;
  size_t block_memory;  // bytes of shared memory that a block may have
  bool hopper, overlaps;
};

Gpu current_gpu() {
  Gpu gpu{};
  int major = 0, block_memory = 0;
  check(cudaGetDevice(&gpu.index), "current device");
  check(cudaDeviceGetAttribute(&gpu.multiprocessors, cudaDevAttrMultiProcessorCount, gpu.index), "device attribute");
  check(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, gpu.index), "device attribute");
  check(cudaDeviceGetAttribute(&block_memory, cudaDevAttrMaxSharedMemoryPerBlockOptin, gpu.index), "device attribute");
  gpu.block_memory = size_t(block_memory);
  gpu.hopper = major == 9;
  gpu.overlaps = major >= 9;
  if (major < 8) throw CudaMissing("the CUDA kernels need compute capability 8.0 or newer");
  return gpu;
}

// use(walks, element, depth) with a family of portable tiles at the depth that is padded to.
template <template <int> class Tiles, class Use>
auto with_tiles(int depth, const Use& use) {
  const auto at = [&]<int D>(std::integral_constant<int, D> d) { return use(PortableWalks<Tiles<D>>{}, typename Tiles<D>::T{}, d); };
  switch (depth) {
    case 64: return at(std::integral_constant<int, 64>{});
    case 128: return at(std::integral_constant<int, 128>{});
    default: return at(std::integral_constant<int, 256>{});
  }
}

// Calls use(walks, element, depth) with the tiles that a problem runs on.
template <class Use>
auto with_walks(const CudaInfoNce& problem, const Gpu& gpu, const Use& use) {
  const int depth = padded_dim(problem.dim);
  if (problem.compute == Dtype::f32) {
    const bool wide = gpu.block_memory >= std::max(WideF32Tiles<128>::shared_bytes, WideF32Tiles<256>::shared_bytes);
    return wide ? with_tiles<WideF32Tiles>(depth, use) : with_tiles<F32Tiles>(depth, use);
  }
  if (gpu.hopper && problem.path == CudaPath::best && depth == 64) return use(HopperWalks<64>{}, uint16_t{}, std::integral_constant<int, 64>{});
  if (gpu.hopper && problem.path == CudaPath::best && depth == 128) return use(HopperWalks<128>{}, uint16_t{}, std::integral_constant<int, 128>{});
  return with_tiles<Bf16Tiles>(depth, use);
}

template <class Walks>
Plan plan_of(const CudaInfoNce& problem, const Gpu& gpu, bool backward) {
  Plan p{};
  cut_into_blocks(p, problem.batch, problem.dim, Walks::cut(gpu.multiprocessors), backward);
  return p;
}

// What a call over host pointers works with, kept for the next: memory, a stream, and the graph of the last shape.
struct Session {
  int device = 0;
  cudaStream_t stream = nullptr;
  Buffer<false> memory;
  Buffer<true> staging;
  cudaGraphExec_t graph = nullptr;
  std::string graph_of;  // the shape that `graph` replays

  explicit Session(int index) : device(index) { check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "stream"); }
  Session(const Session&) = delete;
  ~Session() {
    forget();
    cudaStreamDestroy(stream);
  }
  void forget() {
    if (graph) cudaGraphExecDestroy(graph);
    graph = nullptr;
    graph_of.clear();
  }
};

Idle<Session>& sessions() {
  static Idle<Session>& all = *new Idle<Session>;  // never destroyed: the driver may be gone by then
  return all;
}

constexpr int64_t graph_batch = 4096;

}  // namespace

size_t cuda_infonce_scratch(const CudaInfoNce& problem, bool backward) {
  check_sizes(problem.batch, problem.dim, problem.scale);
  const Gpu gpu = current_gpu();
  return with_walks(problem, gpu, [&](auto walks, auto element, auto depth) {
    Plan p = plan_of<decltype(walks)>(problem, gpu, backward);
    return lay_out(p, nullptr, depth, sizeof element == 2, backward);
  });
}

void cuda_infonce(const CudaInfoNce& problem, const CudaInfoNceOut& out, void* scratch, void* stream) {
  check_sizes(problem.batch, problem.dim, problem.scale);
  if (!problem.q || !problem.k || !out.result || !scratch) throw std::invalid_argument("infonce: q, k, result and scratch must be given");
  if (!out.dq != !out.dk) throw std::invalid_argument("infonce: dq and dk must be given together");
  const Gpu gpu = current_gpu();
  with_walks(problem, gpu, [&](auto walks, auto element, auto depth) {
    const bool backward = out.dq != nullptr;
    Plan p = plan_of<decltype(walks)>(problem, gpu, backward);
    lay_out(p, scratch, depth, sizeof element == 2, backward);
    p.q = problem.q, p.k = problem.k;
    p.bf16_storage = problem.storage == Dtype::bf16;
    p.q_stride = problem.q_stride ? problem.q_stride : problem.dim;
    p.k_stride = problem.k_stride ? problem.k_stride : problem.dim;
    p.scale_at = problem.scale_at;
    p.scale_value = float(problem.scale);
    p.groups = problem.groups;
    p.lse_row = out.lse_row, p.lse_col = out.lse_col;
    p.dq = out.dq, p.dk = out.dk;
    p.result = out.result;
    launch_all<decltype(element), depth>(p, walks, Queue(stream, gpu.overlaps));
  });
}

void infonce_on_cuda(const InfoNce& problem, InfoNceOut& out, int device, CudaPath path) {
  check_sizes(problem.batch, problem.dim, problem.scale);
  if (!problem.q || !problem.k) throw std::invalid_argument("infonce: q and k must be given");
  if (!out.dq != !out.dk) throw std::invalid_argument("infonce: dq and dk must be given together");
  const OnDevice here(device);
  const bool backward = out.dq != nullptr;
  const size_t batch = size_t(problem.batch), dim = size_t(problem.dim), element = problem.storage == Dtype::bf16 ? 2 : 4;

  CudaInfoNce on_device;
  on_device.storage = problem.storage;
  on_device.batch = problem.batch, on_device.dim = problem.dim;
  on_device.compute = problem.compute;
  on_device.path = path;

  // In and out as two spans that are copied whole; the device has the same two, and scratch memory behind them.
  struct Layout {
    char *q, *k;
    int32_t* groups;
    float* scale;
    size_t in;
    double* result;
    float *lse_row, *lse_col, *dq, *dk;
    size_t all;
  };
  const auto lay = [&](char* base) {
    Cutter cut(base);
    Layout l{};
    l.q = cut.take<char>(batch * dim * element), l.k = cut.take<char>(batch * dim * element);
    l.groups = cut.take<int32_t>(problem.groups ? batch : 0);
    l.scale = cut.take<float>(1);
    l.in = cut.used();
    l.result = cut.take<double>(2);
    l.lse_row = cut.take<float>(batch), l.lse_col = cut.take<float>(batch);
    l.dq = cut.take<float>(backward ? batch * dim : 0), l.dk = cut.take<float>(backward ? batch * dim : 0);
    l.all = cut.used();
    return l;
  };
  const size_t span = lay(nullptr).all, aligned = (span + 1023) / 1024 * 1024, scratch = cuda_infonce_scratch(on_device, backward);
  std::unique_ptr<Session> session = sessions().take([&](const Session& idle) { return idle.device == device; });
  if (!session) session = std::make_unique<Session>(device);
  // The graph names the memory that growing would free.
  if (aligned + scratch > session->memory.bytes() || span > session->staging.bytes()) session->forget();
  char *memory = session->memory.reserve<char>(int64_t(aligned + scratch)), *staging = session->staging.reserve<char>(int64_t(span));
  const Layout host = lay(staging), gpu = lay(memory);

  const auto pack = [&](char* to, const void* from, int64_t stride) {
    for (size_t i = 0; i < batch; i++)
      std::memcpy(to + i * dim * element, static_cast<const char*>(from) + i * size_t(stride ? stride : problem.dim) * element, dim * element);
  };
  pack(host.q, problem.q, problem.q_stride);
  pack(host.k, problem.k, problem.k_stride);
  if (problem.groups) std::memcpy(host.groups, problem.groups, batch * sizeof(int32_t));
  *host.scale = float(problem.scale);

  const auto queue = [&] {
    CudaInfoNce p = on_device;
    p.q = gpu.q, p.k = gpu.k;
    p.scale_at = gpu.scale;
    p.groups = problem.groups ? gpu.groups : nullptr;
    check(cudaMemcpyAsync(memory, staging, host.in, cudaMemcpyHostToDevice, session->stream), "copy in");
    cuda_infonce(p, {gpu.result, gpu.lse_row, gpu.lse_col, backward ? gpu.dq : nullptr, backward ? gpu.dk : nullptr}, memory + aligned, session->stream);
    check(cudaMemcpyAsync(host.result, gpu.result, span - host.in, cudaMemcpyDeviceToHost, session->stream), "copy out");
  };
  if (problem.batch <= graph_batch) {
    const std::string shape = std::to_string(batch) + ' ' + std::to_string(dim) + ' ' + std::to_string(element) + ' ' +
                              std::to_string(problem.compute == Dtype::bf16) + ' ' + std::to_string(backward) + ' ' +
                              std::to_string(problem.groups != nullptr) + ' ' + std::to_string(int(path));
    if (session->graph_of != shape) {
      session->forget();
      cudaGraph_t graph = nullptr;
      check(cudaStreamBeginCapture(session->stream, cudaStreamCaptureModeThreadLocal), "capture");
      queue();
      check(cudaStreamEndCapture(session->stream, &graph), "capture");
      const cudaError_t made = cudaGraphInstantiate(&session->graph, graph, 0);
      cudaGraphDestroy(graph);
      check(made, "graph");
      session->graph_of = shape;
    }
    check(cudaGraphLaunch(session->graph, session->stream), "graph launch");
  } else {
    queue();
  }
  check(cudaStreamSynchronize(session->stream), "InfoNCE");

  out.loss = host.result[0];
  out.dscale = host.result[1];
  if (out.lse_row) std::memcpy(out.lse_row, host.lse_row, batch * sizeof(float));
  if (out.lse_col) std::memcpy(out.lse_col, host.lse_col, batch * sizeof(float));
  if (backward) {
    std::memcpy(out.dq, host.dq, batch * dim * sizeof(float));
    std::memcpy(out.dk, host.dk, batch * dim * sizeof(float));
  }
  sessions().give(std::move(session));  // one that failed is not used again
}

}  // namespace larr
