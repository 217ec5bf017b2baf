import type { SplitManifest } from '@larr/core';
import type { Tensor } from '@larr/torch';
import { fuseOffsets } from '../layers/embedding-table.js';

export type Task = 'click' | 'order';

/** The shape of a model's input, derived from a split of a dataset. */
export interface ModelInputs {
  /** what is predicted: clicks, and orders where the data has them */
  tasks: Task[];
  categorical: { name: string; role: string; size: number; offset: number }[];
  /** rows of the fused embedding table */
  tableRows: number;
  dense: { name: string; mean: number; std: number }[];
  /** scene fields: `offset` is the entry of the missing text, followed by the texts */
  scene: { field: string; texts: number; offset: number }[];
  sceneEntries: number;
  /** lengths of the POI sequences */
  sequences: { name: string; length: number }[];
  /** POIs in the dataset, for the POI vectors that sequences point to */
  pois: number;
  /** of a simulated world, for controls that are told its truth: attributes of a POI, and users */
  truth?: { attributes: number; users: number };
  /** share w of the train part's unclicked rows that were kept, where they were thinned */
  negativesKept?: number;
}

/**
 * What takes thinned negatives back out of a click's logit, ln w: a model trained where a share w of the unclicked rows was kept says
 * p', and p = p' / (p' + (1 − p') / w) (He et al. 2014, section 6.3), which is σ(logit p' + ln w). 0 where nothing was thinned.
 */
export function clickLogitShift({ negativesKept }: ModelInputs): number {
  return negativesKept === undefined ? 0 : Math.log(negativesKept);
}

/** One batch on the device. B rows; F categorical features; n scene fields. */
export interface Batch {
  rows: number;
  /** i64 [B, F]: rows of the fused table */
  ids: Tensor;
  /** f32 [B, dense features], raw */
  dense: Tensor | null;
  /** i64 [B, n]: scene entries; null where the data has no scene */
  scene: Tensor | null;
  /** i64 [B, sum of lengths]: poi_index + 1, 0 = padding; all sequences side by side */
  history: Tensor | null;
  /** i32 [B]: equal for rows of the same (user, POI) */
  pair: Tensor;
  /** i32 [B]: the row's user and POI by their index in the dataset, those unseen in training too */
  user: Tensor;
  poi: Tensor;
  /** f32 [B] */
  click: Tensor;
  order: Tensor | null;
}

/** What a model computes for a batch. */
export interface ModelOutput {
  /** [B]: p_ctr = σ(ctr) */
  ctr: Tensor;
  /** [B]: p_ctcvr = σ(ctr) · σ(cvr); null without orders */
  cvr: Tensor | null;
  /** what L_al is of, where the model aligns */
  alignment: Alignment | null;
}

export interface Alignment {
  /** z_s and z_t [B, 2·dim] */
  scene: Tensor;
  target: Tensor;
  /** further negatives of each row: z_t of drawn users and POIs [B, K, 2·dim], and which are the row's own pair, bool [B, K] */
  extra: { target: Tensor; own: Tensor } | null;
}

/** A recommendation model: its tensors are in the Parameters it was made with. */
export interface RecommendationModel {
  forward(batch: Batch, training: boolean): ModelOutput;
  /**
   * What the aggregation token looks at, of rows of scene entries i64 [B, n]: f32 [B, heads, 1 + n], the token itself first. Models that
   * have no such token, or average over all tokens, have none.
   */
  sceneAttention?: ((scene: Tensor) => Tensor) | undefined;
}

/** Derives the inputs from the manifest. `pois` is the dataset's number of POIs. */
export function modelInputs(split: SplitManifest, orders: boolean, pois: number): ModelInputs {
  const { offsets, rows } = fuseOffsets(split.categorical.map((feature) => feature.size));
  const scene = fuseOffsets(split.scene.map((field) => field.texts.length));
  return {
    tasks: orders ? ['click', 'order'] : ['click'],
    categorical: split.categorical.map(({ name, role, size }, i) => ({ name, role, size, offset: offsets[i]! })),
    tableRows: rows,
    dense: split.dense.map(({ name, mean, std }) => ({ name, mean, std })),
    scene: split.scene.map(({ field, texts }, i) => ({ field, texts: texts.length, offset: scene.offsets[i]! })),
    sceneEntries: scene.rows,
    sequences: split.sequences.map(({ name, length }) => ({ name, length })),
    pois,
    ...(split.negativesKept === undefined ? {} : { negativesKept: split.negativesKept }),
  };
}
