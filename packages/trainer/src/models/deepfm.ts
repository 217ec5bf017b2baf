import { createEmbeddingTable, embed } from '../layers/embedding-table.js';
import { pairwiseInteractions } from '../layers/factorization.js';
import { createMlp, mlp } from '../layers/mlp.js';
import { constant, type Parameters, zero } from '../layers/parameters.js';
import type { ModelConfig } from './config.js';
import { createFeatures, features } from './features.js';
import type { ModelInputs, RecommendationModel } from './inputs.js';
import { createTowers, towerLogits } from './towers.js';

/**
 * DeepFM (Guo et al., 2017): logit_k = Σ_f w_{k, id_f} + u_k · Σ_{f<g} v_f ⊙ v_g + deep_k(x), the embeddings v shared by
 * the factorisation machine and the MLP. The paper has one task and u = 1; with two tasks u_k starts at 1 and is learnt,
 * so that the tasks may weigh the shared interactions differently.
 */
export function createDeepFm(p: Parameters, inputs: ModelInputs, config: ModelConfig): RecommendationModel {
  const fields = createFeatures(p, inputs, config.embeddingDim);
  const firstOrder = createEmbeddingTable(p, 'first_order', inputs.tableRows, inputs.tasks.length, zero);
  const secondOrder = p.parameter('second_order.weight', [inputs.tasks.length, config.embeddingDim], constant(1));
  const deep = createMlp(p, 'deep', fields.width, config.hidden, config);
  const towers = createTowers(p, 'tower', inputs.tasks, deep.outputs, []);
  return {
    forward(batch, training) {
      const { v, x } = features(fields, batch);
      const h = mlp(deep, x, training);
      const linear = embed(firstOrder, batch.ids).sum([1]); // [B, tasks]
      const fm = pairwiseInteractions(v).linear(secondOrder); // [B, tasks]
      const shallow = linear.add(fm);
      const [ctr, cvr] = towerLogits(
        towers,
        inputs.tasks.map(() => h),
        training,
      ).map((logit, k) => logit.add(shallow.select(1, k)));
      return { ctr: ctr!, cvr: cvr ?? null, alignment: null };
    },
  };
}
