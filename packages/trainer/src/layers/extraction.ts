import { type Tensor, tensor } from '@larr/torch';
import { type BatchNorm, batchNorm, createBatchNorm } from './batch-norm.js';
import { glorot, type Parameters, zero } from './parameters.js';

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
  dropout: number;
  /** width of each task's output */
  outputs: number;
}

interface ExtractionLevel {
  /** expert layers: the first of level 0 is [experts · h, in] (its input is shared), every other one [experts, in, out] */
  layers: { weight: Tensor; bias: Tensor; norm: BatchNorm | null; outputs: number }[];
  /** level 0: one [gates · experts, in] matrix; further levels: [gates, in, experts] */
  gate: Tensor;
  gates: number;
  /** bool [gates, experts]: true where a gate may not look at an expert */
  hidden: Tensor;
  /** which gate of the level below feeds each expert: i64 [experts] */
  source: Tensor;
}

export interface ExtractionOptions {
  tasks: number;
  sharedExperts: number;
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
  const experts = tasks * taskExperts + sharedExperts;
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
    const layers = hidden.map((outputs, i) => {
      const prefix = `${name}.${l}.expert.${i}`;
      const fused = l === 0 && i === 0;
      const shape = fused ? [experts * outputs, width] : [experts, width, outputs];
      const layer = {
        weight: p.parameter(`${prefix}.weight`, shape, glorot(width, outputs)),
        bias: p.parameter(`${prefix}.bias`, fused ? [experts * outputs] : [experts, 1, outputs], zero),
        norm: options.batchNorm ? createBatchNorm(p, `${prefix}.norm`, experts * outputs) : null,
        outputs,
      };
      width = outputs;
      return layer;
    });
    const gateShape = l === 0 ? [gates * experts, gateInputs] : [gates, gateInputs, experts];
    const gate = p.parameter(`${name}.${l}.gate.weight`, gateShape, glorot(gateInputs, experts));
    const mask = new Uint8Array(gates * experts);
    for (let g = 0; g < Math.min(gates, tasks); g++) {
      for (let e = 0; e < experts; e++) mask[g * experts + e] = groupOf[e] === g || groupOf[e] === tasks ? 0 : 1;
    }
    return {
      layers,
      gate,
      gates,
      hidden: p.constant(tensor(mask, [gates, experts], { dtype: 'bool' })),
      source: p.constant(tensor(groupOf, [experts], { dtype: 'i64' })),
    };
  });
  return { tasks, experts, levels, dropout: options.dropout ?? 0, outputs: width };
}

/**
 * x [B, inputs] → one [B, outputs] per task. All experts of a level are computed by one product per layer, all gates by
 * one product: a gate's weight is 0 for an expert that it may not see.
 */
export function extract(net: Extraction, x: Tensor, training: boolean): Tensor[] {
  const batch = x.shape[0]!;
  let streams: Tensor | null = null; // [gates, B, d]: the outputs of the level below
  for (const level of net.levels) {
    const h = expertOutputs(net, level, x, streams, training); // [experts, B, d]
    const logits: Tensor = streams
      ? streams.narrow(0, 0, level.gates).bmm(level.gate).transpose(0, 1) // [B, gates, experts]
      : x.linear(level.gate).reshape([batch, level.gates, net.experts]);
    const gate = logits.to('f32').maskedFill(level.hidden, Number.NEGATIVE_INFINITY).softmax(2);
    const mixed = gate.to(h.dtype).bmm(h.transpose(0, 1)); // [B, gates, d]
    streams = mixed.transpose(0, 1);
  }
  return streams!.unbind(0).slice(0, net.tasks);
}

function expertOutputs(
  net: Extraction,
  level: ExtractionLevel,
  x: Tensor,
  streams: Tensor | null,
  training: boolean,
): Tensor {
  const batch = x.shape[0]!;
  let h = streams ? streams.indexSelect(0, level.source) : null; // [experts, B, in]
  for (const { weight, bias, norm } of level.layers) {
    if (h) {
      h = h.bmm(weight).add(bias);
      if (norm) h = byExpert(batchNorm(norm, h.transpose(0, 1).reshape([batch, -1]), training), net.experts);
      h = h.relu();
    } else {
      const all = x.linear(weight, bias); // [B, experts · out]
      h = byExpert((norm ? batchNorm(norm, all, training) : all).relu(), net.experts);
    }
    if (training && net.dropout > 0) h = h.dropout(net.dropout, true);
  }
  return h!;
}

/** [B, experts · d] → [experts, B, d] */
function byExpert(columns: Tensor, experts: number): Tensor {
  return columns.reshape([columns.shape[0]!, experts, -1]).transpose(0, 1);
}
