import { cat, type Tensor, tidy } from '@larr/torch';
import { glorot, type Parameters } from './parameters.js';

/** Compressed interaction network of xDeepFM: per layer the weights [H_k, F · H_{k−1}] of its feature maps. */
export interface CompressedInteraction {
  weights: Tensor[];
  /** Σ_k H_k */
  outputs: number;
}

/** Registers `<name>.<k>.weight` [maps_k, fields · maps_{k−1}], with maps_{−1} = fields. */
export function createCompressedInteraction(
  p: Parameters,
  name: string,
  fields: number,
  maps: number[],
): CompressedInteraction {
  const weights = maps.map((count, k) => {
    const inputs = fields * (maps[k - 1] ?? fields);
    return p.parameter(`${name}.${k}.weight`, [count, inputs], glorot(inputs, count));
  });
  return { weights, outputs: maps.reduce((sum, count) => sum + count, 0) };
}

/**
 * Feature maps X^k and their sums over the embedding (Lian et al., KDD 2018, equations 6 to 8); no activation, as the paper found best:
 *
 *     X^k_h = Σ_{i,j} W^{k,h}_{ij} ( X^{k−1}_j ∘ X^0_i ),   p^k_h = Σ_d X^k_{h,d}
 *
 * @param v [B, F, d]
 * @returns p⁺ [B, Σ_k H_k]
 */
export function compressedInteraction(net: CompressedInteraction, v: Tensor): Tensor {
  const [batch, fields, dim] = v.shape as [number, number, number];
  const rows = batch * dim; // embedding dimensions never meet, fields do
  const x0 = v.transpose(1, 2).reshape([rows, fields]);
  const column = x0.unsqueeze(2); // [B·d, F, 1]
  let x = x0; // [B·d, H_{k−1}]
  const pooled = net.weights.map((weight) => {
    // all products of a field and a feature map are the largest tensor of the model: it goes as soon as they are weighed
    x = tidy(() => column.bmm(x.unsqueeze(1)).reshape([rows, -1]).linear(weight)); // [B·d, H_k]
    return x.reshape([batch, dim, -1]).to('f32').sum([1]); // [B, H_k]
  });
  return cat(pooled, 1);
}
