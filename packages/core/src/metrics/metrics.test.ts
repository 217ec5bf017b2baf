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

test('the confidence interval of AUC has the standard error of DeLong', () => {
  for (const c of cases) {
    const interval = aucInterval(c.labels, Float32Array.from(c.scores));
    expect(interval.standardError).toBeCloseTo(c.delongStandardError, 10);
    expect(interval.high - interval.auc).toBeCloseTo(1.959964 * c.delongStandardError, 6);
  }
});
