/**
 * The networks of src/models as ONNX operators, one writer per model file there: logits as each task's stream [B, ·], which its tower
 * reads, and what is added to the towers' outputs.
 */
import { ConfigError } from '@larr/core';
import type { ModelConfig, NetworkName } from '../../models/config.js';
import { sequenceTarget } from '../../models/din.js';
import type { ModelInputs } from '../../models/inputs.js';
import type { ShallowTerms } from '../shallow-terms.js';
import type { GraphWriter, Value } from './graph.js';
import {
  bilinearInteraction,
  compressedInteraction,
  cross,
  experts,
  extraction,
  fieldWeights,
  type ModelState,
  matrix,
  mlp,
  targetAttention,
  weightOf,
} from './layers.js';
import type { Source } from './source.js';

/** What a network's writer has to work with. */
export interface NetworkGraph {
  graph: GraphWriter;
  state: ModelState;
  inputs: ModelInputs;
  config: ModelConfig;
  /** i32 [B, F] rows of the fused table, features in their order */
  ids: () => Value;
  /** [B, F, dim] */
  v: () => Value;
  /** [B, F · dim + dense + ·]: what the networks read (models/network.ts) */
  x: Source;
  /** what stands in x behind the embeddings, [B, ·]; null where nothing does */
  rest: () => Value | null;
  /** what it adds to the logits; null where that is nothing, or of another form */
  terms: ShallowTerms | null;
  /** declares a weight as an input table of the graph: large ones stay outside */
  table(input: string, weight: string): Value;
  /** i64 [B, L of all sequences]: POIs from 1, 0 = padding; taken in by the network that reads it */
  history(): Value;
}

/** Each task's stream [B, ·], or one for all of them, and [B, tasks] to be added to the logits. */
export interface NetworkOutput {
  streams: Value | Value[];
  shallow?: Value;
}

export const networkGraphs: Record<NetworkName, (net: NetworkGraph) => NetworkOutput> = {
  dnn: deep,
  'wide-deep': deep,
  deepfm: deep,
  'dcn-v2': ({ graph, state, config, x }) => {
    const crossed = cross(graph, state, 'cross', x);
    if (config.dcnV2.structure === 'stacked') return { streams: mlp(graph, state, 'deep', crossed) };
    return { streams: graph.concat([crossed, mlp(graph, state, 'deep', x)], 1) };
  },
  xdeepfm: (net) => {
    const { graph, state, x, v } = net;
    const explicit = graph.linear(
      compressedInteraction(graph, state, 'cin', v()),
      matrix(graph, state, 'cin.out.weight'),
    );
    return { streams: mlp(graph, state, 'deep', x), shallow: graph.add(linearTerm(net, 'first_order'), explicit) };
  },
  fibinet: (net) => {
    const { graph, state, inputs, config } = net;
    const [v, rest] = [net.v(), net.rest()];
    const { left, right } = fieldPairs(inputs.categorical.length);
    const pairs = bilinearInteraction(graph, state, 'bilinear', v, left, right); // [P, B, d]
    const a = graph.transpose(fieldWeights(graph, state, 'senet', v), [1, 0]); // [F, B]
    const weight = graph.mul(graph.gather(a, graph.integers(left)), graph.gather(a, graph.integers(right))); // [P, B]
    const flat = [pairs, graph.mul(pairs, graph.unsqueeze(weight, 2))].map((t) =>
      graph.reshape(graph.transpose(t, [1, 0, 2]), [-1, left.length * config.embeddingDim]),
    );
    const h = mlp(graph, state, 'deep', graph.concat(rest === null ? flat : [...flat, rest], 1));
    return { streams: h, shallow: linearTerm(net, 'first_order') };
  },
  din: (net) => {
    const { graph, state, inputs, config, v, x } = net;
    const target = sequenceTarget(inputs);
    if (target.size > EXACT_IN_F32) {
      throw new ConfigError(
        'MODEL_NOT_EXPORTABLE',
        `the vocabulary of "${target.name}" has ${target.size} entries, and a ranker that reads sequences can tell ${EXACT_IN_F32} apart: hash it into fewer buckets`,
      );
    }
    const history = net.history();
    // embeddings.safetensors holds f32: the entries come as such
    const entries = graph.gather(net.table('history_poi', 'history.poi'), history); // [B, L, 1]
    const offset = graph.integer(target.offset);
    const rows = graph.add(graph.cast(graph.squeeze(entries, 2), 'i64'), offset);
    const k = graph.gather('table', rows); // [B, L, d]
    const present = graph.cast(graph.op('Greater', [history, graph.integer(0)]), 'f32'); // [B, L]
    const q = graph.op('Gather', [v(), graph.integer(target.position)], { axis: 1 }); // [B, d]
    let at = 0;
    const vectors = inputs.sequences.map(({ name, length }) => {
      const part = (t: Value): Value => graph.slice(t, 1, at, at + length);
      const vector = targetAttention(graph, state, `history.${name}`, q, part(k), part(present), config.embeddingDim);
      at += length;
      return vector;
    });
    return { streams: mlp(graph, state, 'deep', graph.concat([x.whole(), ...vectors], 1)) };
  },
  esmm: (net) => {
    const { graph, state, inputs, x } = net;
    const reads = inputs.tasks.map(() => x);
    return { streams: experts(graph, state, 'deep', reads), ...shallow(net) };
  },
  mmoe: (net) => {
    const { graph, state, inputs, config, x } = net;
    const shape = { tasks: inputs.tasks.length, taskExperts: 0, sharedExperts: config.mmoe.experts };
    return { streams: extraction(graph, state, 'extraction', x, shape), ...shallow(net) };
  },
  ple: (net) => {
    const { graph, state, inputs, config, x } = net;
    const shape = { tasks: inputs.tasks.length, ...config.ple };
    return { streams: extraction(graph, state, 'extraction', x, shape), ...shallow(net) };
  },
};

function deep(net: NetworkGraph): NetworkOutput {
  return { streams: mlp(net.graph, net.state, 'deep', net.x), ...shallow(net) };
}

/** Σ_f t_k(id_f) + ½ Σ_d u_{k,d} S_d² [B, tasks] (ShallowTerms) of a network that has them. S is linear in x, so a context's part of it is summed once. */
function shallow(net: NetworkGraph): { shallow?: Value } {
  const { graph, state, terms, inputs, config, x } = net;
  if (terms === null) return {};
  const first = linearTerm(net, terms.table, terms.weight);
  if (terms.secondOrder === null) return { shallow: first };
  const dim = config.embeddingDim;
  const fields = inputs.categorical.length * dim;
  const ones = new Float32Array(dim * x.width);
  for (let d = 0; d < dim; d++) for (let column = d; column < fields; column += dim) ones[d * x.width + column] = 1;
  const sum = x.linear('second_order.sum', ones, dim, null); // [B, dim]
  const { shape, data } = weightOf(state, terms.secondOrder);
  const half = data.map((u) => u / 2);
  return { shallow: graph.linear(graph.mul(sum, sum), graph.weight('second_order.half', half, shape), first) };
}

/** The pairs i < j of so many fields, as their left and right halves. */
function fieldPairs(fields: number): { left: number[]; right: number[] } {
  const pairs = Array.from({ length: fields }, (_, i) =>
    Array.from({ length: fields - 1 - i }, (_, k) => [i, i + 1 + k] as const),
  ).flat();
  return { left: pairs.map(([i]) => i), right: pairs.map(([, j]) => j) };
}

/** Whole numbers up to here are exact in f32. */
const EXACT_IN_F32 = 2 ** 24;

/** Σ_f w_{k, id_f}: [B, tasks], from a table of one weight per id and task */
function linearTerm({ graph, ids, table }: NetworkGraph, input: string, weight = input): Value {
  return graph.sum(graph.gather(table(input, weight), ids()), 1);
}
