import type { Tensor } from '@larr/torch';
import { createLinear, type Linear, linear } from './linear.js';
import { constant, type Parameters } from './parameters.js';

/** DIN's local activation unit: how much one entry of a history counts for the target at hand. */
export interface TargetAttention {
  dim: number;
  /** each layer with PReLU's slopes, one a unit; the first reads [q ; k ; q − k ; q ∘ k] */
  hidden: { linear: Linear; slope: Tensor }[];
  out: Linear;
}

/** Registers `<name>.<i>.weight|bias`, `<name>.<i>.slope` [out] and `<name>.out.weight|bias`. */
export function createTargetAttention(p: Parameters, name: string, dim: number, hidden: number[]): TargetAttention {
  let width = 4 * dim;
  const layers = hidden.map((outputs, i) => {
    const layer = {
      linear: createLinear(p, `${name}.${i}`, width, outputs),
      slope: p.parameter(`${name}.${i}.slope`, [outputs], constant(0.25)),
    };
    width = outputs;
    return layer;
  });
  return { dim, hidden: layers, out: createLinear(p, `${name}.out`, width, 1) };
}

/**
 * v_U = Σ_l a(k_l, q) k_l (Zhou et al., KDD 2018, equation 3): the weights are not normalised, so that a history full of what the
 * target is like counts for more than one entry of it. PReLU and not the paper's Dice: Dice's batch statistics would mix in the
 * padding.
 *
 * @param q [B, d] the target
 * @param k [B, L, d] the history
 * @param present [B, L] 1 where there is an entry, 0 = padding
 * @returns [B, d]
 */
export function attendToHistory(net: TargetAttention, q: Tensor, k: Tensor, present: Tensor): Tensor {
  const [first, ...rest] = net.hidden as [TargetAttention['hidden'][number], ...TargetAttention['hidden']];
  // W [q ; k ; q − k ; q ∘ k] = (W_1 + W_3) q + (W_2 − W_3) k + W_4 (q ∘ k): what is of the target is computed once, not L times
  const [w1, w2, w3, w4] = first.linear.weight.split(net.dim, 1) as [Tensor, Tensor, Tensor, Tensor];
  const target = q.linear(w1.add(w3), first.linear.bias).unsqueeze(1); // [B, 1, h]
  const entries = k.linear(w2.sub(w3)).add(q.unsqueeze(1).mul(k).linear(w4)); // [B, L, h]
  let h = prelu(target.add(entries), first.slope);
  for (const layer of rest) h = prelu(linear(layer.linear, h), layer.slope);
  const weight = linear(net.out, h).squeeze(2).to('f32').mul(present); // [B, L]
  return weight.unsqueeze(1).bmm(k).squeeze(1);
}

/** max(x, 0) + slope · min(x, 0) */
function prelu(x: Tensor, slope: Tensor): Tensor {
  return x.relu().sub(x.neg().relu().mul(slope));
}
