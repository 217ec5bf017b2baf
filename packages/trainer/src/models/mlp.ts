import { createMlp, mlp } from '../layers/mlp.js';
import type { Parameters } from '../layers/parameters.js';
import type { ModelConfig } from './config.js';
import { createFeatures, features } from './features.js';
import type { ModelInputs, RecommendationModel } from './inputs.js';
import { createTowers, towerLogits } from './towers.js';

/** The plain deep network: one MLP over all features, shared by the tasks, and one logit per task. */
export function createDnn(p: Parameters, inputs: ModelInputs, config: ModelConfig): RecommendationModel {
  const fields = createFeatures(p, inputs, config.embeddingDim);
  const deep = createMlp(p, 'deep', fields.width, config.hidden, config);
  const towers = createTowers(p, 'tower', inputs.tasks, deep.outputs, []);
  return {
    forward(batch, training) {
      const { x } = features(fields, batch);
      const h = mlp(deep, x, training); // [B, hidden.at(-1)]
      const [ctr, cvr] = towerLogits(
        towers,
        inputs.tasks.map(() => h),
        training,
      );
      return { ctr: ctr!, cvr: cvr ?? null, alignment: null };
    },
  };
}
