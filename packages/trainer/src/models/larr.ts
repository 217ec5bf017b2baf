import { arange, cat, embeddingBag, randint, stack, type Tensor, tensor, zeros } from '@larr/torch';
import { embed } from '../layers/embedding-table.js';
import { createLinear, linear } from '../layers/linear.js';
import { constant, glorot, type Parameters } from '../layers/parameters.js';
import { aggregationWeights, createSceneEncoder, encodeScene, type SceneTokens } from '../layers/scene-encoder.js';
import type { ModelConfig } from './config.js';
import { createFeatures, type Features, features } from './features.js';
import type { Alignment, Batch, ModelInputs, RecommendationModel } from './inputs.js';
import { networks } from './networks.js';

/** Tables of at most this many entries are encoded whole: finding the unique ones of a batch would cost more. */
const WHOLE_TABLE = 512;

/**
 * LARR (method.md, section 5): the base, PLE unless `base` names another, over [ ID embeddings ; dense ; z_s ; behaviour ; POI ]. A
 * base that looks at the fields one by one (factorisation machine, CIN, bilinear interactions, target attention) does so for the ID
 * embeddings alone; z_s, behaviour and POI enter its deep part.
 *
 *     z_s = head( encoder([ agg ; e_1 + pos_1 ; … ; e_n + pos_n ]) )        z_t = [ user embedding ; POI embedding ]
 *
 * z_t is part of the base's ID embeddings, so it is not put into the input a second time. The behaviour input is a linear map
 * of the mean vector of the POIs in the user's sequences, the POI input one of the vector of the candidate's own texts. The vectors
 * themselves are fixed buffers: `scene.table` [entries, d] and `pois.table` [1 + POIs, d], row 0 = padding or unknown, both
 * standardised (see installVectors). Each of these inputs has a learnt factor before the base, `scene.gain`, `behaviour.gain`,
 * `poi.gain` [1], which starts at `larr.gain`: embeddings start at .01, and inputs a hundred times as large would be learnt in
 * their place. z_s is aligned as it is.
 */
export function createLarr(p: Parameters, inputs: ModelInputs, config: ModelConfig): RecommendationModel {
  const { larr, align, embeddingDim } = config;
  const fields = createFeatures(p, inputs, embeddingDim);
  const ids = inputs.categorical.flatMap(({ role }, f) => (role === 'user' || role === 'poi' ? [f] : []));
  const scene = createSceneInput(p, inputs, config, ids.length * embeddingDim);
  const sceneGain = scene && createGain(p, 'scene', config);
  const semantic = [createBehaviour(p, inputs, config), createPoi(p, inputs, config)].filter((input) => input !== null);
  const width = fields.width + (scene?.width ?? 0) + semantic.reduce((sum, input) => sum + input.width, 0);
  const base = networks[config.base](p, inputs, config, fields, width);
  const aligns = align.lambda > 0 && larr.aggregation === 'encoder' && scene !== null && ids.length > 0;
  return {
    forward(batch, training) {
      const { v, x } = features(fields, batch); // [B, F, dim], [B, F·dim + dense]
      const parts = [x];
      const zs = scene?.forward(batch) ?? null; // [B, dim z_t]
      if (zs) parts.push(zs.mul(sceneGain!).to(x.dtype));
      for (const input of semantic) parts.push(input.forward(batch).to(x.dtype));
      const [ctr, cvr] = base.logits({ batch, v, x: cat(parts, 1) }, training);
      const alignment =
        aligns && training
          ? {
              scene: zs!.to('f32'),
              target: cat(
                ids.map((f) => v.select(1, f)),
                1,
              ),
              extra: align.extraNegatives > 0 ? drawNegatives(fields, inputs, ids, batch, align.extraNegatives) : null,
            }
          : null;
      return { ctr: ctr!, cvr: cvr ?? null, alignment };
    },
    ...(scene?.attention && { sceneAttention: scene.attention }),
  };
}

/**
 * `count` pairs of a user and a POI for each row, both drawn evenly from those of the training part: their embeddings, and whether a
 * draw hit the row's own pair.
 * @param ids the features of role user and poi
 */
function drawNegatives(
  fields: Features,
  inputs: ModelInputs,
  ids: number[],
  batch: Batch,
  count: number,
): NonNullable<Alignment['extra']> {
  const drawn = ids.map((f) => {
    const { offset, size } = inputs.categorical[f]!;
    // row `offset` stands for what training has not seen; a feature that knows nothing else has only that
    return randint(offset + Math.min(1, size - 1), offset + size, [batch.rows, count], { device: batch.ids.device });
  });
  const same = drawn.map((rows, i) => rows.eq(batch.ids.select(1, ids[i]!).unsqueeze(1)));
  const vectors = embed(fields.table, stack(drawn, 2)); // [B, K, fields of ids, dim]
  return {
    target: vectors.reshape([batch.rows, count, ids.length * fields.table.dim]),
    own: same.reduce((a, b) => a.logicalAnd(b)),
  };
}

interface SemanticInput {
  width: number;
  /** → [B, width] */
  forward(batch: Batch): Tensor;
}

function createSceneInput(
  p: Parameters,
  inputs: ModelInputs,
  config: ModelConfig,
  targetDim: number,
): (SemanticInput & { attention?: (scene: Tensor) => Tensor }) | null {
  const fields = inputs.scene.length;
  if (fields === 0) return null;
  const { larr, embeddingDim } = config;
  const table = p.buffer('scene.table', zeros([inputs.sceneEntries, larr.vectorDim]));
  const missingEntry = new Uint8Array(inputs.sceneEntries);
  const fieldOfEntry = new BigInt64Array(inputs.sceneEntries);
  inputs.scene.forEach(({ offset, texts }, i) => {
    missingEntry[offset] = 1;
    fieldOfEntry.fill(BigInt(i), offset, offset + texts);
  });
  const missing = p.constant(tensor(missingEntry, [inputs.sceneEntries], { dtype: 'bool' }));
  const fieldOf = p.constant(tensor(fieldOfEntry, [inputs.sceneEntries], { dtype: 'i64' }));

  if (larr.aggregation === 'concat') {
    const initial = glorot(larr.vectorDim, embeddingDim);
    const map = p.parameter('scene.concat.weight', [fields, larr.vectorDim, embeddingDim], initial);
    return {
      width: fields * embeddingDim,
      forward(batch) {
        // per entry, not per row: each entry goes through its own field's map once
        const mapped = table.unsqueeze(1).bmm(map.indexSelect(0, fieldOf)).squeeze(1); // [entries, dim]
        return mapped.indexSelect(0, batch.scene!.reshape([-1])).reshape([batch.rows, fields * embeddingDim]);
      },
    };
  }

  // without user or POI ids there is nothing to align with, and z_s takes the width that two ids would have
  const outputs = targetDim || 2 * embeddingDim;
  const encoder = createSceneEncoder(p, 'scene', { dim: larr.vectorDim, fields, outputs, ...larr });
  const tokens = (rows: Tensor) => sceneTokens(table, fieldOf, missing, rows);
  return {
    width: outputs,
    forward: (batch) => encodeScene(encoder, tokens(batch.scene!)),
    ...(larr.pooling === 'aggregation' && {
      attention: (rows) => aggregationWeights(encoder, tokens(rows.to({ device: table.device }))),
    }),
  };
}

/** The entries that a batch needs: all of a small table, otherwise each (field, text) of the batch once. */
function sceneTokens(table: Tensor, fieldOf: Tensor, missing: Tensor, scene: Tensor): SceneTokens {
  const absent = missing.indexSelect(0, scene.reshape([-1])).reshape(scene.shape);
  if (table.shape[0]! <= WHOLE_TABLE) return { table, fieldOf, index: scene, missing: absent };
  const [entries, inverse] = scene.unique() as [Tensor, Tensor];
  return {
    table: table.indexSelect(0, entries),
    fieldOf: fieldOf.indexSelect(0, entries),
    index: inverse.reshape(scene.shape),
    missing: absent,
  };
}

function createBehaviour(p: Parameters, inputs: ModelInputs, config: ModelConfig): SemanticInput | null {
  if (!config.larr.behaviour || inputs.sequences.length === 0) return null;
  return createPoiInput(p, inputs, config, 'behaviour', (table, batch) => {
    const history = batch.history!; // [B, L]
    const length = history.shape[1]!;
    const bags = arange(0, batch.rows * length, length, { dtype: 'i64', device: history.device });
    const options = { mode: 'mean', paddingIndex: 0 }; // a user without history: the zero vector
    return embeddingBag(table, history.reshape([-1]), bags, options);
  });
}

function createPoi(p: Parameters, inputs: ModelInputs, config: ModelConfig): SemanticInput | null {
  if (!config.larr.poi) return null;
  return createPoiInput(p, inputs, config, 'poi', (table, batch) => table.indexSelect(0, batch.poi.to('i64').add(1)));
}

/** What an input is multiplied with before the base, [1]. The exporter multiplies it into the input's weights (withFoldedTables). */
function createGain(p: Parameters, name: string, { larr }: ModelConfig): Tensor {
  return p.parameter(`${name}.gain`, [1], constant(larr.gain));
}

/** A linear map, times its gain, of one vector a row, `vectorOf` [B, d], from the table of POIs' vectors [1 + POIs, d], which all such inputs share. */
function createPoiInput(
  p: Parameters,
  inputs: ModelInputs,
  config: ModelConfig,
  name: string,
  vectorOf: (table: Tensor, batch: Batch) => Tensor,
): SemanticInput {
  const { vectorDim } = config.larr;
  const table = p.buffers.get('pois.table') ?? p.buffer('pois.table', zeros([1 + inputs.pois, vectorDim]));
  const width = 2 * config.embeddingDim;
  const map = createLinear(p, name, vectorDim, width);
  const gain = createGain(p, name, config);
  return { width, forward: (batch) => linear(map, vectorOf(table, batch)).mul(gain) };
}
