import { ConfigError } from '@larr/core';
import { cat, zeros } from '@larr/torch';
import { embed } from '../layers/embedding-table.js';
import { createMlp, mlp } from '../layers/mlp.js';
import { attendToHistory, createTargetAttention } from '../layers/target-attention.js';
import type { ModelInputs } from './inputs.js';
import type { CreateNetwork } from './network.js';
import { createTowers, towerLogits } from './towers.js';

/**
 * The categorical feature whose embeddings the POIs of a sequence have too: its position, and what it is.
 * @throws ConfigError `NEEDS_SEQUENCE` where the dataset has no sequences of POIs, or no POI ids
 */
export function sequenceTarget(inputs: ModelInputs): { position: number; name: string; offset: number; size: number } {
  const position = inputs.categorical.findIndex(({ role }) => role === 'poi');
  const feature = inputs.categorical[position];
  if (inputs.sequences.length > 0 && feature) return { position, ...feature };
  throw new ConfigError(
    'NEEDS_SEQUENCE',
    `din attends to the POIs that a user clicked before, and the dataset has no ${
      feature ? 'sequence of POIs (features.sequences)' : 'categorical feature of role "poi"'
    }: declare one in the schema and prepare it again, or take another model`,
  );
}

/**
 * DIN, the deep interest network (Zhou et al., KDD 2018, equation 3): each of the user's POI sequences becomes one vector, its POIs'
 * embeddings weighed by how they go with the POI at hand,
 *
 *     v_s = Σ_l a(k_l, q) k_l,    logit_k = deep_k([ x ; v_1 ; v_2 ; … ])
 *
 * with a local activation unit a (layers/target-attention.ts) for each sequence. q and k_l are rows of one table, the POI ids'
 * embeddings: `history.poi` [1 + POIs, 1] says which vocabulary entry each POI of the dataset is (see installPois).
 */
export const createDin: CreateNetwork = (p, inputs, config, features, width) => {
  const target = sequenceTarget(inputs);
  const dim = config.embeddingDim;
  const entryOf = p.buffer('history.poi', zeros([1 + inputs.pois, 1], { dtype: 'i64' }));
  const units = inputs.sequences.map(({ name }) =>
    createTargetAttention(p, `history.${name}`, dim, config.din.attention),
  );
  const deep = createMlp(p, 'deep', width + units.length * dim, config.hidden, config);
  const towers = createTowers(p, 'tower', inputs.tasks, deep.outputs, []);
  return {
    logits({ batch, v, x }, training) {
      const history = batch.history!; // [B, L of all sequences]
      const rows = entryOf
        .indexSelect(0, history.reshape([-1]))
        .add(target.offset)
        .reshape(history.shape);
      const k = embed(features.table, rows); // [B, L, d]
      const present = history.gt(0).to('f32');
      const q = v.select(1, target.position); // [B, d]
      let at = 0;
      const vectors = units.map((unit, s) => {
        const { length } = inputs.sequences[s]!;
        const own = attendToHistory(unit, q, k.narrow(1, at, length), present.narrow(1, at, length));
        at += length;
        return own.to(x.dtype);
      });
      const h = mlp(deep, cat([x, ...vectors], 1), training);
      return towerLogits(towers, h, training);
    },
  };
};
