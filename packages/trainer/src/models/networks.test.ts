import type { Samples } from '@larr/core';
import { manualSeed, noGrad, randn, type Tensor, tidy } from '@larr/torch';
import ort from 'onnxruntime-node';
import { expect, test } from 'vitest';
import '../../test/synthetic-data.js';
import { weightOf } from '../exporting/onnx/layers.js';
import { rankerGraph, withFoldedTables } from '../exporting/ranker-graph.js';
import type { Parameters } from '../layers/parameters.js';
import { recommendationLoss } from '../training/loss.js';
import { ResidentPart } from '../training/resident-part.js';
import { type ModelConfig, modelConfigSchema } from './config.js';
import { createModel } from './index.js';
import type { Batch, ModelInputs } from './inputs.js';

/*
 * Every network against its paper's formula, written out row by row in float64 and with none of the layers' rearrangements: its logits,
 * its gradients (central differences of the loss of the written-out network, weight by weight), and its ONNX graph.
 */
type Vector = number[];
type Weights = Record<string, { shape: number[]; data: Float64Array }>;

interface Row {
  ids: Vector;
  dense: number;
  history: Vector;
  click: number;
  order: number;
}

const POIS = 4;
const inputs = (orders: boolean): ModelInputs => ({
  tasks: orders ? ['click', 'order'] : ['click'],
  categorical: [
    { name: 'user', role: 'user', size: 3, offset: 0 },
    { name: 'poi', role: 'poi', size: 4, offset: 3 },
    { name: 'city', role: 'context', size: 3, offset: 7 },
  ],
  tableRows: 10,
  dense: [{ name: 'price', mean: 1, std: 2 }],
  scene: [],
  sceneEntries: 0,
  sequences: [
    { name: 'clicked', length: 3 },
    { name: 'ordered', length: 2 },
  ],
  pois: POIS,
});
/** the vocabulary entry of each POI of the dataset: the third was not in the train part */
const ENTRY_OF_POI = [3, 1, 0, 2];

const rows: Row[] = [
  { ids: [1, 4, 8], dense: 2, history: [1, 0, 0, 4, 3], click: 1, order: 0 },
  { ids: [2, 6, 9], dense: -1, history: [2, 3, 2, 0, 0], click: 0, order: 0 },
  { ids: [0, 5, 7], dense: 0.5, history: [0, 0, 0, 0, 0], click: 1, order: 1 },
  { ids: [2, 4, 8], dense: 3, history: [4, 4, 1, 2, 0], click: 0, order: 0 },
];

const relu = (x: Vector): Vector => x.map((value) => Math.max(0, value));
const add = (...vectors: Vector[]): Vector => vectors[0]!.map((_, i) => vectors.reduce((sum, v) => sum + v[i]!, 0));
const times = (a: Vector, b: Vector): Vector => a.map((value, i) => value * b[i]!);
const dot = (a: Vector, b: Vector): number => times(a, b).reduce((x, y) => x + y, 0);

/** The networks in plain numbers: logits of one row, by the documented names of the weights. */
class Reference {
  readonly #v: Vector[];
  readonly #x: Vector;

  constructor(
    readonly weights: Weights,
    readonly of: ModelInputs,
    readonly config: ModelConfig,
    readonly row: Row,
  ) {
    this.#v = row.ids.map((id) => this.line('embedding', id));
    this.#x = [...this.#v.flat(), (row.dense - 1) / 2];
  }

  line(name: string, index: number): Vector {
    const { shape, data } = this.weights[name]!;
    const width = shape.at(-1)!;
    return Array.from(data.subarray(index * width, (index + 1) * width));
  }

  linear(name: string, x: Vector): Vector {
    const bias = this.weights[`${name}.bias`]?.data;
    return Array.from(
      { length: this.weights[`${name}.weight`]!.shape[0]! },
      (_, o) => dot(this.line(`${name}.weight`, o), x) + (bias?.[o] ?? 0),
    );
  }

  mlp(name: string, x: Vector): Vector {
    let h = x;
    for (let i = 0; this.weights[`${name}.${i}.weight`]; i++) h = relu(this.linear(`${name}.${i}`, h));
    return h;
  }

  /** The e-th of experts side by side. */
  expert(name: string, e: number, x: Vector): Vector {
    let h = x;
    for (let i = 0; this.weights[`${name}.${i}.weight`]; i++) {
      const { shape, data } = this.weights[`${name}.${i}.weight`]!;
      const bias = this.weights[`${name}.${i}.bias`]!.data;
      if (i === 0) {
        const width = this.config.mmoe.layers[0]!;
        h = relu(
          Array.from(
            { length: width },
            (_, o) => dot(this.line(`${name}.0.weight`, e * width + o), h) + bias[e * width + o]!,
          ),
        );
      } else {
        const [, from, to] = shape as [number, number, number];
        h = relu(
          Array.from({ length: to }, (_, o) =>
            h.reduce((sum, value, j) => sum + value * data[(e * from + j) * to + o]!, bias[e * to + o]!),
          ),
        );
      }
    }
    return h;
  }

  /** @param shallow what is added to the logits; by default what `interactions` says */
  towers(streams: Vector[], shallow = this.config.interactions === 'fm' ? this.machine() : null): Vector {
    return this.of.tasks.map(
      (task, k) =>
        this.linear(`tower.${task}.out`, this.mlp(`tower.${task}.hidden`, streams[k]!))[0]! + (shallow?.[k] ?? 0),
    );
  }

  each(h: Vector): Vector[] {
    return this.of.tasks.map(() => h);
  }

  firstOrder(): Vector {
    return add(...this.row.ids.map((id) => this.line('first_order', id)));
  }

  /** A factorisation machine, pair by pair. */
  machine(): Vector {
    const pairs = this.#v.flatMap((left, i) => this.#v.slice(i + 1).map((right) => times(left, right)));
    return add(
      this.firstOrder(),
      this.of.tasks.map((_, k) => dot(this.line('second_order.weight', k), add(...pairs))),
    );
  }

  dnn(): Vector {
    return this.towers(this.each(this.mlp('deep', this.#x)));
  }

  deepfm(): Vector {
    return this.towers(this.each(this.mlp('deep', this.#x)), this.machine());
  }

  'wide-deep'(): Vector {
    return this.towers(this.each(this.mlp('deep', this.#x)), add(...this.row.ids.map((id) => this.line('wide', id))));
  }

  /** One level: task k sees its own experts and the shared ones. */
  ple(): Vector {
    const { taskExperts, sharedExperts } = this.config.ple;
    const own = this.of.tasks.length * taskExperts;
    const count = own + sharedExperts;
    const outputs = Array.from({ length: count }, (_, e) => this.expert('extraction.0.expert', e, this.#x));
    const mixtures = this.of.tasks.map((_, k) => {
      const seen = outputs.flatMap((output, e) => {
        if (e < own && Math.floor(e / taskExperts) !== k) return [];
        return [{ output, share: Math.exp(dot(this.line('extraction.0.gate.weight', k * count + e), this.#x)) }];
      });
      const total = seen.reduce((sum, { share }) => sum + share, 0);
      return add(...seen.map(({ output, share }) => output.map((value) => (value * share) / total)));
    });
    return this.towers(mixtures);
  }

  mmoe(): Vector {
    const { experts } = this.config.mmoe;
    const outputs = Array.from({ length: experts }, (_, e) => this.expert('extraction.0.expert', e, this.#x));
    const mixtures = this.of.tasks.map((_, k) => {
      const exps = outputs.map((_, e) =>
        Math.exp(dot(this.line('extraction.0.gate.weight', k * experts + e), this.#x)),
      );
      const total = exps.reduce((a, b) => a + b);
      return add(...outputs.map((output, e) => output.map((value) => (value * exps[e]!) / total)));
    });
    return this.towers(mixtures);
  }

  esmm(): Vector {
    return this.towers(this.of.tasks.map((_, k) => this.expert('deep', k, this.#x)));
  }

  'dcn-v2'(): Vector {
    let x = this.#x;
    for (let l = 0; l < this.config.dcnV2.layers; l++) x = add(times(this.#x, this.linear(`cross.${l}`, x)), x);
    if (this.config.dcnV2.structure === 'stacked') return this.towers(this.each(this.mlp('deep', x)));
    return this.towers(this.each([...x, ...this.mlp('deep', this.#x)]));
  }

  xdeepfm(): Vector {
    let maps = this.#v;
    const pooled: Vector = [];
    this.config.xdeepfm.maps.forEach((count, k) => {
      maps = Array.from({ length: count }, (_, h) => {
        const w = this.line(`cin.${k}.weight`, h);
        return add(
          ...this.#v.flatMap((field, i) =>
            maps.map((map, j) => times(field, map).map((value) => value * w[i * maps.length + j]!)),
          ),
        );
      });
      pooled.push(...maps.map((map) => map.reduce((a, b) => a + b)));
    });
    const explicit = this.of.tasks.map((_, k) => dot(this.line('cin.out.weight', k), pooled));
    return this.towers(this.each(this.mlp('deep', this.#x)), add(this.firstOrder(), explicit));
  }

  fibinet(): Vector {
    const dim = this.config.embeddingDim;
    const z = this.#v.map((field) => field.reduce((a, b) => a + b) / dim);
    const a = relu(this.linear('senet.excite', relu(this.linear('senet.squeeze', z))));
    const weighed = this.#v.map((field, f) => field.map((value) => value * a[f]!));
    const interactions = (fields: Vector[]): Vector => {
      let pair = 0;
      return fields.flatMap((left, i) =>
        fields.slice(i + 1).flatMap((right) => {
          const at = dim * pair++;
          const mapped = left.map((_, o) =>
            left.reduce((sum, value, j) => sum + value * this.line('bilinear.weight', at + j)[o]!, 0),
          );
          return times(mapped, right);
        }),
      );
    };
    const h = this.mlp('deep', [...interactions(this.#v), ...interactions(weighed), this.#x.at(-1)!]);
    return this.towers(this.each(h), this.firstOrder());
  }

  din(): Vector {
    const q = this.#v[1]!;
    let at = 0;
    const vectors = this.of.sequences.map(({ name, length }) => {
      const entries = this.row.history.slice(at, at + length).filter((entry) => entry > 0);
      at += length;
      const weighed = entries.map((entry) => {
        const k = this.line('embedding', 3 + ENTRY_OF_POI[entry - 1]!);
        let h = [
          ...q,
          ...k,
          ...add(
            q,
            k.map((value) => -value),
          ),
          ...times(q, k),
        ];
        this.config.din.attention.forEach((_, i) => {
          const slope = this.weights[`history.${name}.${i}.slope`]!.data;
          h = this.linear(`history.${name}.${i}`, h).map((value, o) => (value > 0 ? value : slope[o]! * value));
        });
        const weight = this.linear(`history.${name}.out`, h)[0]!;
        return k.map((value) => value * weight);
      });
      return add(
        q.map(() => 0),
        ...weighed,
      );
    });
    return this.towers(this.each(this.mlp('deep', [...this.#x, ...vectors.flat()])));
  }
}

type Written = 'dnn' | 'wide-deep' | 'deepfm' | 'dcn-v2' | 'xdeepfm' | 'fibinet' | 'din' | 'esmm' | 'mmoe' | 'ple';
const softplus = (x: number): number => Math.log1p(Math.exp(x));

/** BCE(p_ctr, click) + BCE(p_ctcvr, order) of the written-out network, mean over the rows. */
function referenceLoss(network: Written, weights: Weights, of: ModelInputs, config: ModelConfig): number {
  const losses = rows.map((row) => {
    const [ctr, cvr] = new Reference(weights, of, config, row)[network]() as [number, number | undefined];
    const click = softplus(ctr) - row.click * ctr;
    if (cvr === undefined) return click;
    const p = 1 / (1 + Math.exp(-ctr)) / (1 + Math.exp(-cvr));
    return click - (row.order === 1 ? Math.log(p) : Math.log(1 - p));
  });
  return losses.reduce((a, b) => a + b) / rows.length;
}

function batchOf(of: ModelInputs): { part: ResidentPart; batch: () => Batch } {
  const column = (values: (row: Row) => number) => rows.map(values);
  const samples: Samples = {
    rows: rows.length,
    categorical: Int32Array.from(of.categorical.flatMap(({ offset }, f) => column(({ ids }) => ids[f]! - offset))),
    dense: Float32Array.from(column(({ dense }) => dense)),
    scene: new Int32Array(0),
    sequences: [
      Int32Array.from(rows.flatMap(({ history }) => history.slice(0, 3))),
      Int32Array.from(rows.flatMap(({ history }) => history.slice(3))),
    ],
    user: Int32Array.from(rows.keys()),
    poi: Int32Array.from(rows.keys()),
    click: Float32Array.from(column(({ click }) => click)),
    order: of.tasks.length > 1 ? Float32Array.from(column(({ order }) => order)) : null,
    rowId: BigInt64Array.from(rows.keys(), BigInt),
  };
  const part = ResidentPart.from(samples, of, 'cpu');
  return { part, batch: () => part.range(0, rows.length) };
}

/** Every weight drawn anew, biases and tables too, and rather positive, so that each of them counts behind its ReLU. */
function fill(parameters: Parameters): Weights {
  noGrad(() =>
    tidy(() => {
      manualSeed(1);
      for (const t of [...parameters.dense.values(), ...parameters.tables.values()])
        t.copy_(randn(t.shape).mul(0.6).add(0.1));
      const entries = parameters.buffers.get('history.poi');
      for (const [poi, entry] of ENTRY_OF_POI.entries()) entries?.narrow(0, 1 + poi, 1).fill_(entry);
    }),
  );
  return Object.fromEntries(
    Object.entries(parameters.state()).map(([name, t]) => [
      name,
      { shape: t.shape, data: Float64Array.from(t.toFloat32Array()) },
    ]),
  );
}

async function scoresOfGraph(model: string, of: ModelInputs, config: ModelConfig, weights: Weights) {
  const state = withFoldedTables(
    new Map(Object.entries(weights).map(([name, { shape, data }]) => [name, { shape, data: Float32Array.from(data) }])),
  );
  // every feature comes with the row, and every row is a context of its own
  const graph = rankerGraph(model, of, config, state, {
    ids: of.categorical.map(() => false),
    dense: of.dense.map(() => false),
  });
  const session = await ort.InferenceSession.create(graph.onnx);
  const whole = (values: Vector) =>
    new ort.Tensor('int32', Int32Array.from(values), [rows.length, values.length / rows.length]);
  const feeds: Record<string, ort.Tensor> = {
    context: new ort.Tensor(
      'int32',
      Int32Array.from(rows, (_, i) => i),
      [rows.length],
    ),
    ids: whole(rows.flatMap(({ ids }) => ids)),
    dense: new ort.Tensor(
      'float32',
      Float32Array.from(rows, ({ dense }) => dense),
      [rows.length, 1],
    ),
  };
  if (graph.inputs.history !== null) feeds.history = whole(rows.flatMap(({ history }) => history));
  for (const [input, { weight }] of Object.entries(graph.tables)) {
    const { shape, data } = weightOf(state, weight);
    feeds[input] = new ort.Tensor('float32', data, shape);
  }
  const output = await session.run(feeds);
  return { ctr: output.p_ctr!.data as Float32Array, ctcvr: (output.p_ctcvr?.data as Float32Array | undefined) ?? null };
}

const cases: [Written, boolean, object][] = [
  ['mmoe', true, { mmoe: { experts: 3, layers: [4, 3], tower: [2] } }],
  ['mmoe', false, { mmoe: { experts: 2, layers: [4], tower: [] } }],
  ['mmoe', true, { interactions: 'fm', mmoe: { experts: 2, layers: [4], tower: [2] } }],
  ['ple', true, { ple: { levels: [[4]], taskExperts: 2, sharedExperts: 1, tower: [3] }, mmoe: { layers: [4] } }],
  ['ple', true, { interactions: 'fm', ple: { levels: [[4]], tower: [3] }, mmoe: { layers: [4] } }],
  ['ple', false, { interactions: 'fm', ple: { levels: [[4]], tower: [] }, mmoe: { layers: [4] } }],
  ['dnn', true, { interactions: 'fm', hidden: [4, 3] }],
  ['deepfm', true, { hidden: [4, 3] }],
  ['deepfm', false, { interactions: 'fm', hidden: [4] }],
  ['wide-deep', true, { hidden: [4] }],
  ['esmm', true, { interactions: 'fm', hidden: [4, 3], mmoe: { layers: [4] } }],
  ['esmm', true, { hidden: [4, 3], mmoe: { layers: [4] } }],
  ['esmm', false, { hidden: [4], mmoe: { layers: [4] } }],
  ['dcn-v2', true, { hidden: [4, 3], dcnV2: { layers: 2, structure: 'parallel' } }],
  ['dcn-v2', true, { hidden: [4], dcnV2: { layers: 3, structure: 'stacked' } }],
  ['dcn-v2', false, { hidden: [4], dcnV2: { layers: 1 } }],
  ['xdeepfm', true, { hidden: [4], xdeepfm: { maps: [3, 2, 4] } }],
  ['xdeepfm', false, { hidden: [4], xdeepfm: { maps: [2] } }],
  ['fibinet', true, { hidden: [4, 3], fibinet: { reduction: 1 } }],
  ['fibinet', false, { hidden: [4] }],
  ['din', true, { hidden: [4, 3], din: { attention: [3, 2] } }],
  ['din', false, { hidden: [4], din: { attention: [3] } }],
];

for (const [network, orders, settings] of cases) {
  test(`${network} is its formula, in values, gradients and as a graph: ${orders ? 'two tasks' : 'one task'}, ${JSON.stringify(settings)}`, async () => {
    const of = inputs(orders);
    const config = modelConfigSchema.parse({ embeddingDim: 2, ...settings });
    const { parameters, model } = createModel(network, of, config, 'cpu', false);
    const weights = fill(parameters);
    const { part, batch } = batchOf(of);
    const expected = rows.map((row) => new Reference(weights, of, config, row)[network]());

    tidy(() => {
      const output = model.forward(batch(), true);
      const values = (t: Tensor) => Array.from(t.toFloat32Array());
      const ctr = values(output.ctr);
      const cvr = output.cvr && values(output.cvr);
      expected.forEach((logits, row) => {
        expect(ctr[row]).toBeCloseTo(logits[0]!, 4);
        if (orders) expect(cvr![row]).toBeCloseTo(logits[1]!, 4);
        else expect(cvr).toBeNull();
      });
      recommendationLoss(output, batch()).backward();
    });

    const step = 1e-6;
    for (const [name, t] of [...parameters.dense, ...parameters.tables]) {
      const gradient = t.grad!.toFloat32Array();
      const { data } = weights[name]!;
      expect(
        gradient.some((value) => value !== 0),
        `${name} takes part`,
      ).toBe(true);
      for (let i = 0; i < data.length; i++) {
        const at = data[i]!;
        data[i] = at + step;
        const above = referenceLoss(network, weights, of, config);
        data[i] = at - step;
        const below = referenceLoss(network, weights, of, config);
        data[i] = at;
        const difference = (above - below) / (2 * step);
        expect(Math.abs(gradient[i]! - difference), `${name}[${i}]`).toBeLessThan(1e-4 * (1 + Math.abs(difference)));
      }
    }

    const scores = await scoresOfGraph(network, of, config, weights);
    const sigmoid = (x: number) => 1 / (1 + Math.exp(-x));
    expected.forEach(([ctr, cvr], row) => {
      expect(scores.ctr[row]).toBeCloseTo(sigmoid(ctr!), 5);
      if (cvr !== undefined) expect(scores.ctcvr![row]).toBeCloseTo(sigmoid(ctr!) * sigmoid(cvr), 5);
    });
    part.dispose();
    parameters.dispose();
  });
}

test('both readings of a table reach it, as sparse gradients and as dense ones', () => {
  // DIN reads its table as fields and as history
  const of = inputs(true);
  const config = modelConfigSchema.parse({ embeddingDim: 2, hidden: [4], din: { attention: [3] } });
  const gradients = [true, false].map((sparse) => {
    const { parameters, model } = createModel('din', of, config, 'cpu', sparse);
    fill(parameters);
    const { part, batch } = batchOf(of);
    return tidy(() => {
      recommendationLoss(model.forward(batch(), true), batch()).backward();
      const table = parameters.tables.get('embedding')!;
      const zero = table.detach().mul(0);
      const gradient = Array.from(zero.add(table.grad!).toFloat32Array());
      part.dispose();
      parameters.dispose();
      return gradient;
    });
  });
  gradients[0]!.forEach((value, i) => {
    expect(value).toBeCloseTo(gradients[1]![i]!, 6);
  });
});

test.each(['ple-scene-ids', 'ple-true-attributes'])('%s, a control of experiments, is not for export', (model) => {
  const config = modelConfigSchema.parse({});
  const shared = { ids: [], dense: [] };
  expect(() => rankerGraph(model, inputs(true), config, new Map(), shared)).toThrow(
    expect.objectContaining({ code: 'MODEL_NOT_EXPORTABLE' }),
  );
});
