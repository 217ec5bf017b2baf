// Symmetric InfoNCE, L = 1/(2B) Σ_i (lse_row_i + lse_col_i − 2 s_ii), s_ij = scale · q_i·k_j: the fused kernels of
// @larr/native-cuda (docs/kernels.md, A) in O(B·d) memory, for f32 and bf16 on the CPU and, up to 256 wide, on CUDA; elsewhere
// composed from LibTorch's operators, which holds the B × B matrix. Over a ring of processes the same kernels on the CPU, elsewhere
// tiles of the same algorithm composed from operators (contrastive_ring.cpp).
#include "contrastive.h"

#include "contrastive_ring.h"

#include <ATen/autocast_mode.h>
#include <larr/ring_steps.h>
#include <torch/csrc/autograd/custom_function.h>

#include <cmath>
#include <functional>
#include <limits>

// Defined where LibTorch has CUDA and the kernels were built with a CUDA toolkit at hand (CMakeLists.txt).
#ifdef LARR_TORCH_CUDA
#include <c10/core/DeviceGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <larr/cuda.h>
#endif

namespace larr {
namespace {

void checkShapes(const at::Tensor& query, const at::Tensor& key, const std::optional<at::Tensor>& groups, int64_t fewest) {
  TORCH_CHECK(query.dim() == 2 && key.dim() == 2 && query.sizes() == key.sizes(),
              "query and key must have one shape [B, d], not ", query.sizes(), " and ", key.sizes());
  TORCH_CHECK(query.size(0) >= fewest, "query and key hold no rows");
  TORCH_CHECK(query.device() == key.device() && (!groups || groups->device() == query.device()),
              "query, key and groups must be on one device, not ", query.device(), ", ", key.device(),
              groups ? " and " + groups->device().str() : std::string());
  TORCH_CHECK(at::isFloatingType(query.scalar_type()) && query.scalar_type() == key.scalar_type(),
              "query and key must have one floating dtype, not ", dtypeName(query.scalar_type()), " and ", dtypeName(key.scalar_type()));
  if (!groups) return;
  TORCH_CHECK(groups->dim() == 1 && groups->size(0) == query.size(0), "groups must be [", query.size(0), "], not ", groups->sizes());
  TORCH_CHECK(at::isIntegralType(groups->scalar_type(), /*includeBool=*/false), "groups must be whole numbers");
}

at::Tensor composed(const at::Tensor& query, const at::Tensor& key, const at::Tensor& scale, const std::optional<at::Tensor>& groups) {
  // exp and its sums in bf16 would lose the small terms that make up most of a large batch's loss.
  const auto compute = query.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  const at::Tensor q = query.to(compute), k = key.to(compute), s = scale.to(compute);
  at::Tensor scores = at::mm(q, k.t()) * s;  // [B, B]
  if (groups) {
    at::Tensor left = at::eq(groups->unsqueeze(0), groups->unsqueeze(1));
    left.fill_diagonal_(false);
    scores = at::masked_fill(scores, left, -std::numeric_limits<double>::infinity());
  }
  const at::Tensor positive = at::sum(q * k, at::IntArrayRef{1}) * s;  // [B], apart from the matrix: never rounded with it
  return at::mean((at::logsumexp(scores, at::IntArrayRef{1}) + at::logsumexp(scores, at::IntArrayRef{0})) * 0.5 - positive);
}

Dtype kernelDtype(const at::Tensor& x) { return x.scalar_type() == at::kBFloat16 ? Dtype::bf16 : Dtype::f32; }

// The kernels know groups as int32; wider numbers are renumbered, which keeps who shares a group with whom.
at::Tensor kernelGroups(const at::Tensor& groups) {
  if (groups.scalar_type() == at::kInt) return groups.contiguous();
  if (groups.scalar_type() != at::kLong) return groups.to(at::kInt).contiguous();
  if (groups.is_cpu()) return std::get<1>(at::_unique(groups, /*sorted=*/false, /*return_inverse=*/true)).to(at::kInt).contiguous();
  // unique would wait for the device to say how many there are; a place in sorted order counts the changes up to it.
  const auto [sorted, order] = at::sort(groups, /*stable=*/true, /*dim=*/0, /*descending=*/false);
  const int64_t rows = groups.size(0);
  at::Tensor number = at::zeros({rows}, groups.options().dtype(at::kInt));
  number.narrow(0, 1, rows - 1).copy_(at::ne(sorted.narrow(0, 1, rows - 1), sorted.narrow(0, 0, rows - 1)));
  number = at::cumsum(number, 0, at::kInt);
  return at::empty_like(number).scatter_(0, order, number);
}

// With a ring: of all ranks' rows.
Fused onCpu(const at::Tensor& q, const at::Tensor& k, const at::Tensor& scale, const at::Tensor& groups, bool differentiate, Ring* ring = nullptr) {
  InfoNce problem;
  problem.q = q.const_data_ptr();
  problem.k = k.const_data_ptr();
  problem.storage = problem.compute = kernelDtype(q);
  problem.batch = q.size(0);
  problem.dim = q.size(1);
  problem.scale = scale.item<double>();
  problem.groups = groups.defined() ? groups.const_data_ptr<int32_t>() : nullptr;
  const auto wide = q.options().dtype(at::kFloat);
  Fused fused;
  InfoNceOut out;
  if (differentiate) {
    fused.dq = at::empty_like(q, wide);
    fused.dk = at::empty_like(k, wide);
    out.dq = fused.dq.data_ptr<float>();
    out.dk = fused.dk.data_ptr<float>();
  }
  if (ring) infonce_ring(problem, out, *ring);
  else infonce(problem, out);
  fused.loss = at::scalar_tensor(out.loss, wide);
  fused.dscale = at::scalar_tensor(out.dscale / (ring ? ring->size() : 1), q.options().dtype(at::kDouble));
  return fused;
}

#ifdef LARR_TORCH_CUDA
// The kernels' library brings a CUDA runtime of its own, beside LibTorch's, over one driver: it must be told the device too.
void useDevice(const at::Device& device) {
  const cudaError_t result = cudaSetDevice(device.index());
  TORCH_CHECK(result == cudaSuccess, "CUDA error: ", cudaGetErrorString(result), " (", device.str(), ")");
}

bool hasCudaKernel(const at::Tensor& query) {
  int major = 0;
  return cuda_compiled() && query.size(1) <= 256 &&
         cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, query.device().index()) == cudaSuccess && major >= 8;
}

// Queued on LibTorch's current stream. Nothing waits for the device: the loss stays there, and so does a scale that is there.
Fused onCuda(const at::Tensor& q, const at::Tensor& k, const at::Tensor& scale, const at::Tensor& groups, bool differentiate) {
  const c10::DeviceGuard guard(q.device());
  useDevice(q.device());
  CudaInfoNce problem;
  problem.q = q.const_data_ptr();
  problem.k = k.const_data_ptr();
  problem.storage = problem.compute = kernelDtype(q);
  problem.batch = q.size(0);
  problem.dim = q.size(1);
  problem.groups = groups.defined() ? groups.const_data_ptr<int32_t>() : nullptr;
  const auto wide = q.options().dtype(at::kFloat);
  at::Tensor factor;
  if (scale.is_cpu()) {
    problem.scale = scale.item<double>();
  } else {
    factor = scale.to(wide);
    problem.scale_at = factor.const_data_ptr<float>();
  }
  const at::Tensor result = at::empty({2}, q.options().dtype(at::kDouble));
  Fused fused;
  CudaInfoNceOut out;
  out.result = result.data_ptr<double>();
  if (differentiate) {
    fused.dq = at::empty_like(q, wide);
    fused.dk = at::empty_like(k, wide);
    out.dq = fused.dq.data_ptr<float>();
    out.dk = fused.dk.data_ptr<float>();
  }
  const at::Tensor scratch = at::empty({static_cast<int64_t>(cuda_infonce_scratch(problem, differentiate))}, q.options().dtype(at::kByte));
  cuda_infonce(problem, out, scratch.data_ptr(), c10::cuda::getCurrentCUDAStream(q.device().index()).stream());
  fused.loss = result.select(0, 0).to(at::kFloat);
  fused.dscale = result.select(0, 1);
  return fused;
}
#endif

// The gradients cost the kernels one more pass over their tiles, and they make them together with the loss: what backward needs is
// [B, d] twice, never the scores. They are constants to autograd: differentiating twice is refused.
struct FusedInfoNce : torch::autograd::Function<FusedInfoNce> {
  // make(query, key), both contiguous.
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& query, const at::Tensor& key, const at::Tensor& scale,
                            const std::function<Fused(const at::Tensor&, const at::Tensor&)>& make, bool differentiate) {
    const Fused fused = make(query.contiguous(), key.contiguous());
    if (differentiate) {
      context->save_for_backward({fused.dq, fused.dk, fused.dscale});
      context->saved_data["dtype"] = static_cast<int64_t>(query.scalar_type());
      context->saved_data["scaleDtype"] = static_cast<int64_t>(scale.scalar_type());
      context->saved_data["scaleDevice"] = scale.device();
    }
    return fused.loss;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context, torch::autograd::variable_list gradients) {
    TORCH_CHECK(!at::GradMode::is_enabled(), "this form of the loss can be differentiated once; f64 tensors, in one process, twice");
    const auto saved = context->get_saved_variables();
    const at::Tensor& outer = gradients[0];
    const auto dtype = static_cast<at::ScalarType>(context->saved_data["dtype"].toInt());
    at::Tensor dscale;
    if (context->needs_input_grad(2)) {  // bringing it to a scale on another device waits
      dscale = (saved[2] * outer).to(context->saved_data["scaleDevice"].toDevice(), static_cast<at::ScalarType>(context->saved_data["scaleDtype"].toInt()));
    }
    return {(saved[0] * outer).to(dtype), (saved[1] * outer).to(dtype), dscale, at::Tensor(), at::Tensor()};
  }
};

bool hasFusedKernel(const at::Tensor& query) {
  if (query.size(1) == 0 || (query.scalar_type() != at::kFloat && query.scalar_type() != at::kBFloat16)) return false;
#ifdef LARR_TORCH_CUDA
  if (query.is_cuda()) return hasCudaKernel(query);
#endif
  return query.is_cpu();
}

bool isDifferentiated(const at::Tensor& query, const at::Tensor& key, const at::Tensor& scale) {
  return at::GradMode::is_enabled() && (query.requires_grad() || key.requires_grad() || scale.requires_grad());
}

// On the CPU, whatever the device: a number that a kernel takes along must not be sent ahead and fetched back.
at::Tensor asTensor(const at::Scalar& scale) { return at::scalar_tensor(scale.toDouble(), at::TensorOptions().dtype(at::kDouble)); }

// As int32 on the CPU: numbering them anew, as kernelGroups does, would give one group another number on every rank.
at::Tensor sharedGroups(const at::Tensor& groups) {
  const at::Tensor ids = groups.cpu();
  if (ids.scalar_type() == at::kLong && ids.numel() > 0) {
    const int64_t least = at::min(ids).item<int64_t>(), most = at::max(ids).item<int64_t>();
    TORCH_CHECK(least >= std::numeric_limits<int32_t>::min() && most <= std::numeric_limits<int32_t>::max(),
                "groups of a loss over several processes must fit in 32 bits; these are ", least, " to ", most);
  }
  return ids.to(at::kInt).contiguous();
}

}  // namespace

at::Tensor infoNce(const at::Tensor& query, const at::Tensor& key, const at::Tensor& scale, const std::optional<at::Tensor>& groups) {
  checkShapes(query, key, groups, 1);
  TORCH_CHECK(scale.numel() == 1, "scale must be one number, not ", scale.sizes());
  // Autocast would turn the matrix product back to bf16.
  c10::impl::ExcludeDispatchKeyGuard withoutAutocast(c10::autocast_dispatch_keyset);
  const at::Tensor factor = scale.reshape({});
  if (!hasFusedKernel(query)) return composed(query, key, factor, groups);
  const bool differentiate = isDifferentiated(query, key, factor);
  return FusedInfoNce::apply(
      query, key, factor,
      [&](const at::Tensor& q, const at::Tensor& k) {
        const at::Tensor numbered = groups ? kernelGroups(*groups) : at::Tensor();
#ifdef LARR_TORCH_CUDA
        if (q.is_cuda()) return onCuda(q, k, factor, numbered, differentiate);
#endif
        return onCpu(q, k, factor, numbered, differentiate);
      },
      differentiate);
}

at::Tensor infoNce(const at::Tensor& query, const at::Tensor& key, const at::Scalar& scale, const std::optional<at::Tensor>& groups) {
  return infoNce(query, key, asTensor(scale), groups);
}

at::Tensor infoNce(const at::Tensor& query, const at::Tensor& key, const at::Tensor& scale, const std::optional<at::Tensor>& groups, Ring& ring) {
  c10::impl::ExcludeDispatchKeyGuard withoutAutocast(c10::autocast_dispatch_keyset);
  Agreement agreement(ring);
  at::Tensor factor, ids;
  double form = 0;  // how it is computed, and of what
  agreement.attempt([&] {
    checkShapes(query, key, groups, 0);
    TORCH_CHECK(scale.numel() == 1, "scale must be one number, not ", scale.sizes());
    TORCH_CHECK(std::isfinite(scale.item<double>()), "scale must be finite, not ", scale.item<double>());
    factor = scale.reshape({});
    if (groups) ids = sharedGroups(*groups);
    const bool fused = query.is_cpu() && hasFusedKernel(query);
    form = double(static_cast<int>(query.scalar_type())) + (fused ? 1000 : 0);
  });
  for (const double other : agreement.reach({form})) TORCH_CHECK(other == form, "query and key must have one dtype on every rank, and all be on the CPU or none");
  const bool differentiate = isDifferentiated(query, key, factor);
  return FusedInfoNce::apply(
      query, key, factor,
      [&](const at::Tensor& q, const at::Tensor& k) {
        if (form >= 1000) return onCpu(q, k, factor, ids, differentiate, &ring);
        return composedOverRing(q, k, factor.item<double>(), ids, differentiate, ring);
      },
      differentiate);
}

at::Tensor infoNce(const at::Tensor& query, const at::Tensor& key, const at::Scalar& scale, const std::optional<at::Tensor>& groups, Ring& ring) {
  return infoNce(query, key, asTensor(scale), groups, ring);
}

}  // namespace larr
