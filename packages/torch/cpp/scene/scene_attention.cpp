#include "scene_attention.h"

#include <cmath>
#include <cstring>
#include <limits>

#include "../decoder/shared.h"
#include "../every_isa.h"

namespace larr {
namespace {

using decoder::isFused;
using decoder::once;

struct Problem {
  const float *logits, *values;  // [entries + 1, heads], [entries + 1, d]
  const int64_t* index;          // [B, n]
  const bool* missing;           // [B, n]
  int64_t n, heads, d, own;      // own: the last row
};

/// The entry that position i of a row stands for, or −1 where there is none; position n is the query's own.
LARR_INLINE int64_t entryAt(const Problem& p, int64_t row, int64_t i) {
  if (i == p.n) return p.own;
  return p.missing[row * p.n + i] ? -1 : p.index[row * p.n + i];
}

/// e^x of x ≤ 0, within 2e-7 (of its own size 4e-6 near −87, below which it is 0). Without a branch, so that a compiler makes vectors of it.
LARR_INLINE float powerOfE(float x) {
  constexpr float shift = 12582912;  // 1.5 · 2^23: adding it rounds to a whole number
  const float t = std::max(x, -87.0f) * 1.44269504f, shifted = t + shift, f = t - (shifted - shift);
  // Taylor's polynomial of 2^f, |f| ≤ 1/2
  const float p = 1 + f * (0.69314718f + f * (0.24022651f + f * (0.055504109f + f * (0.0096181291f + f * (0.0013333558f + f * 0.00015403530f)))));
  uint32_t bits;
  std::memcpy(&bits, &shifted, 4);  // its lowest bits are the whole number
  bits = (bits + 127) << 23;
  float power;
  std::memcpy(&power, &bits, 4);
  return x < -87 ? 0 : p * power;
}

LARR_INLINE void attendRows(const Problem& p, int64_t begin, int64_t end, float* weights, float* context) {
  const int64_t width = p.d / p.heads;
  for (int64_t row = begin; row < end; ++row) {
    float* a = weights + row * (p.n + 1) * p.heads;
    const int64_t cells = (p.n + 1) * p.heads;
    for (int64_t i = 0; i <= p.n; ++i) {
      const int64_t entry = entryAt(p, row, i);
      for (int64_t h = 0; h < p.heads; ++h) a[i * p.heads + h] = entry < 0 ? -std::numeric_limits<float>::infinity() : p.logits[entry * p.heads + h];
    }
    for (int64_t h = 0; h < p.heads; ++h) {
      float most = a[p.n * p.heads + h];
      for (int64_t i = h; i < cells; i += p.heads) most = std::max(most, a[i]);
      for (int64_t i = h; i < cells; i += p.heads) a[i] -= most;
    }
    for (int64_t i = 0; i < cells; ++i) a[i] = powerOfE(a[i]);
    for (int64_t h = 0; h < p.heads; ++h) {
      float sum = 0;
      for (int64_t i = h; i < cells; i += p.heads) sum += a[i];
      const float share = 1 / sum;
      for (int64_t i = h; i < cells; i += p.heads) a[i] *= share;
    }
    float* __restrict out = context + row * p.d;
    for (int64_t j = 0; j < p.d; ++j) out[j] = 0;
    for (int64_t i = 0; i <= p.n; ++i) {
      const int64_t entry = entryAt(p, row, i);
      if (entry < 0) continue;
      for (int64_t h = 0; h < p.heads; ++h) {
        const float weight = a[i * p.heads + h];
        const float* __restrict v = p.values + entry * p.d + h * width;
        for (int64_t j = 0; j < width; ++j) out[h * width + j] += weight * v[j];
      }
    }
  }
}

LARR_INLINE void attendRowsBackward(const Problem& p, int64_t begin, int64_t end, const float* weights, const float* gradient, float* logitGradient,
                                    float* valueGradient, float* dots) {
  const int64_t width = p.d / p.heads;
  for (int64_t row = begin; row < end; ++row) {
    const float* a = weights + row * (p.n + 1) * p.heads;
    const float* g = gradient + row * p.d;
    for (int64_t h = 0; h < p.heads; ++h) {
      const float* __restrict own = g + h * width;
      float mean = 0;
      for (int64_t i = 0; i <= p.n; ++i) {
        const int64_t entry = entryAt(p, row, i);
        dots[i] = 0;
        if (entry < 0) continue;
        const float* __restrict v = p.values + entry * p.d + h * width;
        float* __restrict to = valueGradient + entry * p.d + h * width;
        const float weight = a[i * p.heads + h];
        float dot[8] = {};  // a compiler may not reorder a sum of floats by itself
        int64_t j = 0;
        for (; j + 8 <= width; j += 8)
          for (int64_t k = 0; k < 8; ++k) dot[k] += own[j + k] * v[j + k];
        for (; j < width; ++j) dot[0] += own[j] * v[j];
        for (j = 0; j < width; ++j) to[j] += weight * own[j];
        dots[i] = ((dot[0] + dot[1]) + (dot[2] + dot[3])) + ((dot[4] + dot[5]) + (dot[6] + dot[7]));
        mean += weight * dots[i];
      }
      for (int64_t i = 0; i <= p.n; ++i) {
        const int64_t entry = entryAt(p, row, i);
        if (entry >= 0) logitGradient[entry * p.heads + h] += a[i * p.heads + h] * (dots[i] - mean);
      }
    }
  }
}

LARR_EVERY_ISA(attend, attendRows)
LARR_EVERY_ISA(attendBackward, attendRowsBackward)

/// Rows are cut into so many parts, whatever the threads: each sums gradients of its own, so that sums have one order.
constexpr int64_t parts = 8;

struct SceneAttention : torch::autograd::Function<SceneAttention> {
  static Problem problem(const at::Tensor& logits, const at::Tensor& values, const at::Tensor& index, const at::Tensor& missing) {
    return {logits.const_data_ptr<float>(), values.const_data_ptr<float>(), index.const_data_ptr<int64_t>(), missing.const_data_ptr<bool>(),
            index.size(1), logits.size(1), values.size(1), logits.size(0) - 1};
  }

  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& logits, const at::Tensor& values, const at::Tensor& index,
                            const at::Tensor& missing, bool differentiate) {
    const at::Tensor l = logits.to(at::kFloat).contiguous(), v = values.to(at::kFloat).contiguous(), entries = index.to(at::kLong).contiguous(),
                     absent = missing.contiguous();
    const int64_t rows = entries.size(0), own = l.size(0) - 1;
    const int64_t* entry = entries.const_data_ptr<int64_t>();
    for (int64_t i = 0; i < entries.numel(); ++i) {
      TORCH_CHECK_INDEX(entry[i] >= 0 && entry[i] < own, "entry ", entry[i], " is none of the ", own, " of the table");
    }
    const at::Tensor weights = at::empty({rows, entries.size(1) + 1, l.size(1)}, l.options()), out = at::empty({rows, v.size(1)}, v.options());
    const Problem p = problem(l, v, entries, absent);
    decoder::overRows(rows, (p.n + 1) * p.d, [&](int64_t begin, int64_t end) { attend(p, begin, end, weights.data_ptr<float>(), out.data_ptr<float>()); });
    if (differentiate) {
      context->save_for_backward({l, v, entries, absent, weights});
      context->saved_data["logits"] = static_cast<int64_t>(logits.scalar_type());
      context->saved_data["values"] = static_cast<int64_t>(values.scalar_type());
    }
    return out;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context, torch::autograd::variable_list gradients) {
    once("sceneAttention");
    const auto saved = context->get_saved_variables();
    const at::Tensor &l = saved[0], &v = saved[1], &weights = saved[4];
    const at::Tensor g = gradients[0].to(at::kFloat).contiguous();
    const Problem p = problem(l, v, saved[2], saved[3]);
    const int64_t rows = g.size(0);
    const at::Tensor logitGradients = at::zeros({parts, l.size(0), l.size(1)}, l.options()), valueGradients = at::zeros({parts, v.size(0), v.size(1)}, v.options());
    at::parallel_for(0, parts, 1, [&](int64_t begin, int64_t end) {
      std::vector<float> dots(static_cast<size_t>(p.n + 1));
      for (int64_t part = begin; part < end; ++part)
        attendBackward(p, part * rows / parts, (part + 1) * rows / parts, weights.const_data_ptr<float>(), g.const_data_ptr<float>(),
                       logitGradients.data_ptr<float>() + part * l.numel(), valueGradients.data_ptr<float>() + part * v.numel(), dots.data());
    });
    const auto summed = [&](const at::Tensor& of, const char* name) { return at::sum(of, at::IntArrayRef{0}).to(static_cast<at::ScalarType>(context->saved_data[name].toInt())); };
    return {summed(logitGradients, "logits"), summed(valueGradients, "values"), at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

}  // namespace

at::Tensor sceneAttention(const at::Tensor& logits, const at::Tensor& values, const at::Tensor& index, const at::Tensor& missing) {
  TORCH_CHECK(logits.dim() == 2 && values.dim() == 2 && logits.size(0) == values.size(0) && logits.size(0) > 0 && logits.size(1) > 0 &&
                  values.size(1) % logits.size(1) == 0,
              "logits [entries + 1, heads] and values [entries + 1, d] do not go together: ", logits.sizes(), " and ", values.sizes());
  TORCH_CHECK(at::isFloatingType(logits.scalar_type()) && at::isFloatingType(values.scalar_type()), "logits and values must be floating");
  TORCH_CHECK(index.dim() == 2 && index.sizes() == missing.sizes() && at::isIntegralType(index.scalar_type(), /*includeBool=*/false) &&
                  missing.scalar_type() == at::kBool,
              "index must be whole numbers and missing truth values, both [B, n], not ", index.sizes(), " and ", missing.sizes());
  c10::impl::ExcludeDispatchKeyGuard withoutAutocast(c10::autocast_dispatch_keyset);
  if (isFused(logits) && isFused(values)) {
    const bool differentiate = at::GradMode::is_enabled() && (logits.requires_grad() || values.requires_grad());
    return SceneAttention::apply(logits, values, index, missing, differentiate);
  }
  const auto type = logits.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  const at::Tensor l = logits.to(type), v = values.to(type);
  const int64_t rows = index.size(0), heads = l.size(1), own = l.size(0) - 1, d = v.size(1);
  const at::Tensor entries = at::cat({index.to(at::kLong), at::full({rows, 1}, own, index.options().dtype(at::kLong))}, 1);  // [B, n + 1]
  const at::Tensor absent = at::cat({missing, at::zeros({rows, 1}, missing.options())}, 1);
  const at::Tensor weights = at::softmax(at::masked_fill(l.index_select(0, entries.reshape({-1})).reshape({rows, entries.size(1), heads}),
                                                         absent.unsqueeze(2), -std::numeric_limits<double>::infinity()),
                                         1);
  // Spreading a row's weights over all entries makes one product per head of the weighted sum, which beats gathering B · n vectors.
  const at::Tensor spread = at::scatter_add(at::zeros({heads, rows, own + 1}, l.options()), 2, entries.unsqueeze(0).expand({heads, rows, entries.size(1)}),
                                            weights.permute({2, 0, 1}));
  const at::Tensor mixed = at::bmm(spread, v.reshape({own + 1, heads, d / heads}).transpose(0, 1));  // [heads, B, d / heads]
  return mixed.transpose(0, 1).reshape({rows, d});
}

}  // namespace larr
