// The peer's graph: the same model as one ONNX graph composed plainly, the scene encoder in it. Takes one scene of vectors a row:
//     scene f32 [B, n, d] · present f32 [B, n], and the ranker's own inputs → p_ctr, p_ctcvr

import { GraphWriter } from '../../dist/exporting/onnx/graph.js';
import { ModelProto } from '../../dist/exporting/onnx/messages.js';
import { rankerGraph, withFoldedTables } from '../../dist/exporting/ranker-graph.js';
import { exportModelState } from '../../dist/training/trained-model.js';

/** The unfused graph of a run, and what must be fed to it. */
export async function unfusedGraph(run) {
  const { description, tensors } = await exportModelState(run);
  const { model, inputs, config } = description;
  const state = withFoldedTables(new Map(Object.entries(tensors)));
  const each = { ids: inputs.categorical.map(() => false), dense: inputs.dense.map(() => false) };
  const ranker = rankerGraph(model, inputs, config, state, each);
  const encoder = sceneEncoder(state, inputs.scene.length, config.larr.heads);
  return { onnx: joined(encoder, ranker.onnx), tables: ranker.tables };
}

/** z_s of scenes, layer by layer (docs/method.md, section 5). */
function sceneEncoder(state, n, heads) {
  const graph = new GraphWriter();
  const weight = (name, shape) => {
    const { data, shape: own } = state.get(`scene.${name}`);
    return graph.weight(`scene.${name}`, data, shape ?? own);
  };
  const transposed = (name) => graph.transpose(weight(name), [1, 0]);
  const d = state.get('scene.agg').shape.at(-1);
  const scene = graph.input('scene', 'f32', ['batch', n, d]);
  const present = graph.input('present', 'f32', ['batch', n]);
  const agg = graph.add(graph.mul(graph.slice(scene, 1, 0, 1), graph.number(0)), weight('agg', [d])); // [B, 1, d]
  const X = graph.concat([agg, graph.add(scene, weight('field', [n, d]))], 1); // [B, 1 + n, d]
  const linear = (x, name) => graph.add(graph.matmul(x, transposed(`${name}_weight`)), weight(`${name}_bias`));
  const gelu = (x) =>
    graph.mul(
      graph.mul(x, graph.number(0.5)),
      graph.add(graph.op('Erf', [graph.mul(x, graph.number(Math.SQRT1_2))]), graph.number(1)),
    );
  const norm = (x, name) =>
    graph.op('LayerNormalization', [x, weight(`${name}_weight`), weight(`${name}_bias`)], {
      axis: -1,
      epsilon: { float: 1e-5 },
    });

  const qkv = linear(X, 'in_proj');
  const [q, k, v] = [0, 1, 2].map((i) =>
    graph.transpose(
      graph.reshape(graph.slice(qkv, 2, i * d, (i + 1) * d), [-1, 1 + n, heads, d / heads]),
      [0, 2, 1, 3],
    ),
  );
  const logits = graph.mul(graph.matmul(q, graph.transpose(k, [0, 1, 3, 2])), graph.number(1 / Math.sqrt(d / heads)));
  const one = graph.add(graph.mul(graph.slice(present, 1, 0, 1), graph.number(0)), graph.number(1));
  const shown = graph.concat([one, present], 1); // the aggregation token is always there
  const hidden = graph.mul(graph.sub(shown, graph.number(1)), graph.number(1e9));
  const share = graph.softmax(graph.add(logits, graph.reshape(hidden, [-1, 1, 1, 1 + n])), 3);
  const mixed = graph.reshape(graph.transpose(graph.matmul(share, v), [0, 2, 1, 3]), [-1, 1 + n, d]);
  const h1 = norm(graph.add(X, linear(mixed, 'out_proj')), 'norm1');
  const h2 = norm(graph.add(h1, linear(gelu(linear(h1, 'ffn1')), 'ffn2')), 'norm2');
  const pooled = graph.squeeze(graph.slice(h2, 1, 0, 1), 1);
  graph.output('z_s', linear(gelu(linear(pooled, 'head1')), 'head2'), [
    'batch',
    state.get('scene.head2_weight').shape[0],
  ]);
  return graph.encode('scene-encoder');
}

/** One graph of two: what the first gives as z_s, the second takes. */
function joined(encoderBytes, rankerBytes) {
  const [encoder, ranker] = [encoderBytes, rankerBytes].map((bytes) => ModelProto.decode(bytes));
  const own = new Set(['scene', 'present', 'z_s']);
  const named = (name) => (name === '' || own.has(name) ? name : `encoder/${name}`);
  for (const node of encoder.graph.node) {
    node.name = named(node.name);
    node.input = node.input.map(named);
    node.output = node.output.map(named);
  }
  for (const tensor of encoder.graph.initializer) tensor.name = named(tensor.name);
  ranker.graph.node = [...encoder.graph.node, ...ranker.graph.node];
  ranker.graph.initializer = [...encoder.graph.initializer, ...ranker.graph.initializer];
  ranker.graph.input = [...ranker.graph.input.filter(({ name }) => name !== 'z_s'), ...encoder.graph.input];
  return ModelProto.encode(ranker).finish();
}
