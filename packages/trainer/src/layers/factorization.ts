import type { Tensor } from '@larr/torch';

/**
 * Second-order term of a factorisation machine (Rendle 2010), per embedding dimension:
 * Σ_{f<g} v_f ⊙ v_g = ½ ( (Σ_f v_f)² − Σ_f v_f² ).
 *
 * @param v [B, F, d]
 * @returns [B, d]
 */
export function pairwiseInteractions(v: Tensor): Tensor {
  const sum = v.sum([1]); // [B, d]
  return sum
    .square()
    .sub(v.square().sum([1]))
    .mul(0.5);
}
