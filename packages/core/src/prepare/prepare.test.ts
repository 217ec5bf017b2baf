import { createHash } from 'node:crypto';
import { cp, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import {
  auc,
  contentDigest,
  DataError,
  type Dataset,
  type DatasetManifest,
  type DatasetSchema,
  type DatasetSchemaInput,
  DuckdbSession,
  defineSchema,
  explainPreparation,
  FeatureEncoder,
  featureValues,
  hashBucket,
  openDataset,
  type PrepareProgress,
  prepare,
  sceneKeywords,
} from '../index.js';

/** A small log: 8 days, 40 users, 25 POIs. Every POI has a new quality every day, so the past says nothing about a day. */
interface Event {
  row: number;
  user: string;
  poi: string;
  time: string;
  day: number;
  weather: string;
  lat: number;
  lon: number;
  click: number;
  order: number;
}
const days = 8;
const events: Event[] = [];
let state = 12345;
const random = () => {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return state / 2 ** 32;
};
const cuisines = ['Sichuan', 'Thai', 'Pizza', 'Dim sum', 'Ramen'];
for (let day = 0; day < days; day++) {
  const quality = Array.from({ length: 25 }, () => (random() < 0.5 ? 0.05 : 0.8));
  for (let i = 0; i < 500; i++) {
    const poi = Math.floor(random() * 25);
    const click = random() < quality[poi]! ? 1 : 0;
    const second = Math.floor((i / 500) * 86_400);
    events.push({
      row: events.length,
      user: `u${Math.floor(random() * 40)}`,
      // POI 24 appears on the last day alone.
      poi: `p${poi === 24 && day < days - 1 ? 3 : poi}`,
      time: new Date(Date.UTC(2026, 0, 1 + day, 0, 0, second)).toISOString().slice(0, 19).replace('T', ' '),
      day,
      weather: ['rain', 'sun', ' snow ', 'unknown'][Math.floor(random() * 4)]!,
      lat: 22 + random(),
      lon: 114 + random(),
      click,
      order: click === 1 && random() < 0.4 ? 1 : 0,
    });
  }
}
const csv = (rows: object[]) =>
  `${Object.keys(rows[0]!).join(',')}\n${rows.map((r) => Object.values(r).join(',')).join('\n')}\n`;
const eventsCsv = csv(events.map(({ day: _, ...e }) => e));
const usersCsv = csv(
  Array.from({ length: 40 }, (_, i) => ({
    user: `u${i}`,
    home: ['Shenzhen', 'Guangzhou'][i % 2],
    age: i % 7 === 0 ? '' : 20 + i,
  })),
);
const poisCsv = csv(
  Array.from({ length: 25 }, (_, i) => ({
    poi: `p${i}`,
    name: `Place ${i}`,
    cuisine: cuisines[i % 5],
    menu: `"noodle soup, ${['beef', 'duck', 'fish'][i % 3]} rice"`,
    lat: 22 + i / 30,
    lon: 114.5,
    price: 10 + i,
  })),
);

const input: DatasetSchemaInput = {
  name: 'small',
  tables: { events: 'events.csv', users: 'users.csv', pois: 'pois.csv' },
  keys: { row: 'row' },
  time: 'time',
  labels: { click: 'click', order: 'order' },
  missing: ['unknown'],
  features: {
    categorical: [
      { name: 'user', value: 'events.user' },
      { name: 'poi', value: 'events.poi' },
      { name: 'home', value: 'users.home' },
      { name: 'cuisine', value: 'pois.cuisine' },
      { name: 'hour', value: { derive: 'hour' } },
      { name: 'slot', value: { derive: 'timeSlot' } },
      { name: 'weather', value: 'events.weather', missing: ['unknown'] },
      { name: 'priceBand', value: { derive: 'bucket', of: 'pois.price', edges: [15, 25] } },
    ],
    cross: [
      { name: 'cuisineWeather', of: ['cuisine', 'weather'] },
      { name: 'userSlot', of: ['user', 'slot'], buckets: 64 },
    ],
    dense: [
      {
        name: 'distance',
        value: { derive: 'distanceKm', from: ['events.lat', 'events.lon'], to: ['pois.lat', 'pois.lon'] },
        transform: 'log1p',
      },
      { name: 'age', value: 'users.age' },
    ],
    statistics: [
      {
        of: 'poi',
        measures: ['impressions', 'clicks', 'ctr', 'cvr', 'daysSinceClick'],
        windows: [2, 'all'],
        smoothing: 5,
      },
      { of: 'user', measures: ['orders'], windows: ['all'] },
      { of: 'user-poi', measures: ['clicks'], windows: [3], ending: 'event' },
    ],
    sequences: [{ name: 'recent', length: 4 }],
  },
  keywords: {
    poi: [
      { name: 'name', column: 'name' },
      { name: 'location', template: '{cuisine} at {price} yuan' },
      { name: 'menu', column: 'menu', maxCharacters: 14 },
    ],
    user: [
      { name: 'home', column: 'home' },
      { name: 'cuisines', behaviour: { top: 2, of: 'pois.cuisine', on: 'click' } },
      { name: 'words', behaviour: { top: 3, of: 'pois.menu', words: true } },
      { name: 'weather', behaviour: { top: 1, of: 'scene.weather', howOften: false } },
      { name: 'last', behaviour: { recent: 2, template: '{pois.name} in the {scene.slot}' } },
    ],
    scene: [
      { name: 'slot', value: { derive: 'timeSlot' } },
      { name: 'weather', value: 'events.weather' },
      {
        name: 'distance',
        value: { derive: 'distanceBand', from: ['events.lat', 'events.lon'], to: ['pois.lat', 'pois.lon'] },
      },
    ],
  },
  texts: { cptInput: ['name', 'location'] },
  splits: {
    time: { kind: 'time' },
    random: { kind: 'random', ratios: [7, 2, 1] },
    'cold-poi': { kind: 'cold-poi', ratios: [6, 2, 2] },
    'cold-user': { kind: 'cold-user', ratios: [6, 2, 2] },
  },
};

let source: string;
let output: string;
let schema: DatasetSchema;
let manifest: DatasetManifest;
let dataset: Dataset;

async function folderWith(files: Record<string, string | Uint8Array>): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'larr-prepare-'));
  for (const [name, content] of Object.entries(files)) await writeFile(join(folder, name), content);
  return folder;
}

beforeAll(async () => {
  source = await folderWith({ 'events.csv': eventsCsv, 'users.csv': usersCsv, 'pois.csv': poisCsv });
  output = join(source, 'out');
  schema = defineSchema(input);
  manifest = await prepare(output, { schema, baseDirectory: source, seed: 3 });
  dataset = await openDataset(output);
}, 120_000);

const column = (values: ArrayLike<number>, i: number, rows: number) =>
  Array.prototype.slice.call(values, i * rows, (i + 1) * rows) as number[];
const denseColumn = (samples: { dense: Float32Array; rows: number }, name: string) =>
  column(
    samples.dense,
    dataset.split.dense.findIndex((f) => f.name === name),
    samples.rows,
  );

test('the last day is the test set, the day before validation, and counts are right', () => {
  const { parts } = manifest.splits.time!;
  expect(parts.train.rows).toBe(6 * 500);
  expect(parts.test.clicks).toBe(events.filter((e) => e.day === 7 && e.click === 1).length);
  expect(parts.validation.orders).toBe(events.filter((e) => e.day === 6 && e.order === 1).length);
});

test('no statistic sees the day of the event: the day’s own CTR separates clicks, the features do not', async () => {
  const samples = await dataset.loadPart('train');
  const rows = Array.from(samples.rowId, Number);
  const sameDay = new Map<string, { n: number; c: number }>();
  for (const e of events) {
    const s = sameDay.get(`${e.poi}/${e.day}`) ?? { n: 0, c: 0 };
    s.n++;
    s.c += e.click;
    sameDay.set(`${e.poi}/${e.day}`, s);
  }
  const leak = rows.map((r) => {
    const s = sameDay.get(`${events[r]!.poi}/${events[r]!.day}`)!;
    return s.c / s.n;
  });
  expect(auc(samples.click, leak)).toBeGreaterThan(0.85);
  for (const name of ['poi_ctr_2d', 'poi_ctr_all', 'poi_clicks_2d', 'user_orders_all', 'user_poi_clicks_3d']) {
    const value = auc(samples.click, denseColumn(samples, name));
    expect(Math.abs(value - 0.5), name).toBeLessThan(0.12);
  }
});

test('statistics equal a count by hand over rows strictly before', async () => {
  for (const part of ['train', 'test'] as const) {
    const samples = await dataset.loadPart(part);
    const columns = Object.fromEntries(dataset.split.dense.map((f) => [f.name, denseColumn(samples, f.name)]));
    for (let i = 0; i < samples.rows; i += 97) {
      const e = events[Number(samples.rowId[i])]!;
      const before = events.filter((x) => x.day < e.day);
      const poi = before.filter((x) => x.poi === e.poi);
      const two = poi.filter((x) => x.day >= e.day - 2);
      const clicks = (list: Event[]) => list.reduce((n, x) => n + x.click, 0);
      const orders = (list: Event[]) => list.reduce((n, x) => n + x.order, 0);
      expect(columns.poi_impressions_2d![i]).toBeCloseTo(Math.log1p(two.length), 5);
      expect(columns.poi_clicks_all![i]).toBeCloseTo(Math.log1p(clicks(poi)), 5);
      expect(columns.user_orders_all![i]).toBeCloseTo(Math.log1p(orders(before.filter((x) => x.user === e.user))), 5);
      const pair = events.filter(
        (x) =>
          x.user === e.user &&
          x.poi === e.poi &&
          x.time < e.time &&
          Date.parse(e.time) - Date.parse(x.time) <= 3 * 86_400_000,
      );
      expect(columns.user_poi_clicks_3d![i]).toBeCloseTo(Math.log1p(clicks(pair)), 5);
      if (before.length > 0) {
        const prior = clicks(before) / before.length;
        expect(columns.poi_ctr_2d![i]).toBeCloseTo((clicks(two) + 5 * prior) / (two.length + 5), 5);
        expect(columns.poi_cvr_2d![i]).toBeCloseTo(
          (orders(two) + 5 * (orders(before) / clicks(before))) / (clicks(two) + 5),
          5,
        );
      }
      const clicked = poi.filter((x) => x.click === 1).map((x) => x.day);
      if (clicked.length > 0)
        expect(columns.poi_daysSinceClick![i]).toBeCloseTo(Math.log1p(e.day - Math.max(...clicked)), 5);
    }
  }
});

test('sequences hold the last clicked POIs strictly before the event, newest first', async () => {
  const samples = await dataset.loadPart('test');
  const [recent] = samples.sequences;
  for (let i = 0; i < samples.rows; i += 31) {
    const e = events[Number(samples.rowId[i])]!;
    const clicked = events
      .filter((x) => x.user === e.user && x.click === 1 && x.time < e.time)
      .slice(-4)
      .reverse();
    const expected = [...clicked.map((x) => Number(x.poi.slice(1)) + 1), 0, 0, 0, 0].slice(0, 4);
    expect(Array.from(recent!.subarray(i * 4, i * 4 + 4))).toEqual(expected);
  }
});

test.each(['random', 'cold-poi', 'cold-user'])(
  'under the %s split, history is of the train part’s events alone, and still strictly before',
  async (name) => {
    const split = await openDataset(output, name);
    const train = await split.loadPart('train');
    const trained = new Set(Array.from(train.rowId, Number));
    const known = events.filter((x) => trained.has(x.row));
    for (const part of ['train', 'test'] as const) {
      const samples = part === 'train' ? train : await split.loadPart(part);
      const dense = (feature: string) =>
        column(
          samples.dense,
          split.split.dense.findIndex((f) => f.name === feature),
          samples.rows,
        );
      const [impressions, ctr, orders, pairs] = [
        dense('poi_impressions_all'),
        dense('poi_ctr_all'),
        dense('user_orders_all'),
        dense('user_poi_clicks_3d'),
      ];
      for (let i = 0; i < samples.rows; i += 41) {
        const e = events[Number(samples.rowId[i])]!;
        const before = known.filter((x) => x.day < e.day);
        const poi = before.filter((x) => x.poi === e.poi);
        const clicks = (list: Event[]) => list.reduce((n, x) => n + x.click, 0);
        expect(impressions![i]).toBeCloseTo(Math.log1p(poi.length), 5);
        if (before.length > 0)
          expect(ctr![i]).toBeCloseTo((clicks(poi) + (5 * clicks(before)) / before.length) / (poi.length + 5), 5);
        const ofUser = before.filter((x) => x.user === e.user);
        expect(orders![i]).toBeCloseTo(Math.log1p(ofUser.reduce((n, x) => n + x.order, 0)), 5);
        const pair = known.filter(
          (x) =>
            x.user === e.user &&
            x.poi === e.poi &&
            x.time < e.time &&
            Date.parse(e.time) - Date.parse(x.time) <= 3 * 86_400_000,
        );
        expect(pairs![i]).toBeCloseTo(Math.log1p(clicks(pair)), 5);
        const clicked = known
          .filter((x) => x.user === e.user && x.click === 1 && x.time < e.time)
          .slice(-4)
          .reverse();
        expect(Array.from(samples.sequences[0]!.subarray(i * 4, i * 4 + 4))).toEqual(
          [...clicked.map((x) => Number(x.poi.slice(1)) + 1), 0, 0, 0, 0].slice(0, 4),
        );
      }
      if (part === 'train') continue;
      // What is cold has no past at all.
      if (name === 'cold-poi') expect(new Set([...impressions!, ...pairs!])).toEqual(new Set([0]));
      if (name === 'cold-user') {
        expect(new Set([...orders!, ...pairs!])).toEqual(new Set([0]));
        expect(new Set(samples.sequences[0])).toEqual(new Set([0]));
      }
    }
  },
);

test('vocabularies come from the train part: a POI seen on the last day alone has index 0 there', async () => {
  const vocabulary = await dataset.vocabulary('poi');
  expect(vocabulary[0]).toBe('');
  expect(vocabulary).not.toContain('p24');
  const samples = await dataset.loadPart('test');
  const poi = dataset.split.categorical.findIndex((f) => f.name === 'poi');
  for (let i = 0; i < samples.rows; i++) {
    const id = events[Number(samples.rowId[i])]!.poi;
    expect(samples.categorical[poi * samples.rows + i]).toBe(id === 'p24' ? 0 : vocabulary.indexOf(id));
    expect(samples.poi[i]).toBe(Number(id.slice(1)));
  }
});

test('the server computes the same features and scenes from event and store rows as prepare wrote', async () => {
  using db = await DuckdbSession.open();
  const read = async (file: string) => {
    const rows = await db.rows<Record<string, never>>(`SELECT * FROM read_parquet('${join(output, 'store', file)}')`);
    return rows as Record<string, unknown>[];
  };
  const users = await read('users.parquet');
  const pois = await read('pois.parquet');
  const vocabularies = await Promise.all(dataset.split.categorical.map((f) => dataset.vocabulary(f.name)));
  const encoder = new FeatureEncoder({
    categorical: dataset.split.categorical.map((f, i) => ({ ...f, vocabulary: vocabularies[i]! })),
    dense: dataset.split.dense,
  });
  const plain = schema.features.dense.length;
  const width = dataset.split.categorical.length;
  for (const part of ['train', 'test'] as const) {
    const samples = await dataset.loadPart(part);
    for (let i = 0; i < samples.rows; i += 13) {
      const { row: _row, day: _day, click: _click, order: _order, ...event } = events[Number(samples.rowId[i])]!;
      const user = users[samples.user[i]!];
      const poi = pois[samples.poi[i]!];
      const ids = new Int32Array(width);
      const dense = new Float32Array(dataset.split.dense.length);
      encoder.encode(featureValues(schema, event, user, poi), ids, 0, dense, 0);
      expect(Array.from(ids)).toEqual(
        Array.from({ length: width }, (_, f) => samples.categorical[f * samples.rows + i]),
      );
      // Statistics move on with the log; the rest must be equal.
      for (let f = 0; f < plain; f++) expect(dense[f]).toBeCloseTo(samples.dense[f * samples.rows + i]!, 5);
      sceneKeywords(schema, event, user, poi).forEach(({ text }, f) => {
        expect(dataset.split.scene[f]!.texts[samples.scene[f * samples.rows + i]!]).toBe(text ?? '');
      });
    }
  }
  const last = users[0]!;
  const orders = events.filter((e) => e.user === 'u0' && e.order === 1).length;
  expect(last.dense_user_orders_all).toBeCloseTo(Math.log1p(orders), 5);
});

test('dense statistics are of the train part, and a missing value becomes its mean', async () => {
  const samples = await dataset.loadPart('train');
  const spec = dataset.split.dense.find((f) => f.name === 'age')!;
  const ages = Array.from({ length: samples.rows }, (_, i) => samples.user[i]!)
    .filter((u) => u % 7 !== 0)
    .map((u) => 20 + u);
  const mean = ages.reduce((a, b) => a + b, 0) / ages.length;
  expect(spec.mean).toBeCloseTo(mean, 6);
  expect(spec.std).toBeCloseTo(Math.sqrt(ages.reduce((a, b) => a + (b - mean) ** 2, 0) / ages.length), 6);
  const values = denseColumn(samples, 'age');
  expect(values[samples.user.indexOf(7)]).toBeCloseTo(mean, 4);
});

test('a not-a-number text that the schema lists as missing becomes the mean', async () => {
  const users = usersCsv.replace(/\nu3,(\w+),23\n/, '\nu3,$1,nan\n');
  const folder = await folderWith({ 'events.csv': eventsCsv, 'users.csv': users, 'pois.csv': poisCsv });
  const dense = input.features!.dense!.map((f) => (f.name === 'age' ? { ...f, missing: ['nan'] } : f));
  const listed = defineSchema({ ...input, features: { ...input.features, dense } });
  const made = await prepare(join(folder, 'out'), { schema: listed, baseDirectory: folder, seed: 3 });
  const train = await (await openDataset(join(folder, 'out'))).loadPart('train');
  const age = made.splits.time!.dense.findIndex((f) => f.name === 'age');
  const { mean } = made.splits.time!.dense[age]!;
  const ages = column(train.dense, age, train.rows).filter((_, i) => train.user[i] === 3);
  expect(ages.length).toBeGreaterThan(0);
  for (const value of ages) expect(value).toBeCloseTo(mean, 4);
});

test('the content digest follows every file that training reads, and no file of the sources', async () => {
  const copy = join(source, 'copy');
  await cp(output, copy, { recursive: true });
  expect(await contentDigest(copy)).toBe(manifest.contentDigest);
  await mkdir(join(copy, 'tables'));
  await writeFile(join(copy, 'tables', 'events.parquet'), 'x');
  await writeFile(join(copy, 'dataset.json'), '{}');
  expect(await contentDigest(copy)).toBe(manifest.contentDigest);
  for (const file of [
    'splits/time/train/part-00000.parquet',
    'splits/time/vocabulary/poi.json',
    'splits/random/pairs.parquet',
    'splits/time/texts/users.parquet',
    'texts/pois.parquet',
    'store/users.parquet',
    'corpus/general.jsonl',
  ]) {
    const path = join(copy, file);
    const before = await readFile(path).catch(() => null);
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, Buffer.concat([before ?? Buffer.alloc(0), Buffer.from([1])]));
    expect(await contentDigest(copy), file).not.toBe(manifest.contentDigest);
    if (before === null) await rm(path);
    else await writeFile(path, before);
  }
  expect(await contentDigest(copy)).toBe(manifest.contentDigest);
  const { contentDigest: _, ...without } = manifest;
  await writeFile(join(copy, 'dataset.json'), JSON.stringify(without));
  await expect(openDataset(copy)).rejects.toMatchObject({ code: 'DATASET_CORRUPT' });
  await rm(copy, { recursive: true });
});

test('cold splits share no POI, and no user, between their parts', async () => {
  for (const [name, key] of [
    ['cold-poi', 'poi'],
    ['cold-user', 'user'],
  ] as const) {
    const cold = await openDataset(output, name);
    const [train, validation, hidden] = await Promise.all(
      (['train', 'validation', 'test'] as const).map((p) => cold.loadPart(p)),
    );
    const trained = new Set(train![key]);
    const validated = new Set(validation![key]);
    expect([...hidden![key]].some((k) => trained.has(k) || validated.has(k))).toBe(false);
    expect([...validated].some((k) => trained.has(k))).toBe(false);
    const feature = cold.split.categorical.findIndex((f) => f.name === key);
    expect(new Set(column(hidden!.categorical, feature, hidden!.rows))).toEqual(new Set([0]));
  }
});

test('pairs and behaviour texts come from the train part alone, in words', async () => {
  const train = events.filter((e) => e.day < 6);
  const pairs = await dataset.pairs();
  expect(pairs.count.reduce((a, b) => a + b, 0)).toBe(train.filter((e) => e.order === 1).length);
  const texts = await dataset.userTexts();
  const clicked = train.filter((e) => e.user === 'u1' && e.click === 1);
  const counts = cuisines.map((c, i) => [c, clicked.filter((e) => Number(e.poi.slice(1)) % 5 === i).length] as const);
  counts.sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1));
  const said = counts
    .slice(0, 2)
    .map(
      ([c, n]) => `${n / clicked.length >= 0.5 ? 'mostly' : n / clicked.length >= 0.2 ? 'often' : 'sometimes'} ${c}`,
    );
  const user = Object.fromEntries(texts[1]!.map((k) => [k.keyword, k.text]));
  expect(user.cuisines).toBe(said.join(', '));
  expect(user.home).toBe('Guangzhou');
  // "noodle", "soup" and "rice" are on every menu and say nothing.
  expect(user.words!.split(', ').sort()).toEqual(['beef', 'duck', 'fish']);
  const last = train.filter((e) => e.user === 'u1' && e.order === 1).at(-1)!;
  expect(user.last!.split('; ')[0]).toMatch(new RegExp(`^Place ${last.poi.slice(1)} in the `));
});

test('POI texts: templates, cuts at a word, special tokens', async () => {
  expect((await dataset.poiTexts())[2]).toEqual([
    { keyword: 'name', token: 'poi_name', text: 'Place 2' },
    { keyword: 'location', token: 'poi_location', text: 'Pizza at 12 yuan' },
    { keyword: 'menu', token: 'poi_menu', text: 'noodle soup,' },
  ]);
});

test('the same seed gives the same bytes, with shards too; another seed another random split', async () => {
  const again = join(source, 'again');
  await prepare(again, { schema, baseDirectory: source, seed: 3, threads: 1 });
  const digests = async (directory: string) => {
    const files = (await readdir(directory, { recursive: true, withFileTypes: true }))
      .filter((f) => f.isFile())
      .map((f) => join(f.parentPath, f.name));
    const pairs = await Promise.all(
      files.map(
        async (f) =>
          [
            f.slice(directory.length),
            createHash('sha256')
              .update(await readFile(f))
              .digest('hex'),
          ] as const,
      ),
    );
    return Object.fromEntries(pairs);
  };
  expect(await digests(again)).toEqual(await digests(output));
  const sharded = await prepare(again, { schema, baseDirectory: source, seed: 3, rowsPerShard: 700 });
  expect(sharded.splits.time!.parts.train.files.length).toBe(5);
  const a = await (await openDataset(again)).loadPart('train');
  const b = await dataset.loadPart('train');
  expect(a.rowId).toEqual(b.rowId);
  expect(a.categorical).toEqual(b.categorical);
  expect((await dataset.loadPart('train', { limit: 10 })).rowId).toEqual(b.rowId.slice(0, 10));
  const other = await prepare(again, { schema, baseDirectory: source, seed: 4 });
  expect(other.splits.random!.parts.train.rows).not.toBe(manifest.splits.random!.parts.train.rows);
  await rm(again, { recursive: true });
}, 180_000);

test('the collision rate that is stated is that of the train part’s values, and near what chance gives', async () => {
  const out = join(source, 'hashed');
  const buckets = [16, 64, 4096];
  const hashed = defineSchema({
    ...input,
    features: { categorical: buckets.map((n) => ({ name: `user${n}`, value: 'events.user', buckets: n })) },
    splits: { 'cold-user': { kind: 'cold-user', ratios: [6, 2, 2] } },
  });
  const made = await prepare(out, { schema: hashed, baseDirectory: source, seed: 3 });
  const samples = await (await openDataset(out)).loadPart('train');
  const users = new Map(Array.from(samples.rowId, (row, i) => [events[Number(row)]!.user, samples.categorical[i]!]));
  expect(users.size).toBeLessThan(35);
  for (const [f, spec] of made.splits['cold-user']!.categorical.entries()) {
    const taken = new Map<number, number>();
    for (const user of users.keys()) {
      const bucket = hashBucket(user, buckets[f]!);
      taken.set(bucket, (taken.get(bucket) ?? 0) + 1);
    }
    const shared = [...taken.values()].filter((n) => n > 1).reduce((sum, n) => sum + n, 0);
    expect(spec.hashed).toEqual({ buckets: buckets[f], collisionRate: shared / users.size });
    expect(spec.size).toBe(buckets[f]! + 1);
    // Each of the others misses a value's bucket with 1 − 1/n.
    const chance = 1 - (1 - 1 / buckets[f]!) ** (users.size - 1);
    expect(Math.abs(spec.hashed!.collisionRate - chance)).toBeLessThan(0.25);
  }
  expect([...users].every(([user, bucket]) => bucket === hashBucket(user, 16))).toBe(true);
});

test('no feature of a row sees anything later: whatever is clicked from its day on, it stays the same', async () => {
  const from = 5;
  // From one day on, whoever clicked did not and the other way about; on the days after it ten times as many events come in.
  const changed = events.map((e) =>
    e.day < from ? e : { ...e, click: 1 - e.click, order: e.click === 1 ? 0 : e.order },
  );
  const flood = changed
    .filter((e) => e.day > from)
    .flatMap((e) => Array.from({ length: 10 }, (_, k) => ({ ...e, row: e.row * 10 + k + 1e6, click: 1, order: 1 })));
  const folder = await folderWith({
    'events.csv': csv([...changed, ...flood].map(({ day: _, ...e }) => e)),
    'users.csv': usersCsv,
    'pois.csv': poisCsv,
  });
  const other = join(folder, 'out');
  const byTime = defineSchema({ ...input, splits: { time: { kind: 'time' } } });
  await prepare(other, { schema: byTime, baseDirectory: folder, seed: 3 });
  const features = dataset.split.dense.map((f) => f.name);
  /** By row: the features whose windows end before the day, and what ends right before the event. */
  const read = async (directory: string, part: 'train' | 'test') => {
    const s = await (await openDataset(directory)).loadPart(part);
    const found = new Map<number, { byDay: number[]; byEvent: number[] }>();
    for (let i = 0; i < s.rows; i++) {
      const dense = features.map((_, f) => s.dense[f * s.rows + i]!);
      const pair = features.indexOf('user_poi_clicks_3d');
      const byEvent = [dense[pair]!, ...s.sequences[0]!.subarray(i * 4, i * 4 + 4)];
      found.set(Number(s.rowId[i]), { byDay: dense.toSpliced(pair, 1), byEvent });
    }
    return found;
  };
  const [truth, seen] = [await read(output, 'train'), await read(other, 'train')];
  expect(truth.size).toBe((from + 1) * 500);
  expect([...seen.keys()]).toEqual([...truth.keys()]);
  for (const [row, { byDay, byEvent }] of truth) {
    expect(seen.get(row)!.byDay).toEqual(byDay);
    if (events[row]!.day < from) expect(seen.get(row)!.byEvent).toEqual(byEvent);
  }
  // It is there to be seen: after that day, everything differs.
  const [truthAfter, seenAfter] = [await read(output, 'test'), await read(other, 'test')];
  expect([...truthAfter].filter(([row, { byDay }]) => seenAfter.get(row)!.byDay.join() === byDay.join())).toEqual([]);
});

test('thinning keeps every positive, all of validation and test, and the stated share of train negatives', async () => {
  const thinned = await prepare(join(source, 'thin'), {
    schema: defineSchema({
      ...input,
      negatives: { method: 'downsample', keep: 0.25 },
      splits: { time: { kind: 'time' } },
    }),
    baseDirectory: source,
  });
  const before = manifest.splits.time!.parts;
  const after = thinned.splits.time!.parts;
  expect(after.train.clicks).toBe(before.train.clicks);
  expect(after.test.rows).toBe(before.test.rows);
  const share = (after.train.rows - after.train.clicks) / (before.train.rows - before.train.clicks);
  expect(Math.abs(share - 0.25)).toBeLessThan(0.05);
});

test('events of POIs and users that no table lists are kept, counted, and have texts of none', async () => {
  const folder = await folderWith({
    'events.csv': eventsCsv.replaceAll(',p3,', ',ghost,'),
    'users.csv': usersCsv,
    'pois.csv': poisCsv,
  });
  const made = await prepare(join(folder, 'out'), { schema, baseDirectory: folder });
  expect(made.pois).toBe(26);
  expect(made.notes?.join()).toMatch(/names? 1 POI that pois\.csv does not list/);
  expect((await (await openDataset(join(folder, 'out'))).poiTexts())[25]).toEqual([]);
});

// Each case changes one file or setting; the message must say where, and nothing may be left behind.
const badCases: [
  string,
  Record<string, string | Uint8Array | null>,
  Partial<DatasetSchemaInput>,
  { code: string; message: RegExp },
][] = [
  [
    'a missing file',
    { 'pois.csv': null },
    {},
    { code: 'FILE_MISSING', message: /tables\.pois: there is no file .*pois\.csv/ },
  ],
  [
    'a wrong column',
    {},
    { labels: { click: 'clik', order: 'order' } },
    { code: 'COLUMN_MISSING', message: /no column "clik".*Did you mean "click"\?/ },
  ],
  [
    'a bad label',
    { 'events.csv': eventsCsv.replace(/(\n2,.*),\d,\d\n/, '$1,maybe,0\n') },
    {},
    { code: 'BAD_VALUE', message: /events\.csv, row 3, column "click": "maybe" is not a label/ },
  ],
  [
    'a bad time',
    { 'events.csv': eventsCsv.replace(/2026-01-01 00:02:52/, 'soon') },
    {},
    { code: 'BAD_VALUE', message: /row 2, column "time": "soon" is not a time/ },
  ],
  [
    'a bad number',
    { 'pois.csv': poisCsv.replace(',12\n', ',cheap\n') },
    {},
    { code: 'BAD_VALUE', message: /pois\.csv, row 3, column "price": "cheap" is not a finite number/ },
  ],
  [
    'a zero byte',
    { 'pois.csv': poisCsv.replace('Place 3', 'Pla\0ce 3') },
    {},
    { code: 'BAD_VALUE', message: /pois\.csv, row 4, column "name": "Pla\\u0000ce 3" is not text: it has a zero byte/ },
  ],
  ...['nan', 'NaN', 'inf', '-Infinity'].map((text): (typeof badCases)[number] => [
    `${text} for a number`,
    { 'users.csv': usersCsv.replace(/\nu3,(\w+),23\n/, `\nu3,$1,${text}\n`) },
    {},
    {
      code: 'BAD_VALUE',
      message: new RegExp(`users\\.csv, row 4, column "age": "${text}" is not a finite number.*"missing"`),
    },
  ]),
  [
    'an empty table',
    { 'users.csv': 'user,home,age\n' },
    {},
    { code: 'TABLE_EMPTY', message: /users\.csv has no rows/ },
  ],
  [
    'a label of one class',
    { 'events.csv': eventsCsv.replaceAll(/,\d,\d\n/g, ',0,0\n') },
    {},
    { code: 'LABEL_ONE_CLASS', message: /"click" is 0 in all 4000 rows/ },
  ],
  [
    'a duplicate key',
    { 'pois.csv': poisCsv.replace('\np4,', '\np1,') },
    {},
    { code: 'DUPLICATE_KEY', message: /"poi" = "p1" stands in rows 2 and 5/ },
  ],
  [
    'a wrong encoding',
    { 'pois.csv': Buffer.from(poisCsv.replace('Place 3', 'Caf\xe9'), 'latin1') },
    {},
    { code: 'BAD_ENCODING', message: /pois\.csv.*line 5.*UTF-8/ },
  ],
  [
    'a short row',
    { 'users.csv': usersCsv.replace('\nu5,Guangzhou,25', '\nu5,Guangzhou') },
    {},
    { code: 'UNREADABLE', message: /users\.csv, line 7/ },
  ],
  [
    'too few days for the split',
    {},
    { splits: { time: { kind: 'time', testDays: 7 } } },
    { code: 'SPLIT_EMPTY', message: /train part has no rows.*too few days.*testDays/ },
  ],
  [
    'a single event far after the others',
    { 'events.csv': eventsCsv.replace(/(?<before>[\s\S]*)2026-/, '$<before>2031-') },
    {},
    {
      code: 'SPLIT_EMPTY',
      message: /validation part has no rows. 1 of the \d+ events is of 2031-\d\d-\d\d, the last day/,
    },
  ],
];
test.each(badCases)('%s is a clear error that leaves nothing behind', async (_name, files, settings, expected) => {
  const all = { 'events.csv': eventsCsv, 'users.csv': usersCsv, 'pois.csv': poisCsv, ...files };
  const folder = await folderWith(
    Object.fromEntries(Object.entries(all).filter(([, content]) => content !== null)) as Record<string, string>,
  );
  const failure = prepare(join(folder, 'out'), {
    schema: defineSchema({ ...input, ...settings }),
    baseDirectory: folder,
  });
  await expect(failure).rejects.toMatchObject({
    code: expected.code,
    message: expect.stringMatching(expected.message),
  });
  expect((await readdir(folder)).sort()).toEqual(
    Object.keys(all)
      .filter((f) => all[f as keyof typeof all] !== null)
      .sort(),
  );
});

test('a damaged dataset, an unknown split and a folder that is none are told apart', async () => {
  const copy = join(source, 'damaged');
  await prepare(copy, {
    schema: defineSchema({ ...input, splits: { time: { kind: 'time' } } }),
    baseDirectory: source,
  });
  await expect(openDataset(copy, 'tiem')).rejects.toMatchObject({
    code: 'SPLIT_UNKNOWN',
    message: expect.stringContaining('Did you mean "time"'),
  });
  await expect(openDataset(source)).rejects.toMatchObject({ code: 'DATASET_MISSING' });
  await rm(join(copy, 'splits/time/test/part-00000.parquet'));
  await expect((await openDataset(copy)).loadPart('test')).rejects.toMatchObject({ code: 'DATASET_CORRUPT' });
  await writeFile(join(copy, 'dataset.json'), '{"format": "larr-da');
  await expect(openDataset(copy)).rejects.toMatchObject({ code: 'DATASET_CORRUPT' });
});

test('a check tells what would come out, with the very figures of the dataset, and writes nothing', async () => {
  const before = (await readdir(source)).sort();
  const seen: number[] = [];
  const report = await explainPreparation({
    schema,
    baseDirectory: source,
    seed: 3,
    progress: ({ done, total }) => seen.push(done / total),
  });
  expect((await readdir(source)).sort()).toEqual(before);
  expect(seen.at(-1)).toBe(1);
  expect(report).toMatchObject({ name: 'small', users: manifest.users, pois: manifest.pois });
  for (const split of report.splits) {
    const made = manifest.splits[split.name]!;
    for (const part of ['train', 'validation', 'test'] as const)
      expect(made.parts[part]).toMatchObject(split.parts[part]);
    const said = (f: { name: string; size: number }, rate: number | null | undefined) => [f.name, f.size, rate ?? null];
    expect(split.categorical.map((f) => said(f, f.collisionRate))).toEqual(
      made.categorical.map((f) => said(f, f.hashed?.collisionRate)),
    );
    split.dense.forEach((f, i) => {
      expect(f.name).toBe(made.dense[i]!.name);
      expect(f.mean).toBeCloseTo(made.dense[i]!.mean, 6);
    });
  }
  const cold = report.splits.find((s) => s.name === 'cold-poi')!;
  expect(cold.categorical.find((f) => f.name === 'poi')!.unseen).toBe(1);
  expect(report.columns.find((c) => c.table === 'events')!.used).toContain('weather');
  expect(report.scene.map((f) => [f.field, f.texts])).toEqual(
    manifest.splits.time!.scene.map((f) => [f.field, f.texts.length - 1]),
  );
  expect(report.examples.pois[0]).toMatch(/^<poi_name> Place \d+ <\/poi_name> <poi_location>/);
  expect(report.examples.users[0]).toContain('<user_cuisines> ');
});

test('a check warns of columns that nothing reads and of features that tell nothing', async () => {
  const report = await explainPreparation({
    schema: defineSchema({
      ...input,
      features: {
        categorical: [
          { name: 'city', value: { derive: 'text', of: 'users.home', values: { Shenzhen: 'x', Guangzhou: 'x' } } },
        ],
      },
      keywords: {},
      texts: {},
    }),
    baseDirectory: source,
  });
  const warnings = report.warnings.join('\n');
  expect(warnings).toMatch(/"city" has one value/);
  expect(warnings).toMatch(/Nothing reads .*events\.weather/);
  expect(warnings).toMatch(/No POI keywords/);
});

test('an abort stops a query that runs, with the reason given, and leaves nothing behind', async () => {
  const folder = await folderWith({ 'users.csv': usersCsv, 'pois.csv': poisCsv });
  // Would take hours: the abort comes in the middle of it.
  const query =
    "SELECT 'u' || (i.range % 9) AS user, 'p' || (j.range % 9) AS poi, hash(i.range + j.range) % 2 AS click FROM range(10000000) i, range(1000000) j";
  const endless = defineSchema({
    name: 'endless',
    tables: { events: { query } },
    labels: { click: 'click' },
    features: { categorical: [{ name: 'user', value: 'events.user' }] },
    splits: { random: { kind: 'random', ratios: [8, 1, 1] } },
  });
  for (const delay of [0, 1500]) {
    const stop = new AbortController();
    const reason = new DataError('STOPPED', 'enough');
    const timer = setTimeout(() => stop.abort(reason), delay);
    const started = performance.now();
    await expect(prepare(join(folder, 'out'), { schema: endless, signal: stop.signal })).rejects.toBe(reason);
    expect(performance.now() - started).toBeLessThan(delay + 10_000);
    clearTimeout(timer);
    expect((await readdir(folder)).sort()).toEqual(['pois.csv', 'users.csv']);
  }
}, 60_000);

test('an output that holds a source table is refused, and a stranger’s folder is left alone', async () => {
  const folder = await folderWith({ 'events.csv': eventsCsv, 'users.csv': usersCsv, 'pois.csv': poisCsv });
  const options = { schema, baseDirectory: folder };
  await expect(prepare(folder, options)).rejects.toMatchObject({ code: 'OUT_HOLDS_INPUT' });
  const query = `SELECT * FROM read_csv('${folder}/events.csv', all_varchar = true)`;
  const byQuery = defineSchema({ ...input, tables: { events: { query } }, keywords: {}, texts: {}, features: {} });
  await expect(prepare(folder, { schema: byQuery })).rejects.toMatchObject({ code: 'OUT_HOLDS_INPUT' });
  await expect(prepare(source, { schema, baseDirectory: folder })).rejects.toMatchObject({ code: 'OUT_NOT_OURS' });
  expect((await readdir(folder)).sort()).toEqual(['events.csv', 'pois.csv', 'users.csv']);
});

test('progress rises to the end and estimates the time left', async () => {
  const told: PrepareProgress[] = [];
  await prepare(join(source, 'told'), {
    schema,
    baseDirectory: source,
    eventsAtOnce: 1200,
    progress: (at) => told.push(at),
  });
  for (let i = 1; i < told.length; i++) expect(told[i]!.done).toBeGreaterThanOrEqual(told[i - 1]!.done);
  expect(told[0]).toMatchObject({ done: 0, secondsLeft: null });
  // Nothing is known of the first stage while it runs.
  const known = told.slice(0, -1).filter((at) => at.stage !== 'reading users and POIs');
  expect(known.every((at) => at.secondsLeft! > 0)).toBe(true);
  // The longest stage is measured, span of days by span.
  expect(told.filter((at) => at.stage === 'features').length).toBeGreaterThan(3);
  expect(told.at(-1)).toMatchObject({ done: told[0]!.total, secondsLeft: 0 });
});

test('rows are joined with their features in spans of days, to the same samples however long a span is', async () => {
  const digests = [];
  for (const eventsAtOnce of [1, 1700, 1e9]) {
    const out = join(source, `spans${eventsAtOnce}`);
    const made = await prepare(out, { schema, baseDirectory: source, seed: 3, threads: 1, eventsAtOnce });
    digests.push(made.contentDigest);
  }
  expect(new Set(digests).size).toBe(1);
});

test('shards share a part out by its rows, whatever their numbers', async () => {
  const sparse = events.map((e) => ({ ...e, row: e.row < 2000 ? e.row : 10 ** 15 + e.row * 10 ** 9 }));
  const folder = await folderWith({
    'events.csv': csv(sparse.map(({ day: _, ...e }) => e)),
    'users.csv': usersCsv,
    'pois.csv': poisCsv,
  });
  const out = join(folder, 'out');
  const byTime = defineSchema({ ...input, splits: { time: { kind: 'time' } } });
  const made = await prepare(out, { schema: byTime, baseDirectory: folder, rowsPerShard: 500 });
  const { files, rows } = made.splits.time!.parts.train;
  using db = await DuckdbSession.open();
  const counts = await Promise.all(
    files.map(async (file) =>
      db.row<{ n: bigint; low: bigint; high: bigint }>(
        `SELECT count(*) AS n, min(row_id) AS low, max(row_id) AS high FROM read_parquet('${join(out, file)}')`,
      ),
    ),
  );
  expect(counts.reduce((sum, { n }) => sum + Number(n), 0)).toBe(rows);
  expect(files.length).toBeGreaterThan(1);
  for (let i = 1; i < counts.length; i++) expect(counts[i]!.low).toBeGreaterThan(counts[i - 1]!.high);
});
