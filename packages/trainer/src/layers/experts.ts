import { blockLinear, groupedLinear, type Tensor } from '@larr/torch';
import { type BatchNorm, batchNorm, createBatchNorm } from './batch-norm.js';
import { glorot, type Parameters, zero } from './parameters.js';

/**
 * E networks of one shape side by side, each an MLP with [batch norm and] ReLU after every layer: the experts of a level, the towers
 * of ESMM. Their columns stand next to each other, [B, E · d], from the first layer to the last, so that nothing is turned round.
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

/**
 * x [B, in] where the input is shared, else [B, blocks · in] → [B, E · outputs].
 * @param source where the input is not shared: the block of x that each expert reads
 */
export function experts(net: Experts, x: Tensor, training: boolean, source?: readonly number[]): Tensor {
  const own = Array.from({ length: net.count }, (_, e) => e);
  let h = x;
  net.layers.forEach(({ weight, bias, norm }, i) => {
    const read = i === 0 ? source : own;
    if (weight.ndim === 2) {
      h = blockLinear(h, weight, bias, { relu: norm === null });
      if (norm) h = batchNorm(norm, h, training).relu();
    } else if (norm) {
      h = batchNorm(norm, groupedLinear(h, weight, read!, { bias }), training).relu();
    } else {
      h = groupedLinear(h, weight, read!, { bias, relu: true });
    }
    if (training && net.dropout > 0) h = h.dropout(net.dropout, true);
  });
  return h;
}
