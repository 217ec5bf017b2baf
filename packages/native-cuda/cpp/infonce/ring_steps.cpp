#include "larr/ring_steps.h"

#include <algorithm>
#include <stdexcept>
#include <string>

namespace larr {

namespace {

std::vector<double> gather(Ring& ring, const std::vector<double>& own) {
  std::vector<double> all(size_t(ring.size()) * own.size());
  ring.gather(own.data(), int(own.size()), all.data());
  return all;
}

}  // namespace

std::vector<double> Agreement::reach(const std::vector<double>& values) {
  constexpr double fine = 0, cancelled = 1, failed = 2;
  double how = fine;
  if (failure_) try {
      std::rethrow_exception(failure_);
    } catch (const Cancelled&) {
      how = cancelled;
    } catch (...) {
      how = failed;
    }
  std::vector<double> own{how};
  own.insert(own.end(), values.begin(), values.end());
  const std::vector<double> all = gather(ring_, own);
  if (failure_) std::rethrow_exception(failure_);
  std::vector<double> others;
  for (size_t rank = 0; rank < size_t(ring_.size()); rank++) {
    const double* its = all.data() + rank * own.size();
    if (its[0] == cancelled) throw Cancelled();
    if (its[0] != fine) throw std::runtime_error("infonce_ring: rank " + std::to_string(rank) + " failed; its own error says at what");
    others.insert(others.end(), its + 1, its + own.size());
  }
  return others;
}

Terms Agreement::terms(const InfoNce& problem, bool gradients, Isa isa) {
  enum { bad, batch, dim, scale, compute, grouped, differentiated, instructions, fields };
  std::vector<double> own(fields, 0.0);
  own[bad] = failure_ ? 1 : 0;
  if (!failure_) {
    own[batch] = double(problem.batch);
    own[dim] = double(problem.dim);
    own[scale] = problem.scale;
    own[compute] = double(int(problem.compute));
    own[grouped] = problem.groups ? 1 : 0;
    own[differentiated] = gradients ? 1 : 0;
    own[instructions] = double(int(isa));
  }
  const std::vector<double> all = gather(ring_, own);
  if (failure_) std::rethrow_exception(failure_);
  const auto of = [&](int rank, int field) { return all[size_t(rank) * fields + size_t(field)]; };
  const auto refuse = [](const std::string& what) { throw std::invalid_argument("infonce_ring: " + what); };
  const int size = ring_.size();
  for (int rank = 0; rank < size; rank++)
    if (of(rank, bad) != 0) refuse("rank " + std::to_string(rank) + " was given bad arguments; its own error says which");

  Terms terms;
  int first = -1;  // rank with rows: what one without rows says of groups and gradients says nothing
  for (int rank = 0; rank < size; rank++) {
    terms.batches.push_back(int64_t(of(rank, batch)));
    terms.total += terms.batches.back();
    if (first < 0 && terms.batches.back() > 0) first = rank;
  }
  if (first < 0) refuse("batch is 0 on every rank");
  terms.grouped = of(first, grouped) != 0;
  terms.gradients = of(first, differentiated) != 0;
  for (int rank = 0; rank < size; rank++) {
    const auto same = [&](int field, const char* what) {
      if (of(rank, field) != of(first, field))
        refuse(std::string(what) + " must be the same on every rank; ranks " + std::to_string(std::min(first, rank)) + " and " + std::to_string(std::max(first, rank)) + " differ");
    };
    same(dim, "dim");
    same(scale, "scale");
    same(compute, "compute");
    same(instructions, "the instruction set (LARR_ISA, or what the machine has)");  // blocks lie as it wants them
    if (terms.batches[size_t(rank)] == 0) continue;
    same(grouped, "whether groups are given");
    same(differentiated, "whether dq and dk are asked for");
  }
  return terms;
}

}  // namespace larr
