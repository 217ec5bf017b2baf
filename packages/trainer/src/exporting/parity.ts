import { ConfigError, compareScores, PARITY_TOLERANCE, type Samples, someColumns, TrainingError } from '@larr/core';
import {
  FusedRanker,
  type RankerRows as FusedRankerRows,
  gatherRows,
  rankerInputSizes,
  SceneScorer,
} from '@larr/native-cuda';
import ort from 'onnxruntime-node';
import type { ModelConfig } from '../models/config.js';
import type { ModelInputs } from '../models/inputs.js';
import type { LaterText } from './later-scene.js';
import { type ModelState, weightOf } from './onnx/layers.js';
import type { RankerGraph } from './ranker-graph.js';
import type { RankerProgram } from './ranker-program.js';

/** Rows as a server has them once features are computed: what is fed to the scene encoder and the graph. */
export interface ParityRows {
  rows: number;
  /** i32 [rows, F] rows of the fused table */
  ids: Int32Array;
  /** f32 [rows, D] raw */
  dense: Float32Array;
  /** i32 [rows, n] scene entries, −1 = missing */
  scene: Int32Array;
  /** f32 [rows, d]: mean vector of the POIs in the row's sequences; null for models that do not take it */
  behaviour: Float32Array | null;
  /** i32 [rows, L]: POIs of the row's sequences from 1, 0 = padding; null for models that do not read them */
  history: Int32Array | null;
  /** i32 [rows]: the row's POI from 1; null for models that do not take its vector */
  poi: Int32Array | null;
}

/**
 * The samples' columns as rows, ids moved to their place in the fused table.
 * @param pois [1 + POIs, d]: vectors that the sequences point to, for models that take their mean
 * @param readsHistory whether the model takes the sequences themselves
 * @param readsPoi whether it takes the vector of the POI itself
 */
export function parityRows(
  samples: Samples,
  inputs: ModelInputs,
  pois: Matrix | null,
  readsHistory: boolean,
  readsPoi: boolean,
): ParityRows {
  const { rows } = samples;
  const byRow = <T extends Int32Array | Float32Array>(
    columns: T,
    count: number,
    out: T,
    of: (value: number, column: number) => number,
  ): T => {
    for (let column = 0; column < count; column++) {
      for (let row = 0; row < rows; row++) out[row * count + column] = of(columns[column * rows + row]!, column);
    }
    return out;
  };
  const { categorical, dense, scene, sequences } = inputs;
  const width = sequences.reduce((sum, { length }) => sum + length, 0);
  const history = new Int32Array(rows * width);
  let at = 0;
  sequences.forEach(({ length }, i) => {
    for (let row = 0; row < rows; row++) {
      history.set(samples.sequences[i]!.subarray(row * length, (row + 1) * length), row * width + at);
    }
    at += length;
  });
  return {
    rows,
    ids: byRow(
      samples.categorical,
      categorical.length,
      new Int32Array(rows * categorical.length),
      (value, f) => value + categorical[f]!.offset,
    ),
    dense: byRow(samples.dense, dense.length, new Float32Array(rows * dense.length), (value) => value),
    scene: byRow(samples.scene, scene.length, new Int32Array(rows * scene.length), (value, i) =>
      value === 0 ? -1 : value + scene[i]!.offset,
    ),
    behaviour: pois === null ? null : meanVectors(pois, history, rows),
    history: readsHistory ? history : null,
    poi: readsPoi ? samples.poi.map((index) => index + 1) : null,
  };
}

type Tensors = Readonly<Record<string, { shape: readonly number[]; data: unknown }>>;

/** Rows as both of a bundle's rankers take them. A row that shares its context with no other gives the same scores, so each has its own. */
export function contextRows(
  { inputs }: RankerGraph,
  scene: (SceneWeights & { tensors: Tensors }) | null,
  { rows, ids, dense, ...parity }: ParityRows,
): RankerRows {
  return {
    rows,
    contexts: rows,
    context: Int32Array.from({ length: rows }, (_, i) => i),
    contextIds: someColumns(ids, rows, inputs.ids.context),
    contextDense: someColumns(dense, rows, inputs.dense.context),
    z: inputs.z_s === null ? null : sceneVectors(scene!, parity.scene),
    behaviour: inputs.behaviour === null ? null : parity.behaviour,
    ids: someColumns(ids, rows, inputs.ids.row),
    dense: someColumns(dense, rows, inputs.dense.row),
    poi: inputs.poi ? parity.poi : null,
    history: inputs.history === null ? null : parity.history,
    kept: null,
  };
}

type RankerRows = FusedRankerRows & { history: Int32Array | null };

interface Scores {
  pCtr: Float32Array;
  pCtcvr: Float32Array | null;
}

/** Scores of the bundle's graph. @param tables tensors of embeddings.safetensors */
export async function graphScores(
  onnxFile: string,
  graph: RankerGraph,
  tables: Tensors,
  { rows, ...given }: RankerRows,
): Promise<Scores> {
  const feeds: Record<string, ort.Tensor> = {};
  for (const input of Object.keys(graph.tables)) {
    const { data, shape } = tables[input]!;
    feeds[input] = new ort.Tensor('float32', data as Float32Array, shape);
  }
  for (const [name, data] of Object.entries({
    context_ids: given.contextIds,
    context_dense: given.contextDense,
    z_s: given.z,
    behaviour: given.behaviour,
    history: given.history,
    ids: given.ids,
    dense: given.dense,
  })) {
    if (data === null) continue;
    const shape = [rows, data.length / rows];
    feeds[name] =
      data instanceof Int32Array ? new ort.Tensor('int32', data, shape) : new ort.Tensor('float32', data, shape);
  }
  feeds.context = new ort.Tensor('int32', given.context, [rows]);
  if (given.poi !== null) feeds.poi = new ort.Tensor('int32', given.poi, [rows]);
  const session = await ort.InferenceSession.create(onnxFile);
  try {
    const output = await session.run(feeds);
    return {
      pCtr: output.p_ctr!.data as Float32Array,
      pCtcvr: (output.p_ctcvr?.data as Float32Array | undefined) ?? null,
    };
  } finally {
    await session.release();
  }
}

/** Scores of the bundle's program by the native ranker. @param weights tensors of ranker.safetensors */
export async function programScores(
  program: RankerProgram,
  weights: Tensors,
  { inputs, tables: widths }: RankerGraph,
  tables: Tensors,
  rows: RankerRows,
): Promise<Scores> {
  const floats = ({ data }: { data: unknown }): Float32Array => data as Float32Array;
  using ranker = new FusedRanker({
    ...program,
    // which of them follow from the POI alone does not matter where nothing is kept
    inputs: rankerInputSizes({ ...inputs, tables: widths }, { ids: [], dense: [] }),
    weights: Object.fromEntries(Object.entries(weights).map(([name, tensor]) => [name, floats(tensor)])),
    embedding: floats(tables.table!),
    pois: inputs.poi ? floats(tables.poi_vectors!) : null,
    terms: program.terms === null ? null : floats(tables[program.terms]!),
    memory: 0,
  });
  return await ranker.score(rows);
}

/** @throws TrainingError EXPORT_NOT_EQUAL where a score differs by more than the tolerance; returns the largest difference */
export function requireEqualScores(what: string, trainer: Float32Array, bundle: Float32Array): number {
  const { largestDifference, outside } = compareScores(trainer, bundle, PARITY_TOLERANCE);
  if (outside === null) return largestDifference;
  throw new TrainingError(
    'EXPORT_NOT_EQUAL',
    `${what} of test row ${outside} is ${trainer[outside]} in the trainer and ${bundle[outside]} from the exported bundle. ` +
      'No bundle was written; this is a fault of the exporter, please report it with model.json',
  );
}

/** Names of the encoder's weights, in the checkpoint after `scene.` and in the bundle alike. */
const ENCODER_WEIGHTS = [
  'agg',
  'field',
  ...['in_proj', 'out_proj', 'norm1', 'ffn1', 'ffn2', 'norm2', 'head1', 'head2'].flatMap((layer) => [
    `${layer}_weight`,
    `${layer}_bias`,
  ]),
];

interface Matrix {
  shape: readonly number[];
  data: Float32Array;
}

/** The scene part of a bundle. */
export interface SceneWeights {
  /** [entries, d]; what a row of z_s is made of */
  table: Matrix;
  /** the encoder's, by the kernel's names; none for noAL */
  weights: Record<string, Matrix>;
  /** field of each entry */
  fieldOf: Int32Array;
  fields: number;
  /** null: the fields' vectors side by side (noAL) */
  encoder: { heads: number; ffn: number; headHidden: number } | null;
}

/**
 * The scene part of a trained model, its table with texts that were embedded later behind those that it was trained with. noAL's maps are applied to the table here, once, as each entry belongs to one field.
 * @throws ConfigError MODEL_NOT_EXPORTABLE for mean pooling, which cannot be folded
 */
export function sceneWeights(
  state: ModelState,
  inputs: ModelInputs,
  config: ModelConfig,
  later: readonly LaterText[] = [],
): SceneWeights {
  const entries = inputs.sceneEntries + later.length;
  const table = withLater(weightOf(state, 'scene.table'), later);
  const fieldOf = new Int32Array(entries);
  for (const [i, { offset, texts }] of inputs.scene.entries()) fieldOf.fill(i, offset, offset + texts);
  for (const [i, { field }] of later.entries()) fieldOf[inputs.sceneEntries + i] = field;
  const fields = inputs.scene.length;
  if (!state.has('scene.concat.weight')) {
    if (config.larr.pooling !== 'aggregation') {
      throw new ConfigError(
        'MODEL_NOT_EXPORTABLE',
        'larr.pooling is "mean": only aggregation pooling can be folded for serving. Train with larr.pooling "aggregation"',
      );
    }
    const weights = Object.fromEntries(ENCODER_WEIGHTS.map((name) => [name, weightOf(state, `scene.${name}`)]));
    const { heads, ffn, headHidden } = config.larr;
    return { table, weights, fieldOf, fields, encoder: { heads, ffn, headHidden } };
  }
  const d = table.shape[1]!;
  const map = weightOf(state, 'scene.concat.weight'); // [n, d, dim]
  const width = map.shape[2]!;
  const mapped = new Float32Array(entries * width);
  for (let entry = 0; entry < entries; entry++) {
    for (let o = 0; o < width; o++) {
      let sum = 0;
      for (let i = 0; i < d; i++) {
        sum += table.data[entry * d + i]! * map.data[(fieldOf[entry]! * d + i) * width + o]!;
      }
      mapped[entry * width + o] = sum;
    }
  }
  return { table: { shape: [entries, width], data: mapped }, weights: {}, fieldOf, fields, encoder: null };
}

/** The table [entries, d] with rows for texts that were embedded later behind its own. */
function withLater(table: Matrix, later: readonly LaterText[]): Matrix {
  const [rows, d] = table.shape as [number, number];
  const data = new Float32Array((rows + later.length) * d);
  data.set(table.data);
  for (const [i, { vector }] of later.entries()) data.set(vector, (rows + i) * d);
  return { shape: [rows + later.length, d], data };
}

/** z_s [rows, ·]: the encoder's, or the fields' mapped vectors side by side, from the tensors as they were read back. */
function sceneVectors(scene: SceneWeights & { tensors: Tensors }, entries: Int32Array): Float32Array {
  const { table, ...weights } = scene.tensors as Record<string, Matrix>;
  const d = table!.shape[1]!;
  if (scene.encoder === null) return gatherRows(table!.data, d, entries);
  const scorer = new SceneScorer({
    table: table!.data,
    fieldOf: scene.fieldOf,
    fields: scene.fields,
    weights: Object.fromEntries(Object.entries(weights).map(([name, { data }]) => [name, data])),
    dims: { d, ...scene.encoder, out: weights.head2_bias!.data.length },
  });
  try {
    return scorer.encodeSync(entries);
  } finally {
    scorer.dispose();
  }
}

/** Mean of the table's rows named in each row of `history`, padding (0) left out; zeros where there is nothing else. */
function meanVectors(table: Matrix, history: Int32Array, rows: number): Float32Array {
  const d = table.shape[1]!;
  const length = history.length / rows;
  const out = new Float32Array(rows * d);
  for (let row = 0; row < rows; row++) {
    const present = history.subarray(row * length, (row + 1) * length).filter((entry) => entry > 0);
    for (const entry of present) {
      for (let i = 0; i < d; i++) out[row * d + i]! += table.data[entry * d + i]! / present.length;
    }
  }
  return out;
}
