import { expect, it } from 'vitest';
import { aligned, curvesOf, measureName } from './curves';

it('makes a curve of every measure, one line for each kind of row, losses first', () => {
  const { curves, figures, clock } = curvesOf([
    { event: 'train', step: 20, samplesPerSecond: 900, loss: 0.8 },
    { event: 'train', step: 40, samplesPerSecond: 910, loss: 0.6 },
    { event: 'validation', step: 40, ctrAuc: 0.7, loss: 0.65 },
    { event: 'train', step: 60, samplesPerSecond: 905, loss: null },
    { event: 'validation', step: 60, loss: 0.6 },
  ]);
  expect(clock).toBe('step');
  expect(curves.map(({ measure }) => measure)).toEqual(['loss', 'samplesPerSecond']);
  expect(curves[0]!.lines).toEqual([
    {
      label: 'train',
      points: [
        { x: 20, y: 0.8 },
        { x: 40, y: 0.6 },
      ],
    },
    {
      label: 'validation',
      points: [
        { x: 40, y: 0.65 },
        { x: 60, y: 0.6 },
      ],
    },
  ]);
  expect(figures).toEqual([{ measure: 'ctrAuc', of: 'validation', value: 0.7 }]);
});

it('takes apart what a row tells of several things, and counts rows where there are no steps', () => {
  const { curves, clock } = curvesOf([
    { level: { dish: 0.6, poi: 0.7 } },
    { level: { dish: 0.5 } },
    { level: { poi: 0.4 } },
  ]);
  expect(clock).toBe('row');
  const [level] = curves;
  expect(level!.lines.map(({ label }) => label)).toEqual(['dish', 'poi']);
  expect(aligned(level!)).toEqual({
    x: [1, 2, 3],
    values: [
      [0.6, 0.5, null],
      [0.7, null, 0.4],
    ],
  });
});

it('names measures', () => {
  expect(['ctrAuc', 'tokensPerSecond', 'loss'].map(measureName)).toEqual(['CTR AUC', 'Tokens per second', 'Loss']);
});
