import { createExperts, experts } from '../layers/experts.js';
import { createInteractions } from './interactions.js';
import type { CreateNetwork } from './network.js';
import { createTowers, towerLogits } from './towers.js';

/**
 * ESMM, the entire space multi-task model (Ma et al., SIGIR 2018, equations 1 and 4): a network for p_ctr and one for p_cvr that share
 * nothing but the embeddings, learnt through p_ctr and p_ctcvr = p_ctr · p_cvr over all impressions. That form is the loss of every
 * model here; what makes this one ESMM are its two whole networks. Without orders it is the first of them alone.
 */
export const createEsmm: CreateNetwork = (p, inputs, config, _features, width) => {
  const nets = createExperts(p, 'deep', inputs.tasks.length, width, config.hidden, {
    sharedInput: true,
    dropout: config.dropout,
    batchNorm: config.batchNorm,
  });
  const towers = createTowers(p, 'tower', inputs.tasks, nets.outputs, []);
  const interactions = createInteractions(p, inputs, config);
  return {
    logits(input, training) {
      const h = experts(nets, input.x, training); // [B, tasks · hidden.at(-1)]
      const own = towers.map((_, k) => h.narrow(1, k * nets.outputs, nets.outputs));
      return towerLogits(towers, own, training, interactions(input));
    },
  };
};
