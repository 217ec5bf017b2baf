import { native } from './addon.js';
import { TensorError } from './errors.js';
import type { Tensor } from './tensor.js';

// All write in place, outside the graph, and return their tensor.

/** fan-in and fan-out of a weight [out, in, …]. */
function fans(tensor: Tensor, operator: string): { fanIn: number; fanOut: number } {
  const [out, input, ...rest] = tensor.shape;
  if (out === undefined || input === undefined) {
    throw new TensorError(
      'TENSOR_ARGUMENT',
      operator,
      [tensor.shape],
      'a tensor of fewer than two dims has no fan-in and fan-out',
    );
  }
  const field = rest.reduce((product, size) => product * size, 1);
  return { fanIn: input * field, fanOut: out * field };
}

export function normal_(tensor: Tensor, std: number, mean = 0): Tensor {
  return tensor.normal_(mean, std);
}

export function uniform_(tensor: Tensor, low: number, high: number): Tensor {
  return tensor.uniform_(low, high);
}

/** Uniform within ±√(6 ∕ (fanIn + fanOut)) (Glorot and Bengio 2010). */
export function xavierUniform_(tensor: Tensor): Tensor {
  const { fanIn, fanOut } = fans(tensor, 'xavierUniform_');
  const bound = Math.sqrt(6 / (fanIn + fanOut));
  return tensor.uniform_(-bound, bound);
}

/** Uniform within ±√(6 ∕ fanIn), for layers before a ReLU (He et al. 2015). */
export function kaimingUniform_(tensor: Tensor): Tensor {
  const bound = Math.sqrt(6 / fans(tensor, 'kaimingUniform_').fanIn);
  return tensor.uniform_(-bound, bound);
}

const nativeOrthogonal = native.orthogonal_ as (tensor: Tensor, gain: number) => Tensor;

/** Rows (or columns, where there are fewer of them) orthonormal, times gain (Saxe et al. 2014). */
export function orthogonal_(tensor: Tensor, gain = 1): Tensor {
  return nativeOrthogonal(tensor, gain);
}
