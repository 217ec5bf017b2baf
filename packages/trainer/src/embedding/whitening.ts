import { type Tensor, tensor, tidy } from '@larr/torch';
import { principalAxes } from './eigen.js';

/** How strongly directions that tell the kinds of text apart are suppressed, as a multiple of their own variance. */
const KIND_SUPPRESSION = 100;

/**
 * The projection that stage 2 starts from: a whitening matrix `W = Λ^{-1/2} Vᵀ` [dimension, hidden] of pooled stage-1
 * states, each kind of text (menus, introductions, profiles …) centred on its own. States of a language model fill few
 * directions, and cosines between them are all near 1; whitened, the contrastive loss starts well below ln B
 * (method.md, section 7).
 *
 * `W` has no offset, so the kinds' means are made small instead: they enter the covariance many times over, and
 * directions along them are scaled down accordingly.
 *
 * @param kinds states of each kind, [n_k, hidden] f32, row by row
 */
export function whiteningProjection(kinds: readonly Float32Array[], hidden: number, dimension: number): Tensor {
  const covariance = new Float64Array(hidden * hidden);
  const means: Float64Array[] = [];
  let total = 0;
  for (const states of kinds) {
    const rows = states.length / hidden;
    if (rows === 0) continue;
    const mean = new Float64Array(hidden);
    for (let r = 0; r < rows; r++) for (let i = 0; i < hidden; i++) mean[i]! += states[r * hidden + i]! / rows;
    means.push(mean);
    const centred = Float32Array.from(states, (x, at) => x - mean[at % hidden]!);
    const product = tidy(() => {
      const t = tensor(centred, [rows, hidden]);
      return t.transpose(0, 1).matmul(t).contiguous().toFloat32Array();
    });
    for (let i = 0; i < covariance.length; i++) covariance[i]! += product[i]!;
    total += rows;
  }
  for (let i = 0; i < covariance.length; i++) covariance[i]! /= Math.max(1, total);
  for (const mean of means) {
    for (let i = 0; i < hidden; i++) {
      for (let j = 0; j < hidden; j++) {
        covariance[i * hidden + j]! += (KIND_SUPPRESSION / means.length) * mean[i]! * mean[j]!;
      }
    }
  }
  // Directions along the means now have the greatest variance, and are the last to be wanted: so many more are looked for.
  const { values, vectors } = principalAxes(covariance, hidden, Math.min(hidden, dimension + means.length));
  const along = Array.from(values, (value, i) => {
    const v = vectors.subarray(i * hidden, (i + 1) * hidden);
    let share = 0;
    for (const mean of means) {
      let dot = 0;
      for (let k = 0; k < hidden; k++) dot += v[k]! * mean[k]!;
      share += (KIND_SUPPRESSION / means.length) * dot * dot;
    }
    return value - share;
  });
  const wanted = Array.from(values.keys()).sort((a, b) => along[b]! - along[a]!);
  // Directions without variance would be blown up into noise.
  const floor = 1e-4 * along[wanted[0]!]!;
  const projection = new Float32Array(dimension * hidden);
  for (let row = 0; row < Math.min(dimension, hidden); row++) {
    const i = wanted[row]!;
    const scale = 1 / Math.sqrt(Math.max(values[i]!, floor));
    for (let k = 0; k < hidden; k++) projection[row * hidden + k] = scale * vectors[i * hidden + k]!;
  }
  return tensor(projection, [dimension, hidden]);
}
