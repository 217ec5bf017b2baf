import { TensorError } from './errors.js';
import type { Tensor } from './tensor.js';

/** Defaults: lr 1e-3, betas 0.9 and 0.999, eps 1e-8, weightDecay 0.01 for AdamW and 0 otherwise. */
export interface AdamOptions {
  lr?: number;
  betas?: readonly [number, number];
  eps?: number;
  weightDecay?: number;
}

export function checkedNumber(
  name: string,
  value: number,
  valid: (x: number) => boolean,
  wanted: string,
  operator: string,
): number {
  if (typeof value !== 'number' || !valid(value)) {
    throw new TensorError('TENSOR_ARGUMENT', operator, [], `${name} must be ${wanted}, not ${value}`);
  }
  return value;
}

export function checkedOptions(options: AdamOptions, weightDecay: number, operator: string): Required<AdamOptions> {
  const [beta1, beta2] = options.betas ?? [0.9, 0.999];
  const atLeast0 = (x: number) => x >= 0 && Number.isFinite(x);
  const below1 = (x: number) => x >= 0 && x < 1;
  return {
    lr: checkedNumber('lr', options.lr ?? 1e-3, atLeast0, 'a number from 0', operator),
    betas: [
      checkedNumber('betas[0]', beta1, below1, 'from 0 and below 1', operator),
      checkedNumber('betas[1]', beta2, below1, 'from 0 and below 1', operator),
    ],
    eps: checkedNumber('eps', options.eps ?? 1e-8, atLeast0, 'a number from 0', operator),
    weightDecay: checkedNumber(
      'weightDecay',
      options.weightDecay ?? weightDecay,
      atLeast0,
      'a number from 0',
      operator,
    ),
  };
}

/** Copies what `state` has under `name` into a tensor of the optimiser's. */
export function restore(target: Tensor, state: Record<string, Tensor>, name: string, operator: string): void {
  const saved = state[name];
  if (saved === undefined) throw new TensorError('TENSOR_STATE', operator, [], `the state has no '${name}'`);
  const wanted = target.shape;
  const given = saved.shape;
  if (wanted.length !== given.length || wanted.some((size, i) => size !== given[i])) {
    throw new TensorError('TENSOR_STATE', operator, [wanted, given], `'${name}' has another shape than its parameter`);
  }
  target.copy_(saved);
}
