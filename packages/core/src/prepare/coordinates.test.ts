import { mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { type DatasetSchemaInput, DuckdbSession, defineSchema, literal, prepare } from '../index.js';

/** @param place of an event @param at of a POI */
async function tables(
  place: (i: number) => [unknown, unknown],
  at: (p: number) => [unknown, unknown],
): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'larr-coordinates-'));
  let events = 'user,poi,lat,lon,click\n';
  for (let i = 0; i < 400; i++) events += `u${i % 20},p${i % 10},${place(i).join()},${(i * i) % 11 === 4 ? 1 : 0}\n`;
  let pois = 'poi,lat,lon\n';
  for (let p = 0; p < 10; p++) pois += `p${p},${at(p).join()}\n`;
  await writeFile(join(folder, 'events.csv'), events);
  await writeFile(join(folder, 'pois.csv'), pois);
  return folder;
}
const shenzhen = (i: number): [number, number] => [22.5 + (i % 7) / 100, 114 + (i % 5) / 100];
const schema = (events: string, more: Partial<DatasetSchemaInput> = {}) =>
  defineSchema({
    name: 'near',
    tables: { events, pois: 'pois.csv' },
    labels: { click: 'click' },
    features: {
      categorical: [{ name: 'poi', value: 'events.poi' }],
      dense: [
        {
          name: 'far',
          value: { derive: 'distanceKm', from: ['events.lat', 'events.lon'], to: ['pois.lat', 'pois.lon'] },
        },
      ],
    },
    ...more,
  });
const notesOf = async (folder: string, events = 'events.csv', more: Partial<DatasetSchemaInput> = {}) =>
  (await prepare(join(folder, `out-${Math.random()}`), { schema: schema(events, more), baseDirectory: folder }))
    .notes ?? [];

test('impossible coordinates are counted and the first is named, in any table', async () => {
  const folder = await tables(
    (i) => (i === 6 || i === 8 ? [9999, -999] : shenzhen(i)),
    (p) => (p === 3 ? [91, 114] : shenzhen(p)),
  );
  expect(await notesOf(folder)).toEqual([
    expect.stringMatching(
      /pois\.csv, column "lat": 1 value is no latitude \(-90 to 90\), in row 4: 91\. It counts as missing/,
    ),
    expect.stringMatching(
      /events\.csv, column "lat": 2 values are no latitude \(-90 to 90\), the first in row 7: 9999\..*"missing"/,
    ),
    expect.stringMatching(
      /events\.csv, column "lon": 2 values are no longitude \(-360 to 360\), the first in row 7: -999\./,
    ),
  ]);
  const listed = await notesOf(folder, 'events.csv', { missing: ['9999', '-999', '91'] });
  expect(listed).toEqual([]);
});

test('a NaN in a Parquet column is counted too', async () => {
  const folder = await tables(shenzhen, shenzhen);
  using db = await DuckdbSession.open();
  await db.run(
    `COPY (SELECT "user", poi, CASE WHEN row_number() OVER () = 5 THEN 'NaN' ELSE lat END::DOUBLE AS lat, lon, click FROM ${literal(join(folder, 'events.csv'))})
     TO ${literal(join(folder, 'events.parquet'))} (FORMAT parquet)`,
  );
  expect(await notesOf(folder, 'events.parquet')).toEqual([
    expect.stringMatching(/column "lat": 1 value is no latitude .*in row 5: NaN\. It counts as missing, as NaN does/),
  ]);
});

test('latitude and longitude that are swapped in one of the tables are told, in range or not', async () => {
  const swapped = (i: number): [number, number] => [shenzhen(i)[1], shenzhen(i)[0]];
  expect((await notesOf(await tables(swapped, shenzhen))).join('\n')).toMatch(
    /400 values .*latitude and longitude swapped\?/,
  );
  // Both within 90 degrees: Cairo for once.
  const cairo = (i: number): [number, number] => [30 + (i % 7) / 100, 51 + (i % 5) / 100];
  const turned = (i: number): [number, number] => [cairo(i)[1], cairo(i)[0]];
  expect(await notesOf(await tables(turned, cairo))).toEqual([
    expect.stringMatching(
      /events\.lat and events\.lon lie 42 degrees away from pois\.lat and pois\.lon .* swapped in one of the two/,
    ),
  ]);
  expect(await notesOf(await tables(cairo, cairo))).toEqual([]);
});
