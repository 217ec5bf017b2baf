// Scene-encoder scoring, rows per second: ours against onnxruntime-node running the layer as written (all tokens, f32), in turn.
import ort from 'onnxruntime-node';
import { memories, peakExtra } from '../../../scripts/bench-memory.mjs';
import { deviceInfo, SceneScorer, weightShapes } from '../dist/index.js';
import { initializer, model, node } from './onnx.mjs';

const dims = { d: 128, heads: 4, ffn: 512, headHidden: 256, out: 128 };
const fields = 10;
const entries = 2000;

function numbers(seed) {
  let state = seed;
  const uniform = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 4294967296;
  };
  const normals = (n, std, mean = 0) =>
    Float32Array.from(
      { length: n },
      () => mean + std * Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform()),
    );
  return { uniform, normals };
}

function encoderOptions() {
  const { normals } = numbers(1);
  const weights = {};
  for (const [name, sizes] of Object.entries(weightShapes(fields, dims))) {
    const n = sizes.reduce((a, b) => a * b, 1);
    weights[name] = normals(
      n,
      sizes.length === 2 && name !== 'field' ? 1 / Math.sqrt(sizes[1]) : 0.2,
      /norm._weight/.test(name) ? 1 : 0,
    );
  }
  return {
    table: normals(entries * dims.d, 1),
    fieldOf: Int32Array.from({ length: entries }, (_, e) => e % fields),
    fields,
    weights,
    dims,
  };
}

/** The whole layer, every token through it, as a graph: rows [R, n] of entries → z [R, out]. */
function naiveGraph({ table, weights }) {
  const { d, heads, ffn, headHidden, out } = dims;
  const tensors = [];
  const put = (name, shape, data) => {
    tensors.push(initializer(name, shape, data));
    return name;
  };
  const ints = (name, ...values) => put(name, [values.length], BigInt64Array.from(values.map(BigInt)));
  const transposed = (name, rows, columns) => {
    const w = weights[name];
    const t = new Float32Array(w.length);
    for (let i = 0; i < rows; i++) for (let j = 0; j < columns; j++) t[j * rows + i] = w[i * columns + j];
    return put(name, [columns, rows], t);
  };
  const vector = (name, n) => put(name, [n], weights[name]);
  const nodes = [];
  const run = (type, inputs, attributes) => {
    const name = `v${nodes.length}`;
    nodes.push(node(type, inputs, [name], attributes));
    return name;
  };
  const linear = (x, name, rows, columns) =>
    run('Add', [run('MatMul', [x, transposed(`${name}_weight`, rows, columns)]), vector(`${name}_bias`, rows)]);
  const norm = (x, name) =>
    run('LayerNormalization', [x, vector(`${name}_weight`, d), vector(`${name}_bias`, d)], { axis: -1, epsilon: 1e-5 });

  const embedded = run('Add', [
    run('Gather', [put('table', [entries, d], table), 'rows'], { axis: 0 }),
    put('field', [fields, d], weights.field),
  ]);
  const count = run('Slice', [run('Shape', ['rows']), ints('zero', 0), ints('one', 1)]);
  const agg = run('Expand', [
    put('agg', [1, 1, d], weights.agg),
    run('Concat', [count, ints('one_d', 1, d)], { axis: 0 }),
  ]);
  const x = run('Concat', [agg, embedded], { axis: 1 }); // [R, 1 + n, d]
  const split = ints('split', 0, 0, heads, d / heads);
  const [q, k, v] = ['q', 'k', 'v'];
  nodes.push(node('Split', [linear(x, 'in_proj', 3 * d, d)], [q, k, v], { axis: 2, num_outputs: 3 }));
  const byHead = (t, perm) => run('Transpose', [run('Reshape', [t, split])], { perm });
  const logits = run('Mul', [
    run('MatMul', [byHead(q, [0, 2, 1, 3]), byHead(k, [0, 2, 3, 1])]),
    put('scale', [1], Float32Array.of(1 / Math.sqrt(d / heads))),
  ]);
  const mixed = run('Transpose', [run('MatMul', [run('Softmax', [logits], { axis: -1 }), byHead(v, [0, 2, 1, 3])])], {
    perm: [0, 2, 1, 3],
  });
  const attended = linear(run('Reshape', [mixed, ints('join', 0, 0, d)]), 'out_proj', d, d);
  const h = norm(run('Add', [x, attended]), 'norm1');
  const y = norm(run('Add', [h, linear(run('Gelu', [linear(h, 'ffn1', ffn, d)]), 'ffn2', d, ffn)]), 'norm2');
  const pooled = run('Squeeze', [
    run('Slice', [y, ints('first', 0), ints('second', 1), ints('axis1', 1)]),
    ints('squeeze1', 1),
  ]);
  const z = linear(run('Gelu', [linear(pooled, 'head1', headHidden, d)]), 'head2', out, headHidden);
  nodes.push(node('Identity', [z], ['z']));
  return model(nodes, tensors, [['rows', 'int64', ['R', fields]]], [['z', 'float', ['R', out]]]);
}

const seconds = async (work) => {
  const start = performance.now();
  await work();
  return (performance.now() - start) / 1000;
};

/** `rows(n)`: that many random rows, others at every call. */
function randomRows() {
  const { uniform } = numbers(7);
  return (n) =>
    Int32Array.from(
      { length: n * fields },
      (_, i) => Math.floor((uniform() * entries) / fields) * fields + (i % fields),
    );
}

async function startPeer(options) {
  const session = await ort.InferenceSession.create(naiveGraph(options), {
    intraOpNumThreads: deviceInfo().threads,
    graphOptimizationLevel: 'all',
  });
  const run = async (rows, batch) => {
    let last;
    for (let at = 0; at < rows.length; at += batch * fields) {
      const part = rows.subarray(at, at + batch * fields);
      last = await session.run({
        rows: new ort.Tensor('int64', BigInt64Array.from(part, BigInt), [part.length / fields, fields]),
      });
    }
    return last.z.data;
  };
  return { run, end: () => session.release() };
}

/** Bytes at the peak of one call over rows whose z is wanted; what is made once (packed weights, a graph) was there before. */
export async function memory({ rows: n, dtype, peerBatch }, side) {
  const make = randomRows();
  const rows = make(n);
  const one = make(1);
  if (side === 'peer') {
    const peer = await startPeer(encoderOptions());
    await peer.run(one, 1);
    return peakExtra(() => peer.run(rows, peerBatch));
  }
  const scorer = new SceneScorer({ ...encoderOptions(), dtype });
  await scorer.encode(one);
  return peakExtra(() => scorer.encode(rows));
}

/** Yields `{bench, case: {rows, dtype}, ours, peer, peerValue, unit, ratio, memory}`; ratio > 1 where ours is faster. */
export async function* run({ sizes = [64, 1024, 16384], rounds = 8 } = {}) {
  const options = encoderOptions();
  const make = randomRows();
  const peer = await startPeer(options);
  const peerRun = peer.run;
  const scorers = {
    f32: new SceneScorer({ ...options, dtype: 'f32' }),
    bf16: new SceneScorer({ ...options, dtype: 'bf16' }),
  };

  // The same function, or the comparison means nothing.
  const probe = make(32);
  const wanted = await peerRun(probe, 32);
  for (const [dtype, tolerance] of [
    ['f32', 1e-4],
    ['bf16', 0.1],
  ]) {
    const z = await scorers[dtype].encode(probe);
    const worst = z.reduce((top, x, i) => Math.max(top, Math.abs(x - wanted[i])), 0);
    if (!(worst < tolerance)) throw new Error(`encoder ${dtype} and the peer's graph differ by ${worst}`);
  }

  // The batch the peer is fastest at.
  const trial = make(2048);
  let best = { batch: 0, time: Number.POSITIVE_INFINITY };
  for (const batch of [32, 128, 512, 2048]) {
    let time = Number.POSITIVE_INFINITY;
    for (let i = 0; i < 3; i++) time = Math.min(time, await seconds(() => peerRun(trial, batch)));
    if (time < best.time) best = { batch, time };
  }

  for (const n of sizes) {
    const rows = make(n);
    const peerBatch = Math.min(n, best.batch);
    const peerRows = rows.subarray(0, peerBatch * fields);
    const out = new Float32Array(n * dims.out);
    const repeats = n < 1024 ? 20 : 2;
    const times = { f32: Number.POSITIVE_INFINITY, bf16: Number.POSITIVE_INFINITY, peer: Number.POSITIVE_INFINITY };
    for (let round = 0; round < rounds; round++) {
      for (const dtype of ['f32', 'bf16']) {
        for (let i = 0; i < repeats; i++)
          times[dtype] = Math.min(times[dtype], await seconds(() => scorers[dtype].encode(rows, out)));
      }
      times.peer = Math.min(
        times.peer,
        (await seconds(() => peerRun(peerRows, best.batch))) * (rows.length / peerRows.length),
      );
    }
    for (const dtype of ['f32', 'bf16']) {
      const ours = Math.round(n / times[dtype]);
      const peerValue = Math.round(n / times.peer);
      yield {
        bench: 'encoder',
        case: { rows: n, dtype },
        ours,
        peer: 'onnxruntime',
        peerValue,
        unit: 'rows/s',
        ratio: ours / peerValue,
        memory: await memories(import.meta.url, { rows: n, dtype, peerBatch }),
      };
    }
  }
  for (const scorer of Object.values(scorers)) scorer.dispose();
  await peer.end();
}
