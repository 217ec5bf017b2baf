import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DuckdbSession, defineSchema } from '@larr/core';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { FeatureStore } from './feature-store.js';
import { openStore } from './open-store.js';
import type { Store } from './store.js';

const schema = defineSchema({
  name: 'places',
  tables: { events: 'events.csv', pois: 'pois.csv', users: 'users.csv' },
  keys: { user: 'user', poi: 'poi' },
  labels: { click: 'click' },
  missing: ['-999'],
  features: {
    categorical: [
      { name: 'user', value: 'events.user' },
      { name: 'poi', value: 'events.poi' },
    ],
    dense: [
      {
        name: 'far',
        value: { derive: 'distanceKm', from: ['users.home_lat', 'users.home_lon'], to: ['pois.lat', 'pois.lon'] },
      },
    ],
  },
  keywords: { scene: [], poi: [] },
});

let directory: string;
let store: Store;
let features: FeatureStore;
beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'larr-patched-'));
  const files = { users: join(directory, 'users.parquet'), pois: join(directory, 'pois.parquet'), pairs: null };
  using db = await DuckdbSession.open();
  await db.run(
    `COPY (SELECT 0 AS user_index, 'u' AS "user", 1.0::DOUBLE AS home_lat, 'x' AS home_lon, []::INTEGER[] AS seq_recent) TO '${files.users}'`,
  );
  await db.run(
    `COPY (SELECT i::INTEGER AS poi_index, 'p' || i AS poi, 31.5::DOUBLE AS lat, 121.5::DOUBLE AS lon, 1.5::DOUBLE AS price FROM range(50) t(i)) TO '${files.pois}'`,
  );
  store = await openStore(null);
  features = await FeatureStore.open(store, 'places', files, schema);
  await features.load();
});
afterAll(async () => {
  await store.close();
  rmSync(directory, { recursive: true, force: true });
});

it('refuses coordinates that are no place on earth, and writes nothing of the request', async () => {
  for (const lat of [999, -1000, 90.1]) {
    const change = features.putPois(
      new Map([
        ['p1', { price: 2 }],
        ['p2', { lat }],
      ]),
    );
    await expect(change).rejects.toMatchObject({
      code: 'VALUE_INVALID',
      field: 'rows.p2.lat',
      message: expect.stringContaining('a latitude between -90 and 90 degrees'),
    });
  }
  await expect(features.putPois(new Map([['p1', { lon: 361 }]]))).rejects.toMatchObject({ field: 'rows.p1.lon' });
  // a column of texts is read as numbers too
  for (const home_lon of ['400', 'east'])
    await expect(features.putUsers(new Map([['u', { home_lon }]]))).rejects.toMatchObject({ field: 'rows.u.home_lon' });
  expect((await features.changedPois(0)).rows).toEqual([]);
  await features.putPois(new Map([['p1', { lat: -90, lon: 360, price: 999 }]]));
  await features.putPois(new Map([['p2', { lat: null, lon: -999 }]]));
  expect((await features.changedPois(0)).rows).toHaveLength(2);
});
