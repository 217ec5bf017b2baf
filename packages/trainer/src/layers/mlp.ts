import type { Tensor } from '@larr/torch';
import { type BatchNorm, batchNorm, createBatchNorm } from './batch-norm.js';
import { createLinear, type Linear, linear } from './linear.js';
import type { Parameters } from './parameters.js';

/** Hidden layers: linear → [batch norm] → ReLU → dropout, as FuxiCTR's MLP block orders them. */
export interface Mlp {
  layers: { linear: Linear; norm: BatchNorm | null }[];
  dropout: number;
  outputs: number;
}

export interface MlpOptions {
  batchNorm?: boolean;
  dropout?: number;
}

/**
 * Registers `<name>.<i>.weight|bias` per hidden layer and, with `batchNorm`, `<name>.<i>.norm.weight|bias|running_mean|running_var`.
 * With no hidden layers it is the identity.
 */
export function createMlp(
  p: Parameters,
  name: string,
  inputs: number,
  hidden: number[],
  options: MlpOptions = {},
): Mlp {
  let width = inputs;
  const layers = hidden.map((outputs, i) => {
    const layer = {
      linear: createLinear(p, `${name}.${i}`, width, outputs),
      norm: options.batchNorm ? createBatchNorm(p, `${name}.${i}.norm`, outputs) : null,
    };
    width = outputs;
    return layer;
  });
  return { layers, dropout: options.dropout ?? 0, outputs: width };
}

/** [B, inputs] → [B, hidden.at(-1)]. */
export function mlp(net: Mlp, x: Tensor, training: boolean): Tensor {
  for (const layer of net.layers) {
    if (layer.norm) x = batchNorm(layer.norm, linear(layer.linear, x), training).relu();
    else x = linear(layer.linear, x, { relu: true });
    if (training && net.dropout > 0) x = x.dropout(net.dropout, true);
  }
  return x;
}
