import type { PackedBatch } from './batch.js';
import type { Decoder } from './decoder.js';
import { linearLayers } from './lora.js';

/**
 * Multiplications and additions that a training step over a batch needs at the least (Chowdhery et al. 2022, appendix B): 2 a weight
 * and token forwards, 2 for the gradient of the input, 2 for that of the weight, where it is learnt; attention over each
 * sequence's past alone. What is computed again to save memory (`recompute`, GradCache) does not count, nor what the last layer need not
 * compute where the states of `rows` places are wanted. The first layer's queries, keys and values count for every token, though equal ones may share them.
 * @param scored tokens that the head scores; none in stage 2
 * @param rows places whose states are wanted (`trainingStates`); default all
 */
export function stepFlops(decoder: Decoder, batch: PackedBatch, scored: number, rows?: Int32Array): number {
  const { config, layers, lora } = decoder;
  const { hiddenSize, heads, keyValueHeads, headSize } = config;
  const all = batch.ids.length;
  const adapted = (names: readonly string[]) =>
    lora?.layers.map((of) =>
      Object.entries(of).reduce((sum, [name, { a, b }]) => sum + (names.includes(name) ? a.numel + b.numel : 0), 0),
    ) ?? layers.map(() => 0);
  const keysValues = adapted(['self_attn.k_proj', 'self_attn.v_proj']);
  const others = adapted(Object.keys(linearLayers).filter((name) => !/[kv]_proj$/.test(name)));
  const each = lora === undefined ? 6 : 4;
  const products = layers.reduce((sum, { queryKeyValue, attentionOutput, gateUp, down }, i) => {
    const shared = 2 * keyValueHeads * headSize * hiddenSize; // the weights of keys and values
    const matrices = queryKeyValue.numel + attentionOutput.numel + gateUp.numel + down.numel - shared;
    const wanted = i === layers.length - 1 ? (rows?.length ?? all) : all;
    return sum + all * (each * shared + 6 * keysValues[i]!) + wanted * (each * matrices + 6 * others[i]!);
  }, 0);
  const pairs = batch.sequences.reduce((sum, { length }) => sum + length * (length + 1), 0) / 2;
  const lastPairs = rows === undefined ? pairs : pairsAt(batch, rows);
  return (
    products +
    scored * each * config.vocabularySize * hiddenSize +
    // Two products of a row for every pair of a token and one before it, and twice that backwards.
    ((layers.length - 1) * pairs + lastPairs) * heads * headSize * 12
  );
}

/** Pairs of a token at one of `rows`, rising, and one of its sequence up to it. */
function pairsAt({ sequences }: PackedBatch, rows: Int32Array): number {
  let i = 0;
  return rows.reduce((sum, row) => {
    while (row >= sequences[i]!.start + sequences[i]!.length) i++;
    return sum + row - sequences[i]!.start + 1;
  }, 0);
}
