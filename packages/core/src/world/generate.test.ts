import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openDataset } from '../dataset/open.js';
import { DuckdbSession, literal } from '../duckdb/session.js';
import { UsageError } from '../errors.js';
import { ATTRIBUTES } from './attributes.js';
import { CITIES } from './cities.js';
import { generalText } from './corpus.js';
import { CUISINES, DISHES } from './dishes.js';
import { generateWorld, type WorldSummary } from './generate.js';
import { englishName } from './words.js';

let folder: string;
let world: string;
let summary: WorldSummary;
let db: DuckdbSession;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'larr-world-'));
  world = join(folder, 'world');
  summary = await generateWorld({ scale: 'tiny', seed: 5, output: world });
  db = await DuckdbSession.open();
}, 60_000);
afterAll(async () => {
  db[Symbol.dispose]();
  await rm(folder, { recursive: true, force: true });
});

const table = (name: string): string => literal(join(world, `${name}.parquet`));

/** sha256 of every file of a directory, by its path. */
async function digests(directory: string): Promise<Record<string, string>> {
  const found: Record<string, string> = {};
  for (const entry of await readdir(directory, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const path = join(entry.parentPath, entry.name);
    found[path.slice(directory.length)] = createHash('sha256')
      .update(await readFile(path))
      .digest('hex');
  }
  return found;
}

describe('a tiny world', () => {
  test('is the same bytes for the same seed, and another world for another', async () => {
    const again = join(folder, 'again');
    await generateWorld({ scale: 'tiny', seed: 5, output: again });
    expect(await digests(again)).toEqual(await digests(world));
    await generateWorld({ scale: 'tiny', seed: 6, output: again });
    const other = await digests(again);
    const first = await digests(world);
    for (const file of [
      '/tables/events.parquet',
      '/tables/pois.parquet',
      '/tables/users.parquet',
      '/corpus/general.jsonl',
    ])
      expect(other[file], file).not.toBe(first[file]);
    expect((await readdir(folder)).sort()).toEqual(['again', 'world']);
  }, 60_000);

  test('has the size and the rates it states, counted from its tables', async () => {
    const row = await db.row<{ n: bigint; clicks: bigint; orders: bigint; users: bigint; stray: bigint }>(
      `SELECT count(*) AS n, sum(click)::BIGINT AS clicks, sum(ordered)::BIGINT AS orders, count(DISTINCT user_id) AS users,
         count(*) FILTER (ordered > click) AS stray FROM ${table('tables/events')}`,
    );
    expect([Number(row.n), Number(row.clicks), Number(row.orders)]).toEqual([
      summary.impressions,
      summary.clicks,
      summary.orders,
    ]);
    expect(row.stray).toBe(0n);
    expect(summary.impressions).toBeGreaterThan(18_000);
    expect(summary.impressions).toBeLessThan(23_000);
    expect(summary.clicks / summary.impressions).toBeGreaterThan(0.06);
    expect(summary.clicks / summary.impressions).toBeLessThan(0.105);
    expect(summary.orders / summary.clicks).toBeGreaterThan(0.14);
    expect(summary.orders / summary.clicks).toBeLessThan(0.27);
  });

  test('opens as a dataset whose last day is the test part', async () => {
    const dataset = await openDataset(world);
    expect(dataset.manifest.orders).toBe(true);
    expect(dataset.split.kind).toBe('time');
    expect(dataset.split.scene.length).toBe(10);
    const samples = await dataset.loadPart('test');
    const row = await db.row<{ n: bigint; low: bigint }>(
      `SELECT count(*) AS n, min(row_id) AS low FROM ${table('tables/events')} WHERE time::DATE = (SELECT max(time)::DATE FROM ${table('tables/events')})`,
    );
    expect(samples.rows).toBe(Number(row.n));
    expect(samples.rowId.toSorted()[0]).toBe(row.low);
  });

  test('keeps what dishes are like out of every table and feature, and in words and controls alone', async () => {
    const hidden = new Set<string>([
      ...ATTRIBUTES.map((name) => name.replaceAll('-', '_')),
      'quality',
      'popularity',
      'log_budget',
      'novelty',
    ]);
    for (const name of ['tables/events', 'tables/pois', 'tables/users'])
      for (const column of (await db.columns(`SELECT * FROM ${table(name)}`)).keys())
        expect(hidden.has(column), column).toBe(false);
    const columns = await db.columns(`SELECT * FROM ${table('controls/poi_attributes')}`);
    for (const name of hidden)
      if (!['log_budget', 'novelty'].includes(name)) expect(columns.has(name), name).toBe(true);
    const dataset = await openDataset(world);
    for (const feature of [...dataset.split.categorical, ...dataset.split.dense]) {
      expect(hidden.has(feature.name), feature.name).toBe(false);
      expect(feature.name).not.toBe('position');
    }
  });

  test('keeps the true probabilities beside every event', async () => {
    const row = await db.row<{ n: bigint; ctr: number; click: number; bad: bigint }>(
      `SELECT count(*) AS n, avg(ctr) AS ctr, avg(click) AS click, count(*) FILTER (NOT (ctcvr > 0 AND ctcvr < ctr AND ctr < 1)) AS bad
       FROM ${table('tables/events')} JOIN ${table('controls/oracle')} USING (row_id)`,
    );
    expect(Number(row.n)).toBe(summary.impressions);
    expect(row.bad).toBe(0n);
    // The standard error of the rate at 20 k rows is .0018.
    expect(Math.abs(row.ctr - row.click)).toBeLessThan(0.007);
  });

  test('shows only POIs that are open, in their own city, and in order of time', async () => {
    const row = await db.row<{
      closed: bigint;
      unopened: bigint;
      elsewhere: bigint;
      far: number;
      late: bigint;
      unsorted: bigint;
    }>(
      `SELECT count(*) FILTER (NOT (p.closes_hour = 5 AND p.opens_hour = 0) AND NOT (CASE WHEN p.closes_hour > p.opens_hour
            THEN hour(e.time) >= p.opens_hour AND hour(e.time) < p.closes_hour
            ELSE hour(e.time) >= p.opens_hour OR hour(e.time) < p.closes_hour END)) AS closed,
         count(*) FILTER (e.time < p.opened) AS unopened, count(*) FILTER (e.city <> p.city) AS elsewhere,
         max(111.2 * sqrt((e.latitude - p.latitude)^2 + ((e.longitude - p.longitude) * cos(radians(p.latitude)))^2)) AS far,
         count(DISTINCT p.poi_id) FILTER (p.opened > DATE '2024-03-30') AS late,
         (SELECT count(*) FROM (SELECT time, lag(time) OVER (ORDER BY row_id) AS before FROM ${table('tables/events')}) WHERE time < before) AS unsorted
       FROM ${table('tables/events')} e JOIN ${table('tables/pois')} p USING (poi_id)`,
    );
    expect(row.closed).toBe(0n);
    expect(row.unopened).toBe(0n);
    expect(row.elsewhere).toBe(0n);
    expect(row.far).toBeLessThan(9.1);
    expect(Number(row.late)).toBeGreaterThan(5);
    expect(row.unsorted).toBe(0n);
  });

  test('gives popularity a power law: the top tenth of the POIs draws several times its share', async () => {
    const row = await db.row<{ share: number }>(
      `SELECT sum(n) FILTER (r <= 20) / sum(n) AS share FROM (SELECT count(*) AS n, row_number() OVER (ORDER BY count(*) DESC) AS r
       FROM ${table('tables/events')} GROUP BY poi_id)`,
    );
    expect(row.share).toBeGreaterThan(0.2);
  });

  test('teaches every dish in words, in more than one way', async () => {
    const lines = (await readFile(join(world, 'corpus', 'dishes.jsonl'), 'utf8')).trim().split('\n');
    const pairs = lines.map((line) => JSON.parse(line) as { dish: string; description: string });
    const described = new Map<string, Set<string>>();
    for (const { dish, description } of pairs) described.set(dish, (described.get(dish) ?? new Set()).add(description));
    for (const dish of DISHES) expect(described.get(dish.name)?.size ?? 0, dish.name).toBeGreaterThan(1);
    for (const { dish, description } of pairs)
      expect(description.toLowerCase()).toContain(englishName(dish).toLowerCase());
    const mapo = [...described.get('mapo tofu 麻婆豆腐')!].join(' ');
    expect(mapo).toMatch(/spicy|fiery|chilli|numbing|pepper/);
    expect(mapo).toMatch(/hot|steaming|warming|stove/);
    const general = (await readFile(join(world, 'corpus', 'general.jsonl'), 'utf8')).trim().split('\n');
    expect(new Set(general).size / general.length).toBeGreaterThan(0.97);
    expect(Buffer.byteLength(general.join('\n'))).toBeGreaterThan(95_000);
  });
});

test('the general text is varied enough that held-out text has to be predicted: most of it is new, and words follow from words', () => {
  const texts = [...generalText(600_000, 1)].flatMap((block) =>
    block
      .trim()
      .split('\n')
      .map((line) => (JSON.parse(line) as { text: string }).text),
  );
  const half = Math.floor(texts.length / 2);
  const sentences = (text: string) => text.match(/[^.?!]+[.?!]/g)!.map((sentence) => sentence.trim());
  const seen = new Set(texts.slice(0, half).flatMap(sentences));
  const held = texts.slice(half).flatMap(sentences);
  expect(held.filter((sentence) => seen.has(sentence)).length / held.length).toBeLessThan(0.25);

  // Word by word: how many words are as likely, by their frequency alone and by the word before (smoothed with the frequency).
  const words = (text: string) => ['^', ...text.toLowerCase().match(/\p{L}+|[.,;:?]/gu)!];
  const one = new Map<string, number>();
  const two = new Map<string, number>();
  let total = 0;
  for (const text of texts.slice(0, half))
    words(text).forEach((word, i, all) => {
      one.set(word, (one.get(word) ?? 0) + 1);
      total++;
      if (i > 0) two.set(`${all[i - 1]} ${word}`, (two.get(`${all[i - 1]} ${word}`) ?? 0) + 1);
    });
  let [unigram, bigram, counted, unknown] = [0, 0, 0, 0];
  for (const text of texts.slice(half))
    words(text).forEach((word, i, all) => {
      if (i === 0) return;
      const alone = ((one.get(word) ?? 0) + 0.5) / (total + 0.5 * one.size + 0.5);
      const before = all[i - 1]!;
      unigram -= Math.log(alone);
      bigram -= Math.log(((two.get(`${before} ${word}`) ?? 0) + 5 * alone) / ((one.get(before) ?? 0) + 5));
      if (!one.has(word)) unknown++;
      counted++;
    });
  expect(one.size).toBeGreaterThan(1000);
  expect(unknown / counted).toBeLessThan(0.01);
  expect(Math.exp(unigram / counted)).toBeGreaterThan(150);
  expect(Math.exp(bigram / counted)).toBeGreaterThan(6);
  expect(Math.exp(bigram / counted)).toBeLessThan(30);
  expect(texts.filter((text) => /\p{Script=Han}/u.test(text)).length / texts.length).toBeGreaterThan(0.2);
});

test('the tables of food and places have what the world promises', () => {
  expect(CUISINES.length).toBeGreaterThanOrEqual(40);
  expect(DISHES.length).toBeGreaterThanOrEqual(500);
  expect(new Set(DISHES.map((dish) => englishName(dish.name))).size).toBe(DISHES.length);
  expect(new Set(CUISINES.map((cuisine) => cuisine.group)).size).toBe(11);
  for (const id of [
    'guangzhou',
    'shenzhen',
    'chaoshan',
    'foshan',
    'dongguan',
    'chengdu',
    'xian',
    'shanghai',
    'beijing',
    'london',
  ])
    expect(
      CITIES.some((city) => city.id === id),
      id,
    ).toBe(true);
  for (const dish of [
    'rice noodle roll 肠粉',
    'stir-fried beef rice noodles 干炒牛河',
    'seafood claypot congee 海鲜砂锅粥',
  ])
    expect(
      DISHES.some(({ name }) => name === dish),
      dish,
    ).toBe(true);
});

test('the coarse world gives baselines eleven food groups and is otherwise the same', async () => {
  const coarse = join(folder, 'coarse');
  await generateWorld({ scale: 'tiny', seed: 5, output: coarse, categoryGranularity: 'coarse' });
  const size = async (path: string): Promise<number> =>
    (await openDataset(path)).split.categorical.find((feature) => feature.name === 'cuisine')!.size;
  expect(await size(coarse)).toBeLessThanOrEqual(12);
  expect(await size(world)).toBeGreaterThan(25);
  const [a, b] = [await digests(coarse), await digests(world)];
  for (const file of ['/tables/events.parquet', '/tables/pois.parquet', '/controls/oracle.parquet'])
    expect(a[file]).toBe(b[file]);
}, 30_000);

test('a world that is stopped leaves nothing behind, and one that stood there before stays', async () => {
  const path = join(folder, 'stopped');
  await mkdir(path);
  await writeFile(join(path, 'dataset.json'), '{"format": "larr-dataset", "name": "older"}');
  const controller = new AbortController();
  const run = generateWorld({
    scale: 'tiny',
    seed: 1,
    output: path,
    signal: controller.signal,
    onProgress: ({ stage }) => {
      if (stage === 'texts') controller.abort(new Error('stopped by the test'));
    },
  });
  await expect(run).rejects.toThrow('stopped by the test');
  expect((await readdir(folder)).filter((name) => name.includes('stopped'))).toEqual(['stopped']);
  expect(await readFile(join(path, 'dataset.json'), 'utf8')).toContain('older');
});

test('wrong options are told in words', async () => {
  const make = (change: object): Promise<unknown> =>
    generateWorld({ scale: 'tiny', seed: 1, output: join(folder, 'wrong'), ...change } as Parameters<
      typeof generateWorld
    >[0]);
  await expect(make({ scale: 'huge' })).rejects.toThrow(UsageError);
  await expect(make({ scale: 'huge' })).rejects.toThrow('tiny, small, medium, large');
  await expect(make({ seed: 1.5 })).rejects.toThrow('seed');
  await expect(make({ categoryGranularity: 'medium' })).rejects.toThrow('coarse or fine');
});
