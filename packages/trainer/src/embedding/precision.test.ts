import { manualSeed, noGrad, randn } from '@larr/torch';
import { describe, expect, it } from 'vitest';
import { decoderShape } from '../../test/decoder-shape.js';
import { createDecoder } from '../language-model/decoder.js';
import type { Tokenizer } from '../language-model/tokenizer.js';
import type { Embedder } from './embedder.js';
import { languageModelEmbedder } from './text-embedder.js';

const SHAPE = decoderShape({
  hiddenSize: 64,
  layers: 2,
  heads: 2,
  headSize: 32,
  feedForwardSize: 96,
  contextLength: 64,
  normEpsilon: 1e-5,
});

function embedder(): Embedder {
  manualSeed(3);
  return {
    model: { decoder: createDecoder(SHAPE), tokenizer: { bosId: 0 } as Tokenizer } as Embedder['model'],
    projection: randn([16, SHAPE.hiddenSize]),
    otherProjection: null,
    pooling: 'mean',
    similarity: 'cosine',
  };
}

describe('vectors that are no numbers', () => {
  it('are refused, with the text that has one', async () => {
    const damaged = embedder();
    const { embedding } = damaged.model.decoder;
    noGrad(() => embedding.select(0, 7).fill_(Number.POSITIVE_INFINITY));
    const texts = languageModelEmbedder(damaged);
    const sequences = [Int32Array.of(1, 2, 3), Int32Array.of(4, 7), Int32Array.of(5, 6)];
    await expect(texts.embed(sequences)).rejects.toMatchObject({
      code: 'VECTORS_NOT_FINITE',
      message: expect.stringMatching(/text 2 of 3, of 2 tokens holds NaN or infinity/),
    });
    await expect(texts.embed(sequences, { name: (i) => `dish ${i}` })).rejects.toThrow('dish 1 holds NaN');
    texts.dispose();
  });
});

describe('vectors by bf16 products', () => {
  it('point where those by f32 do, and are not the same', async () => {
    const sequences = Array.from({ length: 9 }, (_, i) =>
      Int32Array.from({ length: 5 + i }, (_, t) => (t * 7 + i * 11) % 60),
    );
    const texts = languageModelEmbedder(embedder());
    const exact = await texts.embed(sequences);
    const rounded = await texts.embed(sequences, { precision: 'bf16' });
    texts.dispose();
    const otherwise = languageModelEmbedder(embedder(), 'bf16');
    expect(await otherwise.embed(sequences)).toEqual(rounded);
    expect(await otherwise.embed(sequences, { precision: 'f32' })).toEqual(exact);
    otherwise.dispose();
    expect(rounded).not.toEqual(exact);
    sequences.forEach((_, row) => {
      const [a, b] = [exact, rounded].map((all) => all.subarray(16 * row, 16 * row + 16)) as [
        Float32Array,
        Float32Array,
      ];
      const dot = a.reduce((sum, x, i) => sum + x * b[i]!, 0);
      expect(dot / (Math.hypot(...a) * Math.hypot(...b))).toBeGreaterThan(0.999);
    });
  });
});
