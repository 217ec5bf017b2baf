import type { Tensor } from '@larr/torch';
import { createFactorizationMachine, factorizationMachine } from '../layers/factorization.js';
import type { Parameters } from '../layers/parameters.js';
import type { ModelConfig } from './config.js';
import type { ModelInputs } from './inputs.js';
import type { NetworkInput } from './network.js';

/**
 * What a network of towers adds to its logits besides, by `interactions` of the configuration: `fm`, the terms of a factorisation machine
 * over the ID embeddings, as DeepFM (Guo et al., IJCAI 2017, equations 1 and 2) adds them to its MLP:
 *
 *     logit_k = tower_k(…) + Σ_f w_{k, id_f} + u_k · Σ_{f<g} v_f ⊙ v_g
 *
 * A network of layers has to learn the product of two embeddings from sums of them, and in one epoch it does not.
 * @returns → [B, tasks]; nothing where the configuration wants none
 */
export function createInteractions(
  p: Parameters,
  inputs: ModelInputs,
  { interactions, embeddingDim }: ModelConfig,
): (input: NetworkInput) => Tensor | null {
  if (interactions !== 'fm') return () => null;
  const fm = createFactorizationMachine(p, inputs.tableRows, inputs.tasks.length, embeddingDim);
  return ({ batch, v }) => factorizationMachine(fm, batch.ids, v);
}
