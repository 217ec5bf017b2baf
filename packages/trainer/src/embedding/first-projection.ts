import { init, noGrad, ones, tidy } from '@larr/torch';
import type { FinetuneConfig } from './config.js';
import { type Embedder, mapSequences, pooledStates } from './embedder.js';
import type { Material } from './material.js';
import { whiteningProjection } from './whitening.js';

/** Texts of a kind whose states the projection starts from. */
const WHITENING_TEXTS = 1024;

/** Sets the projection to the whitening matrix of the stage-1 states of texts that stage 2 may learn from. */
export async function startProjection(
  embedder: Embedder,
  { texts, heldOutPois, heldOutUsers, heldOutDishes }: Material,
  config: FinetuneConfig,
  signal: AbortSignal | undefined,
): Promise<void> {
  const hidden = embedder.model.decoder.config.hiddenSize;
  const ofHeldOutDish = Uint8Array.from(texts.dishes, ({ group }) => heldOutDishes[group]!);
  const kinds = (
    [
      [texts.poi.business, heldOutPois],
      [texts.poi.basic, heldOutPois],
      [texts.user.profile, heldOutUsers],
      [texts.user.behaviour, heldOutUsers],
      [texts.dishes.map(({ dish }) => dish), ofHeldOutDish],
      [texts.dishes.map(({ description }) => description), ofHeldOutDish],
    ] as const
  ).map(([all, heldOut]) =>
    all.flatMap((ids, i) => (ids === null || heldOut[i] ? [] : [ids])).slice(0, WHITENING_TEXTS),
  );
  const states: Float32Array[] = [];
  for (const kind of kinds) {
    states.push(
      await mapSequences(kind, hidden, (batch) => pooledStates(embedder.model, batch, embedder.pooling), { signal }),
    );
  }
  noGrad(() =>
    tidy(() => {
      const start = whiteningProjection(states, hidden, config.dimension);
      if (config.dimension > hidden) {
        // More dimensions than states have: the rest begins as small random directions.
        const rest = init.normal_(ones([config.dimension - hidden, hidden]), 0.01 / Math.sqrt(hidden));
        start.narrow(0, hidden, config.dimension - hidden).copy_(rest);
      }
      embedder.projection.copy_(start);
      embedder.otherProjection?.copy_(start);
    }),
  );
}
