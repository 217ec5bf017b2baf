import type { Tensor } from '@larr/torch';
import { createLinear, type Linear, linear } from './linear.js';
import type { Parameters } from './parameters.js';

/** Cross layers of DCN-V2, each a full matrix. */
export type CrossNetwork = Linear[];

/** Registers `<name>.<l>.weight` [width, width] and `<name>.<l>.bias` [width]. */
export function createCrossNetwork(p: Parameters, name: string, width: number, layers: number): CrossNetwork {
  return Array.from({ length: layers }, (_, l) => createLinear(p, `${name}.${l}`, width, width));
}

/**
 * x_{l+1} = x_0 ⊙ (W_l x_l + b_l) + x_l (Wang et al., WWW 2021, equation 1).
 * @param x0 [B, width]
 * @returns [B, width]
 */
export function cross(net: CrossNetwork, x0: Tensor): Tensor {
  let x = x0;
  for (const layer of net) x = x0.mul(linear(layer, x)).add(x);
  return x;
}
