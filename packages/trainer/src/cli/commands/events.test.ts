import { expect, it } from 'vitest';
import { summaryText } from './events.js';

it('tells one from several', () => {
  const summary = (unattributed: number) =>
    summaryText({
      output: 'out',
      days: 1,
      impressions: 2,
      clicks: 1,
      orders: 0,
      unattributed,
      written: [],
      open: [],
      late: [],
      skipped: { count: 0, first: [] },
    });
  expect(summary(2)).toContain('out: 1 day, 2 impressions, 1 click, 0 orders;');
  expect(summary(1)).toContain('\n1 click or order without an impression');
  expect(summary(2)).toContain('\n2 clicks or orders without an impression');
});
