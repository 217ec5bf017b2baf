import { describe, expect, it } from 'vitest';
import { draws } from '../language-model/draws.js';
import { whiteningProjection } from './whitening.js';

/** States [rows, hidden] about a mean of their own, with variances that fall. */
function kindOfText(kind: number, rows: number, hidden: number): Float32Array {
  const next = draws(kind, 'states');
  const mean = Float32Array.from({ length: hidden }, () => 4 * next());
  return Float32Array.from(
    { length: rows * hidden },
    (_, at) => mean[at % hidden]! + (next() - 0.5) * 0.97 ** (at % hidden),
  );
}

/** Projected states, [rows][dimension]. */
function project(states: Float32Array, projection: Float32Array, hidden: number, dimension: number): Float64Array[] {
  return Array.from({ length: states.length / hidden }, (_, row) =>
    Float64Array.from({ length: dimension }, (_, d) => {
      let sum = 0;
      for (let k = 0; k < hidden; k++) sum += projection[d * hidden + k]! * states[row * hidden + k]!;
      return sum;
    }),
  );
}

describe('the whitening start of the projection', () => {
  it('gives directions without correlation and of variance 1, and hardly tells the kinds apart', () => {
    const [hidden, dimension, rows] = [300, 12, 500];
    const kinds = [1, 2].map((kind) => kindOfText(kind, rows, hidden));
    const projection = whiteningProjection(kinds, hidden, dimension).toFloat32Array();
    const means: Float64Array[] = [];
    const covariance = new Float64Array(dimension * dimension);
    for (const states of kinds) {
      const vectors = project(states, projection, hidden, dimension);
      const mean = Float64Array.from({ length: dimension }, (_, d) =>
        vectors.reduce((sum, v) => sum + v[d]! / rows, 0),
      );
      means.push(mean);
      for (const v of vectors)
        for (let i = 0; i < dimension; i++)
          for (let j = 0; j < dimension; j++)
            covariance[i * dimension + j]! += ((v[i]! - mean[i]!) * (v[j]! - mean[j]!)) / (2 * rows);
    }
    for (let i = 0; i < dimension; i++)
      for (let j = 0; j < dimension; j++) expect(covariance[i * dimension + j]!).toBeCloseTo(i === j ? 1 : 0, 2);
    // Unwhitened, the kinds' means lie some 16 apart where the texts' own variance is below 2.
    expect(Math.hypot(...means[0]!.map((x, i) => x - means[1]![i]!))).toBeLessThan(0.3);
  });

  it('has a direction in every row, though there are fewer texts than dimensions', () => {
    const [hidden, dimension] = [280, 40];
    const projection = whiteningProjection([kindOfText(1, 10, hidden)], hidden, dimension).toFloat32Array();
    for (let row = 0; row < dimension; row++)
      expect(Math.hypot(...projection.subarray(row * hidden, (row + 1) * hidden))).toBeGreaterThan(1e-3);
  });

  it('takes a moment at the width of a real model', () => {
    const hidden = 768;
    const states = kindOfText(1, 64, hidden);
    const before = process.cpuUsage();
    whiteningProjection([states], hidden, 16);
    // All 768 directions would take some 12 s.
    expect(process.cpuUsage(before).user / 1e6).toBeLessThan(4);
  });
});
