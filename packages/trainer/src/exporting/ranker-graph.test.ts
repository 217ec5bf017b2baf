import ort from 'onnxruntime-node';
import { describe, expect, it } from 'vitest';
import { modelConfigSchema } from '../models/config.js';
import type { ModelInputs } from '../models/inputs.js';
import { rankerGraph, withFoldedTables } from './ranker-graph.js';

/*
 * The graphs against the formulas of models/README.md, written out in float64 with loops. Weights are random under the documented
 * names; what the trainer's own network gives for its weights is compared at every export (export-bundle.ts).
 */
type State = Map<string, { shape: number[]; data: Float32Array }>;
type Vector = number[];

function randomState(shapes: Record<string, number[]>): State {
  let seed = 7;
  const next = (): number => {
    seed = (seed * 1103515245 + 12345) % 2147483648;
    return seed / 2147483648 - 0.5;
  };
  return new Map(
    Object.entries(shapes).map(([name, shape]) => {
      const data = Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, next);
      // variances are positive
      return [name, { shape, data: name.endsWith('running_var') ? data.map((x) => x + 1) : data }];
    }),
  );
}

const at = (state: State, name: string): Float32Array => state.get(name)!.data;
const relu = (x: Vector): Vector => x.map((value) => Math.max(0, value));
const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));
const linear = (w: Float32Array, b: Float32Array | null, x: Vector): Vector =>
  Array.from({ length: w.length / x.length }, (_, o) =>
    x.reduce((sum, value, i) => sum + value * w[o * x.length + i]!, b?.[o] ?? 0),
  );
const mix = (weights: Vector, vectors: Vector[]): Vector =>
  vectors[0]!.map((_, j) => weights.reduce((sum, w, e) => sum + w * vectors[e]![j]!, 0));
function softmax(x: Vector): Vector {
  const exps = x.map((value) => Math.exp(value));
  const sum = exps.reduce((a, b) => a + b, 0);
  return exps.map((value) => value / sum);
}

const inputs: ModelInputs = {
  tasks: ['click', 'order'],
  categorical: [
    { name: 'user', role: 'user', size: 3, offset: 0 },
    { name: 'poi', role: 'poi', size: 4, offset: 3 },
  ],
  tableRows: 7,
  dense: [{ name: 'price', mean: 1, std: 2 }],
  scene: [{ field: 'city', texts: 3, offset: 0 }],
  sceneEntries: 3,
  sequences: [{ name: 'visited', length: 2 }],
  pois: 3,
};
const rows = [
  { ids: [1, 3], dense: [2], z: [0.1, -0.2, 0.3, 0.4], behaviour: [1, 0, -1], poi: 2 },
  { ids: [2, 6], dense: [-1], z: [0.5, 0.2, -0.3, 0.1], behaviour: [0, 0.5, 0.25], poi: 3 },
  { ids: [0, 5], dense: [0], z: [0, 0, 0, 1], behaviour: [0, 0, 0], poi: 0 },
];

/** The user and the price are the same for all POIs of a request; which POI differs. */
const shared = { ids: [true, false], dense: [true] };
/** Each row alone, in a context of its own. */
const alone = rows.map((row, i) => ({ context: i, row }));

async function run(
  onnx: Uint8Array,
  state: State,
  tables: Record<string, { weight: string }>,
  wanted: string[],
  asked: { context: number; row: (typeof rows)[number] }[] = alone,
) {
  const session = await ort.InferenceSession.create(onnx);
  const [B, C] = [asked.length, rows.length];
  const all: Record<string, ort.Tensor> = {
    context: new ort.Tensor(
      'int32',
      Int32Array.from(asked, ({ context }) => context),
      [B],
    ),
    context_ids: new ort.Tensor(
      'int32',
      Int32Array.from(rows, ({ ids }) => ids[0]!),
      [C, 1],
    ),
    ids: new ort.Tensor(
      'int32',
      Int32Array.from(asked, ({ row }) => row.ids[1]!),
      [B, 1],
    ),
    poi: new ort.Tensor(
      'int32',
      Int32Array.from(asked, ({ row }) => row.poi),
      [B],
    ),
    context_dense: new ort.Tensor('float32', Float32Array.from(rows.flatMap(({ dense }) => dense)), [C, 1]),
    z_s: new ort.Tensor('float32', Float32Array.from(rows.flatMap((row) => row.z)), [C, 4]),
    behaviour: new ort.Tensor('float32', Float32Array.from(rows.flatMap((row) => row.behaviour)), [C, 3]),
  };
  for (const [input, { weight }] of Object.entries(tables)) {
    const { shape, data } = state.get(weight)!;
    all[input] = new ort.Tensor('float32', data, shape);
  }
  const given = [...Object.keys(tables), 'context', 'context_ids', 'ids', ...wanted];
  const output = await session.run(Object.fromEntries(given.map((name) => [name, all[name]!])));
  return {
    ctr: Array.from(output.p_ctr!.data as Float32Array),
    ctcvr: Array.from(output.p_ctcvr!.data as Float32Array),
  };
}

function inputOf(state: State, row: (typeof rows)[number], dim: number): Vector {
  const embedded = row.ids.flatMap((id) => Array.from(at(state, 'embedding').subarray(id * dim, (id + 1) * dim)));
  return [...embedded, (row.dense[0]! - at(state, 'dense.mean')[0]!) * at(state, 'dense.scale')[0]!];
}

describe('the ranker graph', () => {
  it('is progressive layered extraction with the scene, behaviour and POI vectors in its input (LARR)', async () => {
    const config = modelConfigSchema.parse({
      embeddingDim: 2,
      ple: { levels: [[3, 2], [4]], sharedExperts: 1, taskExperts: 2, tower: [2] },
    });
    const width = 2 * 2 + 1 + 4 + 4 + 4;
    const weights = randomState({
      embedding: [7, 2],
      'dense.mean': [1],
      'dense.scale': [1],
      'scene.head2_weight': [4, 3],
      'behaviour.weight': [4, 3],
      'behaviour.bias': [4],
      'pois.table': [4, 3],
      'poi.weight': [4, 3],
      'poi.bias': [4],
      'extraction.0.expert.0.weight': [15, width],
      'extraction.0.expert.0.bias': [15],
      'extraction.0.expert.1.weight': [5, 3, 2],
      'extraction.0.expert.1.bias': [5, 1, 2],
      'extraction.0.gate.weight': [15, width],
      'extraction.1.expert.0.weight': [5, 2, 4],
      'extraction.1.expert.0.bias': [5, 1, 4],
      'extraction.1.gate.weight': [2, 2, 5],
      ...Object.fromEntries(
        ['click', 'order'].flatMap((task) => [
          [`tower.${task}.hidden.0.weight`, [2, 4]],
          [`tower.${task}.hidden.0.bias`, [2]],
          [`tower.${task}.hidden.0.norm.weight`, [2]],
          [`tower.${task}.hidden.0.norm.bias`, [2]],
          [`tower.${task}.hidden.0.norm.running_mean`, [2]],
          [`tower.${task}.hidden.0.norm.running_var`, [2]],
          [`tower.${task}.out.weight`, [1, 2]],
          [`tower.${task}.out.bias`, [1]],
        ]),
      ),
    });
    const state = withFoldedTables(weights) as State;

    const expected = rows.map((row) => {
      const poi = at(state, 'pois.table').subarray(3 * row.poi, 3 * row.poi + 3);
      const x = [
        ...inputOf(state, row, 2),
        ...row.z,
        ...linear(at(state, 'behaviour.weight'), at(state, 'behaviour.bias'), row.behaviour),
        ...linear(at(state, 'poi.weight'), at(state, 'poi.bias'), Array.from(poi)),
      ];
      const groupOf = [0, 0, 1, 1, 2];
      const sees = (gate: number, expert: number): boolean =>
        gate === 2 || groupOf[expert] === gate || groupOf[expert] === 2;
      const perExpert = (name: string, e: number, from: Vector, out: number): Vector =>
        Array.from({ length: out }, (_, o) =>
          from.reduce(
            (sum, value, i) => sum + value * at(state, `${name}.weight`)[(e * from.length + i) * out + o]!,
            at(state, `${name}.bias`)[e * out + o]!,
          ),
        );
      const mixtures = (logits: (gate: number, expert: number) => number, experts: Vector[], gates: number): Vector[] =>
        Array.from({ length: gates }, (_, g) => {
          const shown = experts.map((_, e) => e).filter((e) => sees(g, e));
          return mix(
            softmax(shown.map((e) => logits(g, e))),
            shown.map((e) => experts[e]!),
          );
        });
      const fused = relu(linear(at(state, 'extraction.0.expert.0.weight'), at(state, 'extraction.0.expert.0.bias'), x));
      const level0 = groupOf.map((_, e) =>
        relu(perExpert('extraction.0.expert.1', e, fused.slice(3 * e, 3 * e + 3), 2)),
      );
      const gate0 = linear(at(state, 'extraction.0.gate.weight'), null, x);
      const streams = mixtures((g, e) => gate0[5 * g + e]!, level0, 3);
      const level1 = groupOf.map((group, e) => relu(perExpert('extraction.1.expert.0', e, streams[group]!, 4)));
      const gate1 = at(state, 'extraction.1.gate.weight');
      const tasks = mixtures(
        (g, e) => streams[g]!.reduce((sum, value, i) => sum + value * gate1[(2 * g + i) * 5 + e]!, 0),
        level1,
        2,
      );
      const [click, order] = ['click', 'order'].map((task, k) => {
        const name = `tower.${task}.hidden.0`;
        const h = linear(at(state, `${name}.weight`), at(state, `${name}.bias`), tasks[k]!).map((value, i) => {
          const spread = Math.sqrt(at(state, `${name}.norm.running_var`)[i]! + 1e-5);
          return (
            ((value - at(state, `${name}.norm.running_mean`)[i]!) / spread) * at(state, `${name}.norm.weight`)[i]! +
            at(state, `${name}.norm.bias`)[i]!
          );
        });
        return sigmoid(linear(at(state, `tower.${task}.out.weight`), at(state, `tower.${task}.out.bias`), relu(h))[0]!);
      });
      return { ctr: click!, ctcvr: click! * order! };
    });

    const graph = rankerGraph('larr', inputs, config, state, shared);
    expect(graph.inputs).toEqual({
      ids: { context: [0], row: [1] },
      dense: { context: [0], row: [] },
      z_s: 4,
      behaviour: 3,
      history: null,
      poi: true,
    });
    const { ctr, ctcvr } = await run(graph.onnx, state, graph.tables, ['context_dense', 'z_s', 'behaviour', 'poi']);
    expected.forEach((row, i) => {
      expect(ctr[i]).toBeCloseTo(row.ctr, 6);
      expect(ctcvr[i]).toBeCloseTo(row.ctcvr, 6);
    });
    // Whatever is shared: features that come with the row say the same.
    const each = rankerGraph('larr', inputs, config, state, { ids: [true, false], dense: [false] });
    expect(each.inputs.dense).toEqual({ context: [], row: [0] });
  });

  it('is a factorisation machine beside an MLP (DeepFM), the first-order weights a second table', async () => {
    const config = modelConfigSchema.parse({ embeddingDim: 2, hidden: [3] });
    const weights = randomState({
      embedding: [7, 2],
      'dense.mean': [1],
      'dense.scale': [1],
      'deep.0.weight': [3, 5],
      'deep.0.bias': [3],
      first_order: [7, 2],
      'second_order.weight': [2, 2],
      'tower.click.out.weight': [1, 3],
      'tower.click.out.bias': [1],
      'tower.order.out.weight': [1, 3],
      'tower.order.out.bias': [1],
    });
    const state = withFoldedTables(weights) as State;
    const expected = rows.map((row) => {
      const h = relu(linear(at(state, 'deep.0.weight'), at(state, 'deep.0.bias'), inputOf(state, row, 2)));
      const [u, p] = row.ids.map((id) => at(state, 'embedding').subarray(id * 2, id * 2 + 2)) as [
        Float32Array,
        Float32Array,
      ];
      const logits = ['click', 'order'].map((task, k) => {
        const first = row.ids.reduce((sum, id) => sum + at(state, 'first_order')[id * 2 + k]!, 0);
        // with two fields the pairwise sum is their product
        const second = [0, 1].reduce((sum, j) => sum + u[j]! * p[j]! * at(state, 'second_order.weight')[k * 2 + j]!, 0);
        return (
          linear(at(state, `tower.${task}.out.weight`), at(state, `tower.${task}.out.bias`), h)[0]! + first + second
        );
      });
      return { ctr: sigmoid(logits[0]!), ctcvr: sigmoid(logits[0]!) * sigmoid(logits[1]!) };
    });
    const graph = rankerGraph('deepfm', { ...inputs, scene: [], sequences: [] }, config, state, shared);
    expect(graph.tables).toEqual({
      table: { weight: 'embedding', dim: 2 },
      first_order: { weight: 'first_order.folded', dim: 2 },
    });
    const { ctr, ctcvr } = await run(graph.onnx, state, graph.tables, ['context_dense']);
    expected.forEach((row, i) => {
      expect(ctr[i]).toBeCloseTo(row.ctr, 6);
      expect(ctcvr[i]).toBeCloseTo(row.ctcvr, 6);
    });
  });

  it('has one probability for data without orders, and refuses weights that are not there', async () => {
    const config = modelConfigSchema.parse({ embeddingDim: 2, hidden: [3] });
    const single: ModelInputs = { ...inputs, tasks: ['click'], dense: [], scene: [], sequences: [] };
    const shapes = { embedding: [7, 2], 'deep.0.weight': [3, 4], 'deep.0.bias': [3], 'tower.click.out.weight': [1, 3] };
    expect(() => rankerGraph('dnn', single, config, randomState(shapes), shared)).toThrow(/tower\.click\.out\.bias/);
    const graph = rankerGraph('dnn', single, config, randomState({ ...shapes, 'tower.click.out.bias': [1] }), {
      ids: [false, false],
      dense: [],
    });
    expect(graph.outputs).toEqual(['p_ctr']);
    expect(graph.inputs).toEqual({
      ids: { context: [], row: [0, 1] },
      dense: { context: [], row: [] },
      z_s: null,
      behaviour: null,
      history: null,
      poi: false,
    });
  });

  it('gives rows that share a context the scores that each has alone', async () => {
    const config = modelConfigSchema.parse({ embeddingDim: 2, hidden: [3] });
    const weights = randomState({
      embedding: [7, 2],
      'dense.mean': [1],
      'dense.scale': [1],
      'deep.0.weight': [3, 5],
      'deep.0.bias': [3],
      first_order: [7, 2],
      'second_order.weight': [2, 2],
      ...Object.fromEntries(
        ['click', 'order'].flatMap((task) => [
          [`tower.${task}.out.weight`, [1, 3]],
          [`tower.${task}.out.bias`, [1]],
        ]),
      ),
    });
    const state = withFoldedTables(weights) as State;
    const plain = { ...inputs, scene: [], sequences: [] };
    // every user with every POI, contexts out of order
    const pairs = [2, 0, 1].flatMap((context) => rows.map((poi) => ({ context, poi })));
    for (const model of ['dnn', 'deepfm'] as const) {
      const split = rankerGraph(model, plain, config, state, shared);
      const asked = pairs.map(({ context, poi }) => ({ context, row: poi }));
      const together = await run(split.onnx, state, split.tables, ['context_dense'], asked);
      for (const [i, { context, poi }] of pairs.entries()) {
        const one = { ...rows[context]!, ids: [rows[context]!.ids[0]!, poi.ids[1]!] };
        const h = relu(linear(at(state, 'deep.0.weight'), at(state, 'deep.0.bias'), inputOf(state, one, 2)));
        const [u, p] = one.ids.map((id) => at(state, 'embedding').subarray(id * 2, id * 2 + 2));
        const shallow =
          model === 'dnn'
            ? 0
            : one.ids.reduce((sum, id) => sum + at(state, 'first_order')[id * 2]!, 0) +
              [0, 1].reduce((sum, j) => sum + u![j]! * p![j]! * at(state, 'second_order.weight')[j]!, 0);
        const logit = linear(at(state, 'tower.click.out.weight'), at(state, 'tower.click.out.bias'), h)[0]! + shallow;
        expect(together.ctr[i]).toBeCloseTo(sigmoid(logit), 6);
      }
    }
  });

  it('takes thinned negatives back out of the click, and so out of the order', async () => {
    const state = randomState({
      embedding: [7, 2],
      'dense.mean': [1],
      'dense.scale': [1],
      'deep.0.weight': [3, 5],
      'deep.0.bias': [3],
      ...Object.fromEntries(
        ['click', 'order'].flatMap((task) => [
          [`tower.${task}.out.weight`, [1, 3]],
          [`tower.${task}.out.bias`, [1]],
        ]),
      ),
    });
    const config = modelConfigSchema.parse({ embeddingDim: 2, hidden: [3] });
    const score = async (of: ModelInputs) => {
      const graph = rankerGraph('dnn', of, config, state, shared);
      return run(graph.onnx, state, graph.tables, ['context_dense']);
    };
    const [thinned, whole] = [await score(inputs), await score({ ...inputs, negativesKept: 0.1 })];
    thinned.ctr.forEach((p, i) => {
      const taken = p / (p + (1 - p) / 0.1);
      expect(whole.ctr[i]).toBeCloseTo(taken, 6);
      expect(whole.ctcvr[i]).toBeCloseTo((thinned.ctcvr[i]! / p) * taken, 6);
    });
  });
});
