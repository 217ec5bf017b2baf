import { init, type Tensor, tensor } from '@larr/torch';
import { glorot, type Parameters } from './parameters.js';

/** Bilinear interaction of FiBiNET, one matrix for every pair of fields ("field interaction"). */
export interface BilinearInteraction {
  /** [P, d, d]: W_ij, pairs i < j in the order (0,1), (0,2), …, (1,2), … */
  weight: Tensor;
  /** i64 [P] */
  left: Tensor;
  right: Tensor;
  pairs: number;
}

/** The pairs i < j of so many fields, as their left and right halves. */
export function fieldPairs(fields: number): { left: number[]; right: number[] } {
  const pairs = Array.from({ length: fields }, (_, i) =>
    Array.from({ length: fields - 1 - i }, (_, k) => [i, i + 1 + k] as const),
  ).flat();
  return { left: pairs.map(([i]) => i), right: pairs.map(([, j]) => j) };
}

/** Registers `<name>.weight` [F (F − 1) / 2, dim, dim]. */
export function createBilinearInteraction(
  p: Parameters,
  name: string,
  fields: number,
  dim: number,
): BilinearInteraction {
  const { left, right } = fieldPairs(fields);
  const pairs = left.length;
  return {
    weight: p.parameter(`${name}.weight`, [pairs, dim, dim], glorot(dim, dim)),
    left: p.constant(tensor(left, [pairs], { dtype: 'i64' })),
    right: p.constant(tensor(right, [pairs], { dtype: 'i64' })),
    pairs,
  };
}

/**
 * p_ij = (v_i W_ij) ∘ v_j for i < j (Huang et al., RecSys 2019, equation 8), all pairs by one product.
 * @param v [B, F, d]
 * @returns [P, B, d]
 */
export function bilinearInteraction(net: BilinearInteraction, v: Tensor): Tensor {
  const byField = v.transpose(0, 1); // [F, B, d]
  return byField.indexSelect(0, net.left).bmm(net.weight).mul(byField.indexSelect(0, net.right));
}

/** Squeeze-and-excitation over fields: a weight for each field of a row. */
export interface FieldExcitation {
  squeeze: Tensor; // [R, F]
  excite: Tensor; // [F, R]
}

/** Registers `<name>.squeeze.weight` [R, F] and `<name>.excite.weight` [F, R], R = max(1, ⌊F / reduction⌋). */
export function createFieldExcitation(p: Parameters, name: string, fields: number, reduction: number): FieldExcitation {
  const reduced = Math.max(1, Math.floor(fields / reduction));
  return {
    squeeze: p.parameter(`${name}.squeeze.weight`, [reduced, fields], glorot(fields, reduced)),
    // from 0 up: a field whose weights begin all negative would have a = 0 and no gradient, for good
    excite: p.parameter(`${name}.excite.weight`, [fields, reduced], (t) => {
      init.uniform_(t, 0, Math.sqrt(6 / (fields + reduced)));
    }),
  };
}

/**
 * SENET's weights a = relu(W_2 relu(W_1 z)), z_f the mean of v_f (equations 3 and 4).
 * @param v [B, F, d]
 * @returns [B, F]
 */
export function fieldWeights(net: FieldExcitation, v: Tensor): Tensor {
  return v.mean([2]).linear(net.squeeze).relu().linear(net.excite).relu();
}
