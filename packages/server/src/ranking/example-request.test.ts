import { defineSchema } from '@larr/core';
import { expect, it } from 'vitest';
import { exampleRequest } from './example-request.js';
import type { PoiTable } from './poi-table.js';
import type { RowAssembly } from './row-assembly.js';
import { SceneInput } from './scene-input.js';

const role = 'context' as const;

/** The example's scene of a model without scene keywords, whose dense features have these means and deviations. */
function sceneOf(time: string | { column: string; unit: 's' | 'ms' | 'us' }, dense: [mean: number, std: number][]) {
  const columns = ['lat', 'lon', 'warmth', 'paid'];
  const schema = defineSchema({
    name: 'example',
    tables: { events: 'events.csv', pois: 'pois.csv' },
    keys: { user: 'user', poi: 'poi' },
    time,
    labels: { click: 'click' },
    features: {
      categorical: [{ name: 'poi', value: 'events.poi' }],
      dense: [
        ...columns.map((name) => ({
          name,
          value: `events.${name}`,
          ...(name === 'paid' ? { transform: 'log1p' as const } : {}),
        })),
        {
          name: 'far',
          value: { derive: 'distanceKm', from: ['events.lat', 'events.lon'], to: ['pois.lat', 'pois.lon'] },
        },
      ],
    },
    splits: { random: { kind: 'random', ratios: [0.8, 0.1, 0.1] } },
  });
  const input = new SceneInput(schema);
  const { scene } = exampleRequest({
    schema,
    features: {
      categorical: [],
      dense: columns.map((name, i) => ({ name, role, mean: dense[i]![0], std: dense[i]![1] })),
      sequences: [],
      scene: [],
    },
    input,
    scene: null,
    assembly: null as unknown as RowAssembly,
    pois: { size: 0 } as PoiTable,
  });
  // The server takes its own example.
  expect(input.read(scene).event).toEqual(scene);
  return scene;
}

it('gives numbers within what their columns hold, with the decimals that these differ in', () => {
  const of = (dense: [number, number][]) => {
    const { lat, lon, warmth, paid } = sceneOf('time', dense);
    return [lat, lon, warmth, paid];
  };
  // A city: 22.5 to 22.6 north; a price of e² − 1 or so.
  expect(
    of([
      [22.54321, 0.03],
      [114.0579, 0.04],
      [21.73, 8.2],
      [2, 0.5],
    ]),
  ).toEqual([22.543, 114.058, 22, 6]);
  // A country; shares; one value in every row, which is the only one there is.
  expect(
    of([
      [51.163, 1.9],
      [-0.49, 2.5],
      [0.3124, 0.11],
      [1.5, 0],
    ]),
  ).toEqual([51.2, -0.5, 0.3, Math.expm1(1.5)]);
});

it.each([
  ['s', 1],
  ['ms', 1e3],
  ['us', 1e6],
] as const)('gives the time as a number of %s where the events count it so', (unit, scale) => {
  const dense: [number, number][] = Array.from({ length: 4 }, () => [1, 1]);
  const { time } = sceneOf('time', dense);
  expect(time).toBe('2026-01-01T12:30:00');
  expect(sceneOf({ column: 'time', unit }, dense).time).toBe((Date.parse(`${time}Z`) / 1000) * scale);
});
