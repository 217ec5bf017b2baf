import { DataError, type Samples } from '@larr/core';
import { cat, keep, type Tensor, tensor, tidy } from '@larr/torch';
import type { Batch, ModelInputs } from '../models/inputs.js';

/**
 * One part (train, validation, test) as tensors on the device. A batch is a few `indexSelect`s: no JavaScript runs per
 * sample. Integers are kept as i32, half the memory of the i64 that lookups want; a batch is widened when it is taken.
 */
export class ResidentPart {
  private constructor(
    readonly rows: number,
    private readonly ids: Tensor,
    private readonly dense: Tensor | null,
    private readonly scene: Tensor | null,
    private readonly history: Tensor | null,
    private readonly pair: Tensor,
    private readonly click: Tensor,
    private readonly order: Tensor | null,
  ) {}

  /**
   * @throws DataError `EMPTY_PART` where there are no rows; `SCHEMA_MISMATCH` where the samples do not have the features
   * that the model takes
   */
  static from(samples: Samples, inputs: ModelInputs, device: string): ResidentPart {
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
    return tidy(() => {
      const onDevice = (t: Tensor) => keep(t.to({ device }));
      // columns [F, rows] → rows [rows, F], moved to each feature's place in the fused table
      const byRow = (columns: Int32Array, offsets: number[]) =>
        onDevice(
          tensor(columns, [offsets.length, rows], { dtype: 'i32' })
            .add(tensor(Int32Array.from(offsets), [offsets.length, 1], { dtype: 'i32' }))
            .transpose(0, 1)
            .contiguous(),
        );
      const count = inputs.dense.length;
      return new ResidentPart(
        rows,
        byRow(
          samples.categorical,
          inputs.categorical.map((f) => f.offset),
        ),
        count > 0 ? onDevice(tensor(samples.dense, [count, rows]).transpose(0, 1).contiguous()) : null,
        inputs.scene.length > 0
          ? byRow(
              samples.scene,
              inputs.scene.map((f) => f.offset),
            )
          : null,
        inputs.sequences.length > 0
          ? onDevice(
              cat(
                inputs.sequences.map(({ length }, i) =>
                  tensor(samples.sequences[i]!, [rows, length], { dtype: 'i32' }),
                ),
                1,
              ),
            )
          : null,
        onDevice(pairIds(samples, inputs.pois)),
        onDevice(tensor(samples.click, [rows])),
        inputs.tasks.includes('order') ? onDevice(tensor(samples.order!, [rows])) : null,
      );
    });
  }

  /** The rows `index` (i64 [B]) as a batch. */
  batch(index: Tensor): Batch {
    return this.#take(index.shape[0]!, (t) => t.indexSelect(0, index));
  }

  /** The rows start … start + length − 1, in file order. */
  range(start: number, length: number): Batch {
    return this.#take(length, (t) => t.narrow(0, start, length));
  }

  #take(rows: number, take: (t: Tensor) => Tensor): Batch {
    return {
      rows,
      ids: take(this.ids).to('i64'),
      dense: this.dense && take(this.dense),
      scene: this.scene && take(this.scene).to('i64'),
      history: this.history && take(this.history).to('i64'),
      pair: take(this.pair),
      click: take(this.click),
      order: this.order && take(this.order),
    };
  }

  dispose(): void {
    for (const t of [this.ids, this.dense, this.scene, this.history, this.pair, this.click, this.order]) t?.dispose();
  }
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
