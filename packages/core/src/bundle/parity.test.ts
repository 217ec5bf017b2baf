import { expect, test } from 'vitest';
import { compareScores, PARITY_TOLERANCE } from '../index.js';

const compare = (trainer: number[], scores: number[], tolerance = PARITY_TOLERANCE) =>
  compareScores(Float32Array.from(trainer), Float32Array.from(scores), tolerance);

test('a difference is judged beside its score: what is rounding for a large one is an error for a small one', () => {
  expect(compare([0.5, 2e-4], [0.50002, 2e-4]).outside).toBeNull();
  // Two hundred-thousandths again, now a tenth of the score.
  expect(compare([0.5, 2e-4], [0.5, 2.2e-4])).toMatchObject({ outside: 1 });
  expect(compare([0, 0], [0, 5e-7]).outside).toBeNull();
  expect(compare([0, 0], [0, 5e-6]).outside).toBe(1);
});

test('the worst row is named, and one that is no number always', () => {
  const { largestDifference, outside } = compare([0.5, 1e-3, 0.5], [0.6, 1e-2, 0.5]);
  expect(outside).toBe(1);
  expect(largestDifference).toBeCloseTo(0.1, 6);
  expect(compare([0.5, 0.5], [0.9, Number.NaN])).toEqual({ largestDifference: Number.NaN, outside: 1 });
  expect(compare([0.5, 0.5], [Number.NaN, 0.9]).outside).toBe(0);
});

test('the tolerance is the one that is given', () => {
  expect(compare([0.5], [0.51], { absolute: 0.02, relative: 1e-9 }).outside).toBeNull();
});
