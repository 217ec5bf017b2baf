// The naive layer by the definition, in double or f32: every token gets its query, key and value; the aggregation token's output is taken.
#include <cmath>

#include "larr/kernels.h"

namespace larr {
namespace {

template <class T>
using Vector = std::vector<T>;

template <class T>
Vector<T> linear(const Vector<T>& x, const float* weight, const float* bias, int out) {
  const size_t in = x.size();
  Vector<T> y(size_t(out), T(0));
  for (int o = 0; o < out; o++) {
    y[size_t(o)] = T(bias[o]);
    for (size_t i = 0; i < in; i++) y[size_t(o)] += T(weight[size_t(o) * in + i]) * x[i];
  }
  return y;
}

template <class T>
void gelu_of(Vector<T>& x) {
  for (T& v : x) v *= T(0.5) * (1 + std::erf(v / std::sqrt(T(2))));
}

template <class T>
void norm(Vector<T>& x, const float* weight, const float* bias) {
  T mean = 0, variance = 0;
  for (T v : x) mean += v / T(x.size());
  for (T v : x) variance += (v - mean) * (v - mean) / T(x.size());
  for (size_t i = 0; i < x.size(); i++) x[i] = (x[i] - mean) / std::sqrt(variance + T(1e-5)) * T(weight[i]) + T(bias[i]);
}

template <class T>
void compose(const EncoderShape& shape, const EncoderWeights& w, const EncoderTable& table, const int32_t* rows, int64_t n_rows,
                       T* z, T* attention) {
  const int d = shape.dim, heads = shape.heads, head_dim = d / heads, most = 1 + shape.fields;
  for (int64_t row = 0; row < n_rows; row++) {
    std::vector<Vector<T>> tokens;
    std::vector<int> position;
    tokens.emplace_back(w.agg, w.agg + d);
    position.push_back(0);
    for (int f = 0; f < shape.fields; f++) {
      const int32_t entry = rows[row * shape.fields + f];
      if (entry < 0) continue;
      Vector<T> token(static_cast<size_t>(d));
      for (int i = 0; i < d; i++) token[size_t(i)] = T(table.embeddings[int64_t(entry) * d + i]) + T(w.field[f * d + i]);
      tokens.push_back(token);
      position.push_back(1 + f);
    }
    std::vector<Vector<T>> qkv;
    for (const Vector<T>& token : tokens) qkv.push_back(linear(token, w.in_proj_weight, w.in_proj_bias, 3 * d));
    Vector<T> mixed(size_t(d), T(0));
    for (int h = 0; h < heads; h++) {
      Vector<T> logits;
      T top = -INFINITY, sum = 0;
      for (const Vector<T>& t : qkv) {
        T dot = 0;
        for (int i = 0; i < head_dim; i++) dot += qkv[0][size_t(h * head_dim + i)] * t[size_t(d + h * head_dim + i)];
        logits.push_back(dot / std::sqrt(T(head_dim)));
        top = std::fmax(top, logits.back());
      }
      for (T& l : logits) sum += l = std::exp(l - top);
      if (attention)
        for (int t = 0; t < most; t++) attention[(row * heads + h) * most + t] = 0;
      for (size_t t = 0; t < qkv.size(); t++) {
        const T a = logits[t] / sum;
        if (attention) attention[(row * heads + h) * most + position[t]] = a;
        for (int i = 0; i < head_dim; i++) mixed[size_t(h * head_dim + i)] += a * qkv[t][size_t(2 * d + h * head_dim + i)];
      }
    }
    Vector<T> x = linear(mixed, w.out_proj_weight, w.out_proj_bias, d);
    for (int i = 0; i < d; i++) x[size_t(i)] += T(w.agg[i]);
    norm(x, w.norm1_weight, w.norm1_bias);
    Vector<T> hidden = linear(x, w.ffn1_weight, w.ffn1_bias, shape.ffn);
    gelu_of(hidden);
    const Vector<T> y = linear(hidden, w.ffn2_weight, w.ffn2_bias, d);
    for (int i = 0; i < d; i++) x[size_t(i)] += y[size_t(i)];
    norm(x, w.norm2_weight, w.norm2_bias);
    Vector<T> head = linear(x, w.head1_weight, w.head1_bias, shape.head_hidden);
    gelu_of(head);
    const Vector<T> out = linear(head, w.head2_weight, w.head2_bias, shape.out);
    for (int i = 0; i < shape.out; i++) z[row * shape.out + i] = out[size_t(i)];
  }
}

}  // namespace

void encoder_reference(const EncoderShape& shape, const EncoderWeights& weights, const EncoderTable& table, const int32_t* rows,
                       int64_t n_rows, double* z, double* attention) {
  compose(shape, weights, table, rows, n_rows, z, attention);
}

void encoder_composed(const EncoderShape& shape, const EncoderWeights& weights, const EncoderTable& table, const int32_t* rows,
                      int64_t n_rows, float* z, float* attention) {
  compose(shape, weights, table, rows, n_rows, z, attention);
}

}  // namespace larr
