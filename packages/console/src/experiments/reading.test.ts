import { expect, it } from 'vitest';
import type { ReportReply } from '../api/types';
import { type Effect, effectOf, liftByDay, liftScale, pValue, spokenVerdict } from './reading';

const effect = (lift: number, low: number, high: number): Effect => ({
  difference: lift / 10,
  lift,
  fixed: { difference: null, lift: [low / 2, high / 2], p: 0.5 },
  sequential: { difference: null, lift: [low, high], p: 0.6 },
});
const figures = (plain: Effect | null, cuped: Effect | null) => ({
  arms: [],
  sampleRatio: { chiSquareP: 1, p: 1, alarm: false },
  comparisons: [
    {
      metric: 'ctr',
      treatment: 'new',
      effect: plain,
      cuped: cuped === null ? null : { ...cuped, varianceReduction: 0.4 },
    },
  ],
});
const days = [
  { day: '2026-01-01', figures: figures(null, null) },
  { day: '2026-01-02', figures: figures(effect(0.2, -0.5, 0.9), effect(0.1, -0.2, 0.4)) },
] as ReportReply['days'];

it('reads the lift day by day with the interval that holds on all of them, adjusted where that is wanted', () => {
  expect(liftByDay(days, 'new', 'ctr', false)).toEqual({
    x: [Date.UTC(2026, 0, 1) / 1000, Date.UTC(2026, 0, 2) / 1000],
    lift: [null, 0.2],
    low: [null, -0.5],
    high: [null, 0.9],
  });
  expect(liftByDay(days, 'new', 'ctr', true).lift).toEqual([null, 0.1]);
  expect(liftByDay(days, 'new', 'gmv', true).lift).toEqual([null, null]);
  expect(effectOf(undefined, true)).toBeNull();
});

it('draws intervals on one symmetric scale that holds the widest', () => {
  expect(liftScale([effect(0.2, -0.5, 0.9), effect(0.1, -0.2, 0.4)])).toBeCloseTo(0.99);
  expect(liftScale([null])).toBeGreaterThan(0);
});

it('says what was found', () => {
  const verdict = { treatment: 'new', metric: 'ctr', since: '2026-01-04', p: 0.01 } as const;
  expect(spokenVerdict({ ...verdict, outcome: 'better' }, 'control')).toBe(
    'new is better than control in CTR, since 2026-01-04.',
  );
  expect(spokenVerdict({ ...verdict, outcome: 'open', since: null }, 'old')).toMatch(/new against old is still open/);
  expect(spokenVerdict({ ...verdict, outcome: 'broken' }, 'control')).toMatch(/can't be judged/);
  expect([null, 0.0004, 0.0312].map(pValue)).toEqual(['–', '< 0.001', '0.031']);
});
