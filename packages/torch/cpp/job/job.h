// The processes ("ranks") of one job, as MPI's launcher started them. MPI is one for the whole process, and so is this.
#pragma once

#include "../addon.h"
#include "mpi_calls.h"

#include <larr/ring.h>

#include <array>

namespace larr {

class Job final : public Ring {
 public:
  /// The job of this process. Throws TENSOR_JOB where it has joined none.
  static Job& current();
  /// Opens the library at `path`, starts MPI and takes this process's place.
  static Job& join(const std::string& path);
  /// MPI's name and version, of the library at `path`.
  static std::string library(const std::string& path);

  const MpiCalls::Place& place() const { return place_; }
  std::string library() const { return calls_->library(); }

  /// All ranks wait for each other here. Each says what it is about to do, and with how many elements or bytes: where they do not
  /// all say the same, all of them throw.
  void agree(const char* what, std::array<int64_t, 3> counts = {});
  /// Each rank's numbers in rank order: [size · numbers].
  std::vector<double> gather(const std::vector<double>& numbers);
  /// In place, on all ranks the same bits: summed in rank order, bf16 in f32. f32, f64 and bf16, on any device.
  void sum(const std::vector<at::Tensor>& tensors);
  /// Of any dtype and device, from `root` to all others.
  void broadcast(const std::vector<at::Tensor>& tensors, int root);
  std::string broadcast(const std::string& text, int root);
  /// When all ranks have come here; where one is elsewhere all throw, and the job goes on.
  void leave();
  void abort(int code);

  int rank() const override { return place_.rank; }
  int size() const override { return place_.size; }
  void begin_shift(const void* send, void* receive, size_t bytes) override;
  void wait() override;
  void gather(const double* own, int count, double* all) override;

 private:
  Job(const MpiCalls* calls) : calls_(calls) {}
  void must(const char* problem);
  void mustMove(const char* problem);
  void checkRoot(int root) const;
  template <typename T>
  void sumParts(const std::vector<at::Tensor>& tensors);

  const MpiCalls* calls_;
  MpiCalls::Place place_{};
};

}  // namespace larr
