// The kernels over a register type V (simd/*.h, with bf16 loads and stores beside), and Half, whose lanes hold what a product of
// bf16 operands takes: two bf16 where the instruction set multiplies those, else V itself. Included by one source for each instruction set.
#include "numbers.inl"

namespace larr::decoder {
namespace {

// ---- products over lanes ----
// A lane is 32 bits: a float, or two bf16 that lie one after another along the summed index. c[r][·] += Σ_k a(r, k) · b[k][·].

template <class P, int N>
inline void tile(const float* a, int64_t rowStep, int64_t depthStep, const float* b, int64_t bStep, int64_t depth, float* c, int64_t cStep, bool add) {
  constexpr int MR = P::MR;
  F sum[MR][N];
#pragma GCC unroll 8
  for (int r = 0; r < MR; r++)
#pragma GCC unroll 8
    for (int v = 0; v < N; v++) sum[r][v] = add ? P::load(c + r * cStep + v * W) : P::set(0);
  for (int64_t k = 0; k < depth; k++) {
    F x[N];
#pragma GCC unroll 8
    for (int v = 0; v < N; v++) x[v] = P::load(b + k * bStep + v * W);
#pragma GCC unroll 8
    for (int r = 0; r < MR; r++) {
      const F y = P::set(a[r * rowStep + k * depthStep]);
#pragma GCC unroll 8
      for (int v = 0; v < N; v++) sum[r][v] = P::dot(y, x[v], sum[r][v]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < MR; r++)
#pragma GCC unroll 8
    for (int v = 0; v < N; v++) P::store(c + r * cStep + v * W, sum[r][v]);
}

// MR rows and `vectors` vectors of columns.
template <class P>
inline void product(const float* a, int64_t rowStep, int64_t depthStep, const float* b, int64_t bStep, int64_t depth, float* c, int64_t cStep, int64_t vectors,
                    bool add) {
  constexpr int NV = P::NV;
  int64_t v = 0;
  for (; v + NV <= vectors; v += NV) tile<P, NV>(a, rowStep, depthStep, b + v * W, bStep, depth, c + v * W, cStep, add);
  b += v * W;
  c += v * W;
  if constexpr (NV > 3)
    if (vectors - v == 3) return tile<P, 3>(a, rowStep, depthStep, b, bStep, depth, c, cStep, add);
  if constexpr (NV > 2)
    if (vectors - v == 2) return tile<P, 2>(a, rowStep, depthStep, b, bStep, depth, c, cStep, add);
  if (vectors - v == 1) tile<P, 1>(a, rowStep, depthStep, b, bStep, depth, c, cStep, add);
}

// Lanes are written as halves and read as floats.
inline uint16_t* halves(float* lanes) { return reinterpret_cast<Half16*>(lanes); }

// n floats (a whole number of vectors) as lanes along the row.
template <class P>
inline void lanes(const float* row, int64_t n, float* to) {
  for (int64_t i = 0; i < n; i += W) {
    if constexpr (P::per == 2) V::store16(halves(to) + i, V::load(row + i));
    else V::store(to + i, V::load(row + i));
  }
}

// `per` rows, `rowStep` apart, into the lanes that run along them.
template <class P>
inline void laneColumns(const float* rows, int64_t rowStep, int64_t n, float* to) {
  for (int64_t c = 0; c < n; c += W) {
    if constexpr (P::per == 2) V::store(to + c, P::pair(V::load(rows + c), V::load(rows + rowStep + c)));
    else V::store(to + c, V::load(rows + c));
  }
}

// ---- attention ----

constexpr int64_t queryBlock = 48;  // a multiple of every MR and of 2
constexpr int64_t ahead = 12;       // rows: a head is a short piece of each, which no hardware sees coming

template <class P>
struct Heads {
  static constexpr int MR = P::MR, per = P::per;
  const Attention& p;
  const Sequence of;
  const int64_t start = of.start, length = of.length;
  const int64_t size = p.headSize, half = size / 2;
  const int64_t width = up(size, W);          // a head's floats, padded
  const int64_t depth = width / per;          // its lanes
  const int64_t keys = up(length + MR, W);    // score columns, padded
  const int64_t keyDepth = keys / per;
  float* next;

  Heads(const Attention& problem, const Sequence& sequence, float* scratch) : p(problem), of(sequence), next(scratch) {}

  // null where only the size is asked for
  float* take(int64_t floats) {
    float* at = next;
    next += up(floats, 16);
    return at;
  }

  // `size` columns of a row, turned where there is a position to turn by.
  void head(const Matrix& m, int64_t row, int64_t rowWidth, int64_t column, int64_t position, float* to) const {
    prefetch(m, (row + ahead) * rowWidth + column, size);
    read(m, row * rowWidth + column, size, to);
    if (position < 0) return;
    const float *cosine = p.cosine + position * half, *sine = p.sine + position * half;
    for (int64_t c = 0; c < half; c++) {
      const float a = to[c], b = to[c + half];
      to[c] = a * cosine[c] - b * sine[c];
      to[c + half] = b * cosine[c] + a * sine[c];
    }
  }

  // The reverse for a gradient, written where the head was read.
  void gradient(const Matrix& m, int64_t row, int64_t rowWidth, int64_t column, int64_t position, float* from) const {
    if (position >= 0) {
      const float *cosine = p.cosine + position * half, *sine = p.sine + position * half;
      for (int64_t c = 0; c < half; c++) {
        const float a = from[c], b = from[c + half];
        from[c] = a * cosine[c] + b * sine[c];
        from[c + half] = b * cosine[c] - a * sine[c];
      }
    }
    write(m, row * rowWidth + column, size, from);
  }

  void key(int64_t j, int64_t h, float* to) const { head(p.keysValues, start + j, p.keyWidth, p.keyAt + h * size, j, to); }
  void value(int64_t j, int64_t h, float* to) const { head(p.keysValues, start + j, p.keyWidth, p.keyAt + (p.keyValueHeads + h) * size, -1, to); }
  void query(int64_t i, int64_t h, float* to) const { head(p.queries, of.first + i, p.queryWidth, h * size, position(i), to); }

  // Of query i of the sequence.
  int64_t position(int64_t i) const { return p.tokens ? p.tokens[of.first + i] - start : i; }

  // Lanes of one row as a column of the transposed matrix.
  void column(const float* laneRow, int64_t j, float* transposed) const {
    for (int64_t c = 0; c < depth; c++) transposed[c * keys + j] = laneRow[c];
  }
  void emptyColumns(float* transposed) const {
    for (int64_t c = 0; c < depth; c++)
      for (int64_t j = length; j < keys; j++) transposed[c * keys + j] = 0;
  }

  // Columns that queries up to (not including) `end` attend to.
  int64_t seen(int64_t end) const { return position(smaller(end, of.queries) - 1) + 1; }
};

template <class P>
void zero(float* at, int64_t floats) {
  for (int64_t i = 0; i < floats; i++) at[i] = 0;
}

template <class P>
struct Forward : Heads<P> {
  using H = Heads<P>;
  float* const rows = H::take(H::per * H::width);  // as many as share a lane
  float* const laneRow = H::take(H::width);
  float* const keysT = H::take(H::depth * H::keys);
  float* const values = H::take(H::keyDepth * H::width);
  float* const queries = H::take(queryBlock * H::depth);
  float* const scores = H::take(H::MR * H::keys);
  float* const shares = H::take(H::MR * H::keyDepth);
  float* const mixed = H::take(H::MR * H::width);
  using H::H;

  void run(int64_t head) {
    const auto& p = this->p;
    const int64_t length = this->length, width = this->width, depth = this->depth, keys = this->keys, keyDepth = this->keyDepth;
    const int64_t group = p.heads / p.keyValueHeads;
    if (this->of.queries == 0) return;
    zero<P>(rows, P::per * width);
    this->emptyColumns(keysT);
    for (int64_t j = 0; j < length; j++) {
      this->key(j, head, rows);
      lanes<P>(rows, width, laneRow);
      this->column(laneRow, j, keysT);
    }
    for (int64_t j = 0; j < length; j += P::per) {
      for (int o = 0; o < P::per; o++)
        if (j + o < length) this->value(j + o, head, rows + o * width);
        else zero<P>(rows + o * width, width);
      laneColumns<P>(rows, width, width, values + j / P::per * width);
    }
    zero<P>(rows, width);
    const float factor = p.scale * log2e;
    for (int64_t h = head * group; h < (head + 1) * group; h++)
      for (int64_t i0 = 0; i0 < this->of.queries; i0 += queryBlock) {
        const int64_t n = smaller(queryBlock, this->of.queries - i0);
        for (int64_t r = 0; r < n; r++) {
          this->query(i0 + r, h, rows);
          lanes<P>(rows, width, queries + r * depth);
        }
        zero<P>(queries + n * depth, (up(n, P::MR) - n) * depth);
        for (int64_t r0 = 0; r0 < n; r0 += P::MR) {
          const int64_t limit = this->seen(i0 + r0 + P::MR), columns = up(limit, W);
          product<P>(queries + r0 * depth, depth, 1, keysT, keys, depth, scores, keys, columns / W, false);
          for (int r = 0; r < smaller<int64_t>(P::MR, n - r0); r++) {
            const int64_t i = this->position(i0 + r0 + r);
            float* s = scores + r * keys;
            for (int64_t j = i + 1; j < columns; j++) s[j] = s[0];
            F top = V::load(s);
            for (int64_t j = W; j < columns; j += W) top = V::max(top, V::load(s + j));
            const float most = V::top(top);
            F sum = V::set(0);
            const F floor = V::set(-125 / factor), peak = V::set(most);
            for (int64_t j = 0; j < columns; j += W) V::store(s + j, exp2_scaled<V, P::terms>(V::max(V::sub(V::load(s + j), peak), floor), V::set(factor)));
            for (int64_t j = i + 1; j < columns; j++) s[j] = 0;
            for (int64_t j = 0; j < columns; j += W) sum = V::add(sum, V::load(s + j));
            const float total = V::sum(sum);
            if constexpr (P::per == 2) lanes<P>(s, columns, shares + r * keyDepth);
            weight[r] = 1 / total;
            if (p.logSum) p.logSum[(this->of.first + i0 + r0 + r) * p.heads + h] = most * factor + __builtin_log2f(total);
          }
          product<P>(P::per == 2 ? shares : scores, P::per == 2 ? keyDepth : keys, 1, values, width, (limit + P::per - 1) / P::per, mixed, width, width / W, false);
          for (int r = 0; r < smaller<int64_t>(P::MR, n - r0); r++) {
            const F scale = V::set(weight[r]);
            for (int64_t c = 0; c < this->size; c += W)
              put(p.out, (this->of.first + i0 + r0 + r) * p.heads * this->size + h * this->size + c, V::mul(V::load(mixed + r * width + c), scale), this->size - c);
          }
        }
      }
  }
  float weight[P::MR];  // 1 / the sum of a row's powers
};

template <class P>
struct Backward : Heads<P> {
  using H = Heads<P>;
  float* const rows = H::take(H::per * H::width);  // as many as share a lane
  float* const laneRow = H::take(H::width);
  float* const keysT = H::take(H::depth * H::keys);
  float* const keyRows = H::take(H::keyDepth * H::width);
  float* const valuesT = H::take(H::depth * H::keys);
  float* const keyGradient = H::take(up(H::length, H::MR) * H::width);
  float* const valueGradient = H::take(up(H::length, H::MR) * H::width);
  float* const queries = H::take(queryBlock * H::depth);
  float* const queryColumns = H::take(queryBlock / H::per * H::width);
  float* const outs = H::take(queryBlock * H::depth);
  float* const outColumns = H::take(queryBlock / H::per * H::width);
  float* const scores = H::take((P::per == 2 ? H::MR : queryBlock) * H::keys);
  float* const changes = H::take((P::per == 2 ? H::MR : queryBlock) * H::keys);
  float* const changeRows = H::take(P::per == 2 ? H::MR * H::keyDepth : 0);
  float* const shareColumns = H::take(P::per == 2 ? queryBlock / 2 * H::keys : 0);
  float* const changeColumns = H::take(P::per == 2 ? queryBlock / 2 * H::keys : 0);
  float* const queryGradient = H::take(H::MR * H::width);
  float drift[queryBlock];  // Σ out · its gradient
  using H::H;

  void run(int64_t head) {
    const auto& p = this->p;
    const int64_t first = this->of.first, queryCount = this->of.queries, length = this->length, size = this->size, width = this->width, depth = this->depth, keys = this->keys;
    const int64_t keyDepth = this->keyDepth, group = p.heads / p.keyValueHeads, outWidth = p.heads * size;
    zero<P>(rows, P::per * width);
    zero<P>(keyGradient, up(length, P::MR) * width);
    zero<P>(valueGradient, up(length, P::MR) * width);
    this->emptyColumns(keysT);
    this->emptyColumns(valuesT);
    for (int64_t j = 0; j < length; j++) {
      this->value(j, head, rows);
      lanes<P>(rows, width, laneRow);
      this->column(laneRow, j, valuesT);
    }
    for (int64_t j = 0; j < length; j += P::per) {
      for (int o = 0; o < P::per; o++) {
        if (j + o == length) {
          zero<P>(rows + o * width, width);
          break;
        }
        this->key(j + o, head, rows + o * width);
        lanes<P>(rows + o * width, width, laneRow);
        this->column(laneRow, j + o, keysT);
      }
      laneColumns<P>(rows, width, width, keyRows + j / P::per * width);
    }
    const F factor = V::set(p.scale * log2e), scale = V::set(p.scale);
    for (int64_t h = head * group; h < (head + 1) * group; h++)
      for (int64_t i0 = 0; i0 < queryCount; i0 += queryBlock) {
        const int64_t n = smaller(queryBlock, queryCount - i0), whole = up(n, P::MR), end = this->seen(i0 + n);
        zero<P>(rows, P::per * width);
        for (int64_t r = 0; r < whole; r++) {
          float* own = rows + r % P::per * width;
          if (r < n) this->query(i0 + r, h, own);
          else zero<P>(own, width);
          lanes<P>(own, width, queries + r * depth);
          if (r % P::per == P::per - 1) laneColumns<P>(rows, width, width, queryColumns + r / P::per * width);
        }
        zero<P>(rows, P::per * width);
        for (int64_t r = 0; r < whole; r++) {
          const int64_t at = (first + i0 + r) * outWidth + h * size;
          float* own = rows + r % P::per * width;
          if (r < n) {
            prefetch(p.outGradient, at + ahead * outWidth, size);
            prefetch(p.out, at + ahead * outWidth, size);
            read(p.outGradient, at, size, own);
            F dot = V::set(0);
            for (int64_t c = 0; c < size; c += W) dot = V::fma(V::load(own + c), get(p.out, at + c, size - c), dot);
            drift[r] = V::sum(dot);
          } else {
            zero<P>(own, width);
          }
          lanes<P>(own, width, outs + r * depth);
          if (r % P::per == P::per - 1) laneColumns<P>(rows, width, width, outColumns + r / P::per * width);
        }
        for (int64_t r0 = 0; r0 < n; r0 += P::MR) {
          // Further than the rows see, so that whole tiles of keys below find zeros there: those that a later row of the same lane sees.
          const int64_t limit = this->seen(i0 + r0 + P::MR), columns = smaller(up((p.tokens ? end : i0 + r0 + P::MR) + P::MR, W), keys);
          float *s = scores + (P::per == 2 ? 0 : r0 * keys), *d = changes + (P::per == 2 ? 0 : r0 * keys);
          const int64_t vectors = up(limit, W) / W;
          product<P>(queries + r0 * depth, depth, 1, keysT, keys, depth, s, keys, vectors, false);
          product<P>(outs + r0 * depth, depth, 1, valuesT, keys, depth, d, keys, vectors, false);
          for (int r = 0; r < P::MR; r++) {
            const int64_t own = r0 + r < n ? this->position(i0 + r0 + r) + 1 : 0;
            float *share = s + r * keys, *change = d + r * keys;
            if (own > 0) {
              const F total = V::set(p.logSum[(first + i0 + r0 + r) * p.heads + h]), less = V::set(drift[r0 + r]);
              for (int64_t j = 0; j < own; j += W) {
                // at most 0 but for rounding
                const F power = V::max(V::min(V::fma(V::load(share + j), factor, V::sub(V::set(0), total)), V::set(1)), V::set(-125));
                const F e = exp2_scaled<V, P::terms>(power, V::set(1));
                V::store(share + j, e);
                V::store(change + j, V::mul(V::mul(e, V::sub(V::load(change + j), less)), scale));
              }
            }
            for (int64_t j = own; j < columns; j++) share[j] = change[j] = 0;
            if constexpr (P::per == 2) lanes<P>(change, columns, changeRows + r * keyDepth);
          }
          if constexpr (P::per == 2)
            for (int r = 0; r < P::MR; r += 2) {
              laneColumns<P>(s + r * keys, keys, columns, shareColumns + (r0 + r) / 2 * keys);
              laneColumns<P>(d + r * keys, keys, columns, changeColumns + (r0 + r) / 2 * keys);
            }
          product<P>(P::per == 2 ? changeRows : d, P::per == 2 ? keyDepth : keys, 1, keyRows, width, (limit + P::per - 1) / P::per, queryGradient, width, width / W, false);
          for (int r = 0; r < smaller<int64_t>(P::MR, n - r0); r++)
            this->gradient(p.queryGradient, first + i0 + r0 + r, p.queryWidth, h * size, this->position(i0 + r0 + r), queryGradient + r * width);
        }
        const float *share = P::per == 2 ? shareColumns : scores, *change = P::per == 2 ? changeColumns : changes;
        for (int64_t j0 = 0, unseen = 0; j0 < end; j0 += P::MR) {
          while (this->position(i0 + unseen) < j0) unseen++;  // queries of the block before any that sees key j0; the last one does
          const int64_t skip = unseen / P::per, rows = (n + P::per - 1) / P::per - skip;
          product<P>(share + j0 + skip * keys, 1, keys, outColumns + skip * width, width, rows, valueGradient + j0 * width, width, width / W, true);
          product<P>(change + j0 + skip * keys, 1, keys, queryColumns + skip * width, width, rows, keyGradient + j0 * width, width, width / W, true);
        }
      }
    for (int64_t j = 0; j < length; j++) {
      this->gradient(p.keyValueGradient, this->start + j, p.keyWidth, p.keyAt + head * size, j, keyGradient + j * width);
      this->gradient(p.keyValueGradient, this->start + j, p.keyWidth, p.keyAt + (p.keyValueHeads + head) * size, -1, valueGradient + j * width);
    }
  }
};

template <class P>
size_t scratchOf(const Attention& p, int64_t length, bool backward) {
  float* const none = nullptr;
  const Sequence of{0, length, 0, 0};
  return size_t((backward ? Backward<P>(p, of, none).next : Forward<P>(p, of, none).next) - none);
}

size_t attentionScratch(const Attention& p, int64_t length, bool backward) {
  return p.queries.dtype == Dtype::bf16 ? scratchOf<Half>(p, length, backward) : scratchOf<V>(p, length, backward);
}

void attention(const Attention& p, const Sequence& of, int64_t head, float* scratch) {
  if (p.queries.dtype == Dtype::bf16) Forward<Half>(p, of, scratch).run(head);
  else Forward<V>(p, of, scratch).run(head);
}

void attentionBackward(const Attention& p, const Sequence& of, int64_t head, float* scratch) {
  if (p.queries.dtype == Dtype::bf16) Backward<Half>(p, of, scratch).run(head);
  else Backward<V>(p, of, scratch).run(head);
}

// ---- norm ----

void norm(const Norm& p, int64_t row, int64_t end) {
  for (int64_t t = row; t < end; t++) {
    const int64_t at = t * p.width;
    const Matrix& s = p.update.data ? p.sum : p.x;
    F squares = V::set(0);
    for (int64_t c = 0; c < p.width; c += W) {
      const int64_t n = p.width - c;
      F x = get(p.x, at + c, n);
      if (p.update.data) {
        x = V::add(x, get(p.update, at + c, n));
        put(p.sum, at + c, x, n);
      }
      squares = V::fma(x, x, squares);
    }
    const float inverse = 1 / __builtin_sqrtf(V::sum(squares) / float(p.width) + p.epsilon);
    if (p.inverse) p.inverse[t] = inverse;
    const Matrix weight{const_cast<float*>(p.weight), Dtype::f32};
    for (int64_t c = 0; c < p.width; c += W) {
      const int64_t n = p.width - c;
      put(p.y, at + c, V::mul(V::mul(get(s, at + c, n), V::set(inverse)), get(weight, c, n)), n);
    }
  }
}

void normBackward(const Norm& p, int64_t row, int64_t end, float* weightGradient) {
  const Matrix weight{const_cast<float*>(p.weight), Dtype::f32}, gradient{weightGradient, Dtype::f32};
  const Matrix& s = p.update.data ? p.sum : p.x;
  for (int64_t t = row; t < end; t++) {
    const int64_t at = t * p.width;
    const F inverse = V::set(p.inverse[t]);
    F along = V::set(0);
    if (p.yGradient.data)
      for (int64_t c = 0; c < p.width; c += W) {
        const int64_t n = p.width - c;
        const F unit = V::mul(get(s, at + c, n), inverse), g = get(p.yGradient, at + c, n);
        along = V::fma(V::mul(g, get(weight, c, n)), unit, along);
        if (weightGradient) put(gradient, c, V::fma(g, unit, get(gradient, c, n)), n);
      }
    const F mean = V::set(V::sum(along) / float(p.width));
    for (int64_t c = 0; c < p.width; c += W) {
      const int64_t n = p.width - c;
      F d = p.sumGradient.data ? get(p.sumGradient, at + c, n) : V::set(0);
      if (p.yGradient.data) {
        const F unit = V::mul(get(s, at + c, n), inverse), g = V::mul(get(p.yGradient, at + c, n), get(weight, c, n));
        d = V::fma(inverse, V::sub(g, V::mul(unit, mean)), d);
      }
      put(p.xGradient, at + c, d, n);
      if (p.updateGradient.data) put(p.updateGradient, at + c, d, n);
    }
  }
}

// ---- SwiGLU ----

void gate(const Gate& p, int64_t row, int64_t end) {
  for (int64_t t = row; t < end; t++)
    for (int64_t c = 0; c < p.width; c += W) {
      const int64_t n = p.width - c;
      const F g = get(p.gateUp, t * 2 * p.width + c, n), u = get(p.gateUp, (t * 2 + 1) * p.width + c, n);
      put(p.y, t * p.width + c, V::mul(V::mul(g, sigmoid(g)), u), n);
    }
}

void gateBackward(const Gate& p, int64_t row, int64_t end) {
  for (int64_t t = row; t < end; t++)
    for (int64_t c = 0; c < p.width; c += W) {
      const int64_t n = p.width - c;
      const F g = get(p.gateUp, t * 2 * p.width + c, n), u = get(p.gateUp, (t * 2 + 1) * p.width + c, n), d = get(p.yGradient, t * p.width + c, n);
      const F s = sigmoid(g), silu = V::mul(g, s);
      // σ (1 + g (1 − σ)) = σ + silu − silu σ
      put(p.gradient, t * 2 * p.width + c, V::mul(V::mul(d, u), V::sub(V::add(s, silu), V::mul(silu, s))), n);
      put(p.gradient, (t * 2 + 1) * p.width + c, V::mul(d, silu), n);
    }
}

// ---- sums of rows ----

void sumRows(const RowSums& p, int64_t row, int64_t end) {
  constexpr int64_t entriesAhead = 6;
  for (int64_t r = row; r < end; r++) {
    const int64_t first = p.first[r], last = p.first[r + 1];
    for (int64_t o = first; o < last; o++) prefetch(p.from, p.order[smaller(o + entriesAhead, p.first[end] - 1)] * p.width, p.width);
    for (int64_t c = 0; c < p.width; c += W) {
      const int64_t n = p.width - c;
      F sum = V::set(0);
      for (int64_t o = first; o < last; o++) sum = V::add(sum, get(p.from, p.order[o] * p.width + c, n));
      put(p.to, r * p.width + c, sum, n);
    }
  }
}

// ---- cross-entropy ----

double crossEntropy(const Matrix& logits, int64_t classes, const int64_t* targets, int64_t row, int64_t end, bool differentiate) {
  double loss = 0;
  const int64_t whole = classes / W * W;
  for (int64_t t = row; t < end; t++) {
    const int64_t at = t * classes;
    float own;
    read(logits, at + targets[t], 1, &own);
    // The target stands apart from the others: its gradient is their share, which beside 1 would be lost in rounding.
    constexpr float none = -__builtin_inff();
    write(logits, at + targets[t], 1, &none);
    float most = own;
    F top = V::set(own);
    for (int64_t c = 0; c < whole; c += W) top = V::max(top, get(logits, at + c));
    most = V::top(top);
    for (int64_t c = whole; c < classes; c++) {
      float x;
      read(logits, at + c, 1, &x);
      most = larger(most, x);
    }
    const F peak = V::set(most);
    F sum = V::set(0);
    for (int64_t c = 0; c < whole; c += W) {
      const F e = exponential(V::sub(get(logits, at + c), peak));
      sum = V::add(sum, e);
      if (differentiate) put(logits, at + c, e);
    }
    float others = V::sum(sum);
    if (whole < classes) {
      float rest[W];
      V::store(rest, exponential(V::sub(get(logits, at + whole, classes - whole), peak)));
      for (int64_t c = whole; c < classes; c++) others += rest[c - whole];
      if (differentiate) write(logits, at + whole, classes - whole, rest);
    }
    float target[W];
    V::store(target, exponential(V::set(own - most)));
    loss += double(most) - double(own) + __builtin_log(double(target[0]) + double(others));
    if (!differentiate) continue;
    const float total = target[0] + others, share = -others / total;
    const F inverse = V::set(1 / total);
    for (int64_t c = 0; c < classes; c += W) put(logits, at + c, V::mul(get(logits, at + c, classes - c), inverse), classes - c);
    write(logits, at + targets[t], 1, &share);
  }
  return loss;
}

void rectifyBackward(const Rectified& p, int64_t row, int64_t end, float* sums) {
  const Matrix to{sums, Dtype::f32};
  for (int64_t r = row; r < end; r++)
    for (int64_t c = 0; c < p.width; c += W) {
      const int64_t at = r * p.width + c, n = p.width - c;
      F x = get(p.yGradient, at, n);
      if (p.y.data) put(p.gradient, at, x = V::rectified(get(p.y, at, n), x), n);
      if (sums) put(to, c, V::add(get(to, c, n), x), n);
    }
}

// ---- products ----

#include "products.inl"

bool multiplies(Dtype type) { return W >= 16 && (type == Dtype::f32 || Half::per == 2); }

int64_t panelsOf(Dtype type, int64_t columns, bool gate) {
  const int64_t width = type == Dtype::bf16 ? panelWidth<Half> : panelWidth<V>;
  return gate ? up(columns / 2, width / 2) / (width / 2) : up(columns, width) / width;
}

size_t panelFloats(Dtype type, int64_t depth) {
  return size_t(type == Dtype::bf16 ? lanesOf<Half>(depth) * panelWidth<Half> : depth * panelWidth<V>);
}

void pack(const Packing& p, int64_t begin, int64_t end, float* to) {
  if (p.type == Dtype::bf16) packOf<Half>(p, begin, end, to);
  else packOf<V>(p, begin, end, to);
}

void product(const Product& p, int64_t begin, int64_t end) {
  if (p.a.dtype == Dtype::bf16) productOf<Half>(p, begin, end);
  else productOf<V>(p, begin, end);
}

int64_t rowsOfOuter(Dtype) { return outerRows; }

void outer(const Outer& p, int64_t begin, int64_t end, float* scratch) {
  if (p.type == Dtype::bf16) outerOf<Half>(p, begin, end, scratch);
  else outerOf<V>(p, begin, end, scratch);
}

constexpr Kernels table{attentionScratch, attention, attentionBackward, norm, normBackward, gate, gateBackward, sumRows, rectifyBackward, crossEntropy,
                        multiplies, panelsOf, panelFloats, pack, product, outer, rowsOfOuter};

}  // namespace
}  // namespace larr::decoder
