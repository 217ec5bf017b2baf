import { cat } from '@larr/torch';
import { createCrossNetwork, cross } from '../layers/cross.js';
import { createMlp, mlp } from '../layers/mlp.js';
import type { CreateNetwork } from './network.js';
import { createTowers, towerLogits } from './towers.js';

/**
 * DCN-V2 (Wang et al., WWW 2021): cross layers x_{l+1} = x_0 ⊙ (W_l x_l + b_l) + x_l with whole matrices (equation 1), and an MLP,
 * shared by the tasks; `dcnV2.structure` puts the MLP beside them (`parallel`, logit_k = w_k · [ x_L ; h(x_0) ]) or behind
 * (`stacked`, logit_k = w_k · h(x_L)): the paper's figure 1.
 */
export const createDcnV2: CreateNetwork = (p, inputs, config, _features, width) => {
  const { layers, structure } = config.dcnV2;
  const crossing = createCrossNetwork(p, 'cross', width, layers);
  const deep = createMlp(p, 'deep', width, config.hidden, config);
  const outputs = structure === 'parallel' ? width + deep.outputs : deep.outputs;
  const towers = createTowers(p, 'tower', inputs.tasks, outputs, []);
  return {
    logits({ x }, training) {
      const crossed = cross(crossing, x); // [B, width]
      const h =
        structure === 'parallel' ? cat([crossed, mlp(deep, x, training).to(x.dtype)], 1) : mlp(deep, crossed, training);
      return towerLogits(towers, h, training);
    },
  };
};
