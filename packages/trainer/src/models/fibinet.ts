import { ConfigError } from '@larr/core';
import { cat } from '@larr/torch';
import {
  bilinearInteraction,
  createBilinearInteraction,
  createFieldExcitation,
  fieldWeights,
  pairProducts,
} from '../layers/bilinear-interaction.js';
import { createLinearTerm, linearTerm } from '../layers/factorization.js';
import { createMlp, mlp } from '../layers/mlp.js';
import type { ModelInputs } from './inputs.js';
import type { CreateNetwork } from './network.js';
import { createTowers, towerLogits } from './towers.js';

/** @throws ConfigError `NEEDS_FIELDS` where there is no pair of categorical features */
export function requirePairs(inputs: ModelInputs): void {
  if (inputs.categorical.length > 1) return;
  throw new ConfigError(
    'NEEDS_FIELDS',
    `fibinet learns from pairs of categorical features, and the dataset has ${inputs.categorical.length}: take another model`,
  );
}

/**
 * FiBiNET (Huang et al., RecSys 2019): logit_k = Σ_f w_{k, id_f} + deep_k([ p ; q ; dense ]) with the bilinear interactions p of the
 * field embeddings and q of the embeddings that SENET has weighed, one matrix W_ij for each pair of fields ("field-interaction"):
 *
 *     p_ij = (v_i W_ij) ∘ v_j,    q_ij = (a_i v_i W_ij) ∘ (a_j v_j) = a_i a_j p_ij,    a = SENET(v)
 *
 * Both use the same W, as FuxiCTR's do, so that q costs no second product.
 */
export const createFiBiNet: CreateNetwork = (p, inputs, config, features, width) => {
  const embedded = features.fields * config.embeddingDim;
  const firstOrder = createLinearTerm(p, 'first_order', inputs.tableRows, inputs.tasks.length);
  const senet = createFieldExcitation(p, 'senet', features.fields, config.fibinet.reduction);
  const bilinear = createBilinearInteraction(p, 'bilinear', features.fields, config.embeddingDim);
  const interactions = bilinear.pairs * config.embeddingDim;
  const deep = createMlp(p, 'deep', 2 * interactions + width - embedded, config.hidden, config);
  const towers = createTowers(p, 'tower', inputs.tasks, deep.outputs, []);
  return {
    logits({ batch, v, x }, training) {
      const pairs = bilinearInteraction(bilinear, v); // [B, P, d]
      const weight = pairProducts(fieldWeights(senet, v)); // [B, P]
      const flat = [pairs, pairs.mul(weight.unsqueeze(2))].map((t) =>
        t.reshape([batch.rows, interactions]).to(x.dtype),
      );
      const h = mlp(deep, cat([...flat, x.narrow(1, embedded, width - embedded)], 1), training);
      return towerLogits(towers, h, training, linearTerm(firstOrder, batch.ids));
    },
  };
};
