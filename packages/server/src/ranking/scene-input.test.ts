import { defineSchema } from '@larr/core';
import { expect, it } from 'vitest';
import { SceneInput } from './scene-input.js';

const sceneInput = (time: 'time' | { column: 'time'; unit: 's' | 'ms' | 'us' }) =>
  new SceneInput(
    defineSchema({
      name: 'scene',
      tables: { events: 'events.csv', pois: 'pois.csv' },
      keys: { user: 'user', poi: 'poi' },
      time,
      labels: { click: 'click' },
      missing: ['unknown'],
      features: {
        categorical: [
          { name: 'opened', value: { derive: 'hour', time: 'events.opened' }, missing: ['0'] },
          { name: 'user', value: 'events.user' },
          { name: 'poi', value: 'events.poi' },
          { name: 'weather', value: 'events.weather' },
        ],
        dense: [
          { name: 'wind', value: 'events.wind', missing: ['calm'] },
          {
            name: 'far',
            value: { derive: 'distanceKm', from: ['events.lat', 'events.lon'], to: ['pois.lat', 'pois.lon'] },
          },
        ],
      },
      keywords: {
        scene: [
          { name: 'time', value: { derive: 'timeSlot' } },
          { name: 'warmth', value: { derive: 'temperatureWords', of: 'events.temperature', unit: 'celsius' } },
        ],
      },
      splits: { random: { kind: 'random', ratios: [0.8, 0.1, 0.1] } },
    }),
  );
const input = sceneInput('time');

it.each([
  ['time', 'yesterday evening'],
  ['time', true],
  // Seconds or milliseconds? A number does not say.
  ['time', 1769861100],
  ['time', '1769861100'],
  ['opened', 1769861100],
  ['temperature', 'warm'],
  ['wind', 'strong'],
  // Numbers that the ranker's 32 bits do not hold.
  ['wind', 1e39],
  ['wind', '-1e300'],
  ['temperature', 1e300],
])('refuses %s: %s, which training could not have read either', (name, value) => {
  expect(() => input.read({ [name]: value })).toThrow(
    expect.objectContaining({ status: 400, code: 'SCENE_VALUE_INVALID', field: `scene.${name}` }),
  );
});

it('takes numbers, their texts, times, markers of missing values and nothing', () => {
  const scene = { time: '2026-01-31 12:05', temperature: '21.5', wind: 'calm', weather: 'warm' };
  expect(input.read(scene).event).toEqual(scene);
  expect(input.read({ time: null, temperature: 3, wind: '' }).event).toEqual({ time: null, temperature: 3, wind: '' });
  expect(input.read({ temperature: 'unknown' }).event).toEqual({ temperature: 'unknown' });
  expect(input.read({ opened: 0 }).event).toEqual({ opened: 0 });
});

it('takes a number for a time whose unit the schema states', () => {
  const counted = sceneInput({ column: 'time', unit: 's' });
  for (const time of [1769861100, '1769861100', '2026-01-31 12:05'])
    expect(counted.read({ time }).event).toEqual({ time });
  expect(() => counted.read({ time: true })).toThrow(/number of seconds/);
});

it.each([
  ['s', [1e300, -1e300, 1e15, 253402300800, '253402300800', -62135596801], [-5, 0, 253402300799]],
  ['ms', [1e300, -1e300, 1e15, 9e15, 253402300800000, '9000000000000000'], [-5, 0, 253402300799000]],
  ['us', [1e300, -1e300, 253402300800e6, '-62135596801000000'], [-5, 1e15, 253402300799e6]],
] as const)('refuses a number of %s that prepare takes for no time', (unit, beyond, within) => {
  const counted = sceneInput({ column: 'time', unit });
  for (const time of beyond)
    expect(() => counted.read({ time }), `${time}`).toThrow(
      expect.objectContaining({
        status: 400,
        code: 'SCENE_VALUE_INVALID',
        field: 'scene.time',
        message: expect.stringContaining('of the years 1 to 9999'),
      }),
    );
  for (const time of within) expect(counted.read({ time }).event).toEqual({ time });
});

it.each([
  ['lat', 9999, 'a latitude between -90 and 90 degrees'],
  ['lat', -90.001, 'a latitude between -90 and 90 degrees'],
  // Latitude and longitude of Shenzhen, the wrong way round.
  ['lat', '114.06', 'a latitude between -90 and 90 degrees'],
  ['lon', -999, 'a longitude between -360 and 360 degrees'],
  ['lon', 'east', 'a longitude between -360 and 360 degrees'],
])('refuses %s: %s, no place on earth, with its range', (name, value, range) => {
  expect(() => input.read({ [name]: value })).toThrow(
    expect.objectContaining({
      status: 400,
      code: 'SCENE_VALUE_INVALID',
      field: `scene.${name}`,
      message: expect.stringContaining(range),
    }),
  );
  expect(input.read({ lat: -90, lon: '359.5' }).event).toEqual({ lat: -90, lon: '359.5' });
  expect(input.read({ lat: null, lon: 'unknown' }).event).toEqual({ lat: null, lon: 'unknown' });
});

it('says where a name is that of a column in another Unicode form', () => {
  const named = new SceneInput(
    defineSchema({
      name: 'device',
      tables: { events: 'events.csv', pois: 'pois.csv' },
      keys: { user: 'user', poi: 'poi' },
      labels: { click: 'click' },
      features: { categorical: [{ name: 'device', value: 'events.Ger\u00e4t' }] },
      splits: { random: { kind: 'random', ratios: [0.8, 0.1, 0.1] } },
    }),
  );
  expect(named.read({ 'Ger\u00e4t': 'phone' }).event).toEqual({ 'Ger\u00e4t': 'phone' });
  expect(() => named.read({ 'Gera\u0308t': 'phone' })).toThrow(
    expect.objectContaining({
      status: 400,
      code: 'SCENE_FIELD_UNKNOWN',
      message: expect.stringMatching(/the same letters in another Unicode form \(NFC, "Ger\\u00e4t"\)/),
    }),
  );
  expect(() => named.read({ phone: 'x' })).toThrow(/known: Ger\u00e4t$/);
});

it('names the columns that features and keywords read and a scene leaves out', () => {
  const all = ['opened', 'weather', 'wind', 'lat', 'lon', 'time', 'temperature'];
  expect(input.leftOut({}, true)).toEqual(all);
  // null says that it is missing, and a keyword's own text needs no column
  expect(
    input.leftOut({ weather: null, wind: '', lat: 1, lon: 2, opened: '0', time: '2026-01-31T12:00' }, true),
  ).toEqual(['temperature']);
  expect(input.leftOut({ warmth: 'hot' }, true)).toEqual(all.filter((column) => column !== 'temperature'));
  // a model that reads no keywords
  expect(input.leftOut({}, false)).toEqual(['opened', 'weather', 'wind', 'lat', 'lon']);
});
