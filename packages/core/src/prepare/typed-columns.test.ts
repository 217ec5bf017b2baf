import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { DuckdbSession, defineSchema, openDataset, prepare } from '../index.js';

/** A dataset of a Parquet log with a column "x" of the given values, read as an ID feature or as a number. */
async function prepared(x: string, use: 'categorical' | 'dense' = 'categorical'): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'larr-typed-'));
  using db = await DuckdbSession.open();
  await db.run(
    `COPY (SELECT 'u' || i % 37 AS u, 'p' || i % 17 AS p, TIMESTAMP '2026-03-01 00:00:00' + to_minutes(i * 12) AS t, (i * 31) % 10 < 3 AS click, ${x} AS x
     FROM range(800) r(i)) TO '${join(folder, 'log.parquet')}' (FORMAT parquet)`,
  );
  const out = join(folder, 'data');
  await prepare(out, {
    schema: defineSchema({
      name: 'typed',
      tables: { events: 'log.parquet' },
      keys: { user: 'u', poi: 'p' },
      time: 't',
      labels: { click: 'click' },
      features: { [use]: [{ name: 'x', value: 'events.x' }] },
    }),
    baseDirectory: folder,
  });
  return out;
}

test.each([
  ['DATE', `DATE '2026-01-30' + (i % 3)::INTEGER`, '2026-01-30'],
  ['TIME', `TIME '08:00:00' + to_hours(i % 3)`, '08:00:00'],
  ['TIMESTAMP', `TIMESTAMP '2026-01-30 08:00:00' + to_hours(i % 3)`, '2026-01-30 08:00:00'],
  ['TIMESTAMPTZ', `TIMESTAMPTZ '2026-01-30 08:00:00+00' + to_hours(i % 3)`, '2026-01-30 08:00:00'],
  ['UUID', `('00000000-0000-0000-0000-00000000000' || i % 3)::UUID`, '00000000-0000-0000-0000-000000000000'],
])('values of type %s are ID features by their text', async (_, x, value) => {
  const dataset = await openDataset(await prepared(x));
  const vocabulary = await dataset.vocabulary('x');
  expect(vocabulary).toHaveLength(4);
  expect(vocabulary).toContain(value);
});

test.each([
  ['BLOB', `('x' || i % 3)::BLOB`],
  ['STRUCT', `{'a': i % 3}`],
  ['MAP', `MAP {'a': i % 3}`],
])('a column of type %s is refused with its file, its name and its type', async (type, x) => {
  await expect(prepared(x)).rejects.toMatchObject({
    code: 'BAD_TYPE',
    file: 'log.parquet',
    field: 'x',
    message: expect.stringContaining(`is of type ${type}`),
  });
});

test('a date is no number', async () => {
  await expect(prepared(`DATE '2026-01-30' + (i % 3)::INTEGER`, 'dense')).rejects.toMatchObject({
    code: 'BAD_VALUE',
    file: 'log.parquet',
    field: 'x',
    row: 1n,
  });
});

test.each(['1e300', '-1e39', 'inf'])('%s is no number that a sample can hold', async (value) => {
  await expect(prepared(`CASE WHEN i = 4 THEN '${value}'::DOUBLE ELSE i % 7 END`, 'dense')).rejects.toMatchObject({
    code: 'BAD_VALUE',
    file: 'log.parquet',
    field: 'x',
    row: 5n,
  });
});
