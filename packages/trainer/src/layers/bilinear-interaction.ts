import { cat, init, type Tensor } from '@larr/torch';
import { glorot, type Parameters } from './parameters.js';

/** Bilinear interaction of FiBiNET, one matrix for every pair of fields ("field interaction"). */
export interface BilinearInteraction {
  /** [P, d, d]: W_ij, pairs i < j in the order (0,1), (0,2), …, (1,2), … */
  weight: Tensor;
  pairs: number;
}

/** Registers `<name>.weight` [F (F − 1) / 2, dim, dim]. */
export function createBilinearInteraction(
  p: Parameters,
  name: string,
  fields: number,
  dim: number,
): BilinearInteraction {
  const pairs = (fields * (fields - 1)) / 2;
  return { weight: p.parameter(`${name}.weight`, [pairs, dim, dim], glorot(dim, dim)), pairs };
}

/**
 * p_ij = (v_i W_ij) ∘ v_j for i < j (Huang et al., RecSys 2019, equation 8). One product for all the pairs of a left field, whose
 * right ones lie side by side: gathering both sides of every pair would cost several times the products.
 * @param v [B, F, d]
 * @returns [B, P, d]
 */
export function bilinearInteraction(net: BilinearInteraction, v: Tensor): Tensor {
  const [batch, fields, dim] = v.shape as [number, number, number];
  const lefts = v.unbind(1).slice(0, -1); // each [B, d]
  const weights = net.weight.split(
    lefts.map((_, i) => fields - 1 - i),
    0,
  );
  const ofLeft = lefts.map((left, i) => {
    const count = fields - 1 - i;
    const matrix = weights[i]!.transpose(0, 1).reshape([dim, count * dim]); // [W_i,i+1 … W_i,F−1] side by side
    return left
      .matmul(matrix)
      .reshape([batch, count, dim])
      .mul(v.narrow(1, i + 1, count));
  });
  return cat(ofLeft, 1);
}

/** a_i a_j for i < j, in the order of the pairs: [B, F] → [B, P]. */
export function pairProducts(a: Tensor): Tensor {
  const fields = a.shape[1]!;
  return cat(
    Array.from({ length: fields - 1 }, (_, i) => a.narrow(1, i, 1).mul(a.narrow(1, i + 1, fields - 1 - i))),
    1,
  );
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
