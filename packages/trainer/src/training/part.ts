import type { Samples } from '@larr/core';
import type { Batch } from '../models/inputs.js';

/** Some rows of a part. */
export interface PartBatch {
  rows: number;
  /** Rows of the pass up to and including these: where to go on after them. */
  next: number;
  /** Makes the batch's tensors, in the caller's scope. */
  take(): Batch;
}

/** Where in which pass to begin. */
export interface EpochPosition {
  seed: number;
  epoch: number;
  /** rows of the epoch that are passed over */
  row: number;
  batchSize: number;
}

/** One part (train, validation, test) as batches on a device: held in memory, or read from the shards as they are wanted. */
export interface TrainingPart {
  readonly rows: number;
  /** Rows that are shuffled together; null: all of them. The order of a seed and epoch depends on it. */
  readonly windowRows: number | null;
  /** One epoch in an order that follows from seed and epoch, from `row` on. Leaving the loop early frees what it holds. */
  shuffled(position: EpochPosition): AsyncIterable<PartBatch>;
  /** All rows in the order of the files. */
  inOrder(batchSize: number): AsyncIterable<PartBatch>;
  dispose(): void;
}

/** What the metrics need to know of rows beside their predictions. */
export type EvaluationSamples = Pick<
  Samples,
  'rows' | 'categorical' | 'scene' | 'user' | 'poi' | 'click' | 'order' | 'rowId'
>;

/** A part that is scored: its rows, and what the metrics know of them. */
export interface EvaluatedPart {
  part: TrainingPart;
  samples: EvaluationSamples;
  /** [rows]: 1 where the user is away from home; null where the data do not say */
  travelling: Uint8Array | null;
}
