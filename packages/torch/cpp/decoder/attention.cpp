#include <atomic>
#include <cmath>

#include "shared.h"

namespace larr {
namespace {

using namespace decoder;

struct Sequences {
  std::vector<int64_t> starts;  // and T
  int64_t longest = 0;

  Sequences(std::vector<int64_t> known, int64_t most) : starts(std::move(known)), longest(most) {}
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
};

Shape checked(const Shape& shape, int64_t width, int64_t count, const at::Tensor& cosine, const at::Tensor& sine) {
  TORCH_CHECK(shape.headSize > 0 && count * shape.headSize == width && shape.headSize % 2 == 0, "a row of ", width, " numbers is not ", count,
              " heads of an even size");
  TORCH_CHECK(cosine.dim() == 2 && cosine.sizes() == sine.sizes() && cosine.size(1) == shape.headSize / 2, "cosine and sine must be [longest, ",
              shape.headSize / 2, "], not ", cosine.sizes(), " and ", sine.sizes());
  return shape;
}

void checkHeads(int64_t heads, int64_t keyValueHeads) {
  TORCH_CHECK(heads > 0 && keyValueHeads > 0 && heads % keyValueHeads == 0, "keyValueHeads ", keyValueHeads, " must divide heads ", heads);
}

Shape shapeOf(const at::Tensor& fused, const at::Tensor& cosine, const at::Tensor& sine, int64_t heads, int64_t keyValueHeads) {
  checkHeads(heads, keyValueHeads);
  TORCH_CHECK(fused.dim() == 2 && at::isFloatingType(fused.scalar_type()), "queryKeyValue must be a floating [T, width], not ", fused.sizes());
  const int64_t count = heads + 2 * keyValueHeads;
  return checked({heads, keyValueHeads, fused.size(1) / count}, fused.size(1), count, cosine, sine);
}

Shape shapeOf(const at::Tensor& queries, const at::Tensor& keysValues, const at::Tensor& cosine, const at::Tensor& sine, int64_t heads, int64_t keyValueHeads) {
  checkHeads(heads, keyValueHeads);
  TORCH_CHECK(queries.dim() == 2 && at::isFloatingType(queries.scalar_type()), "queries must be a floating [R, width], not ", queries.sizes());
  const Shape shape = checked({heads, keyValueHeads, queries.size(1) / heads}, queries.size(1), heads, cosine, sine);
  TORCH_CHECK(keysValues.dim() == 2 && keysValues.size(1) == 2 * keyValueHeads * shape.headSize && keysValues.scalar_type() == queries.scalar_type(),
              "keysValues must be ", dtypeName(queries.scalar_type()), " [T, ", 2 * keyValueHeads * shape.headSize, "], as queries are, not ",
              dtypeName(keysValues.scalar_type()), " ", keysValues.sizes());
  return shape;
}

/// i64 on the CPU, rising, one a query.
at::Tensor checkedTokens(const at::Tensor& given, int64_t queries, int64_t total) {
  TORCH_CHECK(given.dim() == 1 && given.numel() == queries && at::isIntegralType(given.scalar_type(), /*includeBool=*/false),
              "tokens must be whole numbers [", queries, "], one a query, not ", dtypeName(given.scalar_type()), " ", given.sizes());
  const at::Tensor whole = given.to(at::kCPU, at::kLong).contiguous();
  const int64_t* at = whole.const_data_ptr<int64_t>();
  for (int64_t i = 0; i < queries; ++i) {
    TORCH_CHECK_INDEX(at[i] >= 0 && at[i] < total, "token ", at[i], " is none of the ", total);
    TORCH_CHECK(i == 0 || at[i - 1] < at[i], "tokens must rise: query ", i, " is of token ", at[i], " after ", at[i - 1]);
  }
  return whole;
}

void checkLongest(const Sequences& sequences, const at::Tensor& cosine) {
  TORCH_CHECK(sequences.longest <= cosine.size(0), "a sequence of ", sequences.longest, " tokens is longer than the ", cosine.size(0),
              " positions of cosine and sine");
}

/// Calls body(sequence, key-value head, scratch) for every pair of a sequence and a head. Which thread takes which is left to
/// chance, as sequences differ in length; each pair writes what no other does.
template <typename F>
void overHeads(const Sequences& sequences, const at::Tensor& tokens, int64_t heads, size_t scratch, const F& body) {
  std::vector<Sequence> parts;
  int64_t query = 0;
  for (int64_t i = 0; i < sequences.count(); ++i) {
    const int64_t start = sequences.starts[static_cast<size_t>(i)], length = sequences.length(i), first = tokens.defined() ? query : start;
    if (tokens.defined()) {
      const int64_t* at = tokens.const_data_ptr<int64_t>();
      while (query < tokens.numel() && at[query] < start + length) ++query;
    }
    parts.push_back({start, length, first, tokens.defined() ? query - first : length});
  }
  const int64_t tasks = sequences.count() * heads, workers = std::min<int64_t>(tasks, at::get_num_threads());
  std::atomic<int64_t> next{0};
  at::parallel_for(0, workers, 1, [&](int64_t begin, int64_t end) {
    const at::Tensor memory = at::empty({static_cast<int64_t>(scratch)}, at::kFloat);
    for (int64_t worker = begin; worker < end; ++worker)
      for (int64_t task = next++; task < tasks; task = next++)
        body(parts[static_cast<size_t>(task / heads)], task % heads, memory.mutable_data_ptr<float>());
  });
}

struct FusedAttention : torch::autograd::Function<FusedAttention> {
  /// keysValues undefined: columns of queries.
  static Attention problem(const Shape& shape, const at::Tensor& queries, const at::Tensor& keysValues, const at::Tensor& tokens, const at::Tensor& cosine,
                           const at::Tensor& sine) {
    Attention p{};
    p.heads = shape.heads;
    p.keyValueHeads = shape.keyValueHeads;
    p.headSize = shape.headSize;
    p.scale = static_cast<float>(1 / std::sqrt(static_cast<double>(shape.headSize)));
    p.queries = matrix(queries);
    p.keysValues = matrix(keysValues.defined() ? keysValues : queries);
    p.queryWidth = queries.size(1);
    p.keyWidth = keysValues.defined() ? keysValues.size(1) : queries.size(1);
    p.keyAt = keysValues.defined() ? 0 : shape.heads * shape.headSize;
    p.tokens = tokens.defined() ? tokens.const_data_ptr<int64_t>() : nullptr;
    p.cosine = cosine.const_data_ptr<float>();
    p.sine = sine.const_data_ptr<float>();
    return p;
  }

  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& queries, const std::optional<at::Tensor>& keysValues,
                            const std::optional<at::Tensor>& which, const at::Tensor& cosine, const at::Tensor& sine, const Sequences& sequences,
                            const Shape& shape, bool differentiate) {
    const at::Tensor q = queries.contiguous(), kv = keysValues ? keysValues->contiguous() : at::Tensor(), tokens = which ? *which : at::Tensor();
    const at::Tensor cosines = cosine.to(at::kFloat).contiguous(), sines = sine.to(at::kFloat).contiguous();
    const at::Tensor out = at::empty({q.size(0), shape.heads * shape.headSize}, q.options());
    const at::Tensor logSum = differentiate ? at::empty({q.size(0), shape.heads}, q.options().dtype(at::kFloat)) : at::Tensor();
    Attention p = problem(shape, q, kv, tokens, cosines, sines);
    p.out = matrix(out);
    p.logSum = differentiate ? logSum.data_ptr<float>() : nullptr;
    overHeads(sequences, tokens, shape.keyValueHeads, kernels().attentionScratch(p, sequences.longest, false),
              [&](const Sequence& of, int64_t head, float* scratch) { kernels().attention(p, of, head, scratch); });
    if (differentiate) {
      context->save_for_backward({q, kv, tokens, cosines, sines, out, logSum});
      context->saved_data["starts"] = sequences.starts;
      context->saved_data["longest"] = sequences.longest;
      context->saved_data["heads"] = shape.heads;
      context->saved_data["keyValueHeads"] = shape.keyValueHeads;
      context->saved_data["headSize"] = shape.headSize;
    }
    return out;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context, torch::autograd::variable_list gradients) {
    once("packedAttention");
    const auto saved = context->get_saved_variables();
    const at::Tensor &q = saved[0], &kv = saved[1], &tokens = saved[2], &out = saved[5], &logSum = saved[6];
    const Shape shape{context->saved_data["heads"].toInt(), context->saved_data["keyValueHeads"].toInt(), context->saved_data["headSize"].toInt()};
    const Sequences sequences{context->saved_data["starts"].toIntVector(), context->saved_data["longest"].toInt()};
    const at::Tensor outGradient = gradients[0].to(q.scalar_type()).contiguous();
    const at::Tensor queryGradient = at::empty_like(q), keyValueGradient = kv.defined() ? at::empty_like(kv) : at::Tensor();
    Attention p = problem(shape, q, kv, tokens, saved[3], saved[4]);
    p.out = matrix(out);
    p.logSum = logSum.data_ptr<float>();
    p.outGradient = matrix(outGradient);
    p.queryGradient = matrix(queryGradient);
    p.keyValueGradient = matrix(kv.defined() ? keyValueGradient : queryGradient);
    overHeads(sequences, tokens, shape.keyValueHeads, kernels().attentionScratch(p, sequences.longest, true),
              [&](const Sequence& of, int64_t head, float* scratch) { kernels().attentionBackward(p, of, head, scratch); });
    return {queryGradient, keyValueGradient, at::Tensor(), at::Tensor(), at::Tensor(), at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

/// Queries and keys turned by position, from LibTorch's operators: in f32, rounded once, forwards and backwards; values as they are. Nothing is kept
/// but the angles.
struct Turning : torch::autograd::Function<Turning> {
  /// fused [T, count, size], of which the first `turned` turn; cosine and sine [T, 1, size / 2], f32.
  static at::Tensor turn(const at::Tensor& fused, const at::Tensor& cosine, const at::Tensor& sine, int64_t turned, double direction) {
    const int64_t half = fused.size(2) / 2, rest = fused.size(1) - turned;
    const at::Tensor out = at::empty(fused.sizes(), fused.options());
    const auto part = [&](const at::Tensor& x, int64_t which) { return x.narrow(1, 0, turned).narrow(2, which * half, half); };
    const at::Tensor a = part(fused, 0), b = part(fused, 1);
    part(out, 0).copy_((a * cosine).addcmul_(b, sine, -direction));
    part(out, 1).copy_((b * cosine).addcmul_(a, sine, direction));
    out.narrow(1, turned, rest).copy_(fused.narrow(1, turned, rest));
    return out;
  }

  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& fused, const at::Tensor& cosine, const at::Tensor& sine, int64_t turned) {
    context->save_for_backward({cosine, sine});
    context->saved_data["turned"] = turned;
    return turn(fused, cosine, sine, turned, 1);
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context, torch::autograd::variable_list gradients) {
    once("packedAttention");
    const auto saved = context->get_saved_variables();
    return {turn(gradients[0], saved[0], saved[1], context->saved_data["turned"].toInt(), -1), at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

/// The same in operators that can be differentiated twice, in f64.
at::Tensor turnedTwice(const at::Tensor& fused, const at::Tensor& cosine, const at::Tensor& sine, int64_t turned) {
  const int64_t half = fused.size(2) / 2;
  const at::Tensor turning = fused.narrow(1, 0, turned), a = turning.narrow(2, 0, half), b = turning.narrow(2, half, half);
  return at::cat({at::cat({a * cosine - b * sine, b * cosine + a * sine}, 2).to(fused.scalar_type()), fused.narrow(1, turned, fused.size(1) - turned)}, 1);
}

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
  const at::Tensor byHead = fused.reshape({total, heads + 2 * own, size});
  const at::Tensor all = isSingle(fused) ? Turning::apply(byHead, c.to(at::kFloat), s.to(at::kFloat), heads + own)
                                         : turnedTwice(byHead, c, s, heads + own);  // [T, heads + 2 own, size]

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
    const auto apart = at::split_with_sizes(some, {heads, own, own}, 1);
    const at::Tensor out = at::scaled_dot_product_attention(apart[0], apart[1], apart[2], {}, 0.0, /*is_causal=*/true, std::nullopt, /*enable_gqa=*/heads != own);
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
  const Shape shape = shapeOf(queryKeyValue, cosine, sine, heads, keyValueHeads);
  const Sequences sequences(starts, queryKeyValue.size(0));
  checkLongest(sequences, cosine);
  if (!isFused(queryKeyValue)) return composed(queryKeyValue, cosine, sine, sequences, shape);
  TORCH_CHECK(!cosine.requires_grad() && !sine.requires_grad(), "cosine and sine are constants of packedAttention");
  const bool differentiate = at::GradMode::is_enabled() && queryKeyValue.requires_grad();
  return FusedAttention::apply(queryKeyValue, std::optional<at::Tensor>(), std::optional<at::Tensor>(), cosine, sine, sequences, shape, differentiate);
}

at::Tensor packedQueryAttention(const at::Tensor& queries, const at::Tensor& keysValues, const at::Tensor& tokens, const at::Tensor& cosine,
                                const at::Tensor& sine, const at::Tensor& starts, int64_t heads, int64_t keyValueHeads) {
  const Shape shape = shapeOf(queries, keysValues, cosine, sine, heads, keyValueHeads);
  const Sequences sequences(starts, keysValues.size(0));
  checkLongest(sequences, cosine);
  const at::Tensor which = checkedTokens(tokens, queries.size(0), keysValues.size(0));
  if (!isFused(queries) || !isFused(keysValues)) {
    // The other tokens ask for nothing, and what they get is left out.
    const at::Tensor places = which.to(queries.device());
    const at::Tensor all = at::zeros({keysValues.size(0), queries.size(1)}, queries.options()).index_copy(0, places, queries);
    return composed(at::cat({all, keysValues}, 1), cosine, sine, sequences, shape).index_select(0, places);
  }
  TORCH_CHECK(!cosine.requires_grad() && !sine.requires_grad(), "cosine and sine are constants of packedQueryAttention");
  const bool differentiate = at::GradMode::is_enabled() && (queries.requires_grad() || keysValues.requires_grad());
  return FusedAttention::apply(queries, std::optional<at::Tensor>(keysValues), std::optional<at::Tensor>(which), cosine, sine, sequences, shape, differentiate);
}

}  // namespace larr
