import { ones, type Tensor, zeros } from '@larr/torch';
import { constant, type Parameters, zero } from './parameters.js';

const BATCH_NORM_MOMENTUM = 0.1;
const BATCH_NORM_EPS = 1e-5;

/** Batch normalisation (Ioffe and Szegedy, 2015) of the columns of [B, width]; PyTorch's momentum and ε. */
export interface BatchNorm {
  weight: Tensor;
  bias: Tensor;
  runningMean: Tensor;
  runningVar: Tensor;
}

/** Registers `<name>.weight|bias|running_mean|running_var`. */
export function createBatchNorm(p: Parameters, name: string, width: number): BatchNorm {
  return {
    weight: p.parameter(`${name}.weight`, [width], constant(1)),
    bias: p.parameter(`${name}.bias`, [width], zero),
    runningMean: p.buffer(`${name}.running_mean`, zeros([width])),
    runningVar: p.buffer(`${name}.running_var`, ones([width])),
  };
}

/** [B, width] → [B, width]; batch statistics while training, running ones otherwise. */
export function batchNorm(norm: BatchNorm, x: Tensor, training: boolean): Tensor {
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
