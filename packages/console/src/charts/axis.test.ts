import { expect, it } from 'vitest';
import { DAY, DAY_STEPS, xRange } from './axis';

it('shows a day that stands alone between its neighbours, and more of them from the first to the last', () => {
  const day = 1_767_225_600;
  // uPlot offers a scale of its own for one value: nearly three years of seconds
  expect(xRange([day], day, day + 86_400_000, DAY)).toEqual([day - DAY, day + DAY]);
  expect(xRange([day, day + DAY, day + 3 * DAY], day, day + 3 * DAY, DAY)).toEqual([day, day + 3 * DAY]);
  expect(xRange([day, day + DAY, day + 3 * DAY], day, day + DAY, DAY)).toEqual([day, day + DAY]);
});

it('has no ticks nearer together than days', () => {
  expect(Math.min(...DAY_STEPS)).toBe(DAY);
  expect([...DAY_STEPS].sort((a, b) => a - b)).toEqual(DAY_STEPS);
});
