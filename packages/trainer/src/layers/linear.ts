import { blockLinear, type Tensor } from '@larr/torch';
import { glorot, type Parameters, zero } from './parameters.js';

/** y = x Wᵀ + b, with W [out, in] and b [out]. */
export interface Linear {
  weight: Tensor;
  bias: Tensor;
}

/** Registers `<name>.weight` [out, in] (Glorot) and `<name>.bias` [out] (zero). */
export function createLinear(p: Parameters, name: string, inputs: number, outputs: number): Linear {
  return {
    weight: p.parameter(`${name}.weight`, [outputs, inputs], glorot(inputs, outputs)),
    bias: p.parameter(`${name}.bias`, [outputs], zero),
  };
}

/** x [..., in] → [..., out], with `relu` the ReLU of it. */
export function linear(layer: Linear, x: Tensor, options: { relu?: boolean } = {}): Tensor {
  return blockLinear(x, layer.weight, layer.bias, options);
}
