/**
 * Several token sequences laid one after another, so that every product of the network runs over all tokens at once,
 * and attention over each sequence alone.
 *
 * Sequences of nearly the same length stand together in a *group*, padded at the right to the group's length: a causal
 * mask then keeps every real token from the padding and, as each sequence is a row of its own, from every other
 * sequence. Positions restart at each sequence. What a sequence yields does not depend on its neighbours.
 */
export interface PackedBatch {
  /** [T] token ids, padding included. */
  ids: Int32Array;
  /** [T] position of each token within its sequence. */
  positions: Int32Array;
  /** Runs of `rows` sequences of `length` tokens each, `start` the first token's place in [0, T). */
  groups: { start: number; rows: number; length: number }[];
  /** Where each given sequence lies, in the order given: its first token's place, and how many tokens are real. */
  sequences: { start: number; length: number }[];
  /** Real tokens, without padding. */
  tokens: number;
}

/** A sequence joins a group when the padding it needs is at most this share of the group's length … */
const PADDING_SHARE = 0.12;
/** … or this many tokens. */
const PADDING_TOKENS = 4;

/** Lays sequences out for the decoder. Empty sequences are refused: they have no state to read. */
export function packSequences(sequences: readonly Int32Array[], padId: number): PackedBatch {
  const order = sequences.map((_, i) => i).sort((a, b) => sequences[b]!.length - sequences[a]!.length || a - b);
  const groups: PackedBatch['groups'] = [];
  const places: PackedBatch['sequences'] = new Array(sequences.length);
  let total = 0;
  let tokens = 0;
  let group: PackedBatch['groups'][number] | undefined;
  for (const index of order) {
    const length = sequences[index]!.length;
    if (length === 0) throw new RangeError(`Sequence ${index} is empty; a sequence needs at least one token.`);
    if (group === undefined || group.length - length > Math.max(PADDING_TOKENS, PADDING_SHARE * group.length)) {
      group = { start: total, rows: 0, length };
      groups.push(group);
    }
    places[index] = { start: total, length };
    group.rows++;
    total += group.length;
    tokens += length;
  }
  const ids = new Int32Array(total).fill(padId);
  const positions = new Int32Array(total);
  for (let i = 0; i < sequences.length; i++) ids.set(sequences[i]!, places[i]!.start);
  for (const { start, rows, length } of groups) {
    for (let t = 0; t < rows * length; t++) positions[start + t] = t % length;
  }
  return { ids, positions, groups, sequences: places, tokens };
}
