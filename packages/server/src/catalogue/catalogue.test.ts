// The catalogue of a bundle made of nothing but the files that it reads.
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DuckDBInstance } from '@duckdb/node-api';
import { type DatasetSchemaInput, defineSchema } from '@larr/core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createApp } from '../api/app.js';
import { DEFAULT_LIMITS } from '../api/state.js';
import { createMetrics } from '../observability/metrics.js';
import { ModelRegistry } from '../ranking/model-registry.js';
import type { RankingModel } from '../ranking/ranking-model.js';
import { Catalogue } from './catalogue.js';
import { EntityIndex } from './entity-index.js';

const here: [string, string] = ['events.lat', 'events.lon'];
const there: [string, string] = ['pois.lat', 'pois.lon'];
const schema: DatasetSchemaInput = {
  name: 'museums',
  tables: { events: 'e.csv', users: 'u.csv', pois: 'p.csv' },
  keys: { user: 'user', poi: 'poi' },
  time: 'at',
  labels: { click: 'click' },
  features: {
    categorical: [
      { name: 'user', value: 'events.user' },
      { name: 'poi', value: 'events.poi' },
      { name: 'town', value: 'events.town' },
      { name: 'crowd', value: { derive: 'bucket', of: 'events.visitors', edges: [10, 50, 90] } },
    ],
    dense: [
      { name: 'warmth', value: 'events.warmth' },
      { name: 'spent', value: 'events.spent', transform: 'log1p' },
    ],
  },
  keywords: {
    poi: ['title', 'street', 'shows'].map((name) => ({ name, column: name })),
    scene: [
      { name: 'slot', value: { derive: 'timeSlot' } },
      { name: 'town', value: { derive: 'text', of: 'events.town', template: 'in {}', values: { ld: 'Leiden' } } },
      { name: 'mood', value: { derive: 'text', of: 'events.mood', template: 'a {} day' } },
      { name: 'far', value: { derive: 'distanceBand', from: here, to: there } },
    ],
  },
  // the place first: what a POI is called does not follow from the order
  texts: { cptInput: ['street', 'title'] },
  splits: { random: { kind: 'random', ratios: [8, 1, 1] } },
} as DatasetSchemaInput;

const POIS = [
  {
    poi: 'm1',
    kind: 'art',
    town: 'ld',
    lat: 52.1,
    lon: 4.5,
    title: 'Café Museum',
    street: 'Breestraat',
    shows: 'clocks',
  },
  {
    poi: 'm2',
    kind: 'art',
    town: 'ld',
    lat: 52.3,
    lon: 4.7,
    title: 'Museum of Clocks',
    street: 'Rapenburg',
    shows: null,
  },
  {
    poi: 'm-3',
    kind: 'science',
    town: 'dh',
    lat: 52.0,
    lon: 4.3,
    title: '钟表博物馆',
    street: 'Plein',
    shows: 'clockwork',
  },
  {
    poi: 'clocks',
    kind: 'science',
    town: 'dh',
    lat: 52.0,
    lon: 4.3,
    title: 'O\'Neill\'s "House"; DROP',
    street: 'Plein',
    shows: 'x',
  },
  { poi: 'm5', kind: null, town: 'ld', lat: 52.1, lon: 4.5, title: 'Clocktower', street: 'Museum square', shows: 'x' },
];

let directory: string;
let digest: string;
let catalogue: Catalogue;
beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'larr-catalogue-'));
  digest = await writeParts(directory, true);
  catalogue = (await Catalogue.open(directory, digest))!;
});
afterAll(async () => {
  await catalogue.close();
  rmSync(directory, { recursive: true, force: true });
});

async function writeParts(into: string, withTexts: boolean): Promise<string> {
  mkdirSync(join(into, 'store'), { recursive: true });
  const json = (name: string, value: unknown) => writeFileSync(join(into, name), JSON.stringify(value));
  json('manifest.json', { name: 'museums', into });
  json('schema.json', defineSchema(schema));
  const feature = (name: string, vocabulary: string[]) => ({
    name,
    role: 'context',
    size: 9,
    rowOffset: 0,
    vocabulary,
  });
  json('features.json', {
    categorical: [feature('town', ['', 'ld', 'dh', 'am'])],
    dense: [
      { name: 'warmth', role: 'context', mean: 15, std: 5 },
      { name: 'spent', role: 'context', mean: Math.log1p(20), std: 0.5 },
    ],
    sequences: [],
    scene: [],
  });
  const entries = {
    slot: ['noon', 'night'],
    town: ['in Leiden'],
    mood: ['a grey day', 'a bright day'],
    far: ['1 to 2 km'],
  };
  json(
    'scene.json',
    Object.entries(entries).map(([field, texts]) => ({ field, entry: 0, texts })),
  );
  const instance = await DuckDBInstance.create(':memory:');
  const connection = await instance.connect();
  const parquet = async (file: string, rows: readonly object[], columns: readonly string[]): Promise<void> => {
    writeFileSync(join(into, 'rows.json'), JSON.stringify(rows));
    await connection.run(
      `COPY (SELECT ${columns.join(', ')} FROM read_json('${join(into, 'rows.json')}')) TO '${join(into, file)}' (FORMAT parquet)`,
    );
    rmSync(join(into, 'rows.json'));
  };
  const store = [
    'poi',
    'kind',
    'town',
    'lat',
    'lon',
    '0.5 AS dense_poi_ctr_7d',
    'row_number() OVER () AS poi_index',
    '[1, 2] AS seq_x',
  ];
  await parquet('store/pois.parquet', POIS, store);
  if (withTexts) await parquet('store/poi-texts.parquet', POIS, ['poi', 'title', 'street', 'shows']);
  await parquet(
    'store/users.parquet',
    [
      { user: 'anna', home: 'Leiden', age: 30 },
      { user: '42', home: 'The Hague', age: null },
    ],
    ['user', 'home', 'age', '1.0 AS dense_user_ctr'],
  );
  connection.closeSync();
  instance.closeSync();
  return createHash('sha256')
    .update(readFileSync(join(into, 'manifest.json')))
    .digest('hex')
    .slice(0, 12);
}

const ids = (entries: readonly { id: string }[]): string[] => entries.map(({ id }) => id);

describe('what a scene may say', () => {
  it('is every event column, with its values, their labels, and the keywords that follow', () => {
    const fields = Object.fromEntries(catalogue.fields.map(({ name, ...rest }) => [name, rest]));
    expect(fields.at).toEqual({ kind: 'time', values: [], keywords: ['slot'] });
    expect(fields.town).toEqual({
      kind: 'text',
      values: [{ value: 'ld', label: 'in Leiden' }, { value: 'dh' }, { value: 'am' }],
      keywords: ['town'],
    });
    // known texts give away the values that they were made of
    expect(fields.mood).toMatchObject({ kind: 'text', values: [{ value: 'grey' }, { value: 'bright' }] });
    expect(fields).not.toHaveProperty('user');
  });

  it('tells of numbers where they lay in training', () => {
    const range = (name: string) => catalogue.fields.find((field) => field.name === name)?.range;
    expect(range('warmth')).toEqual({ low: 0, high: 30, typical: 15 });
    expect(range('spent')?.typical).toBeCloseTo(20, 0);
    expect(range('spent')?.low).toBeGreaterThanOrEqual(0);
    expect(range('visitors')).toEqual({ low: -30, high: 130, typical: 50 });
    expect(range('lat')).toBeUndefined();
  });

  it('includes keywords by their own name, where no column has it', () => {
    const keywords = catalogue.fields.filter(({ kind }) => kind === 'keyword');
    expect(keywords.map(({ name }) => name)).toEqual(['slot', 'far']);
    expect(catalogue.position).toEqual({
      fields: { latitude: 'lat', longitude: 'lon' },
      columns: { latitude: 'lat', longitude: 'lon' },
    });
  });

  it('is read as a ranking would read it, and says which texts have no embedding', async () => {
    const scene = { at: '2026-01-01T12:00:00', town: 'dh', mood: 'grey' };
    expect(await catalogue.moment('anna', scene)).toEqual([
      { field: 'slot', text: 'noon', known: true },
      { field: 'town', text: 'in dh', known: false },
      { field: 'mood', text: 'a grey day', known: true },
      { field: 'far', text: null, known: true },
    ]);
    const direct = await catalogue.moment('nobody', { slot: 'night', town: '' });
    expect(direct[0]).toEqual({ field: 'slot', text: 'night', known: true });
    await expect(catalogue.moment('anna', { wether: 'x' })).rejects.toMatchObject({ code: 'SCENE_FIELD_UNKNOWN' });
  });
});

describe('finding POIs', () => {
  const find = async (query: string, within = {}, limit = 10) => ids(await catalogue.pois(query, within, limit));

  it('takes beginnings of words of name and place, in any order and case, without accents', async () => {
    expect(await find('mus')).toEqual(['m2', 'm1', 'm5']);
    expect(await find('CAFE breestr')).toEqual(['m1']);
    expect(await find('clocks muse')).toEqual(['m1', 'm2']);
    expect(await find('useum')).toEqual([]);
    expect(await find('博物')).toEqual(['m-3']);
    expect(await find('mus zzz')).toEqual([]);
  });

  it('looks at other keywords too, where their texts are short', async () => {
    const texts = join(directory, 'long.parquet');
    const about = `a museum whose description goes on and on, which names ${'many things, '.repeat(5)}dinosaurs among them`;
    const connection = await (await DuckDBInstance.create(':memory:')).connect();
    await connection.run(
      `COPY (SELECT 'm1' AS poi, 'Café' AS title, 'gallery' AS shows, '${about}' AS about) TO '${texts}' (FORMAT parquet)`,
    );
    connection.closeSync();
    const store = join(directory, 'store', 'pois.parquet');
    const alsoShort = ['title', 'shows', 'about'];
    const index = await EntityIndex.open({
      store,
      key: 'poi',
      texts,
      name: 'title',
      searched: ['title'],
      alsoShort,
      position: null,
    });
    try {
      expect(ids(await index.search('gall', {}, 10))).toEqual(['m1']);
      expect(await index.search('dinosaurs', {}, 10)).toEqual([]);
    } finally {
      index.close();
    }
  });

  it('puts the one of that id first, then names that begin so', async () => {
    expect(await find('clocks')).toEqual(['clocks', 'm1', 'm2']);
    expect(await find('clock')).toEqual(['m5', 'm1', 'm2', 'm-3', 'clocks']);
    expect(await find('m-3')).toEqual(['m-3']);
  });

  it('by group, and in a group by words', async () => {
    expect(await find('', { kind: 'art' })).toEqual(['m1', 'm2']);
    expect(await find('mus', { kind: 'art' })).toEqual(['m2', 'm1']);
    expect(await find('', {}, 2)).toEqual(['m1', 'm2']);
  });

  it('is not confused by quotes, wildcards or a text of nothing but marks', async () => {
    for (const query of ["'; DROP TABLE entities; --", '%', '_', '"', '()', '   ', '\\', "o'neill"]) await find(query);
    expect(await find("O'Neill's")).toEqual(['clocks']);
    expect(await find('')).toHaveLength(5);
  });

  it('gives texts and plain columns, and nothing that is only for the model', async () => {
    const [poi] = await catalogue.poisById(['m1', 'unknown']);
    expect(poi).toEqual({
      id: 'm1',
      texts: { title: 'Café Museum', street: 'Breestraat', shows: 'clocks' },
      columns: { kind: 'art', town: 'ld', lat: 52.1, lon: 4.5 },
    });
    expect(ids(await catalogue.poisById(['m5', 'm1']))).toEqual(['m5', 'm1']);
  });

  it('knows what POIs can be grouped by, where each group is, and which field has the same values', async () => {
    const facets = await catalogue.facets();
    expect(facets.map(({ column, follows }) => [column, follows])).toEqual([
      ['kind', null],
      ['town', 'town'],
    ]);
    const [, town] = facets;
    expect(town!.groups[0]).toMatchObject({ value: 'ld', count: 3 });
    expect(town!.groups[0]!.latitude).toBeCloseTo((52.1 + 52.3 + 52.1) / 3);
  });
});

it('finds users by id and by what is known of them', async () => {
  expect(ids(await catalogue.users('leid', 10))).toEqual(['anna']);
  expect(ids(await catalogue.users('42', 10))).toEqual(['42']);
  expect(await catalogue.user('anna')).toEqual({ id: 'anna', texts: {}, columns: { home: 'Leiden', age: 30 } });
  expect(await catalogue.user('nobody')).toBeNull();
});

it('says of no text that its embedding is missing where the model reads none', async () => {
  const plain = join(directory, 'plain');
  const of = await writeParts(plain, true);
  rmSync(join(plain, 'scene.json'));
  const catalogue = (await Catalogue.open(plain, of))!;
  try {
    const moment = await catalogue.moment('anna', { mood: 'never heard of' });
    expect(moment).toContainEqual({ field: 'mood', text: 'a never heard of day', known: true });
  } finally {
    await catalogue.close();
  }
});

it('falls back to ids and columns where the bundle carries no texts', async () => {
  const bare = join(directory, 'bare');
  const older = (await Catalogue.open(bare, await writeParts(bare, false)))!;
  try {
    const [poi] = await older.poisById(['m1']);
    expect(poi).toEqual({ id: 'm1', texts: {}, columns: { kind: 'art', town: 'ld', lat: 52.1, lon: 4.5 } });
    expect(ids(await older.pois('scie', {}, 10))).toEqual(['m-3', 'clocks']);
  } finally {
    await older.close();
  }
});

describe('over HTTP', () => {
  const model: RankingModel = {
    identity: { name: 'museums', bundle: '' },
    directory: '',
    explainable: true,
    queuedRows: 0,
    broken: false,
    examples: [{ user: 'new user', scene: { town: 'ld' }, candidates: ['m1'] }],
    rank: async () => ({ ranked: [], fallbacks: { user: false, pois: [], scene: [], features: [] } }),
    close: async () => {},
  };
  const models = new ModelRegistry();
  const app = createApp({
    state: { models, events: null, experiments: null, stopping: false },
    metrics: createMetrics(),
    limits: DEFAULT_LIMITS,
  });
  beforeAll(() => models.install({ ...model, directory, identity: { name: 'museums', bundle: digest } }));
  afterAll(() => app.close());
  const get = async (url: string) => {
    const reply = await app.inject(url);
    return { status: reply.statusCode, body: reply.json() };
  };

  it('answers with the fields, the searches and the moment', async () => {
    const { body } = await get('/v1/catalogue/scene');
    expect(body).toMatchObject({
      explainable: true,
      users: 2,
      pois: 5,
      poi: { name: 'title', place: 'street' },
      keywords: ['slot', 'town', 'mood', 'far'],
    });
    expect(ids((await get('/v1/catalogue/pois?query=mus&within=kind:art&limit=1')).body.entries)).toEqual(['m2']);
    expect(ids((await get('/v1/catalogue/pois?ids=m5,m1')).body.entries)).toEqual(['m5', 'm1']);
    expect(ids((await get('/v1/catalogue/users?query=anna')).body.entries)).toEqual(['anna']);
    const moment = await app.inject({
      method: 'POST',
      url: '/v1/catalogue/moment',
      payload: { user: 'anna', scene: { mood: 'grey' } },
    });
    expect(moment.json()).toMatchObject({ user: { id: 'anna' } });
    expect(moment.json().keywords).toContainEqual({ field: 'mood', text: 'a grey day', known: true });
  });

  it('refuses what it cannot answer, naming the field', async () => {
    for (const [query, field] of [
      ['within=price:3', 'within'],
      ['within=kind', 'within'],
      ['within=dense_poi_ctr_7d:0.5', 'within'],
      ['ids=%25E0', 'ids'],
      ['limit=0', 'limit'],
      ['colour=red', 'colour'],
    ]) {
      const { status, body } = await get(`/v1/catalogue/pois?${query}`);
      expect([status, body.error.code, body.error.field]).toEqual([400, 'QUERY_INVALID', field]);
    }
    expect((await get('/v1/catalogue/scene?bundle=other')).body.error.code).toBe('BUNDLE_UNKNOWN');
  });

  it('says that the bundle on the disk is another by now, or gone', async () => {
    for (const place of [directory, join(directory, 'moved')]) {
      models.install({ ...model, directory: place, identity: { name: 'museums', bundle: '000000000000' } }, 'gone');
      expect(await get('/v1/catalogue/scene?bundle=gone')).toMatchObject({
        status: 409,
        body: { error: { code: 'BUNDLE_REPLACED' } },
      });
    }
  });
});
