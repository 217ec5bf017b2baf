import { auc, aucInterval, type Calibration, calibration, gauc, logLoss, type SplitManifest } from '@larr/core';
import { autocast, noGrad, tidy } from '@larr/torch';
import { clickLogitShift, type ModelInputs, type RecommendationModel } from '../models/inputs.js';
import type { EvaluatedPart, EvaluationSamples, TrainingPart } from './part.js';
import { type AttentionSummary, summariseAttention } from './scene-attention.js';

const PREDICTION_BATCH = 8192;
export const CALIBRATION_BINS = 20;

/** Probabilities of a part, in the order of its rows. */
export interface Predictions {
  /** [rows] */
  ctr: Float32Array;
  /** [rows]; null without orders */
  ctcvr: Float32Array | null;
}

/** The paper's metrics (method.md, section 6). GAUC is null where no user has both classes. */
export interface RankingMetrics {
  ctrAuc: number;
  ctrLogloss: number;
  ctrGauc: number | null;
  ctcvrAuc: number | null;
  ctcvrLogloss: number | null;
  ctcvrGauc: number | null;
}

/** A part of the test rows: cold POIs or users (unseen in training), users away from home, or one text of one scene field. */
export interface Slice {
  kind: 'cold-poi' | 'cold-user' | 'travelling' | 'scene';
  /** the scene field, and its text; "" is a missing keyword */
  field: string | null;
  value: string | null;
  rows: number;
  clicks: number;
  orders: number | null;
  /** null where the slice has no rows, or one class only */
  ctrAuc: SliceAuc | null;
  ctcvrAuc: SliceAuc | null;
}

/** AUC with its 95 % interval, which always has a width: DeLong's, or Newcombe's score interval where a class has fewer than 30 rows. */
export interface SliceAuc {
  auc: number;
  low: number;
  high: number;
}

export interface Evaluation {
  metrics: RankingMetrics;
  calibration: { ctr: Calibration; ctcvr: Calibration | null };
  slices: Slice[];
  /** what the aggregation token looks at; null for models without one, left out by runs of before it was measured */
  attention?: AttentionSummary | null;
}

/**
 * Scores all rows of a part, without gradients. Where the train part's unclicked rows were thinned, the probabilities are those of the
 * whole log (`clickLogitShift`).
 */
export async function predict(
  model: RecommendationModel,
  part: TrainingPart,
  inputs: ModelInputs,
  config: { dtype: 'f32' | 'bf16' },
): Promise<Predictions> {
  const ctr = new Float32Array(part.rows);
  const ctcvr = inputs.tasks.includes('order') ? new Float32Array(part.rows) : null;
  const shift = clickLogitShift(inputs);
  for await (const { rows, next, take } of part.inOrder(PREDICTION_BATCH)) {
    noGrad(() =>
      tidy(() => {
        const batch = take();
        const output = autocast(() => model.forward(batch, false), { dtype: 'bf16', enabled: config.dtype === 'bf16' });
        const pCtr = output.ctr.add(shift).sigmoid();
        ctr.set(pCtr.toFloat32Array(), next - rows);
        if (ctcvr) ctcvr.set(pCtr.mul(output.cvr!.sigmoid()).toFloat32Array(), next - rows);
      }),
    );
  }
  return { ctr, ctcvr };
}

/** Metrics of predictions against the labels of the same rows. */
export function measure(samples: EvaluationSamples, predictions: Predictions): RankingMetrics {
  const { ctr, ctcvr } = predictions;
  const order = ctcvr ? samples.order : null;
  return {
    ctrAuc: auc(samples.click, ctr),
    ctrLogloss: logLoss(samples.click, ctr),
    ctrGauc: finite(gauc(samples.click, ctr, samples.user).gauc),
    ctcvrAuc: order ? auc(order, ctcvr!) : null,
    ctcvrLogloss: order ? logLoss(order, ctcvr!) : null,
    ctcvrGauc: order ? finite(gauc(order, ctcvr!, samples.user).gauc) : null,
  };
}

/**
 * All that is said about a model on one part.
 * @param attentionBy the scene field for each of whose texts attention is told apart
 * @throws UsageError `UNKNOWN_FIELD`
 */
export async function evaluate(
  model: RecommendationModel,
  { part, samples, travelling }: EvaluatedPart,
  split: SplitManifest,
  inputs: ModelInputs,
  config: { dtype: 'f32' | 'bf16' },
  attentionBy?: string,
): Promise<Evaluation> {
  const attention = summariseAttention(model, { samples, travelling }, split, inputs, attentionBy);
  const predictions = await predict(model, part, inputs, config);
  return {
    metrics: measure(samples, predictions),
    calibration: {
      ctr: calibration(samples.click, predictions.ctr, CALIBRATION_BINS),
      ctcvr: predictions.ctcvr ? calibration(samples.order!, predictions.ctcvr, CALIBRATION_BINS) : null,
    },
    slices: slices(samples, travelling, split, predictions),
    attention,
  };
}

/** Cold POIs, cold users, travelling users where they are known, and every text of every scene field; a slice without rows says so. */
export function slices(
  samples: EvaluationSamples,
  travelling: Uint8Array | null,
  split: SplitManifest,
  predictions: Predictions,
): Slice[] {
  const out: Slice[] = [];
  for (const role of ['poi', 'user'] as const) {
    const f = split.categorical.findIndex((feature) => feature.role === role);
    if (f < 0) continue;
    const ids = samples.categorical.subarray(f * samples.rows, (f + 1) * samples.rows);
    out.push(slice(`cold-${role}`, null, null, rowsByValue(ids, 1)[0]!, samples, predictions));
  }
  if (travelling) out.push(slice('travelling', null, null, rowsByValue(travelling, 2)[1]!, samples, predictions));
  split.scene.forEach(({ field, texts }, i) => {
    const values = samples.scene.subarray(i * samples.rows, (i + 1) * samples.rows);
    rowsByValue(values, texts.length).forEach((rows, j) => {
      // what no row misses needs no line of its own
      if (j > 0 || rows.length > 0) out.push(slice('scene', field, texts[j]!, rows, samples, predictions));
    });
  });
  return out;
}

/** The rows holding each of the values 0 … count − 1; others are left out. */
function rowsByValue(values: Int32Array | Uint8Array, count: number): number[][] {
  const rows: number[][] = Array.from({ length: count }, () => []);
  values.forEach((value, row) => {
    rows[value]?.push(row);
  });
  return rows;
}

function slice(
  kind: Slice['kind'],
  field: string | null,
  value: string | null,
  rows: number[],
  samples: EvaluationSamples,
  predictions: Predictions,
): Slice {
  const pick = (from: Float32Array) => Float32Array.from(rows, (row) => from[row]!);
  const click = pick(samples.click);
  const order = predictions.ctcvr ? pick(samples.order!) : null;
  return {
    kind,
    field,
    value,
    rows: rows.length,
    clicks: sum(click),
    orders: order ? sum(order) : null,
    ctrAuc: sliceAuc(click, pick(predictions.ctr)),
    ctcvrAuc: order && sliceAuc(order, pick(predictions.ctcvr!)),
  };
}

function sum(values: Float32Array): number {
  return values.reduce((total, value) => total + value, 0);
}

function sliceAuc(labels: Float32Array, scores: Float32Array): SliceAuc | null {
  const positives = sum(labels);
  if (positives === 0 || positives === labels.length) return null;
  const { auc: value, low, high } = aucInterval(labels, scores);
  return { auc: value, low, high };
}

function finite(value: number): number | null {
  return Number.isFinite(value) ? value : null;
}
