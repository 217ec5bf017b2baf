import type { ModelConfig } from '../models/config.js';
import { networkOf, requireServable } from '../models/index.js';
import { clickLogitShift, type ModelInputs } from '../models/inputs.js';
import { GraphWriter, type Value } from './onnx/graph.js';
import { linear, type ModelState, mlp, weightOf } from './onnx/layers.js';
import { networkGraphs } from './onnx/networks.js';
import { Source, type SourcePart } from './onnx/source.js';
import { shallowTerms, withFoldedTerms } from './shallow-terms.js';

/** Which features are the same for all POIs of a request. The others differ from row to row. */
export interface ContextFeatures {
  /** of each ID feature */
  ids: readonly boolean[];
  /** of each dense feature */
  dense: readonly boolean[];
}

/** What the graph takes beside its tables. */
export interface RankerInputs {
  /** features that `context_ids` and `ids` hold, by their place among the ID features */
  ids: { context: number[]; row: number[] };
  /** features that `context_dense` and `dense` hold, by their place among the dense features */
  dense: { context: number[]; row: number[] };
  /** widths; null where the model has no such input */
  z_s: number | null;
  behaviour: number | null;
  history: number | null;
  /** whether the graph takes `poi`, the row of each candidate's vector */
  poi: boolean;
}

/** A ranker as an ONNX graph, and what must be fed to it. */
export interface RankerGraph {
  onnx: Uint8Array;
  /** tables that stay outside the graph, by the name of their input: f32 [·, dim], shared by all requests */
  tables: Record<string, { weight: string; dim: number }>;
  inputs: RankerInputs;
  outputs: ('p_ctr' | 'p_ctcvr')[];
}

/**
 * Writes a trained model (models/README.md) as a graph over B rows that belong to C contexts, a context being a user in a moment and a row
 * one of the POIs to rank there:
 *
 *     context i32 [B] (which context each row is of) ·
 *     context_ids i32 [C, ·], ids i32 [B, ·] (rows of the fused table) · context_dense f32 [C, ·], dense f32 [B, ·] (raw) ·
 *     z_s f32 [C, ·] · behaviour f32 [C, d] · history i32 [C, L] (POIs from 1, 0 = padding) · poi i32 [B] (rows of `poi_vectors`,
 *     0 = unknown)
 *       → p_ctr [B], and p_ctcvr [B] = p_ctr · σ(order) where the model learnt orders
 *
 * Inputs that would have no columns are left out. Standardisation of dense features, the linear map of the behaviour vector and the
 * correction for thinned negatives are inside. The scene encoder is not: the server folds it, and feeds z_s.
 * @param state weights with what withFoldedTables puts beside them
 * @param shared which features come per context; what a first layer makes of them is computed once a context
 * @throws ConfigError `MODEL_NOT_EXPORTABLE` for a control of experiments, and for a vocabulary of POIs that sequences cannot point into; TrainingError
 * `CHECKPOINT_MISMATCH` where a weight is missing
 */
export function rankerGraph(
  model: string,
  inputs: ModelInputs,
  config: ModelConfig,
  state: ModelState,
  shared: ContextFeatures,
): RankerGraph {
  requireServable(model);
  const graph = new GraphWriter();
  const tables: RankerGraph['tables'] = {};
  const table = (input: string, weight: string): Value => {
    const dim = weightOf(state, weight).shape[1]!;
    tables[input] = { weight, dim };
    return graph.input(input, 'f32', [`${input}_rows`, dim]);
  };
  const fields = inputs.categorical.length;
  const dim = config.embeddingDim;
  const embedding = table('table', 'embedding');
  const context = graph.input('context', 'i32', ['batch']);
  const splitIds = byContext(fields, shared.ids);
  const splitDense = byContext(inputs.dense.length, shared.dense);
  const optional = { z_s: null, behaviour: null, history: null, poi: false } as Omit<RankerInputs, 'ids' | 'dense'>;

  const parts: SourcePart[] = [];
  const idInputs: { value: Value; per: SourcePart['per'] }[] = [];
  for (const [per, size] of SIDES) {
    const features = splitIds[per];
    if (features.length === 0) continue;
    const ids = graph.input(per === 'context' ? 'context_ids' : 'ids', 'i32', [size, features.length]);
    idInputs.push({ value: ids, per });
    parts.push({
      value: graph.reshape(graph.gather(embedding, ids), [-1, features.length * dim]),
      columns: features.flatMap((f) => Array.from({ length: dim }, (_, i) => f * dim + i)),
      per,
    });
  }
  let width = fields * dim;
  for (const [per, size] of SIDES) {
    const features = splitDense[per];
    if (features.length === 0) continue;
    const raw = graph.input(per === 'context' ? 'context_dense' : 'dense', 'f32', [size, features.length]);
    const of = (weight: 'mean' | 'scale'): Value => {
      const { data } = weightOf(state, `dense.${weight}`);
      const own = Float32Array.from(features, (f) => data[f]!);
      return graph.weight(`dense.${weight}.${per}`, own, [features.length]);
    };
    parts.push({
      value: graph.mul(graph.sub(raw, of('mean')), of('scale')),
      columns: features.map((f) => width + f),
      per,
    });
  }
  width += inputs.dense.length;
  const vector = (value: Value, size: number, per: SourcePart['per'] = 'context'): void => {
    parts.push({ value, columns: Array.from({ length: size }, (_, i) => width + i), per });
    width += size;
  };
  const sceneWidth = widthOfScene(inputs, state);
  if (sceneWidth !== null) {
    optional.z_s = sceneWidth;
    vector(graph.input('z_s', 'f32', ['contexts', sceneWidth]), sceneWidth);
  }
  if (state.has('behaviour.weight')) {
    const [out, d] = weightOf(state, 'behaviour.weight').shape as [number, number];
    optional.behaviour = d;
    vector(linear(graph, state, 'behaviour', graph.input('behaviour', 'f32', ['contexts', d])), out);
  }
  if (state.has(FOLDED_POIS)) {
    optional.poi = true;
    const vectors = table('poi_vectors', FOLDED_POIS);
    vector(graph.gather(vectors, graph.input('poi', 'i32', ['batch'])), weightOf(state, FOLDED_POIS).shape[1]!, 'row');
  }
  const x = new Source(graph, parts, context);

  const once = <T>(make: () => T): (() => T) => {
    let made: { value: T } | null = null;
    return () => {
      made ??= { value: make() };
      return made.value;
    };
  };
  const ids = once(() => {
    const order = [...splitIds.context, ...splitIds.row];
    const all = graph.concat(
      idInputs.map(({ value, per }) => (per === 'context' ? graph.gather(value, context) : value)),
      1,
    );
    if (order.every((feature, at) => feature === at)) return all;
    const place = order.map((_, feature) => order.indexOf(feature));
    return graph.select(all, 1, place);
  });
  const network = networkOf(model, config);
  const { streams, shallow } = networkGraphs[network]({
    graph,
    state,
    inputs,
    config,
    ids,
    v: once(() => graph.reshape(graph.slice(x.whole(), 1, 0, fields * dim), [-1, fields, dim])),
    x,
    rest: once(() => (x.width > fields * dim ? graph.slice(x.whole(), 1, fields * dim, x.width) : null)),
    terms: shallowTerms(network, config),
    table,
    history: () => {
      optional.history = inputs.sequences.reduce((sum, { length }) => sum + length, 0);
      return graph.gather(graph.cast(graph.input('history', 'i32', ['contexts', optional.history]), 'i64'), context);
    },
  });

  const shift = clickLogitShift(inputs);
  const [ctr, cvr] = inputs.tasks.map((task, k) => {
    const hidden = mlp(graph, state, `tower.${task}.hidden`, Array.isArray(streams) ? streams[k]! : streams);
    const logit = graph.squeeze(linear(graph, state, `tower.${task}.out`, hidden), 1);
    const whole =
      shallow === undefined ? logit : graph.add(logit, graph.op('Gather', [shallow, graph.integer(k)], { axis: 1 }));
    return graph.sigmoid(task === 'click' && shift !== 0 ? graph.add(whole, graph.number(shift)) : whole);
  });
  graph.output('p_ctr', ctr!, ['batch']);
  if (cvr !== undefined) graph.output('p_ctcvr', graph.mul(ctr!, cvr), ['batch']);

  return {
    onnx: graph.encode('larr-ranker', { model }),
    tables,
    inputs: { ids: splitIds, dense: splitDense, ...optional },
    outputs: cvr === undefined ? ['p_ctr'] : ['p_ctr', 'p_ctcvr'],
  };
}

/** A model's weights, each semantic input's gain multiplied in, and beside them tables of what follows from one row of theirs alone, so that a ranker gathers it. */
export function withFoldedTables(state: ModelState): ModelState {
  return withFoldedTerms(withFoldedPois(withFoldedGains(state)));
}

/** Weights of the last linear maps before each gain of models/larr.ts. */
const GAINED: Record<string, readonly string[]> = {
  'scene.gain': ['scene.head2_weight', 'scene.head2_bias', 'scene.concat.weight'],
  'behaviour.gain': ['behaviour.weight', 'behaviour.bias'],
  'poi.gain': ['poi.weight', 'poi.bias'],
};

/** g · (W x + b) = (g W) x + g b. */
function withFoldedGains(state: ModelState): ModelState {
  const folded = new Map(state);
  for (const [gain, names] of Object.entries(GAINED)) {
    if (!state.has(gain)) continue;
    const factor = weightOf(state, gain).data[0]!;
    for (const name of names.filter((name) => state.has(name))) {
      const { shape, data } = weightOf(state, name);
      folded.set(name, { shape, data: data.map((value) => value * factor) });
    }
  }
  return folded;
}

/** Name under which `withFoldedPois` puts its table. */
const FOLDED_POIS = 'poi.folded';

/** A model's weights, and beside them what its linear map makes of each POI's vector, W·e + b [1 + POIs, ·]: a candidate then costs one row. */
function withFoldedPois(state: ModelState): ModelState {
  if (!state.has('poi.weight')) return state;
  const vectors = weightOf(state, 'pois.table');
  const weight = weightOf(state, 'poi.weight');
  const bias = weightOf(state, 'poi.bias');
  const [rows, d] = vectors.shape as [number, number];
  const out = weight.shape[0]!;
  const data = new Float32Array(rows * out);
  for (let row = 0; row < rows; row++) {
    for (let o = 0; o < out; o++) {
      let sum = bias.data[o]!;
      for (let i = 0; i < d; i++) sum += vectors.data[row * d + i]! * weight.data[o * d + i]!;
      data[row * out + o] = sum;
    }
  }
  return new Map([...state, [FOLDED_POIS, { shape: [rows, out], data }]]);
}

/** The two kinds of inputs, and what their number of rows is called. */
const SIDES = [
  ['context', 'contexts'],
  ['row', 'batch'],
] as const;

/** The places 0 … count − 1 of those that come per context, and of the others. */
function byContext(count: number, shared: readonly boolean[]): { context: number[]; row: number[] } {
  const places = Array.from({ length: count }, (_, i) => i);
  return { context: places.filter((i) => shared[i]), row: places.filter((i) => !shared[i]) };
}

/** z_s is as wide as the encoder's head, or the fields' mapped vectors side by side (noAL); null for models without scene vectors. */
function widthOfScene(inputs: ModelInputs, state: ModelState): number | null {
  if (state.has('scene.head2_weight')) return weightOf(state, 'scene.head2_weight').shape[0]!;
  if (state.has('scene.concat.weight')) return inputs.scene.length * weightOf(state, 'scene.concat.weight').shape[2]!;
  return null;
}
