import { compressedInteraction, createCompressedInteraction } from '../layers/compressed-interaction.js';
import { createLinearTerm, linearTerm } from '../layers/factorization.js';
import { createMlp, mlp } from '../layers/mlp.js';
import { glorot } from '../layers/parameters.js';
import type { CreateNetwork } from './network.js';
import { createTowers, towerLogits } from './towers.js';

/**
 * xDeepFM (Lian et al., KDD 2018, equation 9): logit_k = Σ_f w_{k, id_f} + u_k · p⁺ + deep_k(x), where p⁺ are the feature maps of a
 * compressed interaction network over the field embeddings, summed over their width; the embeddings, the maps and the MLP are shared
 * by the tasks.
 */
export const createXDeepFm: CreateNetwork = (p, inputs, config, features, width) => {
  const tasks = inputs.tasks.length;
  const firstOrder = createLinearTerm(p, 'first_order', inputs.tableRows, tasks);
  const cin = createCompressedInteraction(p, 'cin', features.fields, config.xdeepfm.maps);
  const cinOut = p.parameter('cin.out.weight', [tasks, cin.outputs], glorot(cin.outputs, 1));
  const deep = createMlp(p, 'deep', width, config.hidden, config);
  const towers = createTowers(p, 'tower', inputs.tasks, deep.outputs, []);
  return {
    logits({ batch, v, x }, training) {
      const h = mlp(deep, x, training);
      const explicit = compressedInteraction(cin, v).linear(cinOut); // [B, tasks]
      return towerLogits(towers, h, training, linearTerm(firstOrder, batch.ids).add(explicit));
    },
  };
};
