import { createLinearTerm, linearTerm } from '../layers/factorization.js';
import { createMlp, mlp } from '../layers/mlp.js';
import type { CreateNetwork } from './network.js';
import { createTowers, towerLogits } from './towers.js';

/**
 * Wide & Deep (Cheng et al., 2016): logit_k = Σ_f w_{k, id_f} + deep_k(x). The wide part is a table of one weight per
 * id and task; the deep part is an MLP shared by the tasks.
 */
export const createWideDeep: CreateNetwork = (p, inputs, config, _features, width) => {
  const wide = createLinearTerm(p, 'wide', inputs.tableRows, inputs.tasks.length);
  const deep = createMlp(p, 'deep', width, config.hidden, config);
  const towers = createTowers(p, 'tower', inputs.tasks, deep.outputs, []);
  return {
    logits({ batch, x }, training) {
      const h = mlp(deep, x, training); // [B, hidden.at(-1)]
      return towerLogits(towers, h, training, linearTerm(wide, batch.ids));
    },
  };
};
