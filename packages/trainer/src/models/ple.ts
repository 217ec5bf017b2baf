import { createExtraction, extract } from '../layers/extraction.js';
import { createInteractions } from './interactions.js';
import type { CreateNetwork } from './network.js';
import { createTowers, towerLogits } from './towers.js';

/**
 * PLE: progressive layered extraction over ID embeddings and dense features, one tower per task; LARR's base.
 * p_ctr = σ(ctr), p_ctcvr = p_ctr · σ(cvr) (method.md, section 5).
 */
export const createPle: CreateNetwork = (p, inputs, config, _features, width) => {
  const extraction = createExtraction(p, 'extraction', width, {
    tasks: inputs.tasks.length,
    dropout: config.dropout,
    batchNorm: config.batchNorm,
    ...config.ple,
  });
  const towers = createTowers(p, 'tower', inputs.tasks, extraction.outputs, config.ple.tower, config);
  const interactions = createInteractions(p, inputs, config);
  return {
    logits(input, training) {
      const streams = extract(extraction, input.x, training); // per task [B, d]
      return towerLogits(towers, streams, training, interactions(input));
    },
  };
};
