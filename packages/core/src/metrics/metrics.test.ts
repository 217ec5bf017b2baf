import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { auc, aucInterval, calibration, gauc, logLoss } from '../index.js';

interface Case {
  labels: number[];
  scores: number[];
  groups: number[];
  auc: number;
  gauc: number;
  logLoss: number;
  observed: number[];
  predicted: number[];
  delongStandardError: number;
}
// Made by reference.py with scikit-learn.
const { cases } = JSON.parse(readFileSync(new URL('reference.json', import.meta.url), 'utf8')) as { cases: Case[] };

test('AUC equals scikit-learn, ties included, for float32 and float64 scores', () => {
  for (const c of cases) {
    expect(auc(Uint8Array.from(c.labels), Float32Array.from(c.scores))).toBeCloseTo(c.auc, 12);
    expect(auc(c.labels, Float64Array.from(c.scores))).toBeCloseTo(c.auc, 12);
  }
});

test('AUC orders negative scores and treats -0 and 0 as a tie', () => {
  expect(auc([0, 0, 1, 1], new Float32Array([-2, -1, -0.5, 3]))).toBe(1);
  expect(auc([0, 1], new Float32Array([-0, 0]))).toBe(0.5);
  expect(auc([1, 0], new Float32Array([-3, 2]))).toBe(0);
});

test('AUC of one class is not a number, and a NaN score is refused', () => {
  expect(auc([1, 1], [0.1, 0.2])).toBeNaN();
  expect(() => auc([0, 1], new Float32Array([0.1, Number.NaN]))).toThrow(RangeError);
});

test('GAUC is the row-weighted mean over groups with both classes', () => {
  for (const c of cases)
    expect(gauc(c.labels, Float32Array.from(c.scores), Int32Array.from(c.groups)).gauc).toBeCloseTo(c.gauc, 12);
  expect(gauc([0, 1, 1, 1], [0.1, 0.9, 0.5, 0.4], [1, 1, 2, 2])).toEqual({ gauc: 1, groups: 1, coverage: 0.5 });
});

test('log loss equals scikit-learn and clips certainties', () => {
  for (const c of cases) expect(logLoss(c.labels, c.scores)).toBeCloseTo(c.logLoss, 10);
  expect(logLoss([1], [0])).toBeCloseTo(-Math.log(Number.EPSILON), 9);
});

test('calibration bins equal scikit-learn', () => {
  for (const c of cases) {
    const { bins, ece } = calibration(c.labels, c.scores, 10);
    expect(bins.map((b) => b.observed)).toEqual(c.observed.map((x) => expect.closeTo(x, 9)));
    expect(bins.map((b) => b.predicted)).toEqual(c.predicted.map((x) => expect.closeTo(x, 6)));
    const expected = bins.reduce((sum, b) => sum + Math.abs(b.predicted - b.observed) * b.rows, 0) / c.labels.length;
    expect(ece).toBeCloseTo(expected, 12);
  }
});

test('the confidence interval of AUC has the standard error of DeLong where rows are many', () => {
  const few = (labels: number[]) => Math.min(...[0, 1].map((of) => labels.filter((label) => label === of).length)) < 30;
  expect(cases.some(({ labels }) => !few(labels))).toBe(true);
  for (const c of cases) {
    const interval = aucInterval(c.labels, Float32Array.from(c.scores));
    expect(interval.standardError).toBeCloseTo(c.delongStandardError, 10);
    if (!few(c.labels)) expect(interval.high - interval.auc).toBeCloseTo(1.959964 * c.delongStandardError, 6);
  }
});

test('an AUC of few rows has an interval that does not collapse', () => {
  const low = (labels: number[], scores: number[]) => aucInterval(labels, scores).low;
  const oneOfEleven = aucInterval([1, ...Array(10).fill(0)], [1, ...Array(10).fill(0)]);
  expect(oneOfEleven).toMatchObject({ auc: 1, high: 1, standardError: Number.NaN });
  expect(oneOfEleven.low).toBeLessThan(0.5);
  // One against one is a single trial: Wilson's 1 / (1 + z²).
  expect(low([0, 1], [0, 1])).toBeCloseTo(1 / (1 + 1.959963985 ** 2), 6);
  expect(aucInterval([0, 1], [1, 0])).toMatchObject({
    auc: 0,
    low: 0,
    high: expect.closeTo(1 - low([0, 1], [0, 1]), 9),
  });
  const apart = Array.from({ length: 80 }, (_, i) => (i < 40 ? 0 : 1));
  expect(low(apart, apart)).toBeGreaterThan(0.9);
  expect(low(apart, apart)).toBeLessThan(1);
});

test('95 % intervals of a few rows hold the true AUC about 95 % of the time', () => {
  // Scores of the negatives from N(0, 1), of the positives from N(shift, 1): the AUC is Φ(shift / √2).
  let state = 7;
  const uniform = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (state + 0.5) / 2 ** 32;
  };
  const normal = () => Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform());
  const draws = 600;
  for (const [positives, negatives] of [
    [1, 10],
    [3, 60],
    [10, 10],
  ] as const) {
    for (const [truth, shift] of [
      [0.7, 0.74161],
      [0.9, 1.81239],
    ] as const) {
      const labels = Array.from({ length: positives + negatives }, (_, i) => (i < positives ? 1 : 0));
      let held = 0;
      for (let draw = 0; draw < draws; draw++) {
        const { low, high } = aucInterval(
          labels,
          labels.map((label) => normal() + label * shift),
        );
        if (low <= truth && truth <= high) held++;
      }
      expect(held / draws).toBeGreaterThan(0.91);
      expect(held / draws).toBeLessThan(0.99);
    }
  }
});
