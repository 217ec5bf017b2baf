import type { Tensor } from '@larr/torch';
import { type BatchNorm, batchNorm, createBatchNorm } from './batch-norm.js';
import { glorot, type Parameters, zero } from './parameters.js';

/**
 * E networks of one shape side by side, each an MLP with [batch norm and] ReLU after every layer: the experts of a level, the towers
 * of ESMM. One product per layer computes all of them.
 */
export interface Experts {
  count: number;
  /** with `sharedInput` the first is [E · out, in], as one linear layer; every other one is [E, in, out] */
  layers: { weight: Tensor; bias: Tensor; norm: BatchNorm | null; outputs: number }[];
  dropout: number;
  /** width of each expert's output */
  outputs: number;
}

export interface ExpertsOptions {
  /** whether all experts read the same input */
  sharedInput: boolean;
  /** after every layer; default 0 */
  dropout?: number | undefined;
  /** of every layer's columns [E · out], before ReLU; default none */
  batchNorm?: boolean | undefined;
}

/** Registers `<name>.<i>.weight|bias` per layer and, with `batchNorm`, `<name>.<i>.norm.*` of [E · out] columns. */
export function createExperts(
  p: Parameters,
  name: string,
  count: number,
  inputs: number,
  hidden: number[],
  options: ExpertsOptions,
): Experts {
  let width = inputs;
  const layers = hidden.map((outputs, i) => {
    const fused = options.sharedInput && i === 0;
    const shape = fused ? [count * outputs, width] : [count, width, outputs];
    const layer = {
      weight: p.parameter(`${name}.${i}.weight`, shape, glorot(width, outputs)),
      bias: p.parameter(`${name}.${i}.bias`, fused ? [count * outputs] : [count, 1, outputs], zero),
      norm: options.batchNorm ? createBatchNorm(p, `${name}.${i}.norm`, count * outputs) : null,
      outputs,
    };
    width = outputs;
    return layer;
  });
  return { count, layers, dropout: options.dropout ?? 0, outputs: width };
}

/** x, [B, in] where the input is shared and [E, B, in] otherwise → [E, B, outputs]. */
export function experts(net: Experts, x: Tensor, training: boolean): Tensor {
  const batch = x.shape.at(-2)!;
  let h = x;
  for (const { weight, bias, norm } of net.layers) {
    if (h.ndim === 3) {
      h = h.bmm(weight).add(bias);
      if (norm) h = byExpert(batchNorm(norm, h.transpose(0, 1).reshape([batch, -1]), training), net.count);
      h = h.relu();
    } else {
      const all = h.linear(weight, bias); // [B, E · out]
      h = byExpert((norm ? batchNorm(norm, all, training) : all).relu(), net.count);
    }
    if (training && net.dropout > 0) h = h.dropout(net.dropout, true);
  }
  return h;
}

/** [B, E · d] → [E, B, d] */
function byExpert(columns: Tensor, count: number): Tensor {
  return columns.reshape([columns.shape[0]!, count, -1]).transpose(0, 1);
}
