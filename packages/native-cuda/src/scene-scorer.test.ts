import { expect, test } from 'vitest';
import { KernelError, SceneScorer, type SceneScorerOptions, weightShapes } from './index.js';
import { randomSource } from './random.fixture.js';

const dims = { d: 32, heads: 4, ffn: 64, headHidden: 48, out: 20 };
const fields = 5;
const entries = 40;
/** scripts/gpu-check.sh runs all of this on a GPU, too: there sums are taken in another order. */
const wantedDevice = (process.env.LARR_DEVICE || 'cpu').replace(/^cuda$/, 'cuda:0');
const sumsDiffer = wantedDevice === 'cpu' ? 0 : 1e-4;

function options(seed = 1): SceneScorerOptions {
  const random = randomSource(seed);
  const weights = Object.fromEntries(
    Object.entries(weightShapes(fields, dims)).map(([name, sizes]) => {
      const n = sizes.reduce((a, b) => a * b, 1);
      return [
        name,
        random.normals(
          n,
          sizes.length === 2 ? 1 / Math.sqrt(sizes[1] as number) : 0.2,
          /norm._weight/.test(name) ? 1 : 0,
        ),
      ];
    }),
  );
  return {
    table: random.normals(entries * dims.d),
    fieldOf: Int32Array.from({ length: entries }, (_, e) => e % fields),
    fields,
    weights,
    dims,
  };
}

function someRows(n: number, seed = 2): Int32Array {
  const random = randomSource(seed);
  return Int32Array.from({ length: n * fields }, (_, i) =>
    random.below(6) === 0 ? -1 : random.below(entries / fields) * fields + (i % fields),
  );
}

/** The naive layer in float64: every token through attention (docs/method.md, section 5). */
function reference(o: SceneScorerOptions, row: Int32Array): { z: number[]; attention: number[][] } {
  const { d, heads } = o.dims;
  const w = (name: string) => o.weights[name] as Float32Array;
  const linear = (x: number[], weight: Float32Array, bias: Float32Array) =>
    Array.from(bias, (b, i) => x.reduce((sum, v, j) => sum + v * (weight[i * x.length + j] as number), b));
  const norm = (x: number[], weight: Float32Array, bias: Float32Array) => {
    const mean = x.reduce((a, b) => a + b) / x.length;
    const variance = x.reduce((a, b) => a + (b - mean) ** 2, 0) / x.length;
    return x.map((v, i) => ((v - mean) / Math.sqrt(variance + 1e-5)) * (weight[i] as number) + (bias[i] as number));
  };
  const erf = (x: number) => {
    let sum = x; // Taylor's series, enough terms for the small arguments here
    let term = x;
    for (let n = 1; n < 120; n++) {
      term *= (-x * x) / n;
      sum += term / (2 * n + 1);
    }
    return Math.abs(x) > 5 ? Math.sign(x) : (sum * 2) / Math.sqrt(Math.PI);
  };
  const gelu = (x: number[]) => x.map((v) => (v / 2) * (1 + erf(v / Math.SQRT2)));
  const agg = Array.from(w('agg'));
  const tokens = [agg];
  const position = [0];
  row.forEach((entry, f) => {
    if (entry < 0) return;
    tokens.push(
      Array.from({ length: d }, (_, i) => (o.table[entry * d + i] as number) + (w('field')[f * d + i] as number)),
    );
    position.push(1 + f);
  });
  const qkv = tokens.map((t) => linear(t, w('in_proj_weight'), w('in_proj_bias')));
  const mixed = new Array<number>(d).fill(0);
  const attention: number[][] = [];
  const hd = d / heads;
  for (let h = 0; h < heads; h++) {
    const logits = qkv.map((t) => {
      let dot = 0;
      for (let i = h * hd; i < (h + 1) * hd; i++) dot += (qkv[0] as number[])[i]! * t[d + i]!;
      return dot / Math.sqrt(hd);
    });
    const e = logits.map((l) => Math.exp(l - Math.max(...logits)));
    const total = e.reduce((a, b) => a + b);
    const out = new Array<number>(1 + row.length).fill(0);
    qkv.forEach((t, n) => {
      out[position[n] as number] = e[n]! / total;
      for (let i = h * hd; i < (h + 1) * hd; i++) mixed[i]! += (e[n]! / total) * t[2 * d + i]!;
    });
    attention.push(out);
  }
  const x = norm(
    linear(mixed, w('out_proj_weight'), w('out_proj_bias')).map((v, i) => v + agg[i]!),
    w('norm1_weight'),
    w('norm1_bias'),
  );
  const y = linear(gelu(linear(x, w('ffn1_weight'), w('ffn1_bias'))), w('ffn2_weight'), w('ffn2_bias'));
  const pooled = norm(
    x.map((v, i) => v + y[i]!),
    w('norm2_weight'),
    w('norm2_bias'),
  );
  return {
    z: linear(gelu(linear(pooled, w('head1_weight'), w('head1_bias'))), w('head2_weight'), w('head2_bias')),
    attention,
  };
}

const distance = (a: ArrayLike<number>, b: ArrayLike<number>) =>
  Array.from(a).reduce((m, v, i) => Math.max(m, Math.abs(v - b[i]!)), 0);

test('z and attention are those of the whole layer, in f32 and, within its rounding, in bf16', async () => {
  const o = options();
  const rows = someRows(61);
  rows.fill(-1, 0, fields); // a moment of which nothing is known
  for (const [dtype, tolerance] of [
    ['f32', 1e-5],
    ['bf16', 6e-2],
  ] as const) {
    using scorer = new SceneScorer({ ...o, dtype });
    expect([scorer.device, scorer.whyCpu]).toEqual([wantedDevice, undefined]);
    const { z, attention } = await scorer.encodeWithAttention(rows);
    for (let r = 0; r < 61; r++) {
      const wanted = reference(o, rows.subarray(r * fields, (r + 1) * fields));
      expect(distance(z.subarray(r * dims.out, (r + 1) * dims.out), wanted.z)).toBeLessThan(tolerance);
      const per = dims.heads * (1 + fields);
      expect(distance(attention.subarray(r * per, (r + 1) * per), wanted.attention.flat())).toBeLessThan(1e-5);
    }
  }
});

test('encode writes into the array it is given and gives the same bits as encodeSync', async () => {
  using scorer = new SceneScorer(options());
  const rows = someRows(500);
  const out = new Float32Array(500 * dims.out).fill(7);
  expect(await scorer.encode(rows, out)).toBe(out);
  expect(scorer.encodeSync(rows)).toEqual(out);
  expect(await scorer.encode(new Int32Array(0))).toEqual(new Float32Array(0));
});

test('score is z times target, its best rows in order, and says why on request', async () => {
  using scorer = new SceneScorer(options());
  const n = 130;
  const rows = someRows(n);
  const z = scorer.encodeSync(rows);
  const targets = randomSource(5).normals(n * dims.out);
  const { scores, top, attention } = await scorer.score({ rows, targets, topK: 7, attention: true });
  const wanted = Array.from({ length: n }, (_, r) => {
    let sum = 0;
    for (let i = 0; i < dims.out; i++) sum += z[r * dims.out + i]! * targets[r * dims.out + i]!;
    return Math.fround(sum);
  });
  expect(distance(scores, wanted)).toBeLessThanOrEqual(sumsDiffer);
  const order = Array.from(scores, (score, row) => ({ score, row })).sort((a, b) => b.score - a.score || a.row - b.row);
  expect(Array.from(top.rows)).toEqual(order.slice(0, 7).map((x) => x.row));
  expect(Array.from(top.scores)).toEqual(order.slice(0, 7).map((x) => x.score));
  expect(attention).toEqual((await scorer.encodeWithAttention(rows)).attention);
  const one = await scorer.score({ rows, targets: targets.subarray(0, dims.out) });
  expect(one.scores[0]).toBe(scores[0]);
  expect(one.top.rows.length).toBe(0);
  expect(one.attention).toBeNull();
});

test('calls under way finish after dispose; later ones are refused', async () => {
  const scorer = new SceneScorer(options());
  const rows = someRows(4000);
  const wanted = scorer.encodeSync(rows);
  const running = scorer.encode(rows);
  scorer.dispose();
  expect(await running).toEqual(wanted);
  expect(() => scorer.encodeSync(rows)).toThrowError(expect.objectContaining({ code: 'DISPOSED' }));
  await expect(scorer.encode(rows)).rejects.toMatchObject({ code: 'DISPOSED' });
});

test('wrong weights, arrays and indices are refused by name', async () => {
  const o = options();
  const message = (change: Partial<SceneScorerOptions>) => {
    try {
      new SceneScorer({ ...o, ...change });
    } catch (e) {
      expect(e).toBeInstanceOf(KernelError);
      return (e as KernelError).message;
    }
    throw new Error('was accepted');
  };
  expect(message({ weights: { ...o.weights, ffn1_weight: new Float32Array(3) } })).toBe(
    'weights.ffn1_weight must hold 2048 elements, [out, in] = [64, 32], got 3',
  );
  const { agg: _, ...without } = o.weights;
  expect(message({ weights: without })).toContain('weights.agg must be a Float32Array');
  expect(message({ table: new Float32Array(5) })).toContain('table must hold 1280 elements, [entries, d] = [40, 32]');
  expect(message({ fieldOf: Int32Array.from(o.fieldOf, (f) => f + 1) })).toContain('is not a field from 0 to 4');
  expect(message({ dims: { ...dims, heads: 5 } })).toBe('dims.d = 32 must be a multiple of dims.heads = 5');
  expect(message({ dims: undefined as never })).toBe('dims must be an object, got undefined');
  expect(message({ weights: null as never })).toBe('weights must be an object, got null');
  expect(message({ dims: { ...dims, ffn: 2 ** 31 } })).toContain(
    'dims.ffn must be a whole number from 1 to 2147483647',
  );
  using scorer = new SceneScorer(o);
  await expect(scorer.score(undefined as never)).rejects.toMatchObject({
    message: 'options must be an object, got undefined',
  });
  const wrong = (at: number, value: number) => {
    const rows = someRows(3);
    rows[at] = value;
    return scorer.encode(rows);
  };
  await expect(wrong(7, 40)).rejects.toMatchObject({
    code: 'OUT_OF_RANGE',
    message: 'rows[1][2] = 40 is neither -1 nor an entry from 0 to 39',
  });
  await expect(wrong(7, -2)).rejects.toMatchObject({ code: 'OUT_OF_RANGE' });
  await expect(wrong(7, 8)).rejects.toMatchObject({ message: 'rows[1][2] = 8 is an entry of field 3, not of field 2' });
  await expect(scorer.encode(new Int32Array(7))).rejects.toMatchObject({ code: 'BAD_SHAPE' });
  await expect(scorer.encode(someRows(3), new Float32Array(3))).rejects.toMatchObject({ code: 'BAD_SHAPE' });
  await expect(scorer.score({ rows: someRows(3), targets: new Float32Array(9) })).rejects.toMatchObject({
    code: 'BAD_SHAPE',
  });
});

test('entries of a large table, which are folded when a row first names them, give what they give in a small one, also to many calls at once', async () => {
  const small = options(9);
  const many = 40_000;
  const random = randomSource(10);
  const table = random.normals(many * dims.d);
  // the small table's entries lie far apart in the large one, each in its field
  const place = Int32Array.from({ length: entries }, (_, e) => (many / entries) * e + (e % fields));
  const fieldOf = Int32Array.from({ length: many }, (_, e) => e % fields);
  place.forEach((at, e) => {
    table.set(small.table.subarray(e * dims.d, (e + 1) * dims.d), at * dims.d);
  });
  using large = new SceneScorer({ ...small, table, fieldOf });
  using eager = new SceneScorer(small);
  const rows = someRows(200, 11);
  const there = rows.map((entry) => (entry < 0 ? -1 : place[entry]!));
  const expected = eager.encodeSync(rows);
  const calls = await Promise.all(Array.from({ length: 8 }, () => large.encode(there)));
  for (const z of calls) expect(z).toEqual(expected);
  expect(large.encodeSync(there)).toEqual(expected);
  const { attention } = await large.encodeWithAttention(there);
  expect(attention).toEqual((await eager.encodeWithAttention(rows)).attention);
});
