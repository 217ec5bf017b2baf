import { ones, type Tensor, zeros } from '@larr/torch';
import { createLinear, type Linear, linear } from './linear.js';
import { constant, type Parameters, zero } from './parameters.js';

const BATCH_NORM_MOMENTUM = 0.1;
const BATCH_NORM_EPS = 1e-5;

interface BatchNorm {
  weight: Tensor;
  bias: Tensor;
  runningMean: Tensor;
  runningVar: Tensor;
}

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
    x = linear(layer.linear, x);
    if (layer.norm) x = batchNorm(layer.norm, x, training);
    x = x.relu();
    if (training && net.dropout > 0) x = x.dropout(net.dropout, true);
  }
  return x;
}

function createBatchNorm(p: Parameters, name: string, width: number): BatchNorm {
  return {
    weight: p.parameter(`${name}.weight`, [width], constant(1)),
    bias: p.parameter(`${name}.bias`, [width], zero),
    runningMean: p.buffer(`${name}.running_mean`, zeros([width])),
    runningVar: p.buffer(`${name}.running_var`, ones([width])),
  };
}

function batchNorm(norm: BatchNorm, x: Tensor, training: boolean): Tensor {
  return x.batchNorm(
    norm.runningMean,
    norm.runningVar,
    norm.weight,
    norm.bias,
    training,
    BATCH_NORM_MOMENTUM,
    BATCH_NORM_EPS,
  );
}
