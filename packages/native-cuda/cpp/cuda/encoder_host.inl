// The scene encoder on a GPU: the image's upload, the form over device pointers (one launch), and the form over host pointers, which
// copies through pinned memory in chunks, two under way at a time. The tests compile it against the emulation, too.
#pragma once
#include <algorithm>
#include <array>
#include <cstring>
#include <string>
#include <utility>

#include "../device/idle.h"
#include "../device/threads.h"
#include "../encoder/plan.h"
#include "encoder_kernels.inl"
#include "larr/cuda_encoder.h"
#include "memory.h"

namespace larr::cuda::inline LARR_SIDE::encoder_host {

#if defined(__CUDACC__)
// Up to here the kernel reads and writes pinned host memory itself: one launch, no copies.
constexpr int64_t direct_rows = 512;
// From here on the best are chosen on the device.
constexpr int64_t select_rows = 16384;
// Of a chunk: two full rounds of the fused kernel's blocks.
constexpr int64_t chunk_rows(int multiprocessors) { return int64_t(2) * multiprocessors * fused_warps * warp_rows; }
#else
// An emulated GPU is slow: every way is taken by few rows.
constexpr int64_t direct_rows = 20, select_rows = 40;
constexpr int64_t chunk_rows(int) { return 16; }
#endif
constexpr uint32_t none_refused = 0xffffffffu;

// A call's arguments, over host pointers; scores are made where there are targets.
struct HostCall {
  const int32_t* rows;
  int64_t n;
  float *z, *attention;
  const float* targets;
  bool one_target;
  float* scores;
};

// Rows on their way: to the device, through the kernel, and back into pinned memory.
struct Lane {
  cudaStream_t stream = nullptr;
  Buffer<true> to_device, from_device;
  Buffer<false> arguments, results;
  int64_t first = 0, count = 0;  // of the rows under way; count 0: none

  Lane() { check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "stream"); }
  Lane(const Lane&) = delete;
  ~Lane() { cudaStreamDestroy(stream); }
};

struct Session {
  std::array<Lane, 2> lanes;
  Buffer<false> scores, selection, best;
  Buffer<true> chosen, best_here;
};

// Results of `count` rows one after another: refused, scores, z, attention. All multiples of 8 bytes.
struct Results {
  uint32_t* refused;
  float *scores, *z, *attention;
  int64_t words;
  Results(const EncoderShape& shape, const HostCall& call, int64_t count, void* base) {
    auto* at = static_cast<float*>(base);
    words = 0;
    const auto take = [&](bool wanted, int64_t floats) {
      float* here = wanted && at ? at + words : nullptr;
      if (wanted) words += (floats + 1) / 2 * 2;
      return here;
    };
    refused = reinterpret_cast<uint32_t*>(take(true, 2));
    scores = take(call.targets, count);
    z = take(call.z, count * shape.out);
    attention = take(call.attention, count * shape.heads * (1 + shape.fields));
  }
};

inline void copy_in_parallel(void* to, const void* from, size_t bytes) {
  constexpr size_t piece = size_t(1) << 20;
  if (bytes <= piece) {
    std::memcpy(to, from, bytes);
    return;
  }
  parallel(int((bytes + piece - 1) / piece), [&](int i) {
    const size_t at = size_t(i) * piece;
    std::memcpy(static_cast<char*>(to) + at, static_cast<const char*>(from) + at, std::min(piece, bytes - at));
  });
}

}  // namespace larr::cuda::inline LARR_SIDE::encoder_host

namespace larr {

using namespace cuda::encoder_host;
using cuda::Buffer;
using cuda::check;
using cuda::OnDevice;

struct CudaSceneEncoder::State {
  EncoderShape shape;
  int64_t entries;
  int device, multiprocessors;
  size_t bytes = 0;
  Buffer<false> image;
  cuda::EncoderPlan plan;
  std::vector<int32_t> field_of;
  Idle<Session> idle;

  void launch(const cuda::EncoderCall& call, void* stream) const { cuda::launch_encoder(plan, call, multiprocessors, stream); }

  // Queues rows [first, first + count) on the lane; device_scores [n], where given, gets the scores too.
  void start(Lane& lane, const HostCall& call, int64_t first, int64_t count, float* device_scores) const {
    const bool direct = call.n <= direct_rows;
    const int64_t target_floats = !call.targets ? 0 : call.one_target ? shape.out : count * shape.out;
    const size_t row_bytes = size_t(count * shape.fields) * sizeof(int32_t), targets_at = (row_bytes + 15) / 16 * 16;
    const size_t in_bytes = targets_at + size_t(target_floats) * sizeof(float);
    char* in = lane.to_device.reserve<char>(int64_t(in_bytes));
    copy_in_parallel(in, call.rows + first * shape.fields, row_bytes);
    if (target_floats) copy_in_parallel(in + targets_at, call.targets + (call.one_target ? 0 : first * shape.out), in_bytes - targets_at);
    const int64_t words = Results(shape, call, count, nullptr).words;
    float* out = lane.from_device.reserve<float>(words);
    float* results = out;
    if (direct) {
      *Results(shape, call, count, out).refused = none_refused;
    } else {
      char* there = lane.arguments.reserve<char>(int64_t(in_bytes));
      check(cudaMemcpyAsync(there, in, in_bytes, cudaMemcpyHostToDevice, lane.stream), "copy to the device");
      in = there;
      results = lane.results.reserve<float>(words);
      check(cudaMemsetAsync(results, 0xff, sizeof(uint32_t), lane.stream), "clear");
    }
    const Results r(shape, call, count, results);
    launch({reinterpret_cast<const int32_t*>(in), count, r.z, r.attention, reinterpret_cast<const float*>(in + targets_at), call.one_target ? 0 : shape.out, r.scores, r.refused},
           lane.stream);
    if (!direct) check(cudaMemcpyAsync(out, results, size_t(words) * sizeof(float), cudaMemcpyDeviceToHost, lane.stream), "copy from the device");
    if (device_scores)
      check(cudaMemcpyAsync(device_scores + first, r.scores, size_t(count) * sizeof(float), cudaMemcpyDefault, lane.stream), "copy of the scores");
    lane.first = first;
    lane.count = count;
  }

  // Waits for the lane's rows and hands their results over.
  void finish(Lane& lane, const HostCall& call) const {
    if (lane.count == 0) return;
    check(cudaStreamSynchronize(lane.stream), "the scene encoder");
    const int64_t first = lane.first, count = std::exchange(lane.count, 0), per_row = int64_t(shape.heads) * (1 + shape.fields);
    const Results r(shape, call, count, lane.from_device.reserve<float>(0));
    if (*r.refused != none_refused) {
      const int64_t at = first * shape.fields + *r.refused;
      encoder_detail::refuse_entry(at / shape.fields, int(at % shape.fields), call.rows[at], field_of.data(), entries);
    }
    if (call.scores) copy_in_parallel(call.scores + first, r.scores, size_t(count) * sizeof(float));
    if (call.z) copy_in_parallel(call.z + first * shape.out, r.z, size_t(count * shape.out) * sizeof(float));
    if (call.attention) copy_in_parallel(call.attention + first * per_row, r.attention, size_t(count * per_row) * sizeof(float));
  }

  void run(Session& session, const HostCall& call, float* device_scores, const std::atomic<bool>* cancel) const {
    const int64_t chunk = chunk_rows(multiprocessors);
    size_t turn = 0;
    for (int64_t first = 0; first < call.n; first += chunk) {
      if (cancel && cancel->load()) throw Cancelled();
      Lane& lane = session.lanes[turn++ % 2];
      finish(lane, call);
      start(lane, call, first, std::min(chunk, call.n - first), device_scores);
    }
    for (int i = 0; i < 2; i++) finish(session.lanes[turn++ % 2], call);
  }

  std::vector<Scored> select(Session& session, const float* scores, int64_t n, int64_t k, void* stream) const {
    const auto queue = static_cast<cudaStream_t>(stream);
    auto* selection = session.selection.reserve<cuda::Selection>(1);
    auto* best = session.best.reserve<Scored>(k);
    // Of the session, not of this call: should a later step fail, the copies still arrive.
    auto* chosen = session.chosen.reserve<uint32_t>(1);
    auto* best_here = session.best_here.reserve<Scored>(k);
    check(cudaMemsetAsync(selection, 0, sizeof *selection, queue), "clear");
    cuda::launch_select(scores, n, k, selection, best, multiprocessors, stream);
    check(cudaMemcpyAsync(chosen, &selection->chosen, sizeof *chosen, cudaMemcpyDeviceToHost, queue), "copy from the device");
    check(cudaMemcpyAsync(best_here, best, size_t(k) * sizeof(Scored), cudaMemcpyDeviceToHost, queue), "copy from the device");
    check(cudaStreamSynchronize(queue), "the choice of the best");
    std::vector<Scored> list(best_here, best_here + *chosen);
    std::sort(list.begin(), list.end(), [](const Scored& a, const Scored& b) { return a.score != b.score ? a.score > b.score : a.row < b.row; });
    return list;
  }
};

namespace {

// A session of the caller's own for one call. At the end nothing of it is under way any more; it is kept for others unless CUDA failed.
template <class State>
class Borrowed {
 public:
  explicit Borrowed(State& from) : state_(from), session_(from.idle.take()) {}
  Borrowed(const Borrowed&) = delete;
  ~Borrowed() {
    if (!session_) return;
    for (Lane& lane : session_->lanes) {
      lane.count = 0;
      if (cudaStreamSynchronize(lane.stream) != cudaSuccess) return;
    }
    state_.idle.give(std::move(session_));
  }
  Session& operator*() {
    if (!session_) session_ = std::make_unique<Session>();
    return *session_;
  }

 private:
  State& state_;
  std::unique_ptr<Session> session_;
};

void check_selection(int64_t n, int64_t k) {
  if (k > 0 && n > INT32_MAX) throw std::invalid_argument("the best of " + std::to_string(n) + " scores: at most 2147483647 can be chosen from");
}

}  // namespace

CudaSceneEncoder::CudaSceneEncoder(const EncoderShape& shape, const EncoderWeights& weights, const EncoderTable& table, Dtype compute, int device)
    : state_(std::make_unique<State>()) {
  State& s = *state_;
  std::string why = "the driver does not name it";
  const auto devices = cuda_devices(&why);
  if (device < 0 || device >= int(devices.size())) throw CudaMissing("there is no CUDA device " + std::to_string(device) + ": " + why);
  const CudaDevice& gpu = devices[size_t(device)];
  if (gpu.major < 8) throw CudaMissing(gpu.name + " is older than compute capability 8.0");
  const OnDevice here(device);
  int shared_limit = 0;
  check(cudaDeviceGetAttribute(&shared_limit, cudaDevAttrMaxSharedMemoryPerBlockOptin, device), "device attribute");
  const cuda::EncoderImage image = cuda::pack_encoder(shape, weights, table, compute, size_t(shared_limit));
  s.shape = shape;
  s.entries = table.entries;
  s.device = device;
  s.multiprocessors = gpu.multiprocessors;
  s.field_of.assign(table.field_of, table.field_of + table.entries);
  s.bytes = image.bytes.size();
  char* base = s.image.reserve<char>(int64_t(s.bytes));
  check(cudaMemcpy(base, image.bytes.data(), s.bytes, cudaMemcpyHostToDevice), "copy of the weights");
  s.plan = image.at(base);
}

CudaSceneEncoder::~CudaSceneEncoder() = default;
const EncoderShape& CudaSceneEncoder::shape() const { return state_->shape; }
int64_t CudaSceneEncoder::entries() const { return state_->entries; }
size_t CudaSceneEncoder::bytes() const { return state_->bytes; }
int CudaSceneEncoder::device() const { return state_->device; }

void CudaSceneEncoder::encode(const int32_t* rows, int64_t n, float* z, float* attention, uint32_t* refused, void* stream) const {
  const OnDevice here(state_->device);
  state_->launch({rows, n, z, attention, nullptr, 0, nullptr, refused}, stream);
}

void CudaSceneEncoder::score(const int32_t* rows, int64_t n, const float* targets, bool one_target, float* scores, float* attention, uint32_t* refused,
                             void* stream) const {
  const OnDevice here(state_->device);
  state_->launch({rows, n, nullptr, attention, targets, one_target ? 0 : state_->shape.out, scores, refused}, stream);
}

std::vector<Scored> CudaSceneEncoder::top_k(const float* scores, int64_t n, int64_t k, void* stream) const {
  check_selection(n, k);
  k = std::min(n, k);
  if (k <= 0) return {};
  const OnDevice here(state_->device);
  Borrowed session(*state_);
  return state_->select(*session, scores, n, k, stream);
}

void CudaSceneEncoder::encode_host(const int32_t* rows, int64_t n, float* z, float* attention, const std::atomic<bool>* cancel) const {
  const OnDevice here(state_->device);
  Borrowed session(*state_);
  state_->run(*session, {rows, n, z, attention, nullptr, false, nullptr}, nullptr, cancel);
}

std::vector<Scored> CudaSceneEncoder::score_host(const int32_t* rows, int64_t n, const float* targets, bool one_target, float* scores, float* attention,
                                                 int64_t k, const std::atomic<bool>* cancel) const {
  check_selection(n, k);
  k = std::min(n, k);
  const OnDevice here(state_->device);
  Borrowed session(*state_);
  const bool on_device = k > 0 && n >= select_rows;
  float* device_scores = on_device ? (*session).scores.template reserve<float>(n) : nullptr;
  std::vector<float> own(k > 0 && !on_device && !scores ? size_t(n) : 0);
  float* host_scores = own.empty() ? scores : own.data();
  state_->run(*session, {rows, n, nullptr, attention, targets, one_target, host_scores}, device_scores, cancel);
  if (k <= 0) return {};
  if (on_device) return state_->select(*session, device_scores, n, k, (*session).lanes[0].stream);
  return larr::top_k(host_scores, n, k);
}

}  // namespace larr
