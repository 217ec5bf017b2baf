// Products of matrices over the register type V, included by kernels.inl: blocks of MR rows by NV vectors whose sums stay in registers for
// the whole depth. The right operand is packed; the left is read where it lies.

// Lanes of a packed panel: those of its depth, and zeros up to a whole tile where tiles read it.
template <class P>
int64_t lanesOf(int64_t depth) {
  const int64_t lanes = up(depth, P::per) / P::per;
  if constexpr (requires { P::lanesAtOnce; }) return up(lanes, P::lanesAtOnce);
  else return lanes;
}

// The columns of a packed panel; the last one may hold fewer vectors.
template <class P>
constexpr int64_t panelWidth = P::NV * W;
constexpr int64_t outerRows = 48;  // of a packed left operand; a multiple of every MR

// sum[r][·] += Σ_k a(r, k) · b[k][·] over lanes; steps of `a` in bytes.
template <class P, int R, int N, int64_t depthBytes>
__attribute__((always_inline)) inline void accumulate(const char* a, int64_t rowBytes, const float* b, int64_t depth, F (&sum)[R][N]) {
  using Lane = float __attribute__((may_alias, aligned(1)));
  for (int64_t k = 0; k < depth; k++) {
    F x[N];
#pragma GCC unroll 8
    for (int v = 0; v < N; v++) x[v] = P::load(b + (k * N + v) * W);
#pragma GCC unroll 8
    for (int r = 0; r < R; r++) {
      const F y = P::set(*reinterpret_cast<const Lane*>(a + r * rowBytes + k * depthBytes));
#pragma GCC unroll 8
      for (int v = 0; v < N; v++) sum[r][v] = P::dot(y, x[v], sum[r][v]);
    }
  }
}

// The vectors of a panel from whose first column on the matrix has `columns`.
template <class P>
inline int64_t vectorsOf(int64_t columns) { return smaller<int64_t>(P::NV, up(columns, W) / W); }

// Calls f<N>() with N = vectors.
template <class P, class Body>
inline void withVectors(int64_t vectors, const Body& body) {
  switch (vectors) {
    case 1: return body.template operator()<1>();
    case 2: if constexpr (P::NV > 2) return body.template operator()<2>();
    case 3: if constexpr (P::NV > 3) return body.template operator()<3>();
    default: return body.template operator()<P::NV>();
  }
}

template <int R, int N>
__attribute__((always_inline)) inline void zero(F (&sum)[R][N]) {
#pragma GCC unroll 8
  for (int r = 0; r < R; r++)
#pragma GCC unroll 8
    for (int v = 0; v < N; v++) sum[r][v] = V::set(0);
}

template <int R, int N>
__attribute__((always_inline)) inline void addTo(F (&sum)[R][N], const F (&part)[R][N]) {
#pragma GCC unroll 8
  for (int r = 0; r < R; r++)
#pragma GCC unroll 8
    for (int v = 0; v < N; v++) sum[r][v] = V::add(sum[r][v], part[r][v]);
}

// Lanes added one after another before their sum is added to what was there: rounding grows with the length of such chains.
constexpr int64_t chain = 512;

// Calls f<R>(row) for rows [begin, end), MR at a time and then the rest at once.
template <class P, class Body>
inline void overBlocks(int64_t begin, int64_t end, const Body& body) {
  for (; begin + P::MR <= end; begin += P::MR) body.template operator()<P::MR>(begin);
  switch (end - begin) {
    case 5: if constexpr (P::MR > 5) body.template operator()<5>(begin); break;
    case 4: if constexpr (P::MR > 4) body.template operator()<4>(begin); break;
    case 3: if constexpr (P::MR > 3) body.template operator()<3>(begin); break;
    case 2: body.template operator()<2>(begin); break;
    case 1: body.template operator()<1>(begin); break;
    default: break;
  }
}

// What becomes of a block's sums, [R, panel], where they are not just stored: addition, the gate, a panel with fewer columns. `biased`: they hold the bias.
template <class P>
__attribute__((noinline)) void finish(const Product& p, int64_t row, int64_t rows, int64_t panel, const float* sums, int64_t step, bool biased) {
  constexpr int64_t width = panelWidth<P>;
  if (p.gated.data) {
    const int64_t half = p.columns / 2, first = panel * (width / 2);
    for (int64_t r = 0; r < rows; r++)
      for (int64_t i = 0; i < smaller(width / 2, half - first); i += W) {
        const F gate = V::load(sums + r * step + i), up = V::load(sums + r * step + width / 2 + i);
        const int64_t c = first + i, n = half - c;
        if (p.out.data) {
          put(p.out, (row + r) * p.outStep + c, gate, n);
          put(p.out, (row + r) * p.outStep + half + c, up, n);
        }
        put(p.gated, (row + r) * half + c, V::mul(V::mul(gate, sigmoid(gate)), up), n);
      }
    return;
  }
  const Matrix bias{const_cast<float*>(p.bias), Dtype::f32};
  for (int64_t i = 0; i < smaller(width, p.columns - panel * width); i += W) {
    const int64_t c = panel * width + i, n = p.columns - c;
    const F more = p.bias && !biased ? get(bias, c, n) : V::set(0);
    for (int64_t r = 0; r < rows; r++) {
      F sum = V::add(V::load(sums + r * step + i), more);
      if (p.add) sum = V::add(sum, get(p.out, (row + r) * p.outStep + c, n));
      put(p.out, (row + r) * p.outStep + c, p.relu ? V::max(V::set(0), sum) : sum, n);
    }
  }
}

// Asks for a block that will be stored, `rowBytes` from one row to the next: a store into a line that is in no cache holds up all behind it.
inline void prefetchBlock(const char* to, int64_t rows, int64_t rowBytes, int64_t bytes) {
  for (int64_t r = 0; r < rows; r++)
    for (int64_t byte = 0; byte < bytes; byte += 64) __builtin_prefetch(to + r * rowBytes + byte, 1);
}

template <class P, int R, int N>
__attribute__((noinline)) void productBlock(const Product& p, int64_t row, int64_t panel) {
  constexpr int64_t width = N * W, first = panelWidth<P>;
  const int64_t size = P::per == 2 ? 2 : 4, rowBytes = p.aStep * size, deep = lanesOf<P>(p.depth);
  const char* a = static_cast<const char*>(p.a.data) + row * rowBytes + p.begin * size;
  const float* b = p.packed + panel * deep * first + p.begin / P::per * width;
  const int64_t depth = (p.end - p.begin) / P::per;
  const bool whole = p.columns - panel * first >= width, biased = whole && p.bias;
  if (p.out.data && !p.gated.data) {
    const int64_t outSize = p.out.dtype == Dtype::bf16 ? 2 : 4;
    prefetchBlock(static_cast<const char*>(p.out.data) + (row * p.outStep + panel * first) * outSize, R, p.outStep * outSize, width * outSize);
  }
  F sum[R][N];
#pragma GCC unroll 8
  for (int v = 0; v < N; v++) {
    const F bias = biased ? V::load(p.bias + panel * first + v * W) : V::set(0);
#pragma GCC unroll 8
    for (int r = 0; r < R; r++) sum[r][v] = bias;
  }
  accumulate<P, R, N, 4>(a, rowBytes, b, smaller(depth, chain), sum);
  for (int64_t k = chain; k < depth; k += chain) {
    F part[R][N];
    zero(part);
    accumulate<P, R, N, 4>(a + k * 4, rowBytes, b + k * width, smaller(depth - k, chain), part);
    addTo(sum, part);
  }
  const bool odd = P::per == 2 && (p.end - p.begin) % 2;
  if (!odd && !p.add && !p.gated.data && whole) {
    const int64_t at = row * p.outStep + panel * first;
    if (p.relu) {
#pragma GCC unroll 8
      for (int r = 0; r < R; r++)
#pragma GCC unroll 8
        for (int v = 0; v < N; v++) sum[r][v] = V::max(V::set(0), sum[r][v]);  // not a number stays one
    }
    if (p.out.dtype == Dtype::bf16) {
#pragma GCC unroll 8
      for (int r = 0; r < R; r++)
#pragma GCC unroll 8
        for (int v = 0; v < N; v++) V::store16(static_cast<uint16_t*>(p.out.data) + at + r * p.outStep + v * W, sum[r][v]);
    } else {
#pragma GCC unroll 8
      for (int r = 0; r < R; r++)
#pragma GCC unroll 8
        for (int v = 0; v < N; v++) V::store(static_cast<float*>(p.out.data) + at + r * p.outStep + v * W, sum[r][v]);
    }
    return;
  }
  float sums[R * width];
#pragma GCC unroll 8
  for (int r = 0; r < R; r++)
#pragma GCC unroll 8
    for (int v = 0; v < N; v++) V::store(sums + r * width + v * W, sum[r][v]);
  if constexpr (P::per == 2)
    if (odd)  // The last number has no partner: what lies behind it is another's.
      for (int r = 0; r < R; r++) {
        uint16_t last;
        __builtin_memcpy(&last, a + r * rowBytes + depth * 4, 2);
        const uint32_t lane = last;
        float alone;
        __builtin_memcpy(&alone, &lane, 4);
        for (int64_t i = 0; i < width; i += W) V::store(sums + r * width + i, P::dot(V::set(alone), P::load(b + depth * width + i), V::load(sums + r * width + i)));
      }
  finish<P>(p, row, R, panel, sums, width, biased);
}

template <class P>
void productOf(const Product& p, int64_t begin, int64_t end) {
  // As many rows as stay in the second cache while every panel passes.
  const int64_t bytes = larger<int64_t>(1, (p.end - p.begin) * (P::per == 2 ? 2 : 4));
  const int64_t rows = larger<int64_t>(8, smaller<int64_t>(64, (int64_t{128} << 10) / bytes / P::MR)) * P::MR;
  for (int64_t row = begin; row < end; row += rows)
    for (int64_t panel = 0; panel < p.panels; panel++)
      withVectors<P>(p.gated.data ? P::NV : vectorsOf<P>(p.columns - panel * panelWidth<P>), [&]<int N>() {
        overBlocks<P>(row, smaller(end, row + rows), [&]<int R>(int64_t at) { productBlock<P, R, N>(p, at, panel); });
      });
}

constexpr int64_t lanesAhead = 16;  // rows: a panel is a short piece of each

// Lane row `k` of [rows, width], rows `step` apart: columns [c, c + W); zeros beyond either end.
template <class P>
inline F laneOf(const Matrix& m, int64_t k, int64_t rows, int64_t width, int64_t step, int64_t c) {
  const int64_t n = width - c;
  if (n <= 0 || k * P::per >= rows) return V::set(0);
  if constexpr (P::per == 2) {
    const int64_t at = 2 * k * step + c;
    prefetch(m, at + lanesAhead * step, 1);
    prefetch(m, at + (lanesAhead + 1) * step, 1);
    const bool both = 2 * k + 1 < rows;
    if (both && n >= W && m.dtype == Dtype::bf16) return P::zip(static_cast<const uint16_t*>(m.data) + at, static_cast<const uint16_t*>(m.data) + at + step);
    return P::pair(get(m, at, n), both ? get(m, at + step, n) : V::set(0));
  } else {
    return get(m, k * step + c, n);
  }
}

template <class P>
void packOf(const Packing& p, int64_t begin, int64_t end, float* to) {
  const int64_t deep = lanesOf<P>(p.depth);
  for (int64_t panel = begin; panel < end; panel++) {
    float* at = to + panel * deep * panelWidth<P>;
    const int64_t width = p.gate ? panelWidth<P> : vectorsOf<P>(p.columns - panel * panelWidth<P>) * W;
    if (!p.transposed) {
      for (int64_t k = 0; k < deep; k++)
        for (int64_t i = 0; i < width; i += W) V::store(at + k * width + i, laneOf<P>(p.from, k, p.depth, p.columns, p.step, panel * panelWidth<P> + i));
      continue;
    }
    constexpr int64_t lanesAtOnce = 32;
    float part[panelWidth<P>][lanesAtOnce];
    const Matrix rows{part, P::per == 2 ? Dtype::bf16 : Dtype::f32};
    for (int64_t k = 0; k < deep; k += lanesAtOnce) {
      const int64_t count = smaller(lanesAtOnce, deep - k);
      for (int64_t i = 0; i < width; i++) {
        const int64_t half = width / 2, place = panel * half + i % half;
        const int64_t column = !p.gate ? panel * panelWidth<P> + i : place < p.columns / 2 ? place + i / half * (p.columns / 2) : p.columns;
        for (int64_t c = 0; c < lanesAtOnce; c++) part[i][c] = 0;
        if (column >= p.columns) continue;
        const int64_t numbers = smaller(count * P::per, p.depth - k * P::per);
        for (int64_t c = 0; c < numbers; c += W)
          put(rows, i * lanesAtOnce * P::per + c, get(p.from, column * p.step + k * P::per + c, numbers - c), numbers - c);
      }
      for (int64_t c = 0; c < count; c++)
        for (int64_t i = 0; i < width; i++) at[(k + c) * width + i] = part[i][c];
    }
  }
}

// c [R, n], rows `step` apart, (+)= Σ_k a[k][r] b[k][·]; n <= N vectors, the panel's.
template <class P, int R, int N>
__attribute__((noinline)) void outerBlock(const float* a, const float* b, int64_t deep, float* c, int64_t step, int64_t n, bool add) {
  constexpr int64_t width = N * W;
  float edge[R * width];
  float* to = c;
  const int64_t rowStep = step;
  if (n < width) {
    to = edge;
    step = width;
    for (int64_t r = 0; r < R; r++)
      for (int64_t i = 0; i < width; i++) edge[r * width + i] = add && i < n ? c[r * rowStep + i] : 0;
  }
  if (to == c) prefetchBlock(reinterpret_cast<const char*>(to), R, step * 4, width * 4);
  F sum[R][N];
  zero(sum);
  accumulate<P, R, N, outerRows * 4>(reinterpret_cast<const char*>(a), 4, b, deep, sum);
  if (add) {
#pragma GCC unroll 8
    for (int r = 0; r < R; r++)
#pragma GCC unroll 8
      for (int v = 0; v < N; v++) sum[r][v] = V::add(sum[r][v], V::load(to + r * step + v * W));
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; r++)
#pragma GCC unroll 8
    for (int v = 0; v < N; v++) V::store(to + r * step + v * W, sum[r][v]);
  if (n < width)
    for (int64_t r = 0; r < R; r++)
      for (int64_t i = 0; i < n; i++) c[r * rowStep + i] = edge[r * width + i];
}

template <class P>
void outerOf(const Outer& p, int64_t begin, int64_t end, float* scratch) {
  constexpr int64_t width = panelWidth<P>;
  const int64_t deep = lanesOf<P>(p.depth), panels = up(p.columns, width) / width;
  for (int64_t block = begin; block < end; block++) {
    const int64_t first = block * outerRows, rows = smaller(outerRows, p.rows - first);
    for (int64_t k = 0; k < deep; k++)
      for (int64_t i = 0; i < outerRows; i += W) V::store(scratch + k * outerRows + i, laneOf<P>(p.a, k, p.depth, p.rows, p.aStep, first + i));
    for (int64_t panel = 0; panel < panels; panel++)
      withVectors<P>(vectorsOf<P>(p.columns - panel * width), [&]<int N>() {
        overBlocks<P>(0, rows, [&]<int R>(int64_t row) {
          outerBlock<P, R, N>(scratch + row, p.packed + panel * deep * width, deep, p.out + (first + row) * p.columns + panel * width, p.columns,
                              smaller(width, p.columns - panel * width), p.add);
        });
      });
  }
}
