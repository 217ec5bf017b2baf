#include <atomic>
#include <cmath>

#include "shared.h"

namespace larr {
namespace {

using namespace decoder;

struct Sequences {
  std::vector<int64_t> starts;  // and T
  int64_t longest = 0;

  explicit Sequences(const at::Tensor& given, int64_t total) {
    TORCH_CHECK(given.dim() == 1 && given.numel() > 0 && at::isIntegralType(given.scalar_type(), /*includeBool=*/false),
                "starts must be whole numbers [sequences + 1], not ", dtypeName(given.scalar_type()), " ", given.sizes());
    const at::Tensor whole = given.to(at::kCPU, at::kLong).contiguous();
    starts.assign(whole.const_data_ptr<int64_t>(), whole.const_data_ptr<int64_t>() + whole.numel());
    TORCH_CHECK(starts.front() == 0 && starts.back() == total, "starts must run from 0 to the ", total, " tokens, not from ", starts.front(), " to ",
                starts.back());
    for (size_t i = 0; i + 1 < starts.size(); ++i) {
      TORCH_CHECK(starts[i] < starts[i + 1], "starts must rise: sequence ", i, " begins at ", starts[i], " and ends at ", starts[i + 1]);
      longest = std::max(longest, starts[i + 1] - starts[i]);
    }
  }
  int64_t count() const { return static_cast<int64_t>(starts.size()) - 1; }
  int64_t length(int64_t i) const { return starts[static_cast<size_t>(i) + 1] - starts[static_cast<size_t>(i)]; }
};

struct Shape {
  int64_t heads, keyValueHeads, headSize;
  int64_t width() const { return (heads + 2 * keyValueHeads) * headSize; }
};

Shape shapeOf(const at::Tensor& fused, const at::Tensor& cosine, const at::Tensor& sine, int64_t heads, int64_t keyValueHeads) {
  TORCH_CHECK(heads > 0 && keyValueHeads > 0 && heads % keyValueHeads == 0, "keyValueHeads ", keyValueHeads, " must divide heads ", heads);
  TORCH_CHECK(fused.dim() == 2 && at::isFloatingType(fused.scalar_type()), "queryKeyValue must be a floating [T, width], not ", fused.sizes());
  const Shape shape{heads, keyValueHeads, fused.size(1) / (heads + 2 * keyValueHeads)};
  TORCH_CHECK(shape.headSize > 0 && shape.width() == fused.size(1) && shape.headSize % 2 == 0, "a row of ", fused.size(1), " numbers is not ", heads,
              " + 2 · ", keyValueHeads, " heads of an even size");
  TORCH_CHECK(cosine.dim() == 2 && cosine.sizes() == sine.sizes() && cosine.size(1) == shape.headSize / 2, "cosine and sine must be [longest, ",
              shape.headSize / 2, "], not ", cosine.sizes(), " and ", sine.sizes());
  return shape;
}

void checkLongest(const Sequences& sequences, const at::Tensor& cosine) {
  TORCH_CHECK(sequences.longest <= cosine.size(0), "a sequence of ", sequences.longest, " tokens is longer than the ", cosine.size(0),
              " positions of cosine and sine");
}

/// Calls body(start, length, key-value head, scratch) for every pair of a sequence and a head. Which thread takes which is left to
/// chance, as sequences differ in length; each pair writes what no other does.
template <typename F>
void overHeads(const Sequences& sequences, int64_t heads, size_t scratch, const F& body) {
  const int64_t tasks = sequences.count() * heads, workers = std::min<int64_t>(tasks, at::get_num_threads());
  std::atomic<int64_t> next{0};
  at::parallel_for(0, workers, 1, [&](int64_t begin, int64_t end) {
    const at::Tensor memory = at::empty({static_cast<int64_t>(scratch)}, at::kFloat);
    for (int64_t worker = begin; worker < end; ++worker)
      for (int64_t task = next++; task < tasks; task = next++) {
        const int64_t sequence = task / heads;
        body(sequences.starts[static_cast<size_t>(sequence)], sequences.length(sequence), task % heads, memory.mutable_data_ptr<float>());
      }
  });
}

struct FusedAttention : torch::autograd::Function<FusedAttention> {
  static Attention problem(const Shape& shape, const at::Tensor& fused, const at::Tensor& cosine, const at::Tensor& sine) {
    Attention p{};
    p.heads = shape.heads;
    p.keyValueHeads = shape.keyValueHeads;
    p.headSize = shape.headSize;
    p.scale = static_cast<float>(1 / std::sqrt(static_cast<double>(shape.headSize)));
    p.queryKeyValue = matrix(fused);
    p.cosine = cosine.const_data_ptr<float>();
    p.sine = sine.const_data_ptr<float>();
    return p;
  }

  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& queryKeyValue, const at::Tensor& cosine, const at::Tensor& sine,
                            const at::Tensor& starts, int64_t heads, int64_t keyValueHeads, bool differentiate) {
    const at::Tensor fused = queryKeyValue.contiguous(), cosines = cosine.to(at::kFloat).contiguous(), sines = sine.to(at::kFloat).contiguous();
    const Shape shape = shapeOf(fused, cosine, sine, heads, keyValueHeads);
    const Sequences sequences(starts, fused.size(0));
    checkLongest(sequences, cosine);
    const at::Tensor out = at::empty({fused.size(0), heads * shape.headSize}, fused.options());
    const at::Tensor logSum = differentiate ? at::empty({fused.size(0), heads}, fused.options().dtype(at::kFloat)) : at::Tensor();
    Attention p = problem(shape, fused, cosines, sines);
    p.out = matrix(out);
    p.logSum = differentiate ? logSum.data_ptr<float>() : nullptr;
    overHeads(sequences, keyValueHeads, kernels().attentionScratch(p, sequences.longest, false),
              [&](int64_t start, int64_t length, int64_t head, float* scratch) { kernels().attention(p, start, length, head, scratch); });
    if (differentiate) {
      context->save_for_backward({fused, cosines, sines, starts, out, logSum});
      context->saved_data["heads"] = heads;
      context->saved_data["keyValueHeads"] = keyValueHeads;
    }
    return out;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context, torch::autograd::variable_list gradients) {
    once("packedAttention");
    const auto saved = context->get_saved_variables();
    const at::Tensor &fused = saved[0], &out = saved[4], &logSum = saved[5];
    const Shape shape = shapeOf(fused, saved[1], saved[2], context->saved_data["heads"].toInt(), context->saved_data["keyValueHeads"].toInt());
    const Sequences sequences(saved[3], fused.size(0));
    const at::Tensor outGradient = gradients[0].to(fused.scalar_type()).contiguous(), gradient = at::empty_like(fused);
    Attention p = problem(shape, fused, saved[1], saved[2]);
    p.out = matrix(out);
    p.logSum = logSum.data_ptr<float>();
    p.outGradient = matrix(outGradient);
    p.gradient = matrix(gradient);
    overHeads(sequences, shape.keyValueHeads, kernels().attentionScratch(p, sequences.longest, true),
              [&](int64_t start, int64_t length, int64_t head, float* scratch) { kernels().attentionBackward(p, start, length, head, scratch); });
    return {gradient, at::Tensor(), at::Tensor(), at::Tensor(), at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

/// The same from LibTorch's operators: sequences of nearly one length share a dense causal attention, padded at the right.
at::Tensor composed(const at::Tensor& fused, const at::Tensor& cosine, const at::Tensor& sine, const Sequences& sequences, const Shape& shape) {
  const int64_t total = fused.size(0), heads = shape.heads, own = shape.keyValueHeads, size = shape.headSize;
  const auto whole = fused.options().dtype(at::kLong);
  if (total == 0) return fused.narrow(1, 0, heads * size);

  std::vector<int64_t> positions(static_cast<size_t>(total)), order(static_cast<size_t>(sequences.count()));
  for (int64_t i = 0; i < sequences.count(); ++i) {
    order[static_cast<size_t>(i)] = i;
    for (int64_t t = 0; t < sequences.length(i); ++t) positions[static_cast<size_t>(sequences.starts[static_cast<size_t>(i)] + t)] = t;
  }
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return sequences.length(a) > sequences.length(b); });
  const auto onDevice = [&](const std::vector<int64_t>& values) { return at::tensor(values, at::kLong).to(whole); };

  const at::Tensor position = onDevice(positions);
  const at::Tensor c = cosine.index_select(0, position).unsqueeze(1), s = sine.index_select(0, position).unsqueeze(1);  // [T, 1, size / 2]
  const at::Tensor turning = fused.narrow(1, 0, (heads + own) * size).reshape({total, heads + own, size});
  const at::Tensor a = turning.narrow(2, 0, size / 2), b = turning.narrow(2, size / 2, size / 2);
  const at::Tensor turned = at::cat({a * c - b * s, b * c + a * s}, 2).to(fused.scalar_type());
  const at::Tensor all = at::cat({turned, fused.narrow(1, (heads + own) * size, own * size).reshape({total, own, size})}, 1);  // [T, heads + 2 own, size]

  std::vector<at::Tensor> parts;
  std::vector<int64_t> place(static_cast<size_t>(total));  // of each token among the parts' rows
  int64_t laid = 0;
  for (size_t first = 0; first < order.size();) {
    const int64_t length = sequences.length(order[first]);
    size_t end = first;
    std::vector<int64_t> rows;
    for (; end < order.size(); ++end) {
      const int64_t real = sequences.length(order[end]), start = sequences.starts[static_cast<size_t>(order[end])];
      if (length - real > std::max<int64_t>(4, length / 8)) break;
      for (int64_t t = 0; t < length; ++t) {
        rows.push_back(start + std::min(t, real - 1));  // padding repeats the last token, which no earlier one sees
        if (t < real) place[static_cast<size_t>(start + t)] = laid + t;
      }
      laid += length;
    }
    const int64_t count = static_cast<int64_t>(end - first);
    const bool isWhole = static_cast<int64_t>(rows.size()) == total && std::is_sorted(rows.begin(), rows.end(), std::less_equal<>()) ;
    const at::Tensor some = (isWhole ? all : all.index_select(0, onDevice(rows))).reshape({count, length, heads + 2 * own, size}).transpose(1, 2);
    const at::Tensor q = some.narrow(1, 0, heads), k = some.narrow(1, heads, own), v = some.narrow(1, heads + own, own);
    const at::Tensor out = at::scaled_dot_product_attention(q, k, v, {}, 0.0, /*is_causal=*/true, std::nullopt, /*enable_gqa=*/heads != own);
    parts.push_back(out.transpose(1, 2).reshape({count * length, heads * size}));
    first = end;
  }
  const at::Tensor laidOut = parts.size() == 1 ? parts[0] : at::cat(parts, 0);
  const bool inOrder = laid == total && std::is_sorted(place.begin(), place.end());
  return inOrder ? laidOut : laidOut.index_select(0, onDevice(place));
}

}  // namespace

at::Tensor packedAttention(const at::Tensor& queryKeyValue, const at::Tensor& cosine, const at::Tensor& sine, const at::Tensor& starts, int64_t heads,
                           int64_t keyValueHeads) {
  if (isFused(queryKeyValue)) {
    const bool differentiate = at::GradMode::is_enabled() && queryKeyValue.requires_grad();
    TORCH_CHECK(!cosine.requires_grad() && !sine.requires_grad(), "cosine and sine are constants of packedAttention");
    return FusedAttention::apply(queryKeyValue, cosine, sine, starts, heads, keyValueHeads, differentiate);
  }
  const Shape shape = shapeOf(queryKeyValue, cosine, sine, heads, keyValueHeads);
  const Sequences sequences(starts, queryKeyValue.size(0));
  checkLongest(sequences, cosine);
  return composed(queryKeyValue, cosine, sine, sequences, shape);
}

}  // namespace larr
