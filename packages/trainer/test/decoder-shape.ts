import type { DecoderConfig } from '../src/language-model/configuration.js';

/** A decoder that takes a moment to make: Llama's, but for what `changes` says. */
export function decoderShape(changes: Partial<DecoderConfig> = {}): DecoderConfig {
  return {
    family: 'llama',
    vocabularySize: 60,
    hiddenSize: 24,
    layers: 3,
    heads: 4,
    keyValueHeads: 2,
    headSize: 6,
    feedForwardSize: 40,
    contextLength: 128,
    rotaryBase: 10_000,
    rotaryStretch: null,
    normEpsilon: 1e-6,
    tiedHead: true,
    attentionBias: false,
    queryKeyNorm: false,
    normalisedHead: false,
    ...changes,
  };
}
