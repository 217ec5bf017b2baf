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

function weight(graph: GraphWriter, state: ModelState, name: string): Value {
  const { shape, data } = weightOf(state, name);
  return graph.weight(name, data, shape);
}

/** x [B, in] → [B, out], layers/linear.ts */
export function linear(graph: GraphWriter, state: ModelState, name: string, x: Value): Value {
  return graph.linear(x, weight(graph, state, `${name}.weight`), weight(graph, state, `${name}.bias`));
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
    return [weight(graph, state, `${name}.weight`), weight(graph, state, `${name}.bias`)];
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
  const experts = tasks * taskExperts + sharedExperts;
  const groupOf = Array.from({ length: experts }, (_, e) => Math.min(tasks, Math.floor(e / taskExperts)));
  let streams: Value | null = null; // [gates, B, d]
  for (let level = 0; state.has(`${name}.${level}.gate.weight`); level++) {
    const prefix = `${name}.${level}`;
    const last = !state.has(`${name}.${level + 1}.gate.weight`);
    const gates = last ? tasks : tasks + 1;

    let h: Value | null = streams === null ? null : graph.gather(streams, graph.integers(groupOf)); // [experts, B, in]
    for (let i = 0; state.has(`${prefix}.expert.${i}.weight`); i++) {
      const layer = `${prefix}.expert.${i}`;
      if (h === null) {
        const outputs = weightOf(state, `${layer}.bias`).data.length / experts;
        const all = state.has(`${layer}.norm.weight`)
          ? normalisedLinear(graph, state, layer, x)
          : linear(graph, state, layer, x);
        h = graph.transpose(graph.reshape(graph.relu(all), [-1, experts, outputs]), [1, 0, 2]);
      } else {
        const [w, b] = expertWeights(graph, state, layer);
        h = graph.relu(graph.add(graph.matmul(h, w), b));
      }
    }

    const gate = weight(graph, state, `${prefix}.gate.weight`);
    const logits =
      streams === null
        ? graph.reshape(graph.linear(x, gate), [-1, gates, experts])
        : graph.transpose(graph.matmul(graph.slice(streams, 0, 0, gates), gate), [1, 0, 2]); // [B, gates, experts]
    const hidden = new Float32Array(gates * experts);
    for (let g = 0; g < Math.min(gates, tasks); g++) {
      for (let e = 0; e < experts; e++) {
        if (groupOf[e] !== g && groupOf[e] !== tasks) hidden[g * experts + e] = Number.NEGATIVE_INFINITY;
      }
    }
    const mask = graph.weight(`${prefix}.gate.mask`, hidden, [gates, experts]);
    const share = graph.softmax(graph.add(logits, mask), 2);
    const mixed = graph.matmul(share, graph.transpose(h!, [1, 0, 2])); // [B, gates, d]
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
