/**
 * The layers of src/layers as ONNX operators, from the names under which a checkpoint holds their weights. Shapes are read from the
 * weights, so one writer serves every configuration.
 */
import { TrainingError } from '@larr/core';
import type { GraphWriter, Value } from './graph.js';

/** Weights of a trained model, by parameter name, row-major fp32. */
export type ModelState = ReadonlyMap<string, { shape: readonly number[]; data: Float32Array }>;

/** As in layers/mlp.ts. */
const BATCH_NORM_EPS = 1e-5;

/** The weight `name`. @throws TrainingError `CHECKPOINT_MISMATCH` where the checkpoint lacks it. */
export function weightOf(state: ModelState, name: string): { shape: readonly number[]; data: Float32Array } {
  const weight = state.get(name);
  if (weight === undefined) {
    throw new TrainingError(
      'CHECKPOINT_MISMATCH',
      `the model to export has no weight "${name}": was it trained by this version?`,
    );
  }
  return weight;
}

/** The weight `name` as it is. */
export function matrix(graph: GraphWriter, state: ModelState, name: string): Value {
  const { shape, data } = weightOf(state, name);
  return graph.weight(name, data, shape);
}

/** x [B, in] → [B, out], layers/linear.ts */
export function linear(graph: GraphWriter, state: ModelState, name: string, x: Value): Value {
  return graph.linear(x, matrix(graph, state, `${name}.weight`), matrix(graph, state, `${name}.bias`));
}

/** x [B, in] → [B, hidden.at(-1)], layers/mlp.ts: as many layers as the checkpoint has, batch norm folded into its linear layer. */
export function mlp(graph: GraphWriter, state: ModelState, name: string, x: Value): Value {
  let h = x;
  for (let i = 0; state.has(`${name}.${i}.weight`); i++) {
    const layer = `${name}.${i}`;
    h = graph.relu(
      state.has(`${layer}.norm.weight`) ? normalisedLinear(graph, state, layer, h) : linear(graph, state, layer, h),
    );
  }
  return h;
}

/** The columns' factor γ / √(σ² + ε) and the bias β + (b − μ) · factor of batch norm with running statistics after a linear layer. */
function foldedNorm(state: ModelState, name: string): { factor: Float32Array; bias: Float32Array } {
  const b = weightOf(state, `${name}.bias`).data;
  const [gamma, beta, mean, variance] = ['weight', 'bias', 'running_mean', 'running_var'].map(
    (part) => weightOf(state, `${name}.norm.${part}`).data,
  ) as [Float32Array, Float32Array, Float32Array, Float32Array];
  const factor = gamma.map((g, o) => g / Math.sqrt(variance[o]! + BATCH_NORM_EPS));
  return { factor, bias: b.map((value, o) => beta[o]! + (value - mean[o]!) * factor[o]!) };
}

/** BN(x Wᵀ + b) is itself linear: the rows of W are scaled. */
function normalisedLinear(graph: GraphWriter, state: ModelState, name: string, x: Value): Value {
  const { data, shape } = weightOf(state, `${name}.weight`);
  const { factor, bias } = foldedNorm(state, name);
  const inputs = shape[1]!;
  const scaled = data.map((value, at) => value * factor[Math.floor(at / inputs)]!);
  return graph.linear(
    x,
    graph.weight(`${name}.weight`, scaled, shape),
    graph.weight(`${name}.bias`, bias, [bias.length]),
  );
}

/** Weight [experts, in, out] and bias [experts, 1, out] of an expert layer, its batch norm (columns [experts · out]) folded in. */
function expertWeights(graph: GraphWriter, state: ModelState, name: string): [Value, Value] {
  if (!state.has(`${name}.norm.weight`))
    return [matrix(graph, state, `${name}.weight`), matrix(graph, state, `${name}.bias`)];
  const w = weightOf(state, `${name}.weight`);
  const { factor, bias } = foldedNorm(state, name);
  const [, inputs, outputs] = w.shape as [number, number, number];
  const scaled = w.data.map(
    (value, at) => value * factor[Math.floor(at / (inputs * outputs)) * outputs + (at % outputs)]!,
  );
  return [
    graph.weight(`${name}.weight`, scaled, w.shape),
    graph.weight(`${name}.bias`, bias, weightOf(state, `${name}.bias`).shape),
  ];
}

/**
 * Networks of one shape side by side, layers/experts.ts: x [B, in], or [experts, B, in] where each reads its own → [experts, B, d].
 * @param shared whether x is the one input of them all
 */
export function experts(
  graph: GraphWriter,
  state: ModelState,
  name: string,
  x: Value,
  count: number,
  shared: boolean,
): Value {
  let h = x;
  for (let i = 0; state.has(`${name}.${i}.weight`); i++) {
    const layer = `${name}.${i}`;
    if (shared && i === 0) {
      const outputs = weightOf(state, `${layer}.bias`).data.length / count;
      const all = state.has(`${layer}.norm.weight`)
        ? normalisedLinear(graph, state, layer, x)
        : linear(graph, state, layer, x);
      h = graph.transpose(graph.reshape(graph.relu(all), [-1, count, outputs]), [1, 0, 2]);
    } else {
      const [w, b] = expertWeights(graph, state, layer);
      h = graph.relu(graph.add(graph.matmul(h, w), b));
    }
  }
  return h;
}

/**
 * Progressive layered extraction, layers/extraction.ts: x [B, in] → one [B, d] per task.
 * @param tasks number of tasks; experts are ordered task 0's, task 1's, …, shared
 */
export function extraction(
  graph: GraphWriter,
  state: ModelState,
  name: string,
  x: Value,
  shape: { tasks: number; taskExperts: number; sharedExperts: number },
): Value[] {
  const { tasks, taskExperts, sharedExperts } = shape;
  const count = tasks * taskExperts + sharedExperts;
  const own = tasks * taskExperts;
  const groupOf = Array.from({ length: count }, (_, e) => (e < own ? Math.floor(e / taskExperts) : tasks));
  let streams: Value | null = null; // [gates, B, d]
  for (let level = 0; state.has(`${name}.${level}.gate.weight`); level++) {
    const prefix = `${name}.${level}`;
    const last = !state.has(`${name}.${level + 1}.gate.weight`);
    const gates = last ? tasks : tasks + 1;

    const read = streams === null ? x : graph.gather(streams, graph.integers(groupOf)); // [experts, B, in] or [B, in]
    const h = experts(graph, state, `${prefix}.expert`, read, count, streams === null); // [experts, B, d]

    const gate = matrix(graph, state, `${prefix}.gate.weight`);
    const logits =
      streams === null
        ? graph.reshape(graph.linear(x, gate), [-1, gates, count])
        : graph.transpose(graph.matmul(graph.slice(streams, 0, 0, gates), gate), [1, 0, 2]); // [B, gates, count]
    const hidden = new Float32Array(gates * count);
    for (let g = 0; g < Math.min(gates, tasks); g++) {
      for (let e = 0; e < count; e++) {
        if (groupOf[e] !== g && groupOf[e] !== tasks) hidden[g * count + e] = Number.NEGATIVE_INFINITY;
      }
    }
    const mask = graph.weight(`${prefix}.gate.mask`, hidden, [gates, count]);
    const share = graph.softmax(graph.add(logits, mask), 2);
    const mixed = graph.matmul(share, graph.transpose(h, [1, 0, 2])); // [B, gates, d]
    streams = graph.transpose(mixed, [1, 0, 2]);
  }
  return Array.from({ length: tasks }, (_, task) => graph.gather(streams!, graph.integer(task)));
}

/** Σ_{f<g} v_f ⊙ v_g over v [B, F, d] → [B, d], layers/factorization.ts */
export function pairwiseInteractions(graph: GraphWriter, v: Value): Value {
  const sum = graph.sum(v, 1);
  const difference = graph.sub(graph.mul(sum, sum), graph.sum(graph.mul(v, v), 1));
  return graph.mul(difference, graph.number(0.5));
}

/** x_{l+1} = x_0 ⊙ (W_l x_l + b_l) + x_l, layers/cross.ts */
export function cross(graph: GraphWriter, state: ModelState, name: string, x0: Value): Value {
  let x = x0;
  for (let l = 0; state.has(`${name}.${l}.weight`); l++) {
    x = graph.add(graph.mul(x0, linear(graph, state, `${name}.${l}`, x)), x);
  }
  return x;
}

/** v [B, F, d] → p⁺ [B, Σ maps], layers/compressed-interaction.ts */
export function compressedInteraction(graph: GraphWriter, state: ModelState, name: string, v: Value): Value {
  const x0 = graph.transpose(v, [0, 2, 1]); // [B, d, F]
  const pooled: Value[] = [];
  let x = x0;
  for (let k = 0; state.has(`${name}.${k}.weight`); k++) {
    const { shape, data } = weightOf(state, `${name}.${k}.weight`);
    const [maps, products] = shape as [number, number];
    const outer = graph.mul(graph.unsqueeze(x0, 3), graph.unsqueeze(x, 2)); // [B, d, F, H]
    const w = graph.weight(`${name}.${k}.weight`, transposed(data, maps, products), [products, maps]);
    // 0 keeps a size
    x = graph.matmul(graph.reshape(outer, [0, 0, products]), w); // [B, d, H_k]
    pooled.push(graph.sum(x, 1));
  }
  return graph.concat(pooled, 1);
}

/** p_ij = (v_i W_ij) ∘ v_j for the given pairs of fields, v [B, F, d] → [P, B, d], layers/bilinear-interaction.ts */
export function bilinearInteraction(
  graph: GraphWriter,
  state: ModelState,
  name: string,
  v: Value,
  left: readonly number[],
  right: readonly number[],
): Value {
  const byField = graph.transpose(v, [1, 0, 2]);
  const mapped = graph.matmul(graph.gather(byField, graph.integers(left)), matrix(graph, state, `${name}.weight`));
  return graph.mul(mapped, graph.gather(byField, graph.integers(right)));
}

/** SENET's weights [B, F] of v [B, F, d], layers/bilinear-interaction.ts */
export function fieldWeights(graph: GraphWriter, state: ModelState, name: string, v: Value): Value {
  const z = graph.op('ReduceMean', [v], { axes: [2], keepdims: 0 });
  const squeezed = graph.relu(graph.linear(z, matrix(graph, state, `${name}.squeeze.weight`)));
  return graph.relu(graph.linear(squeezed, matrix(graph, state, `${name}.excite.weight`)));
}

/** q [B, d], k [B, L, d], present [B, L] → [B, d], layers/target-attention.ts; its first layer taken apart as there. */
export function targetAttention(
  graph: GraphWriter,
  state: ModelState,
  name: string,
  q: Value,
  k: Value,
  present: Value,
  dim: number,
): Value {
  const first = weightOf(state, `${name}.0.weight`);
  const hidden = first.shape[0]!;
  /** [d, h]: Σ_b factor_b · block b of W [h, 4d], transposed */
  const block = (suffix: string, factors: readonly [number, number, number, number]): Value => {
    const w = new Float32Array(dim * hidden);
    factors.forEach((factor, b) => {
      for (let i = 0; i < dim; i++)
        for (let o = 0; o < hidden; o++) w[i * hidden + o]! += factor * first.data[o * 4 * dim + b * dim + i]!;
    });
    return graph.weight(`${name}.0.weight.${suffix}`, w, [dim, hidden]);
  };
  const target = graph.add(graph.matmul(q, block('target', [1, 0, 1, 0])), matrix(graph, state, `${name}.0.bias`));
  const together = graph.matmul(graph.mul(graph.unsqueeze(q, 1), k), block('product', [0, 0, 0, 1]));
  const entries = graph.add(graph.matmul(k, block('entry', [0, 1, -1, 0])), together); // [B, L, h]
  let h = graph.prelu(graph.add(graph.unsqueeze(target, 1), entries), matrix(graph, state, `${name}.0.slope`));
  for (let i = 1; state.has(`${name}.${i}.weight`); i++) {
    const layer = linearOfLast(graph, state, `${name}.${i}`, h);
    h = graph.prelu(layer, matrix(graph, state, `${name}.${i}.slope`));
  }
  const weight = graph.mul(graph.squeeze(linearOfLast(graph, state, `${name}.out`, h), 2), present); // [B, L]
  return graph.squeeze(graph.matmul(graph.unsqueeze(weight, 1), k), 1);
}

/** x [B, L, in] → [B, L, out] */
function linearOfLast(graph: GraphWriter, state: ModelState, name: string, x: Value): Value {
  const { shape, data } = weightOf(state, `${name}.weight`);
  const [outputs, inputs] = shape as [number, number];
  const w = graph.weight(`${name}.weight`, transposed(data, outputs, inputs), [inputs, outputs]);
  return graph.add(graph.matmul(x, w), matrix(graph, state, `${name}.bias`));
}

/** [rows, columns] → [columns, rows] */
function transposed(data: Float32Array, rows: number, columns: number): Float32Array {
  return Float32Array.from({ length: data.length }, (_, at) => data[(at % rows) * columns + Math.floor(at / rows)]!);
}
