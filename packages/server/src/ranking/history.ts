import type { Row } from '@larr/core';

/** A user's sequences as a ranker that attends to them reads them. */
export class Histories {
  /** entries of all sequences together */
  readonly width: number;
  readonly #pois: number;
  readonly #sequences: readonly { column: string; length: number }[];

  /** @param pois how many POIs the data have */
  constructor(sequences: readonly { name: string; length: number }[], pois: number) {
    this.#pois = pois;
    this.#sequences = sequences.map(({ name, length }) => ({ column: `seq_${name}`, length }));
    this.width = sequences.reduce((sum, { length }) => sum + length, 0);
  }

  /** [width]: POIs from 1, most recent first, sequence after sequence; 0 = padding, and all there is of an unknown user. */
  of(user: Row | undefined): Int32Array {
    const entries = new Int32Array(this.width);
    let at = 0;
    for (const { column, length } of this.#sequences) {
      entries.set(entriesOf(user?.[column], this.#pois).slice(0, length), at);
      at += length;
    }
    return entries;
  }
}

/** Entries of a sequence, 0 in place of what is no number of a POI: a table has no row for it. */
export function entriesOf(value: unknown, pois: number): number[] {
  if (!Array.isArray(value)) return [];
  return value.map((entry) => (Number.isInteger(entry) && entry > 0 && entry <= pois ? entry : 0));
}
