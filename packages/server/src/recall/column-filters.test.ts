import { mkdtempSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DuckdbSession, type Row } from '@larr/core';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { PoiTable } from '../ranking/poi-table.js';
import { StoreAway } from '../store/store.js';
import { type ChangesOfPois, ColumnFilters } from './column-filters.js';

vi.setConfig({ testTimeout: 20_000 });
let directory: string;
let file: string;
const table = new PoiTable({
  wanted: { ids: 0, dense: 0, numbers: 0, texts: 0 },
  encode: () => {},
  number: () => 0,
  text: () => null,
});

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'larr-filters-'));
  file = join(directory, 'pois.parquet');
  using db = await DuckdbSession.open();
  await db.run(`COPY (SELECT 'p' || i AS poi, 'city' || i % 2 AS city, i AS rooms FROM range(4) t(i)) TO '${file}'`);
  table.put(['p0', 'p1', 'p2', 'p3', 'new'].map((poi) => ({ poi })));
}, 30_000);
afterAll(() => rmSync(directory, { recursive: true, force: true }));

const none: ChangesOfPois = async (since) => ({ last: since, rows: [] });

async function within(filters: ColumnFilters, column: string, value: string): Promise<string[]> {
  const allowed = await filters.rows({ [column]: value }, table);
  return Array.from({ length: table.size }, (_, row) => row)
    .filter((row) => allowed!(row))
    .map((row) => table.idOf(row));
}

it('has what changed before a column was asked for the first time, page after page', async () => {
  const pages: Row[][] = [[{ poi: 'p0', city: 'Rome' }], [{ poi: 'new', city: 'Rome' }], [{ poi: 'p1', rooms: 9 }]];
  const filters = new ColumnFilters(file, async (since) =>
    since < pages.length ? { last: since + 1, rows: pages[since]! } : { last: since, rows: [] },
  );
  expect(await within(filters, 'city', 'Rome')).toEqual(['p0', 'new']);
  expect(await within(filters, 'city', 'city1')).toEqual(['p1', 'p3']);
  expect(await within(filters, 'rooms', '9')).toEqual(['p1']);
  filters.put([{ poi: 'p0', city: null }], table);
  expect(await within(filters, 'city', 'Rome')).toEqual(['new']);
});

it('keeps what changes while a column is read', async () => {
  let reading = (): void => {};
  const asked = new Promise<void>((resolve) => {
    reading = resolve;
  });
  let first = true;
  const filters = new ColumnFilters(file, async (since) => {
    if (since > 0 || first) {
      first = false;
      return none(since);
    }
    reading();
    await new Promise((resolve) => setTimeout(resolve, 20));
    return { last: 1, rows: [{ poi: 'p2', city: 'older' }] };
  });
  await filters.rows({ rooms: '1' }, table);
  const found = within(filters, 'city', 'newer');
  // the reading has begun
  await new Promise((resolve) => setImmediate(resolve));
  filters.put([{ poi: 'p0', city: 'newer' }], table);
  await asked;
  filters.put([{ poi: 'p2', city: 'newer' }], table);
  expect(await found).toEqual(['p0', 'p2']);
});

it('asks again for what changed where the store was away, and reads again what could not be read', async () => {
  let away = true;
  const filters = new ColumnFilters(file, async (since) => {
    if (away) throw new StoreAway('gone');
    return since === 0 ? { last: 1, rows: [{ poi: 'p0', city: 'Rome' }] } : none(since);
  });
  renameSync(file, `${file}.moved`);
  await expect(filters.rows({ city: 'Rome' }, table)).rejects.toMatchObject({ code: 'STORE_UNREADABLE' });
  renameSync(`${file}.moved`, file);
  expect(await within(filters, 'city', 'city0')).toEqual(['p0', 'p2']);
  away = false;
  expect(await within(filters, 'city', 'Rome')).toEqual(['p0']);

  const gone = new ColumnFilters(file, none);
  expect(await within(gone, 'city', 'city0')).toEqual(['p0', 'p2']);
  renameSync(file, `${file}.moved`);
  await expect(gone.rows({ rooms: '1' }, table)).rejects.toMatchObject({ code: 'STORE_UNREADABLE' });
  renameSync(`${file}.moved`, file);
  expect(await within(gone, 'rooms', '1')).toEqual(['p1']);
});
