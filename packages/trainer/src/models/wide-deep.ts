import { createEmbeddingTable, embed } from '../layers/embedding-table.js';
import { createMlp, mlp } from '../layers/mlp.js';
import { type Parameters, zero } from '../layers/parameters.js';
import type { ModelConfig } from './config.js';
import { createFeatures, features } from './features.js';
import type { ModelInputs, RecommendationModel } from './inputs.js';
import { createTowers, towerLogits } from './towers.js';

/**
 * Wide & Deep (Cheng et al., 2016): logit_k = Σ_f w_{k, id_f} + deep_k(x). The wide part is a table of one weight per
 * id and task; the deep part is an MLP shared by the tasks.
 */
export function createWideDeep(p: Parameters, inputs: ModelInputs, config: ModelConfig): RecommendationModel {
  const fields = createFeatures(p, inputs, config.embeddingDim);
  const wide = createEmbeddingTable(p, 'wide', inputs.tableRows, inputs.tasks.length, zero);
  const deep = createMlp(p, 'deep', fields.width, config.hidden, config);
  const towers = createTowers(p, 'tower', inputs.tasks, deep.outputs, []);
  return {
    forward(batch, training) {
      const { x } = features(fields, batch);
      const h = mlp(deep, x, training); // [B, hidden.at(-1)]
      const linear = embed(wide, batch.ids).sum([1]); // [B, tasks]
      const [ctr, cvr] = towerLogits(
        towers,
        inputs.tasks.map(() => h),
        training,
      ).map((logit, k) => logit.add(linear.select(1, k)));
      return { ctr: ctr!, cvr: cvr ?? null, alignment: null };
    },
  };
}
