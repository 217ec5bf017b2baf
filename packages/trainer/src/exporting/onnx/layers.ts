/**
 * The layers of src/layers as ONNX operators, from the names under which a checkpoint holds their weights. Shapes are read from the
 * weights, so one writer serves every configuration.
 */
import { TrainingError } from '@larr/core';
import type { GraphWriter, Value } from './graph.js';
import type { Source } from './source.js';

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

/** x Wᵀ + b [B, out] of a matrix or of a network's input in parts. */
function projection(
  graph: GraphWriter,
  name: string,
  x: Value | Source,
  weight: { shape: readonly number[]; data: Float32Array },
  bias: Float32Array | null,
): Value {
  const [out] = weight.shape as [number];
  if (typeof x !== 'string') return x.linear(name, weight.data, out, bias);
  const b = bias === null ? undefined : graph.weight(`${name}.bias`, bias, [out]);
  return graph.linear(x, graph.weight(`${name}.weight`, weight.data, weight.shape), b);
}

/** x [B, in] → [B, out], layers/linear.ts */
export function linear(graph: GraphWriter, state: ModelState, name: string, x: Value | Source): Value {
  return projection(graph, name, x, weightOf(state, `${name}.weight`), weightOf(state, `${name}.bias`).data);
}

/** x [B, in] → [B, hidden.at(-1)], layers/mlp.ts: as many layers as the checkpoint has, batch norm folded into its linear layer. */
export function mlp(graph: GraphWriter, state: ModelState, name: string, x: Value | Source): Value {
  let h = x;
  for (let i = 0; state.has(`${name}.${i}.weight`); i++) {
    const layer = `${name}.${i}`;
    const { weight, bias } = foldedLinear(state, layer);
    h = graph.relu(projection(graph, layer, h, weight, bias));
  }
  return typeof h === 'string' ? h : h.whole();
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

/** A linear layer: weight [out, in], bias [out]. */
export interface LinearWeights<Bias = Float32Array | null> {
  weight: { shape: readonly number[]; data: Float32Array };
  bias: Bias;
}

/** Weight and bias of a linear layer with its batch norm, if any, folded in: BN(x Wᵀ + b) is itself linear. */
export function foldedLinear(state: ModelState, name: string): LinearWeights<Float32Array> {
  const weight = weightOf(state, `${name}.weight`);
  if (!state.has(`${name}.norm.weight`)) return { weight, bias: weightOf(state, `${name}.bias`).data };
  const { factor, bias } = foldedNorm(state, name);
  const inputs = weight.shape[1]!;
  const data = weight.data.map((value, at) => value * factor[Math.floor(at / inputs)]!);
  return { weight: { shape: weight.shape, data }, bias };
}

/** One expert's part of an expert layer as a linear layer, its batch norm folded in. */
export function expertLinear(
  state: ModelState,
  name: string,
  expert: number,
  count: number,
): LinearWeights<Float32Array> {
  const { shape, data } = weightOf(state, `${name}.weight`);
  if (shape.length === 2) {
    // experts that read one input have their rows one after another in one matrix
    const { weight, bias } = foldedLinear(state, name);
    const [out, inputs] = [shape[0]! / count, shape[1]!];
    const own = weight.data.slice(expert * out * inputs, (expert + 1) * out * inputs);
    return { weight: { shape: [out, inputs], data: own }, bias: bias.slice(expert * out, (expert + 1) * out) };
  }
  const [, inputs, out] = shape as [number, number, number];
  const norm = state.has(`${name}.norm.weight`) ? foldedNorm(state, name) : null;
  const bias = norm?.bias ?? weightOf(state, `${name}.bias`).data;
  const own = new Float32Array(out * inputs);
  for (let o = 0; o < out; o++) {
    const factor = norm?.factor[expert * out + o] ?? 1;
    for (let i = 0; i < inputs; i++) own[o * inputs + i] = data[(expert * inputs + i) * out + o]! * factor;
  }
  return { weight: { shape: [out, inputs], data: own }, bias: bias.slice(expert * out, (expert + 1) * out) };
}

/** Networks of one shape side by side, layers/experts.ts: what each reads, [B, in] → what each says, [B, d]. */
export function experts(
  graph: GraphWriter,
  state: ModelState,
  name: string,
  reads: readonly (Value | Source)[],
): Value[] {
  return reads.map((read, e) => {
    let h = read;
    for (let i = 0; state.has(`${name}.${i}.weight`); i++) {
      const { weight, bias } = expertLinear(state, `${name}.${i}`, e, reads.length);
      h = graph.relu(projection(graph, `${name}.${i}.${e}`, h, weight, bias));
    }
    return typeof h === 'string' ? h : h.whole();
  });
}

/**
 * Progressive layered extraction, layers/extraction.ts: x [B, in] → one [B, d] per task.
 * @param tasks number of tasks; experts are ordered task 0's, task 1's, …, shared
 */
export function extraction(
  graph: GraphWriter,
  state: ModelState,
  name: string,
  x: Value | Source,
  shape: { tasks: number; taskExperts: number; sharedExperts: number },
): Value[] {
  const { tasks, taskExperts, sharedExperts } = shape;
  const count = tasks * taskExperts + sharedExperts;
  const own = tasks * taskExperts;
  const groupOf = Array.from({ length: count }, (_, e) => (e < own ? Math.floor(e / taskExperts) : tasks));
  let streams: Value[] | null = null; // [B, d] of each gate
  for (let level = 0; state.has(`${name}.${level}.gate.weight`); level++) {
    const prefix = `${name}.${level}`;
    const last = !state.has(`${name}.${level + 1}.gate.weight`);
    const gates = last ? tasks : tasks + 1;

    const reads = groupOf.map((group) => streams?.[group] ?? x);
    const h = experts(graph, state, `${prefix}.expert`, reads); // [B, d] each
    const width = expertWidth(state, `${prefix}.expert`, count);
    const together = graph.reshape(graph.concat(h, 1), [-1, count, width]); // [B, count, d]

    const weight = weightOf(state, `${prefix}.gate.weight`);
    const logits =
      streams === null
        ? projection(graph, `${prefix}.gate`, x, weight, null)
        : graph.concat(
            streams.slice(0, gates).map((stream, g) => {
              const [, inputs] = weight.shape as [number, number];
              const size = inputs * count;
              const gate = weight.data.slice(g * size, (g + 1) * size);
              return graph.matmul(stream, graph.weight(`${prefix}.gate.weight.${g}`, gate, [inputs, count]));
            }),
            1,
          ); // [B, gates · count]
    const hidden = new Float32Array(gates * count);
    for (let g = 0; g < Math.min(gates, tasks); g++) {
      for (let e = 0; e < count; e++) {
        if (groupOf[e] !== g && groupOf[e] !== tasks) hidden[g * count + e] = Number.NEGATIVE_INFINITY;
      }
    }
    const mask = graph.weight(`${prefix}.gate.mask`, hidden, [gates, count]);
    const share = graph.softmax(graph.add(graph.reshape(logits, [-1, gates, count]), mask), 2);
    const mixed = graph.matmul(share, together); // [B, gates, d]
    streams = Array.from({ length: gates }, (_, g) => graph.op('Gather', [mixed, graph.integer(g)], { axis: 1 }));
  }
  return streams!.slice(0, tasks);
}

/** Width of what an expert says. */
function expertWidth(state: ModelState, name: string, count: number): number {
  let layer = 0;
  while (state.has(`${name}.${layer + 1}.weight`)) layer++;
  return weightOf(state, `${name}.${layer}.bias`).data.length / count;
}

/** x_{l+1} = x_0 ⊙ (W_l x_l + b_l) + x_l, layers/cross.ts */
export function cross(graph: GraphWriter, state: ModelState, name: string, source: Source): Value {
  const x0 = source.whole();
  let x = x0;
  for (let l = 0; state.has(`${name}.${l}.weight`); l++) {
    x = graph.add(graph.mul(x0, linear(graph, state, `${name}.${l}`, l === 0 ? source : x)), x);
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
