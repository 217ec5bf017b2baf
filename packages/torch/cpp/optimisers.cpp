// Optimiser steps: Adam and AdamW over many tensors in one call, and Adam over the rows that a sparse gradient holds.
#include "every_isa.h"
#include "row_gradients.h"

#include <ATen/autocast_mode.h>

#include <algorithm>
#include <cmath>
#include <map>

namespace larr {
namespace {

struct AdamSettings {
  double lr, beta1, beta2, eps, weightDecay;
};

/// The state of one parameter group. `decoupled` is AdamW (Loshchilov and Hutter 2019), else Adam (Kingma and Ba 2015) with L2.
struct Adam {
  std::vector<at::Tensor> parameters, means, squares, steps;
  bool decoupled = true;
};

/// Adam over the rows of embedding tables: rows that no gradient names keep their values and moments untouched.
struct RowwiseAdam {
  std::vector<at::Tensor> tables, means, squares;
  std::vector<std::vector<int32_t>> slots;  // of each table: row → its place among the rows of this step, or −1
  int64_t step = 0;
};

AdamSettings settings(Call& call, size_t first) {
  const Reader read = call.read();
  return {read.number(call.at(first), "lr"), read.number(call.at(first + 1), "beta1"), read.number(call.at(first + 2), "beta2"),
          read.number(call.at(first + 3), "eps"), read.number(call.at(first + 4), "weightDecay")};
}

LARR_FUNCTION(adamCreate) {  // (parameters, decoupled)
  auto adam = std::make_unique<Adam>();
  adam->parameters = call.read().tensors(call.at(0), "params");
  adam->decoupled = call.read().boolean(call.at(1), "decoupled");
  checkParameters(adam->parameters);
  c10::NoGradGuard noGrad;
  for (const at::Tensor& parameter : adam->parameters) {
    adam->means.push_back(at::zeros_like(parameter));
    adam->squares.push_back(at::zeros_like(parameter));
    adam->steps.push_back(at::zeros({}, parameter.options().dtype(at::kFloat).requires_grad(false)));
  }
  return external(call, std::move(adam));
}

LARR_FUNCTION(adamStep) {  // (adam, lr, beta1, beta2, eps, weightDecay)
  c10::NoGradGuard noGrad;
  Adam& adam = optimiser<Adam>(call);
  const AdamSettings s = settings(call, 1);
  // The fused kernels take tensors of one dtype and device.
  struct Lists {
    std::vector<at::Tensor> parameters, gradients, means, squares, steps;
  };
  std::map<std::pair<at::ScalarType, at::Device>, Lists, bool (*)(const std::pair<at::ScalarType, at::Device>&, const std::pair<at::ScalarType, at::Device>&)>
      groups([](const auto& a, const auto& b) {
        return std::make_tuple(a.first, a.second.type(), a.second.index()) < std::make_tuple(b.first, b.second.type(), b.second.index());
      });
  for (size_t i = 0; i < adam.parameters.size(); ++i) {
    const at::Tensor& parameter = adam.parameters[i];
    at::Tensor gradient = parameter.grad();
    if (!gradient.defined()) continue;
    TORCH_CHECK(gradient.layout() == at::kStrided, "the gradient of a parameter of shape ", parameter.sizes(),
                " is sparse: give that parameter to RowwiseAdam");
    // The CPU kernel walks raw memory.
    if (gradient.strides() != parameter.strides()) gradient = at::empty_like(parameter).copy_(gradient);
    Lists& lists = groups[{parameter.scalar_type(), parameter.device()}];
    lists.parameters.push_back(parameter);
    lists.gradients.push_back(gradient);
    lists.means.push_back(adam.means[i]);
    lists.squares.push_back(adam.squares[i]);
    lists.steps.push_back(adam.steps[i]);
  }
  for (auto& [key, lists] : groups) {
    at::_foreach_add_(lists.steps, 1);
    if (adam.decoupled) {
      at::_fused_adamw_(lists.parameters, lists.gradients, lists.means, lists.squares, {}, lists.steps, s.lr, s.beta1, s.beta2, s.weightDecay, s.eps,
                        /*amsgrad=*/false, /*maximize=*/false);
    } else {
      at::_fused_adam_(lists.parameters, lists.gradients, lists.means, lists.squares, {}, lists.steps, s.lr, s.beta1, s.beta2, s.weightDecay, s.eps,
                       /*amsgrad=*/false, /*maximize=*/false);
    }
  }
  at::autocast::clear_cache();  // its bf16 copies of the weights are stale now
  return call.undefined();
}

/// → [mean, square, step] of parameter i, sharing memory.
LARR_FUNCTION(adamState) {  // (adam, i)
  Adam& adam = optimiser<Adam>(call);
  const size_t i = static_cast<size_t>(call.read().integer(call.at(1), "i"));
  TORCH_CHECK(i < adam.parameters.size(), "the optimiser has ", adam.parameters.size(), " parameters");
  return call.result(std::vector<at::Tensor>{adam.means[i], adam.squares[i], adam.steps[i]});
}

/// Frees the moments now: the garbage collector knows nothing of their size.
LARR_FUNCTION(adamDispose) {
  optimiser<Adam>(call) = Adam();
  return call.undefined();
}

LARR_FUNCTION(rowwiseCreate) {  // (tables)
  auto rowwise = std::make_unique<RowwiseAdam>();
  rowwise->tables = call.read().tensors(call.at(0), "tables");
  checkTables(rowwise->tables);
  c10::NoGradGuard noGrad;
  for (const at::Tensor& table : rowwise->tables) {
    rowwise->means.push_back(at::zeros_like(table));
    rowwise->squares.push_back(at::zeros_like(table));
    rowwise->slots.emplace_back(table.is_cpu() ? static_cast<size_t>(table.size(0)) : 0, -1);
  }
  return external(call, std::move(rowwise));
}

struct RowUpdate {
  AdamSettings s;
  double meanCorrection, squareCorrection;  // 1 − βᵗ
};

/// The numbers of a step that all rows share.
template <typename T>
struct RowStep {
  T beta1, beta2, eps, keep, size, rootCorrection;
};

template <typename T>
LARR_INLINE void adamRow(T* __restrict table, T* __restrict mean, T* __restrict square, const T* __restrict gradient, int64_t d, RowStep<T> s) {
  for (int64_t j = 0; j < d; ++j) {
    const T g = gradient[j];
    const T m = mean[j] = s.beta1 * mean[j] + (1 - s.beta1) * g;
    const T v = square[j] = s.beta2 * square[j] + (1 - s.beta2) * g * g;
    table[j] = table[j] * s.keep - s.size * m / (std::sqrt(v) * s.rootCorrection + s.eps);
  }
}
LARR_EVERY_ISA(updateRow, adamRow)

/// One step over the rows of an uncoalesced gradient, in place: O(entries · d), whatever the size of the table.
template <typename T>
void updateRows(at::Tensor& table, at::Tensor& mean, at::Tensor& square, std::vector<int32_t>& slots, const RowGradient& gradient,
                const RowUpdate& update) {
  const int64_t d = table.size(1);
  T* tableData = table.mutable_data_ptr<T>();
  T* meanData = mean.mutable_data_ptr<T>();
  T* squareData = square.mutable_data_ptr<T>();
  const AdamSettings& s = update.s;
  const RowStep<T> step{static_cast<T>(s.beta1), static_cast<T>(s.beta2), static_cast<T>(s.eps), static_cast<T>(1 - s.lr * s.weightDecay),
                        static_cast<T>(s.lr / update.meanCorrection), static_cast<T>(1 / std::sqrt(update.squareCorrection))};
  eachRowSum<T>(groupRows(gradient.indices, table.size(0), slots), gradient.values.const_data_ptr<T>(), d,
                {tableData, meanData, squareData}, [&](int64_t at, const T* sum) { updateRow(tableData + at, meanData + at, squareData + at, sum, d, step); });
}

/// The same composed from operators, for other devices and dtypes.
void updateRowsComposed(at::Tensor& table, at::Tensor& mean, at::Tensor& square, const RowGradient& gradient, const RowUpdate& update) {
  if (gradient.indices.numel() == 0) return;
  const auto [rows, g] = rowSums(gradient.indices, gradient.values);
  const at::Tensor m = at::index_select(mean, 0, rows) * update.s.beta1 + g * (1 - update.s.beta1);
  const at::Tensor v = at::index_select(square, 0, rows) * update.s.beta2 + g * g * (1 - update.s.beta2);
  const at::Tensor denominator = v.sqrt() / std::sqrt(update.squareCorrection) + update.s.eps;
  const at::Tensor updated =
      at::index_select(table, 0, rows) * (1 - update.s.lr * update.s.weightDecay) - m / denominator * (update.s.lr / update.meanCorrection);
  mean.index_copy_(0, rows, m);
  square.index_copy_(0, rows, v);
  table.index_copy_(0, rows, updated);
}

LARR_FUNCTION(rowwiseStep) {  // (rowwise, lr, beta1, beta2, eps, weightDecay)
  c10::NoGradGuard noGrad;
  RowwiseAdam& rowwise = optimiser<RowwiseAdam>(call);
  RowUpdate update{settings(call, 1), 1, 1};
  ++rowwise.step;
  update.meanCorrection = 1 - std::pow(update.s.beta1, static_cast<double>(rowwise.step));
  update.squareCorrection = 1 - std::pow(update.s.beta2, static_cast<double>(rowwise.step));
  for (size_t t = 0; t < rowwise.tables.size(); ++t) {
    at::Tensor& table = rowwise.tables[t];
    if (!table.grad().defined()) continue;
    const RowGradient gradient = rowGradient(table, table.grad());
    if (gradient.direct) {
      if (table.scalar_type() == at::kFloat) {
        updateRows<float>(table, rowwise.means[t], rowwise.squares[t], rowwise.slots[t], gradient, update);
      } else {
        updateRows<double>(table, rowwise.means[t], rowwise.squares[t], rowwise.slots[t], gradient, update);
      }
      // Written behind autograd's back: a graph that saved the table must not go backward through new values.
      table.unsafeGetTensorImpl()->bump_version();
    } else {
      updateRowsComposed(table, rowwise.means[t], rowwise.squares[t], gradient, update);
    }
  }
  at::autocast::clear_cache();
  return call.undefined();
}

LARR_FUNCTION(rowwiseState) {  // (rowwise, i) → [mean, square]
  RowwiseAdam& rowwise = optimiser<RowwiseAdam>(call);
  const size_t i = static_cast<size_t>(call.read().integer(call.at(1), "i"));
  TORCH_CHECK(i < rowwise.tables.size(), "the optimiser has ", rowwise.tables.size(), " tables");
  return call.result(std::vector<at::Tensor>{rowwise.means[i], rowwise.squares[i]});
}
LARR_FUNCTION(rowwiseGetStep) { return call.number(static_cast<double>(optimiser<RowwiseAdam>(call).step)); }
LARR_FUNCTION(rowwiseSetStep) {
  optimiser<RowwiseAdam>(call).step = call.read().integer(call.at(1), "step");
  return call.undefined();
}

LARR_FUNCTION(rowwiseDispose) {
  optimiser<RowwiseAdam>(call) = RowwiseAdam();
  return call.undefined();
}

LARR_FUNCTION(zeroGradients) {  // (parameters)
  for (at::Tensor& parameter : call.read().tensors(call.at(0), "params")) parameter.mutable_grad() = at::Tensor();
  return call.undefined();
}

/// (parameters, maxNorm) → the norm of all gradients together before clipping.
LARR_FUNCTION(clipGradientNorm) {
  c10::NoGradGuard noGrad;
  const double maximum = call.read().number(call.at(1), "maxNorm");
  std::vector<at::Tensor> values;
  for (at::Tensor& parameter : call.read().tensors(call.at(0), "params")) {
    const at::Tensor& gradient = parameter.grad();
    if (!gradient.defined()) continue;
    if (gradient.layout() == at::kSparse) {
      // Rows named twice must be summed before they have a norm.
      parameter.mutable_grad() = gradient.coalesce();
      values.push_back(parameter.grad()._values());
    } else {
      values.push_back(gradient);
    }
  }
  if (values.empty()) return call.number(0);
  // The grouped operators take one device and dtype.
  std::map<std::pair<at::ScalarType, std::string>, std::vector<at::Tensor>> groups;
  for (const at::Tensor& value : values) groups[{value.scalar_type(), value.device().str()}].push_back(value);
  std::vector<double> norms;
  for (const auto& [key, group] : groups) {
    // Of bf16 in f32: a norm rounded to bf16 would be off by up to a 256th.
    const auto type = key.first == at::kDouble ? at::kDouble : at::kFloat;
    norms.push_back(at::linalg_vector_norm(at::stack(at::_foreach_norm(group, 2, type)), 2, {}, false, at::kDouble).item<double>());
  }
  double total = norms[0];
  if (norms.size() > 1) {
    double squares = 0;
    for (const double norm : norms) squares += norm * norm;
    total = std::sqrt(squares);
  }
  // As PyTorch's clip_grad_norm_: nothing when the norm is within the limit; a norm that is not finite is left for the caller to see.
  const double factor = maximum / (total + 1e-6);
  if (factor < 1) {
    for (const auto& [key, group] : groups) at::_foreach_mul_(group, factor);
  }
  return call.number(total);
}

}  // namespace

std::vector<Function> optimiserFunctions() {
  return {{"adamCreate", adamCreate}, {"adamStep", adamStep}, {"adamState", adamState}, {"adamDispose", adamDispose}, {"rowwiseCreate", rowwiseCreate},
          {"rowwiseStep", rowwiseStep}, {"rowwiseState", rowwiseState}, {"rowwiseGetStep", rowwiseGetStep},
          {"rowwiseSetStep", rowwiseSetStep}, {"rowwiseDispose", rowwiseDispose}, {"zeroGradients", zeroGradients}, {"clipGradientNorm", clipGradientNorm}};
}

}  // namespace larr
