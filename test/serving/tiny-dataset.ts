import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type DatasetSchemaInput, defineSchema, prepare } from '@larr/core';

/** One event of the tiny log, as its table has it: what a request says of the same moment. */
export interface TinyEvent {
  row: number;
  time: string;
  user: string;
  poi: string;
  weather: string;
  temperature: number | '';
  city: string;
  latitude: number;
  longitude: number;
  click: number;
  order: number;
}

const CITIES = [
  { name: 'Shenzhen', latitude: 22.54, longitude: 114.06 },
  { name: 'Beijing', latitude: 39.9, longitude: 116.4 },
  { name: 'Chengdu', latitude: 30.66, longitude: 104.07 },
];
const WEATHER = ['sunny', 'heavy rain', 'cloudy', ''];
const CUISINES = ['Cantonese', 'Sichuan', 'Hotpot', 'Noodles', 'Pizza'];

/**
 * A small food-delivery log with features of every scope: of the user, of the POI, of the moment, and of both together (distance,
 * crosses). With `history` also statistics and sequences.
 */
export async function prepareTinyDataset(
  directory: string,
  options: { history: boolean; orders?: boolean; events?: number; pois?: number },
): Promise<TinyEvent[]> {
  const tables = join(directory, 'source');
  mkdirSync(tables, { recursive: true });
  const next = generator(11);
  const pick = <T>(from: readonly T[]): T => from[Math.floor(next() * from.length)]!;
  const near = (centre: number): number => Number((centre + (next() - 0.5) / 10).toFixed(4));
  const users = Array.from({ length: 40 }, (_, i) => ({
    user: `u${i}`,
    home_city: pick(CITIES).name,
    age: i % 7 === 0 ? '' : 18 + Math.floor(next() * 50),
  }));
  const pois = Array.from({ length: options.pois ?? 30 }, (_, i) => {
    const city = pick(CITIES);
    const [latitude, longitude] = [near(city.latitude), near(city.longitude)];
    return {
      poi: `p${i}`,
      name: `Place ${i}`,
      cuisine: pick(CUISINES),
      price: Number((5 + next() * 60).toFixed(2)),
      latitude,
      longitude,
    };
  });
  const events = Array.from({ length: options.events ?? 4000 }, (_, row): TinyEvent => {
    const city = pick(CITIES);
    const poi = pick(pois);
    const clicked = next() < (poi.cuisine === 'Hotpot' ? 0.7 : 0.3) ? 1 : 0;
    return {
      row,
      time: new Date(Date.UTC(2026, 0, 1, 0, row * 3)).toISOString().slice(0, 19),
      user: pick(users).user,
      poi: poi.poi,
      weather: pick(WEATHER),
      temperature: row % 9 === 0 ? '' : Math.floor(next() * 40) - 5,
      city: city.name,
      latitude: near(city.latitude),
      longitude: near(city.longitude),
      click: clicked,
      order: clicked === 1 && next() < 0.5 ? 1 : 0,
    };
  });
  for (const [name, rows] of Object.entries({ users, pois, events }))
    writeFileSync(join(tables, `${name}.csv`), csv(rows));
  await prepare(join(directory, 'data'), {
    schema: defineSchema(tinySchema(options.history, options.orders ?? true)),
    baseDirectory: tables,
    seed: 1,
    threads: 1,
  });
  return events;
}

function tinySchema(history: boolean, orders: boolean): DatasetSchemaInput {
  const here: [string, string] = ['events.latitude', 'events.longitude'];
  const there: [string, string] = ['pois.latitude', 'pois.longitude'];
  return {
    name: history ? 'tiny-history' : 'tiny',
    tables: { events: 'events.csv', users: 'users.csv', pois: 'pois.csv' },
    keys: { user: 'user', poi: 'poi', row: 'row' },
    time: 'time',
    labels: orders ? { click: 'click', order: 'order' } : { click: 'click' },
    features: {
      categorical: [
        { name: 'user', value: 'events.user' },
        { name: 'poi', value: 'events.poi' },
        { name: 'home', value: 'users.home_city' },
        { name: 'cuisine', value: 'pois.cuisine' },
        { name: 'weather', value: 'events.weather' },
        { name: 'slot', value: { derive: 'timeSlot' } },
        { name: 'band', value: { derive: 'distanceBand', from: here, to: there } },
      ],
      cross: [
        { name: 'home_cuisine', of: ['home', 'cuisine'] },
        { name: 'slot_weather', of: ['slot', 'weather'] },
      ],
      dense: [
        { name: 'age', value: 'users.age' },
        { name: 'price', value: 'pois.price', transform: 'log1p' },
        { name: 'temperature', value: 'events.temperature' },
        { name: 'distance', value: { derive: 'distanceKm', from: here, to: there }, transform: 'log1p' },
      ],
      ...(history
        ? {
            statistics: [
              { of: 'user', measures: ['clicks', 'ctr'] },
              { of: 'poi', measures: ['ctr', 'orders'] },
              { of: 'user-poi', measures: ['impressions'], windows: ['all'] },
            ],
            sequences: [{ name: 'clicked', length: 5 }],
          }
        : {}),
    },
    keywords: {
      poi: [
        { name: 'name', column: 'name' },
        { name: 'cuisine', column: 'cuisine' },
      ],
      scene: [
        { name: 'slot', value: { derive: 'timeSlot' } },
        { name: 'weather', value: 'events.weather' },
        { name: 'warmth', value: { derive: 'temperatureWords', of: 'events.temperature' } },
        { name: 'place', value: { derive: 'text', of: 'events.city', template: 'city {}' } },
        { name: 'trip', value: { derive: 'travelling', home: 'users.home_city', here: 'events.city' } },
        { name: 'distance', value: { derive: 'distanceBand', from: here, to: there } },
      ],
    },
    splits: { time: { kind: 'time', testDays: 2, validationDays: 1 } },
  } as DatasetSchemaInput;
}

function csv(rows: readonly object[]): string {
  return `${[Object.keys(rows[0]!), ...rows.map((row) => Object.values(row))].map((line) => line.join(',')).join('\n')}\n`;
}

/** A small generator (mulberry32), so that the log is the same everywhere. */
function generator(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}
