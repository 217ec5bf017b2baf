import { cat, type Tensor, zeros } from '@larr/torch';
import type { Parameters } from '../layers/parameters.js';
import type { Batch, ModelInputs } from './inputs.js';

/** What a control is told: what the POIs are like, or besides what the users want. */
export type Truth = 'attributes' | 'taste';

/**
 * What only the simulator knows, as further inputs of a base: the upper bounds `ple-true-attributes` and `ple-true-taste`.
 *
 *     attributes: x' = [ x ; a_poi ]          taste: x' = [ x ; a_poi ; t_user ; a_poi ∘ t_user ]
 *
 * Registers the buffers `truth.pois` [POIs, A] and, for tastes, `truth.users` [users, A]; `installTruth` fills them.
 */
export function createTruth(
  p: Parameters,
  inputs: ModelInputs,
  truth: Truth,
): { width: number; forward(batch: Batch): Tensor } {
  const { attributes, users } = inputs.truth!;
  const ofPoi = p.buffer('truth.pois', zeros([inputs.pois, attributes]));
  const ofUser = truth === 'taste' ? p.buffer('truth.users', zeros([users, attributes])) : null;
  return {
    width: attributes * (ofUser === null ? 1 : 3),
    forward(batch) {
      const a = ofPoi.indexSelect(0, batch.poi); // [B, A]
      if (ofUser === null) return a;
      const t = ofUser.indexSelect(0, batch.user);
      return cat([a, t, a.mul(t)], 1);
    },
  };
}
