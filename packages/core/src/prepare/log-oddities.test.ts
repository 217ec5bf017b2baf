import { mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import {
  type DatasetManifest,
  type DatasetSchemaInput,
  DuckdbSession,
  defineSchema,
  explainPreparation,
  FeatureEncoder,
  featureValues,
  openDataset,
  prepare,
} from '../index.js';

interface Ride {
  rider: string;
  station: string;
  at: string;
  weather: string;
  rode: number;
  [more: string]: string | number;
}

/** Six days of a bike-sharing log: rides per station, taken more often in the sun. */
function rides(add: (ride: Ride, i: number) => Record<string, string | number> = () => ({})): Ride[] {
  return Array.from({ length: 600 }, (_, i) => {
    const weather = ['sun', 'rain', 'fog'][(i * 7) % 3]!;
    const ride: Ride = {
      rider: `r${(i * 13) % 37}`,
      station: `s${(i * 5) % 17}`,
      at: `2026-03-0${1 + Math.floor(i / 100)} ${String(Math.floor((i % 100) / 5)).padStart(2, '0')}:${String(i % 60).padStart(2, '0')}:00`,
      weather,
      rode: (i * 31) % 10 < (weather === 'sun' ? 6 : 2) ? 1 : 0,
    };
    return { ...ride, ...add(ride, i) };
  });
}

const base: DatasetSchemaInput = {
  name: 'bikes',
  tables: { events: 'rides.csv' },
  keys: { user: 'rider', poi: 'station' },
  time: 'at',
  labels: { click: 'rode' },
  features: { categorical: [{ name: 'weather', value: 'events.weather' }] },
};

async function prepared(
  log: Ride[],
  change: Partial<DatasetSchemaInput> = {},
): Promise<DatasetManifest & { at: string }> {
  const folder = await mkdtemp(join(tmpdir(), 'larr-bikes-'));
  const lines = log.map((ride) => Object.values(ride).join(','));
  await writeFile(join(folder, 'rides.csv'), `${Object.keys(log[0]!).join(',')}\n${lines.join('\n')}\n`);
  const at = join(folder, 'data');
  const manifest = await prepare(at, {
    schema: defineSchema({ ...base, ...change }),
    baseDirectory: folder,
    threads: 1,
  });
  return { ...manifest, at };
}

describe('an outcome is refused as a feature', () => {
  const categorical = (column: string): Partial<DatasetSchemaInput> => ({
    features: { categorical: [{ name: 'extra', value: `events.${column}` }] },
  });
  test.each([
    ['its copy', { add: ({ rode }: Ride) => ({ x: rode }), change: categorical('x') }],
    ['its opposite', { add: ({ rode }: Ride) => ({ x: 1 - rode }), change: categorical('x') }],
    ['in words', { add: ({ rode }: Ride) => ({ x: rode ? 'taken' : 'left' }), change: categorical('x') }],
    [
      'by being there',
      { add: ({ rode }: Ride, i: number) => ({ x: rode ? `receipt ${i % 50}` : '' }), change: categorical('x') },
    ],
    [
      'by a threshold',
      {
        add: ({ rode }: Ride, i: number) => ({ x: rode ? 3 + (i % 40) : (i % 3) / 10 }),
        change: { features: { dense: [{ name: 'extra', value: 'events.x' }] } } as Partial<DatasetSchemaInput>,
      },
    ],
    [
      'through a scene keyword',
      {
        add: ({ rode }: Ride) => ({ x: rode ? 'yes' : 'no' }),
        change: {
          keywords: { scene: [{ name: 'extra', value: { derive: 'text', of: 'events.x' } }] },
        } as Partial<DatasetSchemaInput>,
      },
    ],
    [
      'that two thirds of the clicked rows have and no other one',
      { add: ({ rode }: Ride, i: number) => ({ x: rode && i % 3 ? 2 + (i % 9) : '' }), change: categorical('x') },
    ],
    [
      'that is 0 but in clicked rows',
      {
        add: ({ rode }: Ride, i: number) => ({ x: rode && i % 3 ? 2 + (i % 9) : 0 }),
        change: { features: { dense: [{ name: 'extra', value: 'events.x' }] } } as Partial<DatasetSchemaInput>,
      },
    ],
    [
      'that only rows without a click have',
      { add: ({ rode }: Ride, i: number) => ({ x: rode || i % 4 === 0 ? '' : 'dismissed' }), change: categorical('x') },
    ],
    [
      'as a yes or no that is missing in places',
      { add: ({ rode }: Ride, i: number) => ({ x: i % 5 === 0 ? '' : rode ? 'yes' : 'no' }), change: categorical('x') },
    ],
    [
      'in several words for each class, missing in places',
      {
        add: ({ rode }: Ride, i: number) => ({
          x: i % 5 === 0 ? '-' : rode ? ['paid', 'returned'][i % 2]! : ['shown', 'closed', 'scrolled'][i % 3]!,
        }),
        change: { ...categorical('x'), missing: ['-'] },
      },
    ],
    [
      'by a threshold, where there is a number at all',
      {
        add: ({ rode }: Ride, i: number) => ({ x: i % 2 ? '' : rode ? 3 + (i % 40) : (i % 3) / 10 }),
        change: { features: { dense: [{ name: 'extra', value: 'events.x' }] } } as Partial<DatasetSchemaInput>,
      },
    ],
    [
      'under a marker of its own for what is missing',
      {
        add: ({ rode }: Ride) => ({ x: rode ? 'till 3' : 'none' }),
        change: { features: { categorical: [{ name: 'extra', value: 'events.x', missing: ['none'] }] } },
      },
    ],
  ])('%s', async (_, { add, change }) => {
    await expect(prepared(rides(add), change)).rejects.toMatchObject({
      code: 'LABEL_LEAK',
      field: 'x',
      message: expect.stringMatching(/"extra".*"x".*"click"/s),
    });
  });

  test.each<[string, (ride: Ride, i: number) => string | number]>([
    ['few rows, though all are clicked', ({ rode }, i) => (rode && i < 60 ? `coupon ${i % 3}` : '')],
    ['few rows, though none is clicked', ({ rode }, i) => (!rode && i % 12 === 1 ? 'closed' : '')],
    ['a clicked row among many that are not', ({ rode }, i) => (!rode || i === 1 ? 'late' : '')],
    ['a value of its own in every row', (_, i) => `visit ${i}`],
    ['a value of its own in every pair of rows', ({ rode }, i) => `visit ${rode}-${Math.floor(i / 8)}-${i % 4}`],
    ['a number that tells much, but not all', ({ rode }, i) => rode * 5 + (i % 7)],
    ['a flag that is seldom up, and mostly in clicked rows', ({ rode }, i) => (rode ? i % 2 : i % 90 === 7 ? 1 : 0)],
  ])('no outcome: %s', async (_, x) => {
    const log = rides((ride, i) => ({ x: x(ride, i) }));
    expect((await prepared(log, categorical('x'))).notes).toBeUndefined();
  });

  test('a column that agrees with it in all rows but one is a feature, and told of where it is 1 wherever the label is', async () => {
    const yes = rides().findIndex(({ rode }) => rode === 1);
    const others = (...rows: number[]) => rides(({ rode }, i) => ({ x: rows.includes(i) ? 1 - rode : rode }));
    // Being 1 wherever the label is, and seldom else, it may be a step on the way.
    expect((await prepared(others(302), categorical('x'))).notes).toEqual([expect.stringContaining('0.3 %')]);
    expect((await prepared(others(302, yes), categorical('x'))).notes).toBeUndefined();
  });
});

test('repeated rows are counted and kept', async () => {
  const log = rides();
  const manifest = await prepared([...log, ...log.slice(100, 117)]);
  expect(manifest.notes).toEqual([expect.stringMatching(/rides\.csv: 17 rows repeat/)]);
  const { parts } = manifest.splits.time!;
  expect(parts.train.rows + parts.validation.rows + parts.test.rows).toBe(617);
});

test('a row number of their own makes repeated rows no different', async () => {
  const log = rides((_, i) => ({ id: i }));
  const twice = log.slice(0, 5).map((ride, i) => ({ ...ride, id: 1000 + i }));
  const change = { keys: { user: 'rider', poi: 'station', row: 'id' } };
  expect((await prepared([...log, ...twice], change)).notes).toEqual([expect.stringMatching(/ 5 rows repeat/)]);
});

test('times with several offsets are told with their counts, times with one are not', async () => {
  const zoned = (zone: (i: number) => string) => rides((ride, i) => ({ at: `${ride.at}${zone(i)}` }));
  const { notes } = await prepared(zoned((i) => (i < 400 ? '+08:00' : i < 590 ? 'Z' : '')));
  expect(notes).toEqual([
    expect.stringMatching(/"at".*3 different offsets.*"\+08:00" in 400 rows, "Z" in 190 rows, none in 10 rows/),
  ]);
  expect((await prepared(zoned(() => '+08:00'))).notes).toBeUndefined();
});

test('times that are numbers without a stated unit are told', async () => {
  const seconds = rides((ride) => ({ at: Date.parse(`${ride.at.replace(' ', 'T')}Z`) / 1000 }));
  expect((await prepared(seconds)).notes).toEqual([expect.stringMatching(/600 times are numbers.*"unit": "s"/)]);
  expect((await prepared(seconds, { time: { column: 'at', unit: 's' } })).notes).toBeUndefined();
});

test('seconds that are called milliseconds are told, time that begins at 0 is not', async () => {
  const seconds = rides((ride) => ({ at: Date.parse(`${ride.at.replace(' ', 'T')}Z`) / 1000 }));
  const time = { column: 'at', unit: 'ms' } as const;
  await expect(prepared(seconds, { time })).rejects.toThrow(
    /too few days.*In "unit": "ms" the last is of 1970-01-2\d: is that/,
  );
  expect((await prepared(seconds, { time, splits: { random: { kind: 'random' } } })).notes).toEqual([
    expect.stringMatching(/"at": as milliseconds since 1970.*They look like seconds: "unit": "s"/),
  ]);
  const begun = seconds.map((ride) => ({ ...ride, at: (ride.at - seconds[0]!.at) * 1000 }));
  expect((await prepared(begun, { time })).notes).toBeUndefined();
});

test('values that mean missing everywhere are missing in numbers and in buckets of numbers, and values in ID features', async () => {
  const log = rides((_, i) => ({ wind: i % 4 === 0 ? 'n/a' : i % 5 === 0 ? -99 : 10 }));
  const { at } = await prepared(log, {
    missing: ['n/a', '-99'],
    features: {
      categorical: [
        { name: 'raw', value: 'events.wind' },
        { name: 'band', value: { derive: 'bucket', of: 'events.wind', edges: [0, 5] } },
      ],
      dense: [{ name: 'wind', value: 'events.wind' }],
    },
  });
  const dataset = await openDataset(at);
  expect(new Set((await dataset.loadPart('train')).dense)).toEqual(new Set([10]));
  expect((await dataset.vocabulary('raw')).sort()).toEqual(['', '-99', '10', 'n/a']);
  expect(await dataset.vocabulary('band')).toEqual(['', '5 or more']);
  // The same in a request.
  const values = featureValues(dataset.schema, { wind: -99 });
  expect(values).toEqual({ categorical: ['-99', null], dense: [null] });
});

test('a 32-bit number has one text and falls into one bucket, in training and in a request', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'larr-float-'));
  {
    using db = await DuckdbSession.open();
    await db.run(`COPY (SELECT 'u' || i % 7 AS user, 'p' || i % 5 AS poi, (i * 31) % 10 < 3 AS click,
      ([0.1, 0.7, 2.0, 16777216.0, 1e-7, 3.3e20][1 + i % 6])::FLOAT AS x FROM range(300) t(i)) TO '${join(folder, 'events.parquet')}'`);
  }
  const schema = defineSchema({
    name: 'floats',
    tables: { events: 'events.parquet' },
    labels: { click: 'click' },
    features: {
      categorical: [
        { name: 'x', value: 'events.x' },
        { name: 'band', value: { derive: 'bucket', of: 'events.x', edges: [0.1, 0.7], names: ['low', 'mid', 'high'] } },
      ],
    },
  });
  await prepare(join(folder, 'data'), { schema, baseDirectory: folder, threads: 1 });
  const dataset = await openDataset(join(folder, 'data'));
  const vocabulary = await dataset.vocabulary('x');
  const bands = await dataset.vocabulary('band');
  expect([...vocabulary].sort()).toEqual(['', '0.1', '0.7', '16777216', '1e-07', '2', '3.3e+20']);
  const encoder = new FeatureEncoder({
    categorical: [
      { name: 'x', size: vocabulary.length, vocabulary },
      { name: 'band', size: bands.length, vocabulary: bands },
    ],
    dense: [],
  });
  const train = await dataset.loadPart('train');
  const trained = new Map<string, string>();
  for (let i = 0; i < train.rows; i++)
    trained.set(vocabulary[train.categorical[i]!]!, bands[train.categorical[train.rows + i]!]!);
  for (const x of [0.1, 0.7, 2, 16777216, 1e-7, 3.3e20]) {
    const ids = new Int32Array(2);
    encoder.encode(featureValues(schema, { x }), ids, 0, new Float32Array(0), 0);
    expect(ids[0]).toBeGreaterThan(0);
    expect(bands[ids[1]!]).toBe(trained.get(vocabulary[ids[0]!]!));
  }
});

test('the place of POIs is written for own tables, and keywords that say it are marked', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'larr-place-'));
  const log = rides();
  await writeFile(
    join(folder, 'rides.csv'),
    `${Object.keys(log[0]!).join(',')}\n${log.map((ride) => Object.values(ride).join(',')).join('\n')}\n`,
  );
  const stations = Array.from(
    { length: 17 },
    (_, i) => `s${i},Dock ${i},${i === 3 ? 'unknown' : ['Lille', 'Metz'][i % 2]}`,
  );
  await writeFile(join(folder, 'stations.csv'), `station,name,town\n${stations.join('\n')}\n`);
  const schema = defineSchema({
    ...base,
    tables: { events: 'rides.csv', pois: 'stations.csv' },
    place: { poi: 'town' },
    missing: ['unknown'],
    keywords: {
      poi: [
        { name: 'name', column: 'name' },
        { name: 'where', template: 'in {town}' },
      ],
    },
  });
  const manifest = await prepare(join(folder, 'data'), { schema, baseDirectory: folder, threads: 1 });
  expect(manifest.keywords.poi.map(({ name, place }) => [name, place])).toEqual([
    ['name', undefined],
    ['where', true],
  ]);
  const places = await (await openDataset(join(folder, 'data'))).poiPlaces();
  expect(places!.slice(0, 5)).toEqual(['Lille', 'Metz', 'Lille', null, 'Lille']);
  const without = await prepared(log);
  expect(await (await openDataset(without.at)).poiPlaces()).toBeNull();
});

test('thinned negatives leave their share in the manifest of every split', async () => {
  const { splits } = await prepared(rides(), { negatives: { method: 'downsample', keep: 0.25 } });
  expect(splits.time!.negativesKept).toBe(0.25);
  expect((await prepared(rides())).splits.time!.negativesKept).toBeUndefined();
});

test('a check warns of a test part that holds too few of one class to judge by, and of no other', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'larr-few-'));
  const log = rides();
  const lines = log.map((ride) => Object.values(ride).join(','));
  await writeFile(join(folder, 'rides.csv'), `${Object.keys(log[0]!).join(',')}\n${lines.join('\n')}\n`);
  const warned = async (testDays: number) => {
    const schema = defineSchema({ ...base, splits: { time: { kind: 'time', testDays } } });
    const { warnings } = await explainPreparation({ schema, baseDirectory: folder, threads: 1 });
    return warnings.filter((warning) => warning.includes('the test part has'));
  };
  expect(await warned(1)).toEqual([expect.stringMatching(/100 rows, 3\d of them clicked.*testDays/)]);
  expect(await warned(3)).toEqual([]);
});

test('POIs know their entry in the vocabulary of POI ids, as the samples do, hashed or not', async () => {
  // a station of the last day alone, which training has not seen
  const log = rides((_, i) => (i % 50 === 7 && i >= 500 ? { station: 'new' } : {}));
  for (const buckets of [undefined, 8]) {
    const station = { name: 'station', value: 'events.station', role: 'poi' as const, ...(buckets && { buckets }) };
    const { at } = await prepared(log, { features: { categorical: [station] } });
    const dataset = await openDataset(at);
    const indices = await dataset.poiIndices('station');
    expect(indices).toHaveLength(18);
    for (const part of ['train', 'test'] as const) {
      const { categorical, poi } = await dataset.loadPart(part);
      expect(Array.from(poi, (index) => indices[index])).toEqual([...categorical]);
    }
    if (buckets) expect([...indices].every((index) => index >= 1 && index <= buckets)).toBe(true);
    else expect([...indices].filter((index) => index === 0)).toHaveLength(1);
    await expect(dataset.poiIndices('dock')).rejects.toMatchObject({ name: 'UsageError', code: 'FEATURE_UNKNOWN' });
  }
});
