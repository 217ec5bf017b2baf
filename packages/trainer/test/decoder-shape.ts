import type { DecoderConfig } from '../src/language-model/configuration.js';

/** One layer, and hardly any numbers: for tests of what lies around it. */
export function smallestDecoderShape(changes: Partial<DecoderConfig>): DecoderConfig {
  return decoderShape({
    hiddenSize: 16,
    layers: 1,
    heads: 2,
    keyValueHeads: 1,
    headSize: 8,
    feedForwardSize: 24,
    contextLength: 32,
    normEpsilon: 1e-5,
    ...changes,
  });
}

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
