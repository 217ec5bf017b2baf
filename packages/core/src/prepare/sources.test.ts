import { mkdir, mkdtemp, readdir, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { expect, test } from 'vitest';
import {
  type DatasetSchemaInput,
  DuckdbSession,
  defineSchema,
  draftSchema,
  explainPreparation,
  literal,
  openDataset,
  prepare,
} from '../index.js';
import { openSource } from './sources.js';

const films = [
  ['f1', 'Il "Grande" film', '一部关于宇宙的电影, 很长'],
  ['f2', 'Two lines\nof "title"', ''],
  ['007', ' spaced ', "O'Brien; 50 % | more"],
];
const cell = (text: string) => (/[",;\n\t]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);

async function rowsOf(content: string | Buffer, name: string, delimiter?: string): Promise<(string | null)[][]> {
  const folder = await mkdtemp(join(tmpdir(), 'larr-source-'));
  await writeFile(join(folder, name), content);
  using db = await DuckdbSession.open();
  const source = delimiter === undefined ? name : { path: name, delimiter };
  const { sql, columns } = await openSource(db, source, 'pois', folder);
  expect([...columns.keys()]).toEqual(['film id', 'title', 'plot']);
  return (await db.connection.runAndReadAll(`SELECT * FROM ${sql}`)).getRows() as (string | null)[][];
}

test.each([
  ['\n', ','],
  ['\r\n', ','],
  ['\n', ';'],
  ['\r\n', '\t'],
  ['\n', '|'],
])('CSV with line ends %j and delimiter %j gives back every text, quoted or in any script', async (end, delimiter) => {
  const lines = [['film id', 'title', 'plot'], ...films].map((row) => row.map(cell).join(delimiter));
  for (const [name, content] of [
    ['films.csv', lines.join(end) + end],
    ['films.csv', `\ufeff${lines.join(end)}`],
    ['films.csv.gz', gzipSync(lines.join(end) + end)],
  ] as const) {
    const rows = await rowsOf(content, name, delimiter === ',' ? undefined : delimiter);
    expect(rows.map((row) => row.map((text) => text ?? ''))).toEqual(films);
  }
});

test('a header that goes over several lines is refused by name', async () => {
  await expect(rowsOf('"film\nid",title,plot\n1,2,3\n', 'films.csv')).rejects.toMatchObject({ code: 'BAD_HEADER' });
});

/** A shop as CSV files, and the same as a DuckDB database with a table, a view and a table in a schema of its own. */
async function shop(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'larr-shop-'));
  await mkdir(join(folder, 'in'));
  const day = (i: number) => `2026-01-0${1 + Math.floor(i / 100)} 12:${String(i % 60).padStart(2, '0')}:00`;
  const events = Array.from(
    { length: 400 },
    (_, i) => `${i},u${i % 20},p${(i * 7) % 9},${day(i)},${i % 3 === 0 ? 1 : 0}`,
  );
  await writeFile(join(folder, 'in', 'events.csv'), `id,user,poi,time,click\n${events.join('\n')}\n`);
  const pois = Array.from({ length: 9 }, (_, i) => `p${i},Place ${i},${10 + i}`);
  await writeFile(join(folder, 'in', 'pois.csv'), `poi,name,price\n${pois.join('\n')}\n`);
  using db = await DuckdbSession.open({ file: join(folder, 'in', 'shop.duckdb') });
  const csv = (file: string) => `read_csv(${literal(join(folder, 'in', file))}, all_varchar = true)`;
  await db.run(`CREATE TABLE log AS FROM ${csv('events.csv')}`);
  await db.run('CREATE VIEW clicks_and_all AS FROM log');
  await db.run(`CREATE SCHEMA menu; CREATE TABLE menu.pois AS FROM ${csv('pois.csv')}`);
  return folder;
}
const shopSchema = (tables: DatasetSchemaInput['tables'], setup: string[] = []): DatasetSchemaInput => ({
  name: 'shop',
  setup,
  tables,
  keys: { row: 'id' },
  time: 'time',
  labels: { click: 'click' },
  features: {
    categorical: [{ name: 'poi', value: 'events.poi' }],
    dense: [{ name: 'price', value: 'pois.price' }],
    statistics: [{ of: 'poi', measures: ['ctr'], windows: ['all'] }],
  },
  keywords: { poi: [{ name: 'name', column: 'name' }] },
});

test('tables of a DuckDB file, named or attached, give the very dataset that the same CSV files give', async () => {
  const folder = await shop();
  const made = async (out: string, tables: DatasetSchemaInput['tables'], setup?: string[]) => {
    await prepare(join(folder, out), {
      schema: defineSchema(shopSchema(tables, setup)),
      baseDirectory: join(folder, 'in'),
    });
    const part = (await openDataset(join(folder, out))).split.parts.train.files[0]!;
    return readFile(join(folder, out, part), 'base64');
  };
  const expected = await made('csv', { events: 'events.csv', pois: 'pois.csv' });
  expect(await made('named', { events: 'shop.duckdb#clicks_and_all', pois: { path: 'shop.duckdb#menu.pois' } })).toBe(
    expected,
  );
  process.env.LARR_TEST_SHOP = join(folder, 'in', 'shop.duckdb');
  const setup = [`ATTACH '\${LARR_TEST_SHOP}' AS shop (READ_ONLY)`];
  const attached = await made(
    'attached',
    { events: { query: 'FROM shop.log' }, pois: { query: 'FROM shop.menu.pois' } },
    setup,
  );
  expect(attached).toBe(expected);
  // What the variable holds is in no file that is written.
  expect(await readFile(join(folder, 'attached', 'schema.json'), 'utf8')).toContain(`\${LARR_TEST_SHOP}`);
});

test('a schema is drafted from a table of a DuckDB file', async () => {
  const folder = await shop();
  const { schema } = await draftSchema({
    events: 'in/shop.duckdb#log',
    pois: 'in/shop.duckdb#menu.pois',
    baseDirectory: folder,
  });
  expect(schema).toMatchObject({
    tables: { events: 'in/shop.duckdb#log', pois: 'in/shop.duckdb#menu.pois' },
    keys: { user: 'user', poi: 'poi' },
    labels: { click: 'click' },
  });
});

test('a table that a DuckDB file lacks is answered with those that it has', async () => {
  const folder = await shop();
  using db = await DuckdbSession.open();
  const open = (path: string) => openSource(db, path, 'events', join(folder, 'in'));
  await expect(open('shop.duckdb#logs')).rejects.toMatchObject({
    code: 'TABLE_UNKNOWN',
    message: expect.stringMatching(/it has clicks_and_all, log, menu\.pois\. Did you mean "log"\?/),
  });
  await expect(open('shop.duckdb')).rejects.toMatchObject({ code: 'TABLE_UNKNOWN' });
  await expect(open('nowhere.duckdb#log')).rejects.toMatchObject({ code: 'FILE_MISSING' });
  await writeFile(join(folder, 'in', 'text.duckdb'), 'user,poi\n1,2\n'.repeat(1000));
  await expect(open('text.duckdb#log')).rejects.toMatchObject({ code: 'UNREADABLE' });
});

test('an extension that cannot be had, a missing variable and a failed login are told, and no password with them', async () => {
  const folder = await shop();
  process.env.LARR_TEST_PASSWORD = 'hunter2-secret';
  // No network: the extensions' server is a port where nobody listens.
  const offline = [
    `SET extension_directory = ${literal(join(folder, 'extensions'))}`,
    "SET custom_extension_repository = 'http://127.0.0.1:9'",
    "SET autoinstall_extension_repository = 'http://127.0.0.1:9'",
  ];
  const failure = async (setup: string[], events: DatasetSchemaInput['tables']['events'] = 'events.csv') => {
    const schema = defineSchema(shopSchema({ events, pois: 'pois.csv' }, setup));
    const error = await prepare(join(folder, 'out'), { schema, baseDirectory: join(folder, 'in') }).catch((e) => e);
    expect(await readdir(folder)).not.toContain('out');
    expect(`${error.message} ${error.stack} ${String(error.cause)}`).not.toContain('hunter2');
    return error;
  };
  const postgres = `ATTACH 'host=127.0.0.1 dbname=shop password=\${LARR_TEST_PASSWORD}' AS pg (TYPE postgres)`;
  expect(await failure([...offline, postgres])).toMatchObject({
    code: 'EXTENSION_MISSING',
    message: expect.stringMatching(/setup\[3\].*"postgres_scanner".*INSTALL postgres_scanner/s),
  });
  expect(await failure(offline, 's3://bucket/events/*.parquet')).toMatchObject({
    code: 'EXTENSION_MISSING',
    message: expect.stringContaining('s3://bucket/events/*.parquet: this needs DuckDB\'s extension "httpfs"'),
  });
  expect(await failure([`ATTACH '\${LARR_TEST_ABSENT}' AS x`])).toMatchObject({
    code: 'SETUP_FAILED',
    message: expect.stringContaining('LARR_TEST_ABSENT'),
  });
  expect(await failure([`ATTACH '/nowhere/\${LARR_TEST_PASSWORD}.duckdb' AS x (READ_ONLY)`])).toMatchObject({
    code: 'SETUP_FAILED',
  });
});

test('column names that differ in nothing but case are refused by name', async () => {
  await expect(rowsOf('film id,title,Title\nf1,a,b\n', 'films.csv')).rejects.toMatchObject({
    code: 'BAD_HEADER',
    message: expect.stringMatching(
      /films\.csv: the header names the columns "title" and "Title", which differ in nothing but case/,
    ),
  });
});

test("a table that lists none of the events' users or POIs is refused with its own ids alone, and a key that is given isn't asked for", async () => {
  const folder = await mkdtemp(join(tmpdir(), 'larr-source-'));
  let events = 'user,poi,click\n';
  for (let i = 0; i < 60; i++) events += `u${i % 30},p${22 - (i % 20)},${(i * i) % 7 === 2 ? 1 : 0}\n`;
  await writeFile(join(folder, 'events.csv'), events);
  // Fewer than are shown.
  await writeFile(join(folder, 'pois.csv'), 'poi\nq2\nq1\n');
  await writeFile(join(folder, 'users.csv'), 'user\nx9\n');
  const message = (tables: Record<string, unknown>) => {
    const schema = defineSchema({
      name: 'x',
      tables: { events: 'events.csv', ...tables },
      labels: { click: 'click' },
      features: { categorical: [{ name: 'poi', value: 'events.poi' }] },
    });
    return explainPreparation({ schema, baseDirectory: folder }).then(
      () => '',
      (error: Error) => error.message,
    );
  };
  expect(await message({ pois: 'pois.csv' })).toMatch(
    /they name "p22", "p21", "p20", its column "poi" says "q2", "q1"\. Name its key under tables\.pois/,
  );
  expect(await message({ users: 'users.csv' })).toMatch(
    /its column "user" says "x9"\. Name its key under tables\.users/,
  );
  expect(await message({ pois: { path: 'pois.csv', key: 'poi' } })).toMatch(
    /says "q2", "q1"\. "poi" is what tables\.pois gives as its "key": name the column that holds them there/,
  );
});

test("a table that lists none of the events' POIs is refused with what both call them; one that lists some is noted", async () => {
  const folder = await mkdtemp(join(tmpdir(), 'larr-source-'));
  let events = 'user,poi,click\n';
  for (let i = 0; i < 300; i++) events += `u${i % 30},${i % 20}.0,${(i * i) % 7 === 2 ? 1 : 0}\n`;
  await writeFile(join(folder, 'events.csv'), events);
  const made = async (pois: string) => {
    await writeFile(join(folder, 'pois.csv'), pois);
    const schema = defineSchema({
      name: 'x',
      tables: { events: 'events.csv', pois: 'pois.csv' },
      labels: { click: 'click' },
      features: { categorical: [{ name: 'poi', value: 'events.poi' }] },
    });
    return prepare(join(folder, 'out'), { schema, baseDirectory: folder });
  };
  const rows = Array.from({ length: 20 }, (_, i) => `${i}\n`).join('');
  await expect(made(`poi\n${rows}`)).rejects.toMatchObject({
    code: 'KEYS_DISJOINT',
    message: expect.stringMatching(
      /pois\.csv lists none of the POIs of the events: they name "0\.0", "1\.0", "2\.0", its column "poi" says "0", "1", "2"\. .*one has whole numbers with "\.0"/,
    ),
  });
  expect((await made('poi\n0.0\n1.0\n')).notes).toEqual([
    '270 events name 18 POIs that pois.csv does not list, such as "2.0"; they are kept, with every column missing.',
  ]);
});
