/**
 * Several token sequences laid one after another, so that every product of the network runs over all tokens at once,
 * and attention over each sequence alone: no padding, and what a sequence yields does not depend on its neighbours.
 */
export interface PackedBatch {
  /** [T] token ids. */
  ids: Int32Array;
  /** [sequences + 1] where each sequence begins, then T. */
  starts: Int32Array;
  /** Where each given sequence lies, in the order given: its first token's place, and its length. */
  sequences: { start: number; length: number }[];
}

/** The place of each sequence's last token, rising. */
export function lastPlaces({ sequences }: PackedBatch): Int32Array {
  return Int32Array.from(sequences, ({ start, length }) => start + length - 1);
}

/** Lays sequences out for the decoder. Empty sequences are refused: they have no state to read. */
export function packSequences(sequences: readonly Int32Array[]): PackedBatch {
  const starts = new Int32Array(sequences.length + 1);
  const places = sequences.map(({ length }, i) => {
    if (length === 0) throw new RangeError(`Sequence ${i} is empty; a sequence needs at least one token.`);
    starts[i + 1] = starts[i]! + length;
    return { start: starts[i]!, length };
  });
  const ids = new Int32Array(starts.at(-1)!);
  for (let i = 0; i < sequences.length; i++) ids.set(sequences[i]!, starts[i]);
  return { ids, starts, sequences: places };
}
