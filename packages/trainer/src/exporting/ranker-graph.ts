import type { ModelConfig } from '../models/config.js';
import { networkOf } from '../models/index.js';
import { clickLogitShift, type ModelInputs } from '../models/inputs.js';
import { GraphWriter, type Value } from './onnx/graph.js';
import { linear, type ModelState, mlp, weightOf } from './onnx/layers.js';
import { networkGraphs } from './onnx/networks.js';

/** A ranker as an ONNX graph, and what must be fed to it. */
export interface RankerGraph {
  onnx: Uint8Array;
  /** tables that stay outside the graph, by the name of their input: f32 [·, dim], shared by all requests */
  tables: Record<string, { weight: string; dim: number }>;
  /** widths of the other inputs; null where the model has no such input */
  inputs: {
    ids: number;
    dense: number | null;
    z_s: number | null;
    behaviour: number | null;
    history: number | null;
  };
  outputs: ('p_ctr' | 'p_ctcvr')[];
}

/**
 * Writes a trained model (models/README.md) as a graph over a batch of B rows:
 *
 *     ids i64 [B, F] (rows of the fused table) · dense f32 [B, D] (raw) · z_s f32 [B, ·] · behaviour f32 [B, d] ·
 *     history i64 [B, L] (POIs from 1, 0 = padding)
 *       → p_ctr [B], and p_ctcvr [B] = p_ctr · σ(order) where the model learnt orders
 *
 * Standardisation of dense features, the linear map of the behaviour vector and the correction for thinned negatives are inside. The scene encoder is not: the server
 * folds it, and feeds z_s.
 * @throws ConfigError `MODEL_NOT_EXPORTABLE` for a vocabulary of POIs that sequences cannot point into; TrainingError
 * `CHECKPOINT_MISMATCH` where a weight is missing
 */
export function rankerGraph(model: string, inputs: ModelInputs, config: ModelConfig, state: ModelState): RankerGraph {
  const graph = new GraphWriter();
  const tables: RankerGraph['tables'] = {};
  const table = (input: string, weight: string): Value => {
    const dim = weightOf(state, weight).shape[1]!;
    tables[input] = { weight, dim };
    return graph.input(input, 'f32', [`${input}_rows`, dim]);
  };
  const fields = inputs.categorical.length;
  const dim = config.embeddingDim;
  const embedding = table('table', 'embedding');
  const ids = graph.input('ids', 'i64', ['batch', fields]);
  const v = graph.gather(embedding, ids); // [B, F, dim]
  const parts = [graph.reshape(v, [-1, fields * dim])];
  const optional: Omit<RankerGraph['inputs'], 'ids'> = { dense: null, z_s: null, behaviour: null, history: null };

  if (inputs.dense.length > 0) {
    optional.dense = inputs.dense.length;
    const raw = graph.input('dense', 'f32', ['batch', inputs.dense.length]);
    const mean = graph.weight('dense.mean', weightOf(state, 'dense.mean').data, [inputs.dense.length]);
    const scale = graph.weight('dense.scale', weightOf(state, 'dense.scale').data, [inputs.dense.length]);
    parts.push(graph.mul(graph.sub(raw, mean), scale));
  }
  const sceneWidth = widthOfScene(inputs, state);
  if (sceneWidth !== null) {
    optional.z_s = sceneWidth;
    parts.push(graph.input('z_s', 'f32', ['batch', sceneWidth]));
  }
  if (state.has('behaviour.weight')) {
    optional.behaviour = weightOf(state, 'behaviour.weight').shape[1]!;
    const behaviour = graph.input('behaviour', 'f32', ['batch', optional.behaviour]);
    parts.push(linear(graph, state, 'behaviour', behaviour));
  }
  const x = graph.concat(parts, 1);

  const { streams, shallow } = networkGraphs[networkOf(model, config)]({
    graph,
    state,
    inputs,
    config,
    ids,
    v,
    x,
    rest: parts.length > 1 ? graph.concat(parts.slice(1), 1) : null,
    table,
    history: () => {
      optional.history = inputs.sequences.reduce((sum, { length }) => sum + length, 0);
      return graph.input('history', 'i64', ['batch', optional.history]);
    },
  });

  const shift = clickLogitShift(inputs);
  const [ctr, cvr] = inputs.tasks.map((task, k) => {
    const hidden = mlp(graph, state, `tower.${task}.hidden`, Array.isArray(streams) ? streams[k]! : streams);
    const logit = graph.squeeze(linear(graph, state, `tower.${task}.out`, hidden), 1);
    const whole =
      shallow === undefined ? logit : graph.add(logit, graph.op('Gather', [shallow, graph.integer(k)], { axis: 1 }));
    return graph.sigmoid(task === 'click' && shift !== 0 ? graph.add(whole, graph.number(shift)) : whole);
  });
  graph.output('p_ctr', ctr!, ['batch']);
  if (cvr !== undefined) graph.output('p_ctcvr', graph.mul(ctr!, cvr), ['batch']);

  return {
    onnx: graph.encode('larr-ranker', { model }),
    tables,
    inputs: { ids: fields, ...optional },
    outputs: cvr === undefined ? ['p_ctr'] : ['p_ctr', 'p_ctcvr'],
  };
}

/** z_s is as wide as the encoder's head, or the fields' mapped vectors side by side (noAL); null for models without scene vectors. */
function widthOfScene(inputs: ModelInputs, state: ModelState): number | null {
  if (state.has('scene.head2_weight')) return weightOf(state, 'scene.head2_weight').shape[0]!;
  if (state.has('scene.concat.weight')) return inputs.scene.length * weightOf(state, 'scene.concat.weight').shape[2]!;
  return null;
}
