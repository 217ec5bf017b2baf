import { z } from 'zod';

/**
 * How far a score may lie from the trainer's and still be the same score: |a − b| ≤ absolute + relative · |b|. Relative,
 * because order probabilities are small: what is rounding beside a probability of .5 is a wrong answer beside one of 1e-5.
 */
export const ParityTolerance = z.object({ absolute: z.number().positive(), relative: z.number().positive() });
export type ParityTolerance = z.output<typeof ParityTolerance>;

/**
 * What `larr export` holds a bundle to and writes into its manifest, where servers read it. Rounding of f32 in another order
 * of operations differs by some 1e-6 of a score.
 */
export const PARITY_TOLERANCE: ParityTolerance = { absolute: 1e-6, relative: 1e-4 };

/** Scores of the same rows by two programs. */
export interface ScoreComparison {
  largestDifference: number;
  /** The row that lies farthest outside the tolerance; null where all are within. */
  outside: number | null;
}

/** Compares scores with the trainer's, row by row; a score that is no number is outside. */
export function compareScores(
  trainer: Float32Array,
  scores: Float32Array,
  { absolute, relative }: ParityTolerance,
): ScoreComparison {
  let largestDifference = 0;
  let outside: number | null = null;
  let worst = 1;
  for (let row = 0; row < trainer.length; row++) {
    const difference = Math.abs(trainer[row]! - scores[row]!);
    const share = difference / (absolute + relative * Math.abs(trainer[row]!));
    if (!(difference <= largestDifference)) largestDifference = difference;
    if (!(share <= worst)) [worst, outside] = [Number.isNaN(share) ? Number.POSITIVE_INFINITY : share, row];
  }
  return { largestDifference, outside };
}

/** Some columns of a matrix [rows, ·]; null for none of them. */
export function someColumns<T extends Int32Array | Float32Array>(
  matrix: T,
  rows: number,
  columns: readonly number[],
): T | null {
  if (columns.length === 0) return null;
  const width = matrix.length / rows;
  const out = matrix.slice(0, rows * columns.length) as T;
  for (let row = 0; row < rows; row++)
    for (let i = 0; i < columns.length; i++) out[row * columns.length + i] = matrix[row * width + columns[i]!]!;
  return out;
}
