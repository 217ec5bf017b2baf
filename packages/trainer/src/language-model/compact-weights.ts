// Weights for training in less memory: bf16 as products take them, and beside them the other half of the f32 weights that steps change.
import { joinHalves, splitHalves, type Tensor, tidy } from '@larr/torch';
import type { Decoder } from './decoder.js';

const matrices = ['queryKeyValue', 'attentionOutput', 'gateUp', 'down'] as const;

/** Puts what `change` makes of it in the place of every matrix of a decoder, the embedding and the head among them; `name` as in `decoderParameters`. */
export function replaceMatrices(decoder: Decoder, change: (weight: Tensor, name: string) => Tensor): void {
  decoder.layers.forEach((layer, i) => {
    for (const matrix of matrices) layer[matrix] = change(layer[matrix], `layers.${i}.${matrix}`);
  });
  const table = change(decoder.embedding, 'embedding');
  decoder.head = decoder.config.tiedHead ? table : change(decoder.head, 'head');
  decoder.embedding = table;
}

/**
 * Holds a decoder's matrices in halves: bf16 in their place, the rest of each f32 number in `decoder.lows`. Nothing is lost (`wholeWeights`). One
 * matrix at a time: what it takes beside the weights is a matrix. Norms' gains and biases stay f32: they are few.
 */
export function halveWeights(decoder: Decoder): void {
  const lows: Record<string, Tensor> = {};
  replaceMatrices(decoder, (weight, name) => {
    const [high, low] = tidy(() => splitHalves(weight.to('f32')));
    weight.dispose();
    lows[name] = low;
    return high;
  });
  decoder.lows = lows;
}

/** Puts the halves together again to f32 weights, where a decoder is held in halves. Gradients of the halves are let go. */
export function wholeWeights(decoder: Decoder): void {
  const { lows } = decoder;
  if (lows === undefined) return;
  replaceMatrices(decoder, (high, name) => {
    const whole = tidy(() => joinHalves(high, lows[name]!));
    high.dispose();
    lows[name]!.dispose();
    return whole;
  });
  delete decoder.lows;
}
