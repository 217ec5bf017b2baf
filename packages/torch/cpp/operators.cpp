// The operators declared in operators/operators.mjs: helpers that their expressions use, and the generated glue.
#include "addon.h"
#include "bags.h"
#include "contrastive.h"
#include "decoder/decoder.h"
#include "experts/experts.h"
#include "scene/scene_attention.h"

namespace larr {
namespace {

at::OptionalIntArrayRef view(const std::optional<std::vector<int64_t>>& values) {
  return values ? at::OptionalIntArrayRef(at::IntArrayRef(*values)) : at::OptionalIntArrayRef();
}

int64_t reductionOf(const std::string& name) {
  if (name == "none") return at::Reduction::None;
  if (name == "mean") return at::Reduction::Mean;
  if (name == "sum") return at::Reduction::Sum;
  throw ArgumentError{"TENSOR_ARGUMENT", "reduction must be 'none', 'mean' or 'sum', not '" + name + "'"};
}

at::Tensor smaller(const at::Tensor& self, const at::Tensor& other) { return at::minimum(self, other); }
at::Tensor smaller(const at::Tensor& self, const at::Scalar& other) { return at::clamp_max(self, other); }
at::Tensor larger(const at::Tensor& self, const at::Tensor& other) { return at::maximum(self, other); }
at::Tensor larger(const at::Tensor& self, const at::Scalar& other) { return at::clamp_min(self, other); }

std::tuple<at::Tensor, at::Tensor> unique(const at::Tensor& self) {
  auto [values, inverse, counts] = at::_unique2(self, /*sorted=*/true, /*return_inverse=*/true, /*return_counts=*/false);
  return {values, inverse};
}

std::vector<at::Tensor> split(const at::Tensor& self, const std::vector<int64_t>& sizes, int64_t dim) {
  // One size alone means pieces of that size; as a list of one it could only be the whole, which is the same.
  return sizes.size() == 1 ? at::split(self, sizes[0], dim) : at::split_with_sizes(self, sizes, dim);
}

at::Tensor normalize(const at::Tensor& self, int64_t dim, double eps) {
  return at::div(self, at::linalg_vector_norm(self, 2, at::IntArrayRef{dim}, /*keepdim=*/true).clamp_min(eps));
}

at::Tensor embeddingBag(const at::Tensor& weight, const at::Tensor& index, const at::Tensor& offsets, const std::string& mode,
                        bool sparse, const std::optional<at::Tensor>& weights, const std::optional<int64_t>& paddingIndex) {
  if (mode != "sum" && mode != "mean") {
    throw ArgumentError{"TENSOR_ARGUMENT", "mode must be 'sum' or 'mean', not '" + mode + "'"};
  }
  if (!sparse && !weights) {
    if (auto bags = plainBags(weight, index, offsets, mode == "mean", paddingIndex)) return *bags;
  }
  return std::get<0>(at::embedding_bag(weight, index, offsets, /*scale_grad_by_freq=*/false, mode == "mean" ? 1 : 0, sparse, weights,
                                       /*include_last_offset=*/false, paddingIndex));
}

#include "operators.generated.inc"

}  // namespace

std::vector<Function> operatorMethods() { return {std::begin(methodTable), std::end(methodTable)}; }
std::vector<Function> operatorFunctions() { return {std::begin(functionTable), std::end(functionTable)}; }

}  // namespace larr
