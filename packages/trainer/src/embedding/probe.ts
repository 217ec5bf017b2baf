import { noGrad, tensor, tidy } from '@larr/torch';
import { symmetricEigen } from './eigen.js';

/** Strength of the ridge, as a share of the (whitened, unit) variance: enough to keep noise directions quiet. */
const RIDGE = 0.01;

/**
 * How much of the targets a linear map reads out of the vectors: both centred, the vectors whitened on the training rows,
 * a ridge regression fitted there, and R² measured on the other rows; the mean over targets.
 *
 * @param vectors [n, dimension] @param targets [n, width] @param train which rows fit the map; the others measure it
 */
export function linearProbe(
  vectors: Float32Array,
  dimension: number,
  targets: Float32Array,
  width: number,
  train: readonly boolean[],
): number {
  const rows = (of: Float32Array, size: number, which: boolean) => {
    const chosen = new Float64Array(size * (which ? n : m));
    let at = 0;
    train.forEach((t, i) => {
      if (t === which) chosen.set(of.subarray(i * size, (i + 1) * size), size * at++);
    });
    return chosen;
  };
  const n = train.filter(Boolean).length;
  const m = train.length - n;
  if (n === 0 || m === 0) throw new RangeError('A probe needs rows to fit and rows to measure.');
  return noGrad(() =>
    tidy(() => {
      const options = { dtype: 'f64' } as const;
      const load = (of: Float32Array, size: number, which: boolean) =>
        tensor(rows(of, size, which), [which ? n : m, size], options);
      const x = load(vectors, dimension, true);
      const y = load(targets, width, true);
      const xMean = x.mean([0], true);
      const yMean = y.mean([0], true);
      const centred = x.sub(xMean);
      const covariance = centred.transpose(0, 1).matmul(centred).div(n).contiguous().toArray() as Float64Array;
      const { values, vectors: axes } = symmetricEigen(covariance, dimension);
      const floor = 1e-8 * Math.max(values[0]!, Number.MIN_VALUE);
      // Whitened coordinates are uncorrelated with unit variance, so the ridge solution is the plain product, shrunk.
      const whiten = new Float64Array(dimension * dimension);
      for (let i = 0; i < dimension; i++) {
        const scale = values[i]! > floor ? 1 / Math.sqrt(values[i]!) : 0;
        for (let k = 0; k < dimension; k++) whiten[i * dimension + k] = scale * axes[i * dimension + k]!;
      }
      const w = tensor(whiten, [dimension, dimension], options);
      const map = centred
        .linear(w)
        .transpose(0, 1)
        .matmul(y.sub(yMean))
        .div(n * (1 + RIDGE));
      const predicted = load(vectors, dimension, false).sub(xMean).linear(w).matmul(map).add(yMean);
      const truth = load(targets, width, false);
      const error = truth.sub(predicted).square().sum([0]);
      const spread = truth
        .sub(truth.mean([0], true))
        .square()
        .sum([0])
        .clamp(1e-12);
      return 1 - error.div(spread).mean().item();
    }),
  );
}
