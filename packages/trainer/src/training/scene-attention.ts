// What a trained model's aggregation token looks at: attention per scene field, of single rows and over many (method.md, section 5).
import { type SplitManifest, UsageError } from '@larr/core';
import { noGrad, tensor, tidy } from '@larr/torch';
import { modelKind } from '../models/index.js';
import type { ModelInputs, RecommendationModel } from '../models/inputs.js';
import type { EvaluatedPart, EvaluationSamples } from './part.js';
import type { ModelDescription } from './train.js';

/** Rows at a time. */
const BATCH = 8192;
/** A summary looks at so many rows at most, evenly spaced through the part. */
export const ATTENTION_ROWS = 20_000;

/** Of each row that was asked for. Shares of a row and head make 1; a missing keyword has 0. */
export interface SceneAttention {
  /** the scene fields, in the order of the columns after the first, which is the aggregation token itself */
  fields: string[];
  heads: number;
  /** [rows, heads, 1 + fields] */
  byHead: Float32Array;
  /** [rows, 1 + fields]: mean over the heads */
  mean: Float32Array;
}

/** A mean over rows with their standard deviation, and the mean of each head; null where there are no rows, or too few to deviate. */
export interface AttentionShare {
  mean: number | null;
  std: number | null;
  byHead: number[] | null;
}

/** Attention over some rows: all that were looked at, users at home or away from it, or one text of a scene field ("" is a missing one). */
export interface AttentionGroup {
  kind: 'all' | 'home' | 'travelling' | 'scene';
  field: string | null;
  value: string | null;
  rows: number;
  /** what each token had if all that are there had the same */
  even: number | null;
  /** what stays with the aggregation token */
  own: AttentionShare;
  /** each over the rows that have the keyword, which `rows` counts */
  fields: (AttentionShare & { field: string; rows: number })[];
}

export interface AttentionSummary {
  /** rows that were looked at, evenly spaced among `of` */
  rows: number;
  of: number;
  heads: number;
  groups: AttentionGroup[];
}

/**
 * The aggregation token's attention over the scene fields, in f32 and by the formula of the model's own forward pass.
 * @param samples scene texts of a part's rows, as `TrainingData` has them beside its validation and test parts
 * @param rows which of them, by number; all where left out
 * @returns null for models that have no such token: baselines, LARR without scene keywords, with concatenation, or with mean pooling
 */
export function sceneAttention(
  model: RecommendationModel,
  inputs: ModelInputs,
  samples: Pick<EvaluationSamples, 'rows' | 'scene'>,
  rows: ArrayLike<number> = Array.from({ length: samples.rows }, (_, row) => row),
): SceneAttention | null {
  const { sceneAttention: attend } = model;
  if (attend === undefined) return null;
  const n = inputs.scene.length;
  const tokens = 1 + n;
  let heads = 0;
  let byHead = new Float32Array(0);
  for (let start = 0; start < rows.length; start += BATCH) {
    const count = Math.min(BATCH, rows.length - start);
    const entries = new BigInt64Array(count * n);
    for (let f = 0; f < n; f++) {
      const { offset } = inputs.scene[f]!;
      const texts = samples.scene.subarray(f * samples.rows, (f + 1) * samples.rows);
      for (let i = 0; i < count; i++) entries[i * n + f] = BigInt(offset + texts[rows[start + i]!]!);
    }
    const weights = noGrad(() =>
      tidy(() => {
        const found = attend(tensor(entries, [count, n], { dtype: 'i64' }));
        heads = found.shape[1]!;
        return found.toFloat32Array();
      }),
    );
    if (start === 0) byHead = new Float32Array(rows.length * heads * tokens);
    byHead.set(weights, start * heads * tokens);
  }
  const mean = new Float32Array(rows.length * tokens);
  for (let row = 0; row < rows.length; row++)
    for (let h = 0; h < heads; h++)
      for (let t = 0; t < tokens; t++) mean[row * tokens + t]! += byHead[(row * heads + h) * tokens + t]! / heads;
  return { fields: inputs.scene.map(({ field }) => field), heads, byHead, mean };
}

/**
 * Makes sure that a trained model has an aggregation token to look at.
 * @throws UsageError `NO_ATTENTION` saying why it has none
 */
export function requireAttention(
  { sceneAttention }: Pick<RecommendationModel, 'sceneAttention'>,
  { model, config, inputs }: Pick<ModelDescription, 'model' | 'config' | 'inputs'>,
): void {
  if (sceneAttention !== undefined) return;
  let why = `it was trained with larr.pooling "${config.larr.pooling}", where every token counts the same`;
  if (modelKind(model).vectors === null) why = 'it reads no vectors of scene keywords: train larr';
  else if (inputs.scene.length === 0) why = 'its data have no scene keywords';
  else if (config.larr.aggregation === 'concat')
    why = 'larr.aggregation is "concat" in it: vectors of scene keywords stand side by side, and nothing weighs them';
  throw new UsageError('NO_ATTENTION', `${model} has no attention over scene fields: ${why}. Leave --attention out`);
}

/**
 * Means and deviations over a part, of at most `ATTENTION_ROWS` of its rows: all, users at home and away where that is known, and on
 * demand each text of a scene field.
 * @param by the scene field whose texts are told apart
 * @returns null as `sceneAttention` does
 * @throws UsageError `UNKNOWN_FIELD`
 */
export function summariseAttention(
  model: RecommendationModel,
  { samples, travelling }: Pick<EvaluatedPart, 'samples' | 'travelling'>,
  split: SplitManifest,
  inputs: ModelInputs,
  by?: string,
): AttentionSummary | null {
  const column = by === undefined ? -1 : split.scene.findIndex(({ field }) => field === by);
  if (by !== undefined && column < 0)
    throw new UsageError(
      'UNKNOWN_FIELD',
      `there is no scene field "${by}"; the dataset has ${split.scene.map(({ field }) => field).join(', ') || 'none'}`,
    );
  const count = Math.min(samples.rows, ATTENTION_ROWS);
  const rows = Int32Array.from({ length: count }, (_, i) => Math.floor((i * samples.rows) / count));
  const attention = sceneAttention(model, inputs, samples, rows);
  if (attention === null) return null;
  const textOf = (f: number, i: number) => samples.scene[f * samples.rows + rows[i]!]!;
  const group = (
    kind: AttentionGroup['kind'],
    of: (i: number) => boolean,
    field: string | null = null,
    value: string | null = null,
  ): AttentionGroup => {
    const chosen = [...rows.keys()].filter(of);
    return { kind, field, value, ...summaryOf(attention, chosen, textOf) };
  };
  const groups = [group('all', () => true)];
  if (travelling !== null)
    groups.push(
      group('home', (i) => travelling[rows[i]!] === 0),
      group('travelling', (i) => travelling[rows[i]!] === 1),
    );
  if (column >= 0) {
    const { texts } = split.scene[column]!;
    const ofTexts = texts.map((text, j) => group('scene', (i) => textOf(column, i) === j, by!, text));
    groups.push(...ofTexts.filter(({ rows: found }) => found > 0).sort((a, b) => b.rows - a.rows));
  }
  return { rows: count, of: samples.rows, heads: attention.heads, groups };
}

function summaryOf(
  { fields, heads, byHead, mean }: SceneAttention,
  rows: readonly number[],
  textOf: (field: number, row: number) => number,
): Pick<AttentionGroup, 'rows' | 'even' | 'own' | 'fields'> {
  const tokens = 1 + fields.length;
  const share = (token: number, of: readonly number[]): AttentionShare => {
    if (of.length === 0) return { mean: null, std: null, byHead: null };
    const average = of.reduce((sum, row) => sum + mean[row * tokens + token]!, 0) / of.length;
    const squares = of.reduce((sum, row) => sum + (mean[row * tokens + token]! - average) ** 2, 0);
    const each = Array.from(
      { length: heads },
      (_, h) => of.reduce((sum, row) => sum + byHead[(row * heads + h) * tokens + token]!, 0) / of.length,
    );
    return { mean: average, std: of.length < 2 ? null : Math.sqrt(squares / (of.length - 1)), byHead: each };
  };
  const present = fields.map((_, f) => rows.filter((row) => textOf(f, row) !== 0));
  const keywords = new Map(rows.map((row) => [row, 0]));
  for (const of of present) for (const row of of) keywords.set(row, keywords.get(row)! + 1);
  return {
    rows: rows.length,
    even: rows.length === 0 ? null : rows.reduce((sum, row) => sum + 1 / (1 + keywords.get(row)!), 0) / rows.length,
    own: share(0, rows),
    fields: fields.map((field, f) => ({ field, rows: present[f]!.length, ...share(1 + f, present[f]!) })),
  };
}
