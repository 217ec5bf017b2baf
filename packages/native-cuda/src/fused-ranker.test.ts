import { expect, test } from 'vitest';
import { FusedRanker, type FusedRankerOptions, KernelError, type RankerRows } from './index.js';
import { randomSource } from './random.fixture.js';

const inputs = {
  embedding: 4,
  contextIds: 2,
  contextDense: 1,
  z: 3,
  behaviour: 0,
  ids: [true, false],
  dense: [false, true, true],
  poi: 5,
};
const width = (2 + 2) * 4 + 1 + 3 + 3 + 5;
const [tableRows, poiRows] = [50, 20];

/** Two experts, a gate for each of two tasks, and logits. */
function options(seed = 1, memory = 1 << 20): FusedRankerOptions {
  const random = randomSource(seed);
  const layer = (from: number | null, to: number, name: string, relu: boolean) => ({
    kind: 'layer' as const,
    from,
    to,
    weight: `${name}.weight`,
    bias: `${name}.bias`,
    relu,
  });
  return {
    inputs,
    registers: [7, 7, 2, 2, 7, 7, 1, 1],
    steps: [
      layer(null, 0, 'a', true),
      layer(null, 1, 'b', true),
      layer(null, 2, 'g', false),
      layer(null, 3, 'h', false),
      {
        kind: 'mix',
        gates: [2, 3],
        experts: [0, 1],
        to: [4, 5],
        seen: [
          [true, true],
          [false, true],
        ],
      },
      layer(4, 6, 'click', false),
      layer(5, 7, 'order', false),
    ],
    logits: [6, 7],
    clickShift: -0.5,
    weights: {
      'dense.mean': random.normals(4),
      'dense.scale': random.normals(4, 0.2, 1),
      ...Object.fromEntries(
        [
          ['a', 7, width],
          ['b', 7, width],
          ['g', 2, width],
          ['h', 2, width],
          ['click', 1, 7],
          ['order', 1, 7],
        ].flatMap(([name, out, into]) => [
          [`${name}.weight`, random.normals(Number(out) * Number(into), 0.3)],
          [`${name}.bias`, random.normals(Number(out))],
        ]),
      ),
    },
    embedding: random.normals(tableRows * 4),
    pois: random.normals(poiRows * 5),
    terms: null,
    secondOrder: null,
    memory,
  };
}

/** The same with a factorisation machine beside it: w [rows, 2], u [2, 4], and the terms t_k(id) = w_{k,id} − ½ Σ_d u_{k,d} v_{id,d}². */
function withMachine(): { given: FusedRankerOptions; w: Float32Array; u: Float32Array } {
  const plain = options();
  const random = randomSource(9);
  const [w, u] = [random.normals(tableRows * 2), random.normals(8, 0.3)];
  const terms = w.map((first, at) => {
    const [row, k] = [at >> 1, at & 1];
    return [0, 1, 2, 3].reduce((t, d) => t - (u[k * 4 + d]! * plain.embedding[row * 4 + d]! ** 2) / 2, first);
  });
  return { given: { ...plain, weights: { ...plain.weights, u }, terms, secondOrder: 'u' }, w, u };
}

function request(n: number, contexts: number, seed = 2): RankerRows {
  const random = randomSource(seed);
  const ints = (count: number, below: number) => Int32Array.from({ length: count }, () => random.below(below));
  return {
    rows: n,
    contexts,
    context: ints(n, contexts),
    contextIds: ints(contexts * 2, tableRows),
    contextDense: random.normals(contexts),
    z: random.normals(contexts * 3),
    behaviour: null,
    ids: ints(n * 2, tableRows),
    dense: random.normals(n * 3),
    poi: ints(n, poiRows),
    kept: null,
  };
}

/** The network in float64, row by row. @param beside what is added to the logits of a row with these IDs */
function exact(
  { weights, embedding, pois, clickShift }: FusedRankerOptions,
  r: RankerRows,
  beside: (ids: number[], task: number) => number = () => 0,
): { click: number; order: number }[] {
  const dot = (name: string, x: number[]): number[] =>
    [...weights[`${name}.bias`]!].map((b, o) =>
      x.reduce((sum, v, i) => sum + v * weights[`${name}.weight`]![o * x.length + i]!, b),
    );
  const standard = (x: number, i: number): number => (x - weights['dense.mean']![i]!) * weights['dense.scale']![i]!;
  const some = (table: Float32Array, row: number, columns: number): number[] => [
    ...table.subarray(row * columns, (row + 1) * columns),
  ];
  const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));
  return Array.from({ length: r.rows }, (_, row) => {
    const c = r.context[row]!;
    const x = [
      ...[0, 1].flatMap((f) => some(embedding, r.contextIds![c * 2 + f]!, 4)),
      standard(r.contextDense![c]!, 0),
      ...some(r.z!, c, 3),
      ...[0, 1].flatMap((f) => some(embedding, r.ids![row * 2 + f]!, 4)),
      ...[0, 1, 2].map((f) => standard(r.dense![row * 3 + f]!, 1 + f)),
      ...some(pois!, r.poi![row]!, 5),
    ];
    const relu = (values: number[]) => values.map((v) => Math.max(0, v));
    const [a, b] = [relu(dot('a', x)), relu(dot('b', x))];
    const [l, m] = dot('g', x) as [number, number];
    const share = 1 / (1 + Math.exp(m - l));
    const ids = [...r.contextIds!.subarray(c * 2, c * 2 + 2), ...r.ids!.subarray(row * 2, row * 2 + 2)];
    const click = sigmoid(
      dot(
        'click',
        a.map((v, i) => share * v + (1 - share) * b[i]!),
      )[0]! +
        clickShift +
        beside(ids, 0),
    );
    return { click, order: click * sigmoid(dot('order', b)[0]! + beside(ids, 1)) };
  });
}

test('scores are those of the network, whatever is kept of the POIs', async () => {
  const given = options();
  using ranker = new FusedRanker(given);
  for (const [n, contexts] of [
    [0, 1],
    [1, 1],
    [500, 4],
  ] as const) {
    const rows = request(n, contexts, n + 5);
    const wanted = exact(given, rows);
    const { pCtr, pCtcvr } = await ranker.score(rows);
    wanted.forEach(({ click, order }, i) => {
      expect(pCtr[i]).toBeCloseTo(click, 5);
      expect(pCtcvr![i]).toBeCloseTo(order, 5);
    });
    // every row is a POI of its own: the second time all of them are there
    const kept = { poi: Int32Array.from({ length: n }, (_, i) => i), version: new Int32Array(n).fill(n) };
    for (let time = 0; time < 2; time++) expect((await ranker.score({ ...rows, kept })).pCtr).toEqual(pCtr);
  }
  expect(ranker.bytes.kept).toBeGreaterThan(0);
});

test('what IDs add beside the network is a factorisation machine over all of a row’s IDs, or their own terms alone', async () => {
  const { given, w, u } = withMachine();
  const rows = request(300, 4);
  const v = (id: number, d: number): number => given.embedding[id * 4 + d]!;
  const first = (ids: number[], k: number): number => ids.reduce((sum, id) => sum + w[id * 2 + k]!, 0);
  const pairs = (ids: number[], k: number): number =>
    ids
      .flatMap((f, i) => ids.slice(i + 1).map((g) => [f, g] as const))
      .reduce((sum, [f, g]) => sum + [0, 1, 2, 3].reduce((dot, d) => dot + u[k * 4 + d]! * v(f, d) * v(g, d), 0), 0);
  const kept = { poi: Int32Array.from({ length: 300 }, (_, i) => i), version: new Int32Array(300) };
  for (const [options, beside] of [
    [given, (ids: number[], k: number) => first(ids, k) + pairs(ids, k)],
    [{ ...given, terms: w, secondOrder: null }, first],
  ] as const) {
    using ranker = new FusedRanker(options);
    const { pCtr, pCtcvr } = await ranker.score(rows);
    exact(options, rows, beside).forEach(({ click, order }, i) => {
      expect(pCtr[i]).toBeCloseTo(click, 5);
      expect(pCtcvr![i]).toBeCloseTo(order, 5);
    });
    for (let time = 0; time < 2; time++) expect(await ranker.score({ ...rows, kept })).toEqual({ pCtr, pCtcvr });
  }
});

test('a POI that has changed is computed anew', async () => {
  using ranker = new FusedRanker(options());
  const rows = request(30, 2);
  const kept = { poi: Int32Array.from({ length: 30 }, (_, i) => i), version: new Int32Array(30) };
  await ranker.score({ ...rows, kept });
  const changed = { ...rows, ids: rows.ids!.slice(), dense: rows.dense!.slice() };
  changed.ids[0] = (changed.ids[0]! + 1) % tableRows;
  changed.dense[2 * 3 + 1]! += 1;
  const fresh = (await ranker.score(changed)).pCtr;
  expect((await ranker.score({ ...changed, kept })).pCtr).not.toEqual(fresh);
  kept.version[0] = 1;
  kept.version[2] = 1;
  expect((await ranker.score({ ...changed, kept })).pCtr).toEqual(fresh);
});

test.each([
  ['without terms', options()],
  ['with terms', withMachine().given],
])('a value that is not a number makes its own row say so, and no other: %s', async (_, given) => {
  using ranker = new FusedRanker(given);
  const rows = request(20, 20);
  rows.context.forEach((_, i) => {
    rows.context[i] = i;
  });
  const clean = (await ranker.score(rows)).pCtr;
  rows.dense![5 * 3] = Number.NaN;
  rows.contextDense![7] = Number.NaN;
  const { pCtr } = await ranker.score(rows);
  expect([...pCtr]).toEqual([...clean].map((p, row) => (row === 5 || row === 7 ? Number.NaN : p)));
  // what is kept of a POI whose values were not numbers is its own alone
  const kept = { poi: Int32Array.from({ length: 20 }, (_, i) => i), version: new Int32Array(20) };
  rows.dense![3 * 3 + 1] = Number.NaN;
  const { pCtr: again } = await ranker.score({ ...rows, kept });
  expect([...again]).toEqual([...pCtr].map((p, row) => (row === 3 ? Number.NaN : p)));
});

test('calls side by side give what each gives alone', async () => {
  using ranker = new FusedRanker(options(1, 20_000));
  const requests = Array.from({ length: 12 }, (_, i) => request(40, 3, i));
  const alone = await Promise.all(requests.map((rows) => ranker.score(rows)));
  const keptOf = (first: number) => ({
    poi: Int32Array.from({ length: 40 }, (_, i) => first * 40 + i),
    version: new Int32Array(40).fill(first),
  });
  for (let time = 0; time < 5; time++) {
    const together = await Promise.all(requests.map((rows, i) => ranker.score({ ...rows, kept: keptOf(i) })));
    together.forEach(({ pCtr }, i) => {
      expect(pCtr).toEqual(alone[i]!.pCtr);
    });
  }
});

test('what does not fit is refused by name', async () => {
  const given = options();
  const refused = (change: Partial<FusedRankerOptions>): KernelError => {
    try {
      new FusedRanker({ ...given, ...change });
    } catch (error) {
      return error as KernelError;
    }
    throw new Error('it was taken');
  };
  expect(refused({ weights: { ...given.weights, 'a.weight': new Float32Array(3) } }).message).toMatch(
    /a\.weight.*\[7, 28\]/,
  );
  expect(refused({ logits: [0, 7] }).message).toMatch(/logit is not 1 wide/);
  expect(refused({ steps: given.steps.slice(1) }).message).toMatch(/register 0 is read before it is written/);
  expect(refused({ registers: [7, 8, 2, 2, 7, 7, 1, 1] }).code).toBe('BAD_SHAPE');
  expect(refused({ memory: -1 }).message).toMatch(/memory/);
  expect(refused({ registers: undefined as never }).message).toMatch(/registers must be an array/);
  const many = Array.from({ length: 300 }, () => 0);
  const seen = [many.map(() => true)];
  const mix = { kind: 'mix' as const, gates: [2], experts: many, to: [4], seen };
  expect(refused({ steps: [...given.steps.slice(0, 4), mix] }).message).toMatch(/300 experts, more than 256/);
  expect(refused({ registers: [...given.registers, ...new Array<number>(5).fill(1 << 20)] }).message).toMatch(
    /numbers a row/,
  );
  const { given: machine } = withMachine();
  expect(refused({ ...machine, terms: new Float32Array(7) }).message).toMatch(
    /terms must hold 100 elements, \[rows of embedding, logits\] = \[50, 2\]/,
  );
  expect(refused({ ...machine, terms: new Float64Array(100) as never }).message).toMatch(
    /terms must be a Float32Array/,
  );
  expect(refused({ ...machine, secondOrder: 'a.weight' }).message).toMatch(
    /a\.weight.*\[logits, embedding\] = \[2, 4\]/,
  );
  expect(refused({ ...machine, secondOrder: 'nothing' }).message).toMatch(/weights\["nothing"\]/);
  expect(refused({ ...machine, terms: null }).message).toMatch(/secondOrder needs terms/);
  expect(() => new FusedRanker(undefined as never)).toThrow(KernelError);

  using ranker = new FusedRanker(given);
  const rows = request(10, 2);
  await expect(ranker.score({ ...rows, ids: null })).rejects.toThrow(
    /ids must be a Int32Array \[rows, 2\] = \[10, 2\]/,
  );
  const wrong = (name: 'context' | 'ids' | 'contextIds' | 'poi', at: number, value: number) => {
    const values = rows[name]!.slice();
    values[at] = value;
    return ranker.score({ ...rows, [name]: values });
  };
  await expect(wrong('context', 3, 2)).rejects.toThrow(/context\[3\] = 2 is not from 0 to 1/);
  await expect(wrong('ids', 7, tableRows)).rejects.toThrow(/ids\[7\] = 50 is not from 0 to 49/);
  await expect(wrong('contextIds', 0, -1)).rejects.toThrow(/contextIds\[0\] = -1/);
  await expect(wrong('poi', 2, poiRows)).rejects.toThrow(/poi\[2\] = 20/);
  ranker.dispose();
  await expect(ranker.score(rows)).rejects.toMatchObject({ code: 'DISPOSED' });
});
