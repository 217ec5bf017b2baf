import { blockLinear, groupedLinear, mixExperts, type Tensor, tensor } from '@larr/torch';
import { createExperts, type Experts, experts } from './experts.js';
import { glorot, type Parameters } from './parameters.js';

/**
 * Progressive layered extraction (Tang et al., RecSys 2020): K tasks, `taskExperts` experts of each task and
 * `sharedExperts` common ones; an expert is an MLP with [batch norm and] ReLU after each layer.
 *
 *     S^k(x) = [ experts of task k ; shared experts ]          x^s sees all experts
 *     g^k(x) = softmax(W^k_g x^k) · S^k(x)                      one gate per task, and one for the shared stream
 *
 * Level 1 feeds the same x to every expert and gate; level j > 1 feeds g^k of the level below to task k's experts and
 * gate, and g^s to the shared ones. The last level has no shared gate.
 */
export interface Extraction {
  tasks: number;
  experts: number;
  levels: ExtractionLevel[];
  /** width of each task's output */
  outputs: number;
}

interface ExtractionLevel {
  /** level 0: they share their input */
  experts: Experts;
  /** level 0: one [gates · experts, in] matrix; further levels: [gates, in, experts] */
  gate: Tensor;
  gates: number;
  /** bool [gates, experts]: true where a gate may not look at an expert */
  hidden: Tensor;
  /** which gate of the level below feeds each expert */
  source: number[];
}

export interface ExtractionOptions {
  tasks: number;
  sharedExperts: number;
  /** of each task; with none, one level is MMoE */
  taskExperts: number;
  /** hidden widths of the experts, level by level */
  levels: number[][];
  /** after every expert layer; default 0 */
  dropout?: number;
  /** of every expert's layers, before ReLU; default none */
  batchNorm?: boolean;
}

/**
 * Registers, per level l: `<name>.<l>.expert.<i>.weight|bias`, with `batchNorm` also `….norm.*` of [experts · out] columns,
 * and `<name>.<l>.gate.weight`. Experts are ordered task 0's,
 * task 1's, …, shared; gates task 0, task 1, …, shared (absent on the last level).
 */
export function createExtraction(p: Parameters, name: string, inputs: number, options: ExtractionOptions): Extraction {
  const { tasks, sharedExperts, taskExperts } = options;
  const count = tasks * taskExperts + sharedExperts;
  // a single task needs no shared stream apart from its own: the gate below still exists, so that every level is alike
  const groupOf = [
    ...Array.from({ length: tasks * taskExperts }, (_, e) => Math.floor(e / taskExperts)),
    ...Array.from({ length: sharedExperts }, () => tasks),
  ];
  let width = inputs;
  const levels = options.levels.map((hidden, l) => {
    const last = l === options.levels.length - 1;
    const gates = last ? tasks : tasks + 1;
    const gateInputs = width;
    const ofLevel = createExperts(p, `${name}.${l}.expert`, count, width, hidden, {
      sharedInput: l === 0,
      dropout: options.dropout,
      batchNorm: options.batchNorm,
    });
    width = ofLevel.outputs;
    const gateShape = l === 0 ? [gates * count, gateInputs] : [gates, gateInputs, count];
    const gate = p.parameter(`${name}.${l}.gate.weight`, gateShape, glorot(gateInputs, count));
    const mask = new Uint8Array(gates * count);
    for (let g = 0; g < Math.min(gates, tasks); g++) {
      for (let e = 0; e < count; e++) mask[g * count + e] = groupOf[e] === g || groupOf[e] === tasks ? 0 : 1;
    }
    return {
      experts: ofLevel,
      gate,
      gates,
      hidden: p.constant(tensor(mask, [gates, count], { dtype: 'bool' })),
      source: groupOf,
    };
  });
  return { tasks, experts: count, levels, outputs: width };
}

/**
 * x [B, inputs] → one [B, outputs] per task. All experts of a level stand side by side, and so do all gates: a gate's weight is 0 for
 * an expert that it may not see.
 */
export function extract(net: Extraction, x: Tensor, training: boolean): Tensor[] {
  const batch = x.shape[0]!;
  let streams: Tensor | null = null; // [B, gates · d]: the outputs of the level below
  for (const level of net.levels) {
    const h = experts(level.experts, streams ?? x, training, level.source); // [B, experts · d]
    const logits: Tensor = streams
      ? groupedLinear(
          streams,
          level.gate,
          Array.from({ length: level.gates }, (_, g) => g),
        )
      : blockLinear(x, level.gate);
    const gate = logits
      .to('f32')
      .reshape([batch, level.gates, net.experts])
      .maskedFill(level.hidden, Number.NEGATIVE_INFINITY)
      .softmax(2);
    streams = mixExperts(h, gate);
  }
  return Array.from({ length: net.tasks }, (_, k) => streams!.narrow(1, k * net.outputs, net.outputs));
}
