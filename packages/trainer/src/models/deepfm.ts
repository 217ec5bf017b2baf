import { createFactorizationMachine, factorizationMachine } from '../layers/factorization.js';
import { createMlp, mlp } from '../layers/mlp.js';
import type { CreateNetwork } from './network.js';
import { createTowers, towerLogits } from './towers.js';

/**
 * DeepFM (Guo et al., 2017): logit_k = Σ_f w_{k, id_f} + u_k · Σ_{f<g} v_f ⊙ v_g + deep_k(x), the embeddings v shared by
 * the factorisation machine and the MLP. The paper has one task and u = 1; with two tasks u_k starts at 1 and is learnt,
 * so that the tasks may weigh the shared interactions differently.
 */
export const createDeepFm: CreateNetwork = (p, inputs, config, _features, width) => {
  const fm = createFactorizationMachine(p, inputs.tableRows, inputs.tasks.length, config.embeddingDim);
  const deep = createMlp(p, 'deep', width, config.hidden, config);
  const towers = createTowers(p, 'tower', inputs.tasks, deep.outputs, []);
  return {
    logits({ batch, v, x }, training) {
      const h = mlp(deep, x, training);
      return towerLogits(towers, h, training, factorizationMachine(fm, batch.ids, v));
    },
  };
};
