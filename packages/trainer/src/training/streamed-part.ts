import type { Dataset, Part } from '@larr/core';
import type { ModelInputs } from '../models/inputs.js';
import type { EpochPosition, EvaluationSamples, PartBatch, TrainingPart } from './part.js';
import { columnsOf, wholeBatch } from './resident-part.js';

/** Rows at a time where the order does not matter. */
const READING_BATCH = 65_536;

/** A part that memory does not hold: its batches come from the dataset's loader, whose thread is ahead by a few. */
export class StreamedPart implements TrainingPart {
  readonly rows: number;

  constructor(
    private readonly dataset: Dataset,
    private readonly part: Part,
    private readonly inputs: ModelInputs,
    private readonly device: string,
    readonly windowRows: number,
  ) {
    this.rows = dataset.split.parts[part].rows;
  }

  async *shuffled({ seed, epoch, row, batchSize }: EpochPosition): AsyncGenerator<PartBatch, void> {
    yield* this.#batches({ batchSize, seed, epoch, row, windowRows: this.windowRows });
  }

  async *inOrder(batchSize: number): AsyncGenerator<PartBatch, void> {
    yield* this.#batches({ batchSize, seed: null, windowRows: this.windowRows });
  }

  async *#batches(options: Parameters<Dataset['batches']>[1]): AsyncGenerator<PartBatch, void> {
    for await (const { samples, next } of this.dataset.batches(this.part, options)) {
      yield {
        rows: samples.rows,
        next,
        take: () => wholeBatch(samples.rows, columnsOf(samples, this.inputs, this.device)),
      };
    }
  }

  /** Nothing outlives a loop over the batches. */
  dispose(): void {}
}

/** The columns of a part that the metrics want, in the order of the files. */
export async function evaluationSamples(dataset: Dataset, part: Part, windowRows: number): Promise<EvaluationSamples> {
  const { categorical, scene, parts } = dataset.split;
  const { rows } = parts[part];
  const all: EvaluationSamples = {
    rows,
    categorical: new Int32Array(categorical.length * rows),
    scene: new Int32Array(scene.length * rows),
    user: new Int32Array(rows),
    poi: new Int32Array(rows),
    click: new Float32Array(rows),
    order: dataset.manifest.orders ? new Float32Array(rows) : null,
    rowId: new BigInt64Array(rows),
  };
  let at = 0;
  for await (const { samples, next } of dataset.batches(part, { batchSize: READING_BATCH, seed: null, windowRows })) {
    for (const name of ['categorical', 'scene'] as const) {
      for (let column = 0; column * rows < all[name].length; column++) {
        const values = samples[name].subarray(column * samples.rows, (column + 1) * samples.rows);
        all[name].set(values, column * rows + at);
      }
    }
    all.user.set(samples.user, at);
    all.poi.set(samples.poi, at);
    all.click.set(samples.click, at);
    all.order?.set(samples.order!, at);
    all.rowId.set(samples.rowId, at);
    at = next;
  }
  return all;
}
