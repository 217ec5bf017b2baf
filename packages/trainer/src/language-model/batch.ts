import { arange, type Tensor, tensor } from '@larr/torch';
import type { DecoderConfig } from './configuration.js';

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

/** Cosines and sines of the rotary positions (Su et al. 2021), each [contextLength, headSize/2], f32. */
export interface RotaryTable {
  cosine: Tensor;
  sine: Tensor;
}

/** The rotary table of a decoder, for every position of its context; frequencies stretched as Llama 3 does where it says so. */
export function rotaryTable(config: DecoderConfig, device: string): RotaryTable {
  const half = config.headSize / 2;
  const frequencies = Float64Array.from({ length: half }, (_, i) => config.rotaryBase ** (-i / half));
  const stretch = config.rotaryStretch;
  if (stretch !== null) {
    const longest = stretch.originalContextLength / stretch.lowFrequencyFactor;
    const shortest = stretch.originalContextLength / stretch.highFrequencyFactor;
    for (let i = 0; i < half; i++) {
      const frequency = frequencies[i]!;
      const wavelength = (2 * Math.PI) / frequency;
      if (wavelength < shortest) continue;
      const smooth =
        (stretch.originalContextLength / wavelength - stretch.lowFrequencyFactor) /
        (stretch.highFrequencyFactor - stretch.lowFrequencyFactor);
      frequencies[i] =
        wavelength > longest
          ? frequency / stretch.factor
          : ((1 - smooth) * frequency) / stretch.factor + smooth * frequency;
    }
  }
  const positions = arange(0, config.contextLength, 1, { dtype: 'f64', device });
  const angles = positions.unsqueeze(1).mul(tensor(frequencies, [1, half], { dtype: 'f64', device }));
  const table = { cosine: angles.cos().to('f32'), sine: angles.sin().to('f32') };
  positions.dispose();
  angles.dispose();
  return table;
}
