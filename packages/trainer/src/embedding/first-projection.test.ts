import { manualSeed, ones } from '@larr/torch';
import { expect, it } from 'vitest';
import { decoderShape } from '../../test/decoder-shape.js';
import { createDecoder } from '../language-model/decoder.js';
import type { Tokenizer } from '../language-model/tokenizer.js';
import { FinetuneConfig } from './config.js';
import { disposeEmbedder, type Embedder } from './embedder.js';
import { startProjection } from './first-projection.js';
import type { Material } from './material.js';

const SHAPE = decoderShape({
  hiddenSize: 16,
  layers: 1,
  heads: 2,
  headSize: 8,
  feedForwardSize: 24,
  contextLength: 32,
});
const ITEMS = 30;
const heldOut = Uint8Array.from({ length: ITEMS }, (_, i) => +(i % 3 === 0));

/** Texts of three tokens; those held out are others for each `version`. */
function material(version: number): Material {
  const texts = (kind: number) =>
    Array.from({ length: ITEMS }, (_, i) =>
      Int32Array.from(
        { length: 3 },
        (_, t) => (7 * i + 11 * kind + 5 * t + (heldOut[i] ? version * (i + t + 1) : 0)) % 50,
      ),
    );
  return {
    texts: {
      poi: { business: texts(0), basic: texts(1), all: [], placeless: [] },
      user: { profile: texts(2), behaviour: texts(3), all: [], placeless: [] },
      dishes: texts(4).map((dish, i) => ({ dish, description: texts(5)[i]!, group: i })),
      truncated: 0,
    },
    heldOutPois: heldOut,
    heldOutUsers: heldOut,
    heldOutDishes: heldOut,
  } as unknown as Material;
}

it('starts from texts that stage 2 may learn from alone: nobody who is held out has a part in it', async () => {
  const config = FinetuneConfig.parse({ dimension: 8 });
  const start = async (version: number) => {
    manualSeed(3);
    const embedder: Embedder = {
      model: { decoder: createDecoder(SHAPE), tokenizer: { bosId: null } as Tokenizer } as Embedder['model'],
      projection: ones([8, SHAPE.hiddenSize]),
      otherProjection: null,
      pooling: 'mean',
      similarity: 'cosine',
    };
    await startProjection(embedder, material(version), config, undefined);
    const projection = embedder.projection.toFloat32Array();
    disposeEmbedder(embedder);
    return projection;
  };
  const first = await start(0);
  expect(new Set(first).size).toBeGreaterThan(100);
  expect(await start(1)).toEqual(first);
});
