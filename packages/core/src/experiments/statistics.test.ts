import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { boundary, compareArms, mixtureDeviation, usersPerArm } from './comparison.js';
import { chiSquareTail, logGamma, normalBelow, normalQuantile, normalTwoSided, upperGamma } from './distributions.js';
import { adjusted, estimate, METRICS } from './metrics.js';
import { addValues, emptyMoments, type Moments } from './moments.js';
import { sampleRatio } from './sample-ratio.js';

/** Made by reference.py, which says how. */
const reference = JSON.parse(readFileSync(new URL('./reference.json', import.meta.url), 'utf8'));

/** Closeness by relative error. */
function near(actual: number, expected: number, relative = 1e-10): void {
  expect(Math.abs(actual - expected)).toBeLessThanOrEqual(relative * Math.abs(expected) + 1e-300);
}

function momentsOf(rows: number[][]): Moments {
  const moments = emptyMoments();
  for (const row of rows) {
    moments.users++;
    addValues(moments, Float64Array.from(row), 0, 1);
  }
  return moments;
}

const control = momentsOf(reference.control);
const treatment = momentsOf(reference.treatment);

describe('distributions agree with SciPy', () => {
  it('gamma functions, the chi-square and the normal law', () => {
    for (const [x, value] of reference.logGamma) expect(logGamma(x)).toBeCloseTo(value, value > 1e5 ? 6 : 11);
    for (const [a, x, value] of reference.upperGamma) near(upperGamma(a, x), value, 1e-11);
    for (const [x, k, value] of reference.chiSquareTail) near(chiSquareTail(x, k), value, 1e-9);
    for (const [z, value] of reference.normalTwoSided) near(normalTwoSided(z), value, 1e-11);
    for (const [p, value] of reference.normalQuantile) expect(normalQuantile(p)).toBeCloseTo(value, 10);
    expect(normalBelow(1.3) + normalBelow(-1.3)).toBeCloseTo(1, 14);
  });
});

describe('estimates over users', () => {
  it.each(METRICS)('$name: value and variance are those of NumPy, and near the jackknife', (metric) => {
    const expected = reference.metrics[metric.name];
    [control, treatment].forEach((moments, i) => {
      const { value, variance } = estimate(moments, metric);
      near(value, expected.value[i]);
      near(variance, expected.delta[i], 1e-9);
      // Two different approximations of the same thing, on 60 users.
      near(variance, expected.jackknife[i], 0.1);
    });
  });

  it.each(METRICS)('$name: CUPED is the regression on the pre-period', (metric) => {
    const expected = reference.metrics[metric.name];
    const found = adjusted(control, treatment, metric)!;
    near(found.control.value, expected.cupedValue[0], 1e-9);
    near(found.treatment.value, expected.cupedValue[1], 1e-9);
    near(found.control.variance, expected.cupedVariance[0], 1e-8);
    near(found.treatment.variance, expected.cupedVariance[1], 1e-8);
    expect(found.reduction).toBeGreaterThan(0);
  });

  it('has no adjustment where nobody did anything before', () => {
    const bare = momentsOf(reference.control.map((row: number[]) => [...row.slice(0, 4), 0, 0, 0, 0]));
    expect(adjusted(bare, bare, METRICS[0]!)).toBeNull();
    expect(adjusted(bare, bare, METRICS[3]!)).toBeNull();
  });

  it('a user whose values are taken away leaves no trace', () => {
    const moments = momentsOf(reference.control);
    const more = Float64Array.from([7, 2, 1, 30.25, 5, 1, 0, 0]);
    addValues(moments, more, 0, 1);
    addValues(moments, more, 0, -1);
    for (let i = 0; i < 8; i++) expect(moments.sum[i]).toBeCloseTo(control.sum[i]!, 8);
    for (let i = 0; i < 64; i++) expect(moments.product[i]).toBeCloseTo(control.product[i]!, 6);
  });
});

describe('comparing two arms', () => {
  it.each(METRICS)('$name: intervals and p are those of SciPy', (metric) => {
    const expected = reference.metrics[metric.name];
    const found = compareArms(estimate(control, metric), estimate(treatment, metric), 0.05, 0.1);
    near(found.fixed.p!, expected.p, 1e-8);
    near(found.sequential.p!, expected.sequentialP, 1e-7);
    found.fixed.difference!.forEach((end, i) => {
      expect(end).toBeCloseTo(expected.fixedDifference[i], 10);
    });
    found.fixed.lift!.forEach((end, i) => {
      near(end, expected.fixedLift[i], 1e-7);
    });
    expect(found.sequential.lift === null).toBe(expected.sequentialLift === null);
    found.sequential.lift?.forEach((end, i) => {
      near(end, expected.sequentialLift[i], 1e-6);
    });
    const variance = expected.delta[0] + expected.delta[1];
    near(boundary(variance / expected.value[0] ** 2, 0.05, 0.1), expected.sequentialWidth, 1e-9);
  });

  it('the interval of the lift leaves out 0 exactly when that of the difference does, and p says the same', () => {
    for (let step = 0; step <= 400; step++) {
      const a = { value: 0.1, variance: 1e-6 };
      const b = { value: 0.1 + (step - 200) * 2e-5, variance: 1.3e-6 };
      const { fixed, sequential } = compareArms(a, b, 0.05, 0.03);
      for (const { difference, lift, p } of [fixed, sequential]) {
        const out = difference![0] > 0 || difference![1] < 0;
        expect(lift![0] > 0 || lift![1] < 0).toBe(out);
        expect(p! < 0.05).toBe(out);
      }
      expect(sequential.difference![1]).toBeGreaterThan(fixed.difference![1]);
    }
  });

  it('has no interval where there is no variance, and no bounded lift where the control may be 0', () => {
    const sure = compareArms({ value: 0.1, variance: 0 }, { value: 0.2, variance: 0 }, 0.05, 0.02);
    expect(sure).toMatchObject({ difference: 0.1, fixed: { p: null }, sequential: { difference: null } });
    const vague = compareArms({ value: 0.1, variance: 0.01 }, { value: 0.2, variance: 0.01 }, 0.05, 0.02);
    expect(vague.fixed.difference).not.toBeNull();
    expect(vague.fixed.lift).toBeNull();
  });

  it('the mixture is tightest where a fixed test of the same lift would have power .8', () => {
    for (const alpha of [0.01, 0.05, 0.1]) {
      const lift = 0.02;
      const planned = (lift / (normalQuantile(1 - alpha / 2) + normalQuantile(0.8))) ** 2;
      const width = (tau: number) => boundary(planned, alpha, tau);
      const chosen = mixtureDeviation(lift, alpha);
      for (const other of [0.5, 0.7, 1.4, 2]) expect(width(chosen)).toBeLessThan(width(other * chosen));
    }
    expect(mixtureDeviation(1, 0.05)).toBeCloseTo(1.06, 2);
  });

  it('the number of users is the textbook one', () => {
    // (1.959964 + 0.841621)² · (1 + 1.1²) / 0.1² = 1734.6, and with three times the users in the treatment 1101.4
    expect(usersPerArm({ lift: 0.1, variation: 1 })).toBe(1735);
    expect(usersPerArm({ lift: 0.1, variation: 1, ratio: 3 })).toBe(1102);
    // (1.959964 + 0.841621)² · 2 / lift² for small ones
    expect(usersPerArm({ lift: 1e-4, variation: 1 }) / ((7.848879 * 2) / 1e-8)).toBeCloseTo(1, 3);
  });
});

describe('sample ratio', () => {
  it.each(reference.sampleRatio)('$counts for $weights agree with SciPy', ({ counts, weights, p, chiSquareP }) => {
    const found = sampleRatio(counts, weights);
    near(found.p, p, 1e-6);
    near(found.chiSquareP, chiSquareP, 1e-8);
    expect(found.alarm).toBe(p < 0.001);
  });

  it('says nothing of nobody', () => {
    expect(sampleRatio([0, 0], [1, 1])).toEqual({ chiSquareP: 1, p: 1, alarm: false });
  });
});
