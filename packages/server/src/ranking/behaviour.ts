import type { Row } from '@larr/core';
import { entriesOf } from './history.js';

/** A user's behaviour vector: the mean of the vectors of the POIs in their sequences (method.md, section 7). */
export class BehaviourVectors {
  readonly width: number;
  readonly #table: Float32Array;
  readonly #columns: readonly string[];

  /** @param table [1 + POIs, width]: row poi_index + 1, row 0 = padding */
  constructor(table: Float32Array, width: number, sequences: readonly { name: string }[]) {
    this.#table = table;
    this.width = width;
    this.#columns = sequences.map(({ name }) => `seq_${name}`);
  }

  /** [width]; zeros for a user without history. What is no POI of the table counts as padding. */
  of(user: Row | undefined): Float32Array {
    const mean = new Float32Array(this.width);
    const entries = this.#columns
      .flatMap((column) => entriesOf(user?.[column], this.#table.length / this.width - 1))
      .filter((entry) => entry > 0);
    for (const entry of entries) {
      for (let i = 0; i < this.width; i++) mean[i]! += this.#table[entry * this.width + i]! / entries.length;
    }
    return mean;
  }
}
