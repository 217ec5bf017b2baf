import type { Row } from '@larr/core';

/** A user's sequences as a ranker that attends to them reads them. */
export class Histories {
  /** entries of all sequences together */
  readonly width: number;
  readonly #sequences: readonly { column: string; length: number }[];

  constructor(sequences: readonly { name: string; length: number }[]) {
    this.#sequences = sequences.map(({ name, length }) => ({ column: `seq_${name}`, length }));
    this.width = sequences.reduce((sum, { length }) => sum + length, 0);
  }

  /** [width]: POIs from 1, most recent first, sequence after sequence; 0 = padding, and all there is of an unknown user. */
  of(user: Row | undefined): Int32Array {
    const entries = new Int32Array(this.width);
    let at = 0;
    for (const { column, length } of this.#sequences) {
      const own = (user?.[column] as number[] | null | undefined) ?? [];
      entries.set(own.slice(0, length), at);
      at += length;
    }
    return entries;
  }
}
