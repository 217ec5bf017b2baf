import { expect, test } from 'vitest';
import {
  compileDerivation,
  type DerivationArgument,
  DuckdbSession,
  defineSchema,
  distanceKm,
  localTime,
  sceneKeywords,
  timeSeconds,
} from '../index.js';
import { timeSql } from '../prepare/sql-values.js';

const at = (iso: string) => Date.parse(`${iso}Z`);
const derive = (d: Parameters<typeof compileDerivation>[0], ...args: DerivationArgument[]) =>
  compileDerivation(d).apply(args);

test('the clock becomes slots, meals and days', () => {
  expect(derive({ derive: 'timeSlot' }, at('2026-01-31T12:05:00'))).toBe('noon');
  expect(derive({ derive: 'timeSlot' }, at('2026-01-31T04:59:59'))).toBe('late at night');
  expect(derive({ derive: 'mealtime' }, at('2026-01-31T18:30:00'))).toBe('dinner');
  expect(derive({ derive: 'weekday' }, at('2026-01-31T00:00:00'))).toBe('Saturday');
  expect(derive({ derive: 'weekend' }, at('2026-02-01T23:59:00'))).toBe('weekend');
  expect(derive({ derive: 'weekend' }, at('2026-02-02T00:00:00'))).toBe('workday');
  expect(derive({ derive: 'weekday' }, at('1969-12-31T23:00:00'))).toBe('Wednesday');
  expect(derive({ derive: 'hour' }, at('1969-12-31T23:00:00'))).toBe(23);
});

test('seasons turn round south of the equator', () => {
  expect(derive({ derive: 'season' }, at('2026-01-15T00:00:00'))).toBe('winter');
  expect(derive({ derive: 'season' }, at('2026-12-15T00:00:00'))).toBe('winter');
  expect(derive({ derive: 'season', latitude: 'events.lat' }, at('2026-01-15T00:00:00'), -33.9)).toBe('summer');
});

test('distance is the great circle: Paris to London, and a known degree of the equator', () => {
  expect(distanceKm(48.8566, 2.3522, 51.5074, -0.1278)).toBeCloseTo(343.56, 1);
  expect(distanceKm(0, 0, 0, 1)).toBeCloseTo((Math.PI / 180) * 6371.0088, 9);
  expect(distanceKm(0, 179.5, 0, -179.5)).toBeCloseTo(111.195, 2);
  expect(distanceKm(100, 0, 0, 0)).toBeNull();
});

test('bands, buckets and temperatures have edges that belong to the upper side', () => {
  const band = {
    derive: 'distanceBand' as const,
    from: ['a.a', 'a.b'] as [string, string],
    to: ['a.c', 'a.d'] as [string, string],
    edges: [0.5, 1, 3],
  };
  expect(derive(band, 0, 0, 0, 0)).toBe('within 500 m');
  expect(derive(band, 0, 0, 0, 0.02)).toBe('1 to 3 km');
  expect(derive(band, 0, 0, 0, 1)).toBe('over 3 km');
  const bucket = { derive: 'bucket' as const, of: 'pois.price', edges: [10, 20] };
  expect([9.99, 10, 20].map((x) => derive(bucket, x))).toEqual(['under 10', '10 to 20', '20 or more']);
  expect(derive({ derive: 'temperatureWords', of: 'events.t', unit: 'celsius' }, 5)).toBe('cold');
  expect(derive({ derive: 'temperatureWords', of: 'events.t', unit: 'fahrenheit' }, 104)).toBe('very hot');
});

test('a time is read as the local clock, whatever its offset', () => {
  const noon = at('2026-01-31T12:05:00');
  for (const text of [
    '2026-01-31T12:05:00',
    '2026-01-31 12:05:00',
    '2026-01-31T12:05:00+08:00',
    '2026-01-31T12:05:00Z',
  ])
    expect(localTime(text)).toBe(noon);
  expect(localTime('2026-01-31')).toBe(at('2026-01-31T00:00:00'));
  expect(localTime('2024-02-29T12:00:00')).toBe(at('2024-02-29T12:00:00'));
  for (const never of ['2026-02-31', '2026-02-29T12:00:00', '2026-04-31 12:00:00', '2026-13-01'])
    expect(localTime(never)).toBeNull();
  expect(localTime(noon / 1000)).toBe(noon);
  expect(localTime(String(noon), 'ms')).toBe(noon);
  expect(localTime('yesterday')).toBeNull();
});

test.each([
  ['s', 1],
  ['ms', 1e3],
  ['us', 1e6],
] as const)('a number of %s is a time in the years 1 to 9999, as prepare reads it', async (unit, scale) => {
  using db = await DuckdbSession.open();
  const { first, last } = timeSeconds;
  const numbers = [first - 1, first, -5, 0, last, last + 1].map((x) => x * scale);
  for (const x of [...numbers, 1e300, -1e300]) {
    const { t } = await db.row<{ t: number | null }>(
      `SELECT epoch_ms(${timeSql({ sql: 'x', type: 'DOUBLE' }, unit)})::DOUBLE AS t FROM (SELECT ${x}::DOUBLE AS x)`,
    );
    expect(localTime(x, unit), `${x}`).toBe(t);
  }
  expect(numbers.map((x) => localTime(x, unit) !== null)).toEqual([false, true, true, true, true, false]);
});

test('scene keywords of a moment: derived, missing and templated', () => {
  const schema = defineSchema({
    name: 'x',
    tables: { events: 'e.csv', users: 'u.csv', pois: 'p.csv' },
    time: 'time',
    labels: { click: 'click' },
    missing: ['unknown'],
    keywords: {
      scene: [
        { name: 'slot', value: { derive: 'timeSlot' } },
        { name: 'weather', value: 'events.weather' },
        { name: 'city', value: { derive: 'text', of: 'events.city', template: 'city {}' }, missing: ['0'] },
        { name: 'travel', value: { derive: 'travelling', home: 'users.home', here: 'events.city' } },
        {
          name: 'distance',
          value: { derive: 'distanceBand', from: ['events.lat', 'events.lon'], to: ['pois.lat', 'pois.lon'] },
        },
      ],
    },
  });
  const texts = (event: Record<string, unknown>, user?: Record<string, unknown>, poi?: Record<string, unknown>) =>
    Object.fromEntries(sceneKeywords(schema, event, user, poi).map((k) => [k.field, k.text]));
  expect(
    texts(
      { time: '2026-01-31 12:00', weather: '  heavy   rain ', city: 'Shenzhen', lat: 22.5, lon: 114 },
      { home: 'Xi’an' },
      { lat: 22.51, lon: 114 },
    ),
  ).toEqual({
    slot: 'noon',
    weather: 'heavy rain',
    city: 'city Shenzhen',
    travel: 'travelling, from Xi’an',
    distance: '1 to 3 km',
  });
  expect(texts({ weather: 'unknown', city: '0' })).toEqual({
    slot: null,
    weather: null,
    city: null,
    travel: null,
    distance: null,
  });
  expect(texts({ city: 369 }, { home: '369' }).travel).toBe('at home in 369');
});
