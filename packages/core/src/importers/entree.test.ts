import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { DuckdbSession, importEntree, literal, openDataset } from '../index.js';

const cityFiles = [
  'atlanta',
  'boston',
  'chicago',
  'los_angeles',
  'new_orleans',
  'new_york',
  'san_francisco',
  'washington_dc',
];

/** Made-up files in the published format: forty restaurants a city, a session every two hours for 166 days from Sep 1996. */
async function published(
  change: { session?: (text: string) => string | Uint8Array; chicago?: (text: string) => string } = {},
) {
  const directory = await mkdtemp(join(tmpdir(), 'larr-entree-'));
  await mkdir(join(directory, 'data'));
  await mkdir(join(directory, 'session'));
  await writeFile(
    join(directory, 'data/features.txt'),
    '000\tA\n001\tItalian\n002\tThai\n003\tRomantic\n004\t$15-$30\n005\tbelow $15\n006\tGood Food\n',
  );
  for (const city of cityFiles) {
    let text = '';
    for (let i = 0; i < 40; i++)
      text += `${String(i).padStart(7, '0')}\tPlace ${city} ${i}\t000 00${1 + (i % 2)} 003 00${4 + (i % 2)} 006\n`;
    if (city === 'chicago') text = change.chicago?.(text) ?? text;
    await writeFile(join(directory, 'data', `${city}.txt`), text);
  }
  let text =
    '07/Sep/1996:12:17:05 \thost a\t3F\t1L\t2M\t2L\t5\n08/Sep/1996:12:17:05 \thost b\t0\t                  0L\t4Q\t-1\n';
  for (let i = 0; i < 2000; i++) {
    const time = new Date(Date.UTC(1996, 8, 9, i * 2));
    const month = time.toUTCString().slice(8, 11);
    const day = String(time.getUTCDate()).padStart(2, '0');
    const hour = String(time.getUTCHours()).padStart(2, '0');
    const then = ['L', 'N', 'R'][i % 3];
    text += `${day}/${month}/${time.getUTCFullYear()}:${hour}:00:00 \thost ${i % 40}\t0\t${i % 40}L\t${(i * 3) % 40}N\t${(i * 11) % 40}${then}\t${(i * 7) % 40}\n`;
  }
  await writeFile(join(directory, 'session/session.1996-Q3'), change.session?.(text) ?? text);
  await writeFile(join(directory, 'session/README.md'), 'not a session');
  return directory;
}

test('a restaurant seen is one impression, one asked about a click, the end point the choice', async () => {
  const input = await published();
  const output = join(input, 'out');
  const manifest = await importEntree({ input, output, seed: 1 });
  expect(manifest).toMatchObject({ name: 'entree', orders: true, pois: 40 });
  using db = await DuckdbSession.open();
  const events = literal(join(output, 'tables/events.parquet'));
  const rows = await db.rows<Record<string, never>>(
    `SELECT restaurant::INTEGER AS restaurant, step::INTEGER AS step, asked, click, chosen, time::VARCHAR AS time, entry_city, entry_cuisine FROM read_parquet(${events}) WHERE session < 2`,
  );
  const entry = { time: '1996-09-07 12:17:05', entry_city: 'New York', entry_cuisine: 'Thai' };
  const none = { time: '1996-09-08 12:17:05', entry_city: null, entry_cuisine: null };
  expect(rows).toEqual([
    { restaurant: 1, step: 1, asked: null, click: 0, chosen: 0, ...entry },
    { restaurant: 2, step: 2, asked: 'asked to browse on', click: 1, chosen: 0, ...entry },
    { restaurant: 5, step: 3, asked: 'asked to browse on', click: 1, chosen: 1, ...entry },
    { restaurant: 0, step: 1, asked: null, click: 0, chosen: 0, ...none },
    { restaurant: 4, step: 2, asked: 'asked to browse on', click: 1, chosen: 0, ...none },
  ]);
  const dataset = await openDataset(output);
  expect((await dataset.poiTexts())[1]).toEqual([
    { keyword: 'name', token: 'poi_name', text: 'Place chicago 1' },
    { keyword: 'cuisine', token: 'poi_cuisine', text: 'Thai' },
    { keyword: 'price', token: 'poi_price', text: 'below $15' },
    { keyword: 'food', token: 'poi_food', text: 'Good Food' },
    { keyword: 'about', token: 'poi_about', text: 'Romantic' },
  ]);
  const fields = Object.fromEntries(dataset.split.scene.map((f) => [f.field, f.texts]));
  expect(fields.asked).toContain('asked to browse on');
  expect(fields.like_in).toEqual(['', 'like one in New York']);
});

test('sessions that are not as published are refused with file, line and column', async () => {
  const failure = async (change: Parameters<typeof published>[0]) => {
    const input = await published(change);
    const error = await importEntree({ input, output: join(input, 'out') }).then(
      () => undefined,
      (x) => x,
    );
    expect((await readdir(input)).sort()).toEqual(['data', 'session']);
    return error;
  };
  const session = (from: string, to: string) => ({ session: (text: string) => text.replace(from, to) });
  expect(await failure(session('\t2M', '\t2Z'))).toMatchObject({
    code: 'BAD_VALUE',
    row: 1,
    message: expect.stringMatching(/session\.1996-Q3, line 1, column 5 \(rated restaurant\): "2Z"/),
  });
  expect(await failure(session('\t4Q\t', '\t99Q\t'))).toMatchObject({ code: 'BAD_VALUE', row: 2 });
  expect(await failure(session('08/Sep', '38/Sep'))).toMatchObject({
    message: expect.stringContaining('line 2, column 1 (date)'),
  });
  expect(await failure(session('3F', '3K'))).toMatchObject({ field: 'entry point', row: 1 });
  expect(await failure(session('\t-1\n', '\tx\n'))).toMatchObject({ field: 'end point', row: 2 });
  expect(await failure(session('\thost b\t0\t                  0L\t4Q\t-1', ''))).toMatchObject({
    code: 'SHORT_ROW',
    row: 2,
    field: 'IP',
  });
  expect(await failure({ session: (text) => Buffer.from(text.replace('host b', 'h\xf6st'), 'latin1') })).toMatchObject({
    code: 'BAD_ENCODING',
    row: 2,
    message: expect.stringContaining('line 2, column 2: not valid UTF-8'),
  });
  expect(await failure({ chicago: (text) => text.replace('000 002', '777 002') })).toMatchObject({
    code: 'BAD_VALUE',
    row: 2,
    message: expect.stringContaining('"777"'),
  });
  expect(await failure({ chicago: (text) => text.replace(/0000001.*\n/, '') })).toMatchObject({
    field: 'restaurant',
    row: 2,
  });
});

const real = fileURLToPath(new URL('../../../../../shared/data/entree', import.meta.url));
if (!existsSync(real)) console.log(`skipped: the published Entree files are not at ${real}`);
test.skipIf(!existsSync(real))('the published files give 50,672 sessions of 676 restaurants', async () => {
  const output = join(await mkdtemp(join(tmpdir(), 'larr-entree-')), 'out');
  const manifest = await importEntree({ input: real, output, seed: 1 });
  expect(manifest.pois).toBe(676);
  using db = await DuckdbSession.open();
  const counts = await db.row(
    `SELECT count(DISTINCT session)::INTEGER AS sessions, count(*)::INTEGER AS impressions, sum(chosen)::INTEGER AS choices,
      count(*) FILTER (chosen = 1 AND click = 0)::INTEGER AS odd FROM read_parquet(${literal(join(output, 'tables/events.parquet'))})`,
  );
  // Every session has an impression; 6,092 of them end at an unknown point.
  expect(counts).toEqual({ sessions: 50_672, impressions: 198_921, choices: 44_580, odd: 0 });
  const { train, validation, test: hidden } = manifest.splits.time!.parts;
  expect(train.rows + validation.rows + hidden.rows).toBe(198_921);
});
