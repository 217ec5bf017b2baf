import { createMlp, mlp } from '../layers/mlp.js';
import { createInteractions } from './interactions.js';
import type { CreateNetwork } from './network.js';
import { createTowers, towerLogits } from './towers.js';

/** The plain deep network: one MLP over all features, shared by the tasks, and one logit per task. */
export const createDnn: CreateNetwork = (p, inputs, config, _features, width) => {
  const deep = createMlp(p, 'deep', width, config.hidden, config);
  const towers = createTowers(p, 'tower', inputs.tasks, deep.outputs, []);
  const interactions = createInteractions(p, inputs, config);
  return {
    logits(input, training) {
      const h = mlp(deep, input.x, training); // [B, hidden.at(-1)]
      return towerLogits(towers, h, training, interactions(input));
    },
  };
};
