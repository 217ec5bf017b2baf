import { DataError, type Samples } from '@larr/core';
import { cat, keep, manualSeed, randperm, type Tensor, tensor, tidy } from '@larr/torch';
import type { Batch, ModelInputs } from '../models/inputs.js';
import type { EpochPosition, PartBatch, TrainingPart } from './part.js';

/** The tensors of some rows: integers as i32, half the memory of the i64 that lookups want. */
export interface Columns {
  ids: Tensor;
  dense: Tensor | null;
  scene: Tensor | null;
  history: Tensor | null;
  pair: Tensor;
  user: Tensor;
  poi: Tensor;
  click: Tensor;
  order: Tensor | null;
}

/**
 * One part as tensors on the device. A batch is a few `indexSelect`s: no JavaScript runs per sample. Integers are widened
 * when a batch is taken.
 */
export class ResidentPart implements TrainingPart {
  readonly windowRows = null;

  private constructor(
    readonly rows: number,
    private readonly columns: Columns,
  ) {}

  /**
   * @throws DataError `EMPTY_PART` where there are no rows; `SCHEMA_MISMATCH` where the samples do not have the features
   * that the model takes
   */
  static from(samples: Samples, inputs: ModelInputs, device: string): ResidentPart {
    return tidy(() => {
      const columns = columnsOf(samples, inputs, device);
      for (const t of Object.values(columns) as (Tensor | null)[]) if (t) keep(t);
      return new ResidentPart(samples.rows, columns);
    });
  }

  /** Draws the epoch's order at once, from the generator seeded for it. */
  shuffled({ seed, epoch, row, batchSize }: EpochPosition): AsyncGenerator<PartBatch, void> {
    manualSeed(seed * 1_000_003 + epoch);
    const order = keep(randperm(this.rows, { device: this.columns.ids.device }));
    return this.#batches(row, batchSize, (start, rows) => this.batch(order.narrow(0, start, rows)), order);
  }

  inOrder(batchSize: number): AsyncGenerator<PartBatch, void> {
    return this.#batches(0, batchSize, (start, rows) => this.range(start, rows), null);
  }

  async *#batches(
    from: number,
    batchSize: number,
    take: (start: number, rows: number) => Batch,
    order: Tensor | null,
  ): AsyncGenerator<PartBatch, void> {
    try {
      for (let start = from; start < this.rows; start += batchSize) {
        const rows = Math.min(batchSize, this.rows - start);
        yield { rows, next: start + rows, take: () => take(start, rows) };
      }
    } finally {
      order?.dispose();
    }
  }

  /** The rows `index` (i64 [B]) as a batch. */
  batch(index: Tensor): Batch {
    return batchOf(this.columns, index.shape[0]!, (t) => t.indexSelect(0, index));
  }

  /** The rows start … start + length − 1, in file order. */
  range(start: number, length: number): Batch {
    return batchOf(this.columns, length, (t) => t.narrow(0, start, length));
  }

  dispose(): void {
    for (const t of Object.values(this.columns) as (Tensor | null)[]) t?.dispose();
  }
}

/**
 * Moves samples to the device, in the caller's scope.
 * @throws DataError as `ResidentPart.from`
 */
export function columnsOf(samples: Samples, inputs: ModelInputs, device: string): Columns {
  const { rows } = samples;
  if (rows === 0) throw new DataError('EMPTY_PART', 'the part has no rows: nothing can be learnt or measured on it');
  requireLength('categorical', samples.categorical.length, inputs.categorical.length * rows);
  requireLength('dense', samples.dense.length, inputs.dense.length * rows);
  requireLength('scene', samples.scene.length, inputs.scene.length * rows);
  requireLength('sequences', samples.sequences.length, inputs.sequences.length);
  inputs.sequences.forEach(({ name, length }, i) => {
    requireLength(`sequence ${name}`, samples.sequences[i]!.length, length * rows);
  });
  if (inputs.tasks.includes('order') && !samples.order) {
    throw new DataError('SCHEMA_MISMATCH', 'the model predicts orders, and the samples have no order column');
  }
  const onDevice = (t: Tensor) => t.to({ device });
  // columns [F, rows] → rows [rows, F], moved to each feature's place in the fused table
  const byRow = (columns: Int32Array, offsets: number[]) =>
    onDevice(
      tensor(columns, [offsets.length, rows], { dtype: 'i32' })
        .add(tensor(Int32Array.from(offsets), [offsets.length, 1], { dtype: 'i32' }))
        .transpose(0, 1)
        .contiguous(),
    );
  const offsets = (fields: readonly { offset: number }[]) => fields.map((field) => field.offset);
  const { categorical, dense, scene, sequences } = inputs;
  const histories = sequences.map(({ length }, i) => tensor(samples.sequences[i]!, [rows, length], { dtype: 'i32' }));
  return {
    ids: byRow(samples.categorical, offsets(categorical)),
    dense: dense.length > 0 ? onDevice(tensor(samples.dense, [dense.length, rows]).transpose(0, 1).contiguous()) : null,
    scene: scene.length > 0 ? byRow(samples.scene, offsets(scene)) : null,
    history: sequences.length > 0 ? onDevice(cat(histories, 1)) : null,
    pair: onDevice(pairIds(samples, inputs.pois)),
    user: onDevice(tensor(samples.user, [rows], { dtype: 'i32' })),
    poi: onDevice(tensor(samples.poi, [rows], { dtype: 'i32' })),
    click: onDevice(tensor(samples.click, [rows])),
    order: inputs.tasks.includes('order') ? onDevice(tensor(samples.order!, [rows])) : null,
  };
}

/** All the rows of `columns` as one batch. */
export function wholeBatch(rows: number, columns: Columns): Batch {
  return batchOf(columns, rows, (t) => t);
}

function batchOf(columns: Columns, rows: number, take: (t: Tensor) => Tensor): Batch {
  const { ids, dense, scene, history, pair, user, poi, click, order } = columns;
  return {
    rows,
    ids: take(ids).to('i64'),
    dense: dense && take(dense),
    scene: scene && take(scene).to('i64'),
    history: history && take(history).to('i64'),
    pair: take(pair),
    user: take(user),
    poi: take(poi),
    click: take(click),
    order: order && take(order),
  };
}

/** i32 [rows]: rows of the same (user, POI) share a number. */
function pairIds(samples: Samples, pois: number): Tensor {
  const user = tensor(samples.user, [samples.rows], { dtype: 'i32' }).to('i64');
  const key = user.mul(pois).add(tensor(samples.poi, [samples.rows], { dtype: 'i32' }).to('i64'));
  const [, inverse] = key.unique() as [Tensor, Tensor];
  return inverse.to('i32');
}

function requireLength(what: string, got: number, expected: number): void {
  if (got !== expected) {
    throw new DataError(
      'SCHEMA_MISMATCH',
      `${what}: the samples hold ${got} values, and the model's inputs ask for ${expected}. ` +
        'The model was made for a dataset of another schema',
    );
  }
}
