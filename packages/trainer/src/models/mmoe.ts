import { createExtraction, extract } from '../layers/extraction.js';
import { createInteractions } from './interactions.js';
import type { CreateNetwork } from './network.js';
import { createTowers, towerLogits } from './towers.js';

/**
 * MMoE, multi-gate mixture of experts (Ma et al., KDD 2018, equations 5 to 7): experts f_e that all tasks share, and a gate of each
 * task's own,
 *
 *     y_k = tower_k( Σ_e g^k(x)_e f_e(x) ),   g^k(x) = softmax(W_gk x)
 *
 * which is one level of PLE's extraction where no expert belongs to a task.
 */
export const createMmoe: CreateNetwork = (p, inputs, config, _features, width) => {
  const { experts, layers, tower } = config.mmoe;
  const extraction = createExtraction(p, 'extraction', width, {
    tasks: inputs.tasks.length,
    sharedExperts: experts,
    taskExperts: 0,
    levels: [layers],
    dropout: config.dropout,
    batchNorm: config.batchNorm,
  });
  const towers = createTowers(p, 'tower', inputs.tasks, extraction.outputs, tower, config);
  const interactions = createInteractions(p, inputs, config);
  return {
    logits(input, training) {
      const mixtures = extract(extraction, input.x, training); // per task [B, d]
      return towerLogits(towers, mixtures, training, interactions(input));
    },
  };
};
