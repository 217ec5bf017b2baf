// An InfoNCE case's numbers and what float64 makes of them, for the checks of one process and of a ring.
#pragma once
#include "checks.h"

namespace larr::test {

struct NceProblem {
  std::vector<float> q, k;
  std::vector<int32_t> groups;
  InfoNce p;  // its pointers are q's and k's, and groups' where the case has some
};

// Any answer, whole: float64's or the composed operators'.
struct NceAnswer {
  double loss = 0, dscale = 0;
  std::vector<double> lse_row, lse_col, dq, dk;
};

// What a kernel gave, one number longer than asked: the last must still be poison.
struct NceOutputs {
  std::vector<float> lse_row, lse_col, dq, dk;
  double loss = 0, dscale = 0;
  NceOutputs(size_t batch, size_t dim) : lse_row(batch + 1, poison), lse_col(batch + 1, poison), dq(batch * dim + 1, poison), dk(batch * dim + 1, poison) {}
  // Of the rows from `row` on.
  InfoNceOut from(size_t row, size_t dim) { return {0, 0, lse_row.data() + row, lse_col.data() + row, dq.data() + row * dim, dk.data() + row * dim}; }
  bool operator==(const NceOutputs&) const = default;
};

std::string name(const NceCase& c);
NceProblem make_problem(const NceCase& c, uint64_t seed);
NceAnswer reference_of(const InfoNce& p);
// Whether what a kernel gave is within the tolerances of float64's answer.
void compare(const NceCase& c, const NceProblem& problem, const NceAnswer& exact, Dtype dtype, const NceOutputs& got, const std::string& what);
// One number of q or k that is not finite, or that f32 has no product or score for.
void spoil(NceProblem& problem, uint64_t seed);

}  // namespace larr::test
