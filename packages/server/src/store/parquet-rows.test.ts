import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  canonicalSql,
  canonicalText,
  DuckdbSession,
  defineSchema,
  FeatureEncoder,
  featureValues,
  openDataset,
  prepare,
  type Row,
} from '@larr/core';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { parquetRows } from './parquet-rows.js';

/** A column of each type, by two values and a missing one. */
const columns: Record<string, [type: string, ...values: string[]]> = {
  bigint: ['BIGINT', '9007199254740997', '9007199254740993'],
  ubigint: ['UBIGINT', '18446744073709551615', '7'],
  hugeint: ['HUGEINT', '170141183460469231731687303715884105727', '3'],
  integer: ['INTEGER', '-5', '12'],
  date: ['DATE', "'2020-01-02'", "'1969-12-31'"],
  timestamp: ['TIMESTAMP', "'2020-01-02 10:11:12.5'", "'2020-01-02'"],
  timestamptz: ['TIMESTAMPTZ', "'2020-01-02 10:11:12+03'", "'2020-01-02 00:00:00+00'"],
  boolean: ['BOOLEAN', 'true', 'false'],
  float: ['FLOAT', '0.1', '2'],
  double: ['DOUBLE', '1e-7', '1e16'],
  decimal: ['DECIMAL(6,2)', '1.10', '3.00'],
  varchar: ['VARCHAR', "' two  words '", "'9007199254740997'"],
  list: ['VARCHAR[]', "['a', 'b']", '[]'],
  floats: ['FLOAT[]', '[0.1, 2]', '[1e-7]'],
};
const numeric = ['bigint', 'ubigint', 'integer', 'boolean', 'float', 'double', 'decimal'];

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'larr-store-'));
});
afterAll(() => rm(directory, { recursive: true, force: true }));

it('gives features the values that training had, whatever the type of the column', async () => {
  using db = await DuckdbSession.open();
  const row = (at: number) =>
    Object.entries(columns)
      .map(([name, [type, ...values]]) => `(${values[at] ?? 'NULL'})::${type} AS "${name}"`)
      .join(', ');
  const users = [0, 1, 2].map((at) => `SELECT 9007199254740990 + ${at} * 3 AS user_id, ${row(at)}`).join(' UNION ALL ');
  await db.run(`COPY (${users}) TO '${directory}/users.parquet'`);
  await db.run(
    `COPY (SELECT i AS row_id, 9007199254740990 + (i % 3) * 3 AS user_id, 'p' || i % 4 AS poi_id, (i % 5 = 0)::INTEGER AS click
       FROM range(60) t(i)) TO '${directory}/events.parquet'`,
  );
  const schema = defineSchema({
    name: 'types',
    tables: { events: 'events.parquet', users: { path: 'users.parquet', key: 'user_id' } },
    keys: { user: 'user_id', poi: 'poi_id', row: 'row_id' },
    labels: { click: 'click' },
    features: {
      categorical: [
        { name: 'user', value: 'events.user_id' },
        { name: 'poi', value: 'events.poi_id' },
        ...Object.keys(columns).map((name) => ({ name, value: `users.${name}` })),
        { name: 'template', value: { derive: 'text', of: 'users.varchar', template: ' of  {} ' } },
        { name: 'month', value: { derive: 'month', time: 'users.date' } },
        { name: 'hour', value: { derive: 'hour', time: 'users.timestamptz' } },
        {
          name: 'tiny',
          value: {
            derive: 'distanceKm',
            from: ['users.double', 'users.boolean'],
            to: ['users.boolean', 'users.boolean'],
          },
        },
        { name: 'band', value: { derive: 'bucket', of: 'users.float', edges: [0.1, 2] } },
        { name: 'truth', value: { derive: 'bucket', of: 'users.boolean', edges: [1] } },
      ],
      dense: [
        ...numeric.map((name) => ({ name, value: `users.${name}` })),
        { name: 'marked', value: 'users.boolean', missing: ['false'] },
      ],
    },
    splits: { random: { kind: 'random', ratios: [0.8, 0.1, 0.1] } },
  });
  const out = join(directory, 'dataset');
  await prepare(out, { schema, baseDirectory: directory, seed: 1 });

  const read: Row[] = [];
  for await (const rows of parquetRows(join(out, 'store/users.parquet'), { order: ['user_index'] })) read.push(...rows);
  const named = (id: string) => read.find((row) => row.user === id);
  const dataset = await openDataset(out);
  const specs = dataset.split.categorical;
  const vocabularies = await Promise.all(specs.map(({ name }) => dataset.vocabulary(name)));
  const encoder = new FeatureEncoder({
    categorical: specs.map((f, i) => ({ ...f, vocabulary: vocabularies[i]! })),
    dense: dataset.split.dense,
  });
  const samples = await dataset.loadPart('train');
  const seen = new Set<number>();
  for (let i = 0; i < samples.rows; i++) {
    const user = read[samples.user[i]!]!;
    seen.add(samples.user[i]!);
    const values = featureValues(schema, { poi_id: `p${Number(samples.rowId[i]) % 4}` }, user);
    const ids = new Int32Array(specs.length);
    const dense = new Float32Array(dataset.split.dense.length);
    encoder.encode(values, ids, 0, dense, 0);
    specs.forEach(({ name }, f) => {
      const trained = samples.categorical[f * samples.rows + i]!;
      expect([name, vocabularies[f]![ids[f]!]]).toEqual([name, vocabularies[f]![trained]]);
      // what is present was known in training: no value may fall back to "unseen"
      if (values.categorical[f] !== null) expect([name, ids[f]]).not.toEqual([name, 0]);
    });
    dataset.split.dense.forEach(({ name }, f) => {
      expect([name, dense[f]]).toEqual([name, samples.dense[f * samples.rows + i]!]);
    });
  }
  expect([...seen].sort()).toEqual([0, 1, 2]);
  const first = named('9007199254740990')!;
  expect(first).toMatchObject({ bigint: '9007199254740997', date: '2020-01-02', boolean: 'true' });
  const values = featureValues(schema, {}, first);
  expect(values.dense[numeric.indexOf('boolean')]).toBe(1);
  expect(featureValues(schema, {}, named('9007199254740993')).dense[numeric.indexOf('boolean')]).toBe(0);
});

it('writes numbers as the database does', async () => {
  using db = await DuckdbSession.open();
  const text = canonicalSql({ sql: 'x', type: 'DOUBLE' });
  const rows = await db.rows<{ x: number; text: string }>(
    `SELECT x, ${text} AS text FROM (
       SELECT (random() - 0.5) * 10 ** (random() * 60 - 30) AS x FROM range(5000)
       UNION ALL SELECT round(random() * 10 ** (random() * 22)) FROM range(2000)
       UNION ALL SELECT unnest([0.0, -0.0, 0.1, 1e-5, 1e-4, 1e15, 9007199254740991, 9007199254740992, 1e16, 1e21, 'inf'::DOUBLE, 5e-324]))`,
  );
  for (const row of rows) expect(canonicalText(row.x)).toBe(row.text);
});
