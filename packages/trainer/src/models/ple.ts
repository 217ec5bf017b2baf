import { createExtraction, extract } from '../layers/extraction.js';
import type { Parameters } from '../layers/parameters.js';
import type { ModelConfig } from './config.js';
import { createFeatures, features } from './features.js';
import type { ModelInputs, RecommendationModel } from './inputs.js';
import { createTowers, towerLogits } from './towers.js';

/**
 * PLE: progressive layered extraction over ID embeddings and dense features, one tower per task; LARR's base.
 * p_ctr = σ(ctr), p_ctcvr = p_ctr · σ(cvr) (method.md, section 5).
 */
export function createPle(p: Parameters, inputs: ModelInputs, config: ModelConfig): RecommendationModel {
  const fields = createFeatures(p, inputs, config.embeddingDim);
  const extraction = createExtraction(p, 'extraction', fields.width, {
    tasks: inputs.tasks.length,
    dropout: config.dropout,
    batchNorm: config.batchNorm,
    ...config.ple,
  });
  const towers = createTowers(p, 'tower', inputs.tasks, extraction.outputs, config.ple.tower, config);
  return {
    forward(batch, training) {
      const { x } = features(fields, batch); // [B, F·dim + dense]
      const streams = extract(extraction, x, training); // per task [B, d]
      const [ctr, cvr] = towerLogits(towers, streams, training);
      return { ctr: ctr!, cvr: cvr ?? null, alignment: null };
    },
  };
}
