import { expect, test } from 'vitest';
import { holm, pairedTest } from './paired-test.js';

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
  expect(pairedTest([1, 2], [1, 2])).toEqual({ difference: 0, low: 0, high: 0, t: null, p: 1 });
});

test('the interval is what the test would accept: p is 0.05 against its ends', () => {
  const { low, high } = pairedTest(a, b)!;
  for (const end of [low, high]) {
    const shifted = b.map((x) => x + end);
    expect(pairedTest(a, shifted)!.p).toBeCloseTo(0.05, 9);
  }
});

test('the type I error of the test at five pairs is the level that it names', () => {
  // normal differences by Box and Muller from a fixed generator
  let state = 7;
  const next = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (state + 0.5) / 4294967296;
  };
  const normal = () => Math.sqrt(-2 * Math.log(next())) * Math.cos(2 * Math.PI * next());
  const zeros = [0, 0, 0, 0, 0];
  let rejected = 0;
  for (let i = 0; i < 20_000; i++) rejected += pairedTest(zeros.map(normal), zeros)!.p < 0.05 ? 1 : 0;
  expect(rejected / 20_000).toBeGreaterThan(0.045);
  expect(rejected / 20_000).toBeLessThan(0.055);
});

test("Holm's correction multiplies the smallest p by all, the next by one less, and keeps their order", () => {
  // the values of R's p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm")
  expect(holm([0.01, 0.04, 0.03, 0.005])).toEqual([0.03, 0.06, 0.06, 0.02]);
  expect(holm([0.9, 0.8])).toEqual([1, 1]);
});
