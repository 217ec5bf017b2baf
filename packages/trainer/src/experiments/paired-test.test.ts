import { expect, test } from 'vitest';
import { pairedTest } from './paired-test.js';

const a = [0.7742, 0.7751, 0.7738, 0.776, 0.7745];
const b = [0.7724, 0.774, 0.7735, 0.7741, 0.7738];

test('the paired t-test gives the textbook statistic', () => {
  const d = a.map((x, i) => x - b[i]!);
  const m = d.reduce((s, x) => s + x, 0) / 5;
  const s = Math.sqrt(d.reduce((t, x) => t + (x - m) ** 2, 0) / 4);
  const result = pairedTest(a, b)!;
  expect(result.t).toBeCloseTo(m / (s / Math.sqrt(5)), 10);
  expect(result.difference).toBeCloseTo(m, 12);
});

test("the tail of Student's law matches tabulated critical values", () => {
  // two-sided p = 0.05 at t = 2.776445 with 4 degrees of freedom, 0.01 at 4.604095 (any table of the t distribution)
  const pairs = (t: number) => {
    const noise = [-2, -1, 0, 1, 2]; // mean 0, s = √2.5
    const shift = (t * Math.sqrt(2.5)) / Math.sqrt(5);
    return pairedTest(
      noise.map((x) => x + shift),
      [0, 0, 0, 0, 0],
    )!.p;
  };
  expect(pairs(2.776445)).toBeCloseTo(0.05, 6);
  expect(pairs(-4.604095)).toBeCloseTo(0.01, 6);
  expect(pairs(0)).toBeCloseTo(1, 12);
});

test('one pair cannot be tested, equal pairs are no difference', () => {
  expect(pairedTest([1], [2])).toBeNull();
  expect(pairedTest([1, 2], [1, 2])).toEqual({ difference: 0, t: null, p: 1 });
});
