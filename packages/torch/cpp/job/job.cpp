#include "job.h"

#include "../contrastive.h"

#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>

#include <dlfcn.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>

namespace larr {
namespace {

std::mutex guard;
std::unique_ptr<Job> joined;
bool over = false;  // MPI starts once in a process

[[noreturn]] void refuse(const std::string& message) { throw ArgumentError{"TENSOR_JOB", message}; }

const MpiCalls* open(const std::string& path) {
  // Global: what MPI loads by and by looks for its symbols.
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_GLOBAL);
  if (library == nullptr) refuse(std::string("the MPI part cannot be loaded: ") + dlerror() + ". Where MPI was moved or changed, build again");
  const auto calls = reinterpret_cast<const MpiCalls* (*)(int)>(dlsym(library, "larr_mpi_calls"));
  const MpiCalls* table = calls == nullptr ? nullptr : calls(kMpiCallsVersion);
  if (table == nullptr) refuse(path + " is of another build: build again");
  return table;
}

/// What is summed or sent at a time.
constexpr int64_t kBytes = int64_t{16} << 20;

at::Tensor hostMemory(int64_t bytes, const std::vector<at::Tensor>& tensors) {
  const bool pinned = std::any_of(tensors.begin(), tensors.end(), [](const at::Tensor& t) { return t.is_cuda(); });
  return at::empty({bytes}, at::TensorOptions().dtype(at::kByte).pinned_memory(pinned));
}

// out = parts[0] + parts[1] + …, each `length` long, in this order.
template <typename T>
void addParts(const T* parts, int64_t length, int count, T* out) {
  using Wide = std::conditional_t<std::is_same_v<T, double>, double, float>;
  constexpr int64_t kBlock = 512;
  at::parallel_for(0, length, 1 << 16, [&](int64_t begin, int64_t end) {
    Wide sums[kBlock];
    for (int64_t at = begin; at < end; at += kBlock) {
      const int64_t n = std::min(kBlock, end - at);
      for (int64_t i = 0; i < n; ++i) sums[i] = static_cast<Wide>(parts[at + i]);
      for (int p = 1; p < count; ++p) {
        const T* part = parts + p * length + at;
        for (int64_t i = 0; i < n; ++i) sums[i] += static_cast<Wide>(part[i]);
      }
      for (int64_t i = 0; i < n; ++i) out[at + i] = static_cast<T>(sums[i]);
    }
  });
}

// The tensors' elements one after another, cut into runs of at most `most`: f(tensor, first element, elements, place in the run), and
// `full(elements of the run)` after each.
template <typename F, typename G>
void eachRun(const std::vector<at::Tensor>& flat, int64_t most, F&& f, G&& full) {
  struct Piece {
    size_t tensor;
    int64_t first, count, place;
  };
  std::vector<Piece> run;
  int64_t filled = 0;
  const auto finish = [&] {
    if (filled == 0) return;
    for (const Piece& p : run) f(flat[p.tensor], p.first, p.count, p.place, true);
    full(filled);
    for (const Piece& p : run) f(flat[p.tensor], p.first, p.count, p.place, false);
    run.clear();
    filled = 0;
  };
  for (size_t t = 0; t < flat.size(); ++t) {
    for (int64_t first = 0; first < flat[t].numel();) {
      const int64_t count = std::min(most - filled, flat[t].numel() - first);
      run.push_back({t, first, count, filled});
      filled += count;
      first += count;
      if (filled == most) finish();
    }
  }
  finish();
}

// Flat views of tensors, or copies of those that are not contiguous, which give() brings back.
struct Flat {
  explicit Flat(const std::vector<at::Tensor>& tensors) : tensors_(tensors) {
    for (const at::Tensor& t : tensors) views.push_back(t.detach().contiguous().view({-1}));
  }
  void give() const {
    for (size_t i = 0; i < tensors_.size(); ++i) {
      const at::Tensor target = tensors_[i].detach();
      if (!target.is_contiguous()) target.copy_(views[i].view(target.sizes()));
    }
  }
  std::vector<at::Tensor> views;

 private:
  const std::vector<at::Tensor>& tensors_;
};

}  // namespace

Job& Job::current() {
  const std::lock_guard<std::mutex> lock(guard);
  if (joined == nullptr) refuse("this process is in no job: joinJob() comes first, and leave() ends it");
  return *joined;
}

Job& Job::join(const std::string& path) {
  const std::lock_guard<std::mutex> lock(guard);
  if (joined != nullptr) return *joined;
  if (over) refuse("this process has left its job; MPI starts once in a process");
  std::unique_ptr<Job> job(new Job(open(path)));
  job->must(job->calls_->join(&job->place_));
  joined = std::move(job);
  return *joined;
}

std::string Job::library(const std::string& path) { return open(path)->library(); }

void Job::must(const char* problem) {
  if (problem != nullptr) refuse(problem);
}

namespace {

/// What ranks tell each other wherever they meet: what each is about to do, with how much, and a few numbers.
struct Said {
  char what[40];
  std::array<int64_t, 3> counts;
  double numbers[16];
};

std::vector<Said> meet(const MpiCalls& calls, int size, const Said& mine) {
  std::vector<Said> all(static_cast<size_t>(size));
  if (const char* problem = calls.meet(&mine, all.data(), sizeof mine)) refuse(problem);
  const auto told = [](const Said& said) { return said.what + (" of " + std::to_string(said.counts[0] + said.counts[1] + said.counts[2])); };
  for (const Said& other : all) {
    if (std::strcmp(other.what, all[0].what) != 0 || other.counts != all[0].counts)
      refuse("the ranks do not do the same: rank 0 is at " + told(all[0]) + ", rank " + std::to_string(&other - all.data()) + " at " + told(other));
  }
  return all;
}

Said about(const char* what, std::array<int64_t, 3> counts) {
  Said said{};
  std::strncpy(said.what, what, sizeof said.what - 1);
  said.counts = counts;
  return said;
}

}  // namespace

void Job::agree(const char* what, std::array<int64_t, 3> counts) { meet(*calls_, size(), about(what, counts)); }

std::vector<double> Job::gather(const std::vector<double>& numbers) {
  const size_t count = numbers.size();
  Said mine = about("numbers", {static_cast<int64_t>(count)});
  // A few go along with the meeting.
  const bool few = count <= std::size(mine.numbers);
  if (few) std::copy(numbers.begin(), numbers.end(), mine.numbers);
  const std::vector<Said> said = meet(*calls_, size(), mine);
  std::vector<double> all(count * said.size());
  const auto place = [&](size_t rank) { return all.begin() + static_cast<std::ptrdiff_t>(count * rank); };
  if (few) {
    for (size_t r = 0; r < said.size(); ++r) std::copy(said[r].numbers, said[r].numbers + count, place(r));
    return all;
  }
  TORCH_CHECK(count < (size_t{1} << 24), "too many numbers: put them in a tensor");
  std::copy(numbers.begin(), numbers.end(), place(static_cast<size_t>(rank())));
  must(calls_->spread(all.data(), static_cast<int>(count * sizeof(double))));
  return all;
}

template <typename T>
void Job::sumParts(const std::vector<at::Tensor>& tensors) {
  if (tensors.empty()) return;
  const auto dtype = c10::CppTypeToScalarType<T>::value;
  const Flat flat(tensors);
  int64_t elements = 0;
  for (const at::Tensor& t : flat.views) elements += t.numel();
  const int64_t ranks = size();
  // A whole number of parts, one for each rank to sum.
  const auto parted = [&](int64_t n) { return (n + ranks - 1) / ranks; };
  const int64_t part = parted(std::min(elements, kBytes / static_cast<int64_t>(sizeof(T))));
  const at::Tensor own = hostMemory(part * ranks * static_cast<int64_t>(sizeof(T)), tensors).view(dtype);
  const at::Tensor received = at::empty({part * ranks}, at::TensorOptions().dtype(dtype));
  T* mine = own.data_ptr<T>();
  T* theirs = received.data_ptr<T>();
  eachRun(
      flat.views, part * ranks,
      [&](const at::Tensor& tensor, int64_t first, int64_t count, int64_t place, bool out) {
        const at::Tensor there = tensor.narrow(0, first, count), here = own.narrow(0, place, count);
        if (out) here.copy_(there);
        else there.copy_(here);
      },
      [&](int64_t filled) {
        const int64_t length = parted(filled);
        std::fill(mine + filled, mine + length * ranks, T(0));
        const int bytes = static_cast<int>(length * static_cast<int64_t>(sizeof(T)));
        must(calls_->exchange(mine, theirs, bytes));
        addParts(theirs, length, size(), mine + length * rank());
        must(calls_->spread(mine, bytes));
      });
  flat.give();
}

void Job::sum(const std::vector<at::Tensor>& tensors) {
  c10::NoGradGuard noGrad;
  constexpr std::array<at::ScalarType, 3> kSummed{at::kFloat, at::kDouble, at::kBFloat16};
  std::array<std::vector<at::Tensor>, 3> kinds;
  std::array<int64_t, 3> counts{};
  const at::Tensor* bad = nullptr;
  for (const at::Tensor& t : tensors) {
    const auto kind = static_cast<size_t>(std::find(kSummed.begin(), kSummed.end(), t.scalar_type()) - kSummed.begin());
    if (kind == kSummed.size() || t.layout() != at::kStrided) bad = &t;
    if (bad != nullptr || t.numel() == 0) continue;
    kinds[kind].push_back(t);
    counts[kind] += t.numel();
  }
  // What one rank can't sum must not leave the others waiting.
  agree(bad ? "sum_ of what can't be summed" : "sum_", counts);
  TORCH_CHECK(bad == nullptr, "sums dense tensors of f32, f64 and bf16, not ", bad->layout(), " ones of ", c10::toString(bad->scalar_type()));
  sumParts<float>(kinds[0]);
  sumParts<double>(kinds[1]);
  sumParts<at::BFloat16>(kinds[2]);
}

namespace {
std::string from(const char* what, int root) { return std::string(what) + " from rank " + std::to_string(root); }
}  // namespace

// After the ranks have agreed: a root that is none is one on all of them.
void Job::checkRoot(int root) const { TORCH_CHECK(root >= 0 && root < size(), "root must be a rank from 0 to ", size() - 1, ", not ", root); }

void Job::broadcast(const std::vector<at::Tensor>& tensors, int root) {
  c10::NoGradGuard noGrad;
  int64_t bytes = 0;
  const at::Tensor* bad = nullptr;
  for (const at::Tensor& t : tensors) {
    if (t.layout() != at::kStrided) bad = &t;
    bytes += t.numel() * static_cast<int64_t>(t.element_size());
  }
  agree((from("broadcast_", root) + (bad ? " of what can't be" : "")).c_str(), {bytes});
  checkRoot(root);
  TORCH_CHECK(bad == nullptr, "broadcasts dense tensors, not ", bad->layout());
  if (bytes == 0) return;
  std::vector<at::Tensor> filled;
  for (const at::Tensor& t : tensors) {
    if (t.numel() > 0) filled.push_back(t);
  }
  const Flat flat(filled);
  // As bytes: any dtype.
  std::vector<at::Tensor> raw;
  for (const at::Tensor& t : flat.views) raw.push_back(t.view(at::kByte));
  const at::Tensor host = hostMemory(std::min(bytes, kBytes), filled);
  eachRun(
      raw, host.numel(),
      [&](const at::Tensor& tensor, int64_t first, int64_t count, int64_t place, bool out) {
        const at::Tensor there = tensor.narrow(0, first, count), here = host.narrow(0, place, count);
        if (out && rank() == root) here.copy_(there);
        if (!out && rank() != root) there.copy_(here);
      },
      [&](int64_t count) { must(calls_->broadcast(host.data_ptr(), static_cast<size_t>(count), root)); });
  if (rank() != root) flat.give();
}

std::string Job::broadcast(const std::string& text, int root) {
  agree(from("text", root).c_str());
  checkRoot(root);
  uint64_t length = text.size();
  must(calls_->broadcast(&length, sizeof length, root));
  std::string shared = rank() == root ? text : std::string(length, '\0');
  must(calls_->broadcast(shared.data(), length, root));
  return shared;
}

void Job::leave() {
  // Like every other meeting, so that a rank that leaves while others work together is told of it, as they are. And MPI's own end may
  // spin until the last rank is there, who may be writing reports still.
  agree("leave");
  const MpiCalls* calls = calls_;
  {
    const std::lock_guard<std::mutex> lock(guard);
    over = true;
    joined.reset();  // this
  }
  if (const char* problem = calls->leave()) refuse(problem);
}

void Job::abort(int code) { calls_->abort(code); }

// What is under way may be written to until MPI has ended, and the other ranks wait for it: there is no going on from here.
void Job::mustMove(const char* problem) {
  if (problem == nullptr) return;
  std::fprintf(stderr, "rank %d: TENSOR_JOB: a block between the ranks was lost, and the job ends: %s\n", rank(), problem);
  std::fflush(stderr);
  calls_->abort(1);
  std::_Exit(1);
}

void Job::begin_shift(const void* send, void* receive, size_t bytes) { mustMove(calls_->begin_shift(send, receive, bytes)); }

void Job::wait() { mustMove(calls_->wait()); }

void Job::gather(const double* own, int count, double* all) {
  const std::vector<double> gathered = gather(std::vector<double>(own, own + count));
  std::copy(gathered.begin(), gathered.end(), all);
}

namespace {

napi_value array(Call& call, const double* values, size_t count) {
  napi_value result = nullptr;
  check(napi_create_array_with_length(call.env(), count, &result), "numbers");
  for (size_t i = 0; i < count; ++i) check(napi_set_element(call.env(), result, static_cast<uint32_t>(i), call.number(values[i])), "numbers");
  return result;
}

std::vector<double> doubles(Call& call, size_t argument) {
  napi_typedarray_type type = napi_uint8_array;
  size_t length = 0;
  void* memory = nullptr;
  if (napi_get_typedarray_info(call.env(), call.at(argument), &type, &length, &memory, nullptr, nullptr) != napi_ok || type != napi_float64_array) {
    throw ArgumentError{"TENSOR_ARGUMENT", "numbers must be a Float64Array"};
  }
  const auto* first = static_cast<const double*>(memory);
  return length == 0 ? std::vector<double>() : std::vector<double>(first, first + length);
}

/// (file of the MPI part) → MPI's name and version.
LARR_FUNCTION(jobLibrary) { return call.text(Job::library(call.read().text(call.at(0), "path"))); }

/// (file of the MPI part) → [rank, size, rank on this machine, ranks on this machine].
LARR_FUNCTION(jobJoin) {
  const auto& place = Job::join(call.read().text(call.at(0), "path")).place();
  const double numbers[] = {static_cast<double>(place.rank), static_cast<double>(place.size), static_cast<double>(place.local_rank), static_cast<double>(place.local_size)};
  return array(call, numbers, 4);
}

LARR_FUNCTION(jobSum) {  // (tensors)
  Job::current().sum(call.read().tensors(call.at(0), "tensors"));
  return call.undefined();
}

LARR_FUNCTION(jobBroadcast) {  // (tensors, root)
  const Reader read = call.read();
  Job::current().broadcast(read.tensors(call.at(0), "tensors"), static_cast<int>(read.integer(call.at(1), "root")));
  return call.undefined();
}

/// (Float64Array) → each rank's numbers, one after another.
LARR_FUNCTION(jobGather) {
  const std::vector<double> all = Job::current().gather(doubles(call, 0));
  return array(call, all.data(), all.size());
}

LARR_FUNCTION(jobShare) {  // (text, root) → root's text
  const Reader read = call.read();
  return call.text(Job::current().broadcast(read.text(call.at(0), "text"), static_cast<int>(read.integer(call.at(1), "root"))));
}

LARR_FUNCTION(jobBarrier) {
  Job::current().agree("barrier");
  return call.undefined();
}

LARR_FUNCTION(jobInfoNce) {  // (query, key, scale, groups?)
  const Reader read = call.read();
  const at::Tensor &query = read.tensor(call.at(0), "query"), &key = read.tensor(call.at(1), "key");
  std::optional<at::Tensor> groups;
  if (call.has(3)) groups = read.tensor(call.at(3), "groups");
  Job& job = Job::current();
  return call.result(visitOperand(read.operand(call.at(2), "scale"), [&](const auto& scale) { return infoNce(query, key, scale, groups, job); }));
}

LARR_FUNCTION(jobLeave) {
  Job::current().leave();
  return call.undefined();
}

LARR_FUNCTION(jobAbort) {  // (exit status)
  Job::current().abort(static_cast<int>(call.read().integer(call.at(0), "code")));
  return call.undefined();
}

}  // namespace

std::vector<Function> jobFunctions() {
  return {{"jobLibrary", jobLibrary}, {"jobJoin", jobJoin},       {"jobSum", jobSum},         {"jobBroadcast", jobBroadcast}, {"jobGather", jobGather},
          {"jobShare", jobShare},     {"jobBarrier", jobBarrier}, {"jobInfoNce", jobInfoNce}, {"jobLeave", jobLeave},         {"jobAbort", jobAbort}};
}

}  // namespace larr
