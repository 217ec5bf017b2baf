import type { PackedBatch } from './batch.js';
import type { Decoder } from './decoder.js';

/**
 * Multiplications and additions that a training step over a batch needs at the least (Chowdhery et al. 2022, appendix B): 2 a weight
 * and token forwards, 2 for the gradient of the input, 2 for that of the weight, where it is learnt; attention over each
 * sequence's past alone. What is computed again to save memory (`recompute`, GradCache) does not count.
 * @param scored tokens that the head scores; none in stage 2
 */
export function stepFlops(decoder: Decoder, batch: PackedBatch, scored: number): number {
  const { config, layers, lora } = decoder;
  const matrices = layers.reduce(
    (sum, { queryKeyValue, attentionOutput, gateUp, down }) =>
      sum + queryKeyValue.numel + attentionOutput.numel + gateUp.numel + down.numel,
    0,
  );
  const adapters =
    lora?.layers.reduce(
      (sum, of) => sum + Object.values(of).reduce((all, { a, b }) => all + a.numel + b.numel, 0),
      0,
    ) ?? 0;
  const each = lora === undefined ? 6 : 4;
  const width = config.heads * config.headSize;
  const pairs = batch.sequences.reduce((sum, { length }) => sum + length * (length + 1), 0) / 2;
  return (
    batch.ids.length * (each * matrices + 6 * adapters) +
    scored * each * config.vocabularySize * config.hiddenSize +
    // Two products of a row of `width` for every pair of a token and one before it, and twice that backwards.
    layers.length * pairs * width * 12
  );
}
