// One block of rows through the folded encoder, over a register type V and a product policy M of the including source:
//   M::Activation       what a product reads: float, or bf16 bits
//   M::store(p, F)      W activations
//   M::Session          what has to be set up around products
//   M::dense(x, x_stride, rows, dense, epilogue)   epilogue(row, column, F) for every W columns of every row
// A row's activations (7 KiB in f32) never leave L2 between the five products.
#include "../simd/functions.h"
#include "plan.h"

namespace larr::encoder_detail {
namespace {

using F = V::F;
constexpr int W = V::W;

inline int round_up(int n, int to) { return (n + to - 1) / to * to; }

// Softmax over the aggregation token and the row's present entries, then the weighted sum of their values.
template <class M>
void attend(const Plan& p, const int32_t* rows, int n, typename M::Activation* x, float* attention, float* logits, int32_t* tokens) {
  const int heads = p.heads, most = 1 + p.fields;
  for (int r = 0; r < n; r++) {
    const int32_t* row = rows + int64_t(r) * p.fields;
    int count = 0;
    tokens[count++] = 0;
    for (int f = 0; f < p.fields; f++)
      if (row[f] >= 0) tokens[count++] = row[f] + 1;
    for (int t = 0; t < count; t++)
      for (int h = 0; h < heads; h++) logits[t * heads + h] = p.logits[int64_t(tokens[t]) * heads + h];
    for (int h = 0; h < heads; h++) {
      float top = logits[h];
      for (int t = 1; t < count; t++) top = logits[t * heads + h] > top ? logits[t * heads + h] : top;
      for (int t = 0; t < count; t++) logits[t * heads + h] -= top;
    }
    for (int at = 0; at < count * heads; at += W)
      V::store(logits + at, exp2_scaled<V>(V::max(V::load(logits + at), V::set(-125)), V::set(1)));
    for (int h = 0; h < heads; h++) {
      float sum = 0;
      for (int t = 0; t < count; t++) sum += logits[t * heads + h];
      const float inverse = 1 / sum;
      for (int t = 0; t < count; t++) logits[t * heads + h] *= inverse;
    }
    if (attention) {
      float* to = attention + int64_t(r) * heads * most;
      for (int h = 0; h < heads; h++) {
        to[h * most] = logits[h];
        for (int f = 0, t = 1; f < p.fields; f++) to[h * most + 1 + f] = row[f] >= 0 ? logits[t++ * heads + h] : 0;
      }
    }
    if (p.head_dim % W == 0) {
      for (int column = 0; column < p.dim; column += W) {
        const float* weight = logits + column / p.head_dim;
        F sum = V::mul(V::set(weight[0]), V::load(p.values + column));
        for (int t = 1; t < count; t++)
          sum = V::fma(V::set(weight[t * heads]), V::load(p.values + int64_t(tokens[t]) * p.width + column), sum);
        M::store(x + int64_t(r) * p.width + column, sum);
      }
      for (int column = p.dim; column < p.width; column += W) M::store(x + int64_t(r) * p.width + column, V::set(0));
    } else {
      alignas(64) float lanes[W];
      for (int column = 0; column < p.width; column += W) {
        for (int l = 0; l < W; l++) {
          lanes[l] = 0;
          if (column + l >= p.dim) continue;
          const int h = (column + l) / p.head_dim;
          for (int t = 0; t < count; t++) lanes[l] += logits[t * heads + h] * p.values[int64_t(tokens[t]) * p.width + column + l];
        }
        M::store(x + int64_t(r) * p.width + column, V::load(lanes));
      }
    }
  }
}

// Layer normalisation of rows in place (padding is and stays zero), and as activations for the next product.
template <class M>
void normalise(const Plan& p, const Norm& norm, float* h, int n, typename M::Activation* x) {
  const float scale = 1.0f / float(p.dim);
  for (int r = 0; r < n; r++) {
    float* row = h + int64_t(r) * p.width;
    F sum = V::set(0);
    for (int c = 0; c < p.width; c += W) sum = V::add(sum, V::load(row + c));
    const float mean = V::sum(sum) * scale;
    const F centre = V::set(mean);
    F square = V::set(0);
    for (int c = 0; c < p.width; c += W) {
      // The padding is masked: taking its mean^2 away afterwards would cancel where the mean is large beside the deviation.
      const F y = V::mul(V::sub(V::load(row + c), centre), V::load(p.real + c));
      square = V::fma(y, y, square);
    }
    const F inverse = V::set(1.0f / __builtin_sqrtf(V::sum(square) * scale + 1e-5f));
    for (int c = 0; c < p.width; c += W) {
      const F y = V::mul(V::sub(V::load(row + c), centre), inverse);
      const F out = V::fma(y, V::load(norm.weight + c), V::load(norm.bias + c));
      V::store(row + c, out);
      M::store(x + int64_t(r) * p.width + c, out);
    }
  }
}

template <class M>
struct Scratch {
  float* h;
  typename M::Activation *x, *hidden;
  float* logits;
  int32_t* tokens;
  size_t bytes;
  Scratch(const Plan& p, void* base) {
    const int rows = block_rows + 8;  // a register block may reach past the last row
    const int wide = p.ffn1.out > p.head1.out ? p.ffn1.out : p.head1.out;
    const int floats = p.width > p.head2.out ? p.width : p.head2.out;
    size_t used = 0;
    const auto take = [&](size_t size) {
      char* at = base ? static_cast<char*>(base) + used : nullptr;
      used += (size + 63) / 64 * 64;
      return at;
    };
    h = reinterpret_cast<float*>(take(sizeof(float) * size_t(rows) * size_t(floats)));
    x = reinterpret_cast<typename M::Activation*>(take(sizeof(typename M::Activation) * size_t(rows) * size_t(p.width)));
    hidden = reinterpret_cast<typename M::Activation*>(take(sizeof(typename M::Activation) * size_t(rows) * size_t(wide)));
    logits = reinterpret_cast<float*>(take(sizeof(float) * size_t((1 + p.fields) * p.heads + 16)));
    tokens = reinterpret_cast<int32_t*>(take(sizeof(int32_t) * size_t(1 + p.fields)));
    bytes = used;
  }
};

template <class M>
size_t scratch_bytes(const Plan& p) {
  return Scratch<M>(p, nullptr).bytes;
}

template <class M>
void block(const Plan& p, const int32_t* rows, int n, float* z, int64_t z_stride, float* attention, void* memory) {
  const Scratch<M> s(p, memory);
  const int used = round_up(n, M::rows);
  const int exp_tail = (1 + p.fields) * p.heads;
  for (int i = 0; i < 16; i++) s.logits[exp_tail + i] = 0;
  attend<M>(p, rows, n, s.x, attention, s.logits, s.tokens);
  for (int64_t i = int64_t(n) * p.width; i < int64_t(used) * p.width; i++) s.x[i] = 0;

  [[maybe_unused]] const typename M::Session session;
  const int width = p.width;
  M::dense(s.x, width, used, p.attended, [&](int r, int c, F y) { V::store(s.h + int64_t(r) * width + c, V::add(y, V::load(p.residual + c))); });
  normalise<M>(p, p.norm1, s.h, used, s.x);
  M::dense(s.x, width, used, p.ffn1, [&](int r, int c, F y) {
    M::store(s.hidden + int64_t(r) * p.ffn1.out + c, gelu<V, M::terms>(V::add(y, V::load(p.ffn1.bias + c))));
  });
  M::dense(s.hidden, p.ffn1.out, used, p.ffn2, [&](int r, int c, F y) {
    float* h = s.h + int64_t(r) * width + c;
    V::store(h, V::add(V::add(y, V::load(p.ffn2.bias + c)), V::load(h)));
  });
  normalise<M>(p, p.norm2, s.h, used, s.x);
  M::dense(s.x, width, used, p.head1, [&](int r, int c, F y) {
    M::store(s.hidden + int64_t(r) * p.head1.out + c, gelu<V, M::terms>(V::add(y, V::load(p.head1.bias + c))));
  });
  const int padded_out = p.head2.out;
  M::dense(s.hidden, p.head1.out, used, p.head2, [&](int r, int c, F y) {
    V::store(s.h + int64_t(r) * padded_out + c, V::add(y, V::load(p.head2.bias + c)));
  });
  for (int r = 0; r < n; r++)
    for (int c = 0; c < p.out; c++) z[r * z_stride + c] = s.h[int64_t(r) * padded_out + c];
}

}  // namespace
}  // namespace larr::encoder_detail
