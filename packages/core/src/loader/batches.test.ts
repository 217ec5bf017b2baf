import { mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import {
  type BatchOptions,
  batchMemory,
  bytesPerSample,
  type Dataset,
  defineSchema,
  openDataset,
  prepare,
  type SampleBatch,
  sampleShape,
} from '../index.js';

const rows = 6000;
let dataset: Dataset;

beforeAll(async () => {
  const directory = await mkdtemp(join(tmpdir(), 'larr-loader-'));
  let events = 'id,user,poi,time,price,weather,click,order\n';
  for (let i = 0; i < rows; i++) {
    const time = new Date(Date.UTC(2026, 0, 1) + i * 1_800_000).toISOString().slice(0, 19);
    events += `${i * 3},u${(i * 7) % 50},p${(i * 13) % 40},${time},${i % 97},${i % 3 ? 'sun' : 'rain'},${i % 2},${i % 6 === 1 ? 1 : 0}\n`;
  }
  await writeFile(join(directory, 'events.csv'), events);
  const output = join(directory, 'out');
  const schema = defineSchema({
    name: 'batches',
    tables: { events: 'events.csv' },
    keys: { row: 'id' },
    time: 'time',
    labels: { click: 'click', order: 'order' },
    features: {
      categorical: [
        { name: 'user', value: 'events.user' },
        { name: 'poi', value: 'events.poi' },
      ],
      dense: [{ name: 'price', value: 'events.price' }],
      sequences: [{ name: 'recent', length: 3 }],
    },
    keywords: { scene: [{ name: 'weather', value: 'events.weather' }] },
  });
  // Seven shards: blocks of some 800 rows.
  await prepare(output, { schema, baseDirectory: directory, rowsPerShard: 850 });
  dataset = await openDataset(output);
});

const collect = async (options: BatchOptions) => {
  const batches: SampleBatch[] = [];
  for await (const batch of dataset.batches('train', options)) batches.push(batch);
  return batches;
};
const ids = (batches: SampleBatch[]) => batches.flatMap((b) => [...b.samples.rowId].map(Number));

/** Everything that is known of a row, by row_id. */
function described(batches: SampleBatch[]): Map<number, unknown[]> {
  const found = new Map<number, unknown[]>();
  for (const { samples: s } of batches) {
    for (let i = 0; i < s.rows; i++) {
      const column = (a: Int32Array | Float32Array) =>
        Array.from({ length: a.length / s.rows }, (_, f) => a[f * s.rows + i]);
      const sequence = s.sequences.flatMap((q) => [...q.subarray(i * 3, i * 3 + 3)]);
      found.set(Number(s.rowId[i]), [
        ...[s.categorical, s.dense, s.scene, s.user, s.poi, s.click, s.order!].flatMap(column),
        ...sequence,
      ]);
    }
  }
  return found;
}

test('an epoch gives every row once, whole, in another order than the files, in batches of the asked size', async () => {
  const train = await dataset.loadPart('train');
  const batches = await collect({ batchSize: 256, seed: 1, windowRows: 2000 });
  expect(batches.slice(0, -1).every((b) => b.samples.rows === 256)).toBe(true);
  expect(batches.at(-1)!.next).toBe(train.rows);
  const order = ids(batches);
  const inFiles = [...train.rowId].map(Number);
  expect(order).not.toEqual(inFiles);
  expect([...order].sort((a, b) => a - b)).toEqual(inFiles);
  expect(described(batches)).toEqual(new Map([...described([{ samples: train, next: 0 }])].sort(() => 0)));
  // Shuffled well: a batch holds rows from all over its window and not a run of a shard.
  const first = order.slice(0, 256);
  expect(Math.max(...first) - Math.min(...first)).toBeGreaterThan(3000);
});

test('without a seed the rows come in the order of the files', async () => {
  const train = await dataset.loadPart('train');
  const batches = await collect({ batchSize: 1000, seed: null, windowRows: 1 });
  expect(ids(batches)).toEqual([...train.rowId].map(Number));
  expect(described(batches)).toEqual(described([{ samples: train, next: 0 }]));
});

test('going on from a row gives the very batches of an uninterrupted run, wherever it was stopped', async () => {
  const options = { batchSize: 300, seed: 7, epoch: 3, windowRows: 1700 };
  const whole = ids(await collect(options));
  for (const row of [300, 437, 1800, 4501]) {
    const rest = await collect({ ...options, row });
    expect(ids(rest)).toEqual(whole.slice(row));
    expect(rest[0]!.next).toBe(row + 300);
  }
  expect(await collect({ ...options, row: whole.length })).toEqual([]);
});

test('the batches are the same on however many threads their columns are read', async () => {
  const options = { batchSize: 300, seed: 7, windowRows: 1700 };
  const [one, two, many] = await Promise.all([1, 2, 9].map((threads) => collect({ ...options, threads })));
  expect(ids(two!)).toEqual(ids(one!));
  expect(described(two!)).toEqual(described(one!));
  expect(described(many!)).toEqual(described(one!));
});

test('the order follows from seed and epoch', async () => {
  const options = { batchSize: 500, seed: 1, epoch: 0 };
  const first = ids(await collect(options));
  expect(ids(await collect(options))).toEqual(first);
  expect(ids(await collect({ ...options, epoch: 1 }))).not.toEqual(first);
  expect(ids(await collect({ ...options, seed: 2 }))).not.toEqual(first);
});

test('a loop that is left early stops the thread, and a slow one gets no more ahead than it asked for', async () => {
  let taken = 0;
  for await (const { samples } of dataset.batches('train', { batchSize: 100, seed: 1, prefetch: 1 })) {
    taken += samples.rows;
    if (taken === 300) break;
  }
  expect(taken).toBe(300);
  const shape = sampleShape(dataset.split, true);
  expect(bytesPerSample(shape)).toBe(8 + 4 * (2 + 1 + 1 + 3 + 4));
  expect(batchMemory(shape, { batchSize: 100, seed: 1, windowRows: 200_000, prefetch: 1 })).toBe(52 * (400_000 + 300));
});

test('a shard that is cut off and options that make no sense are errors that say so', async () => {
  await expect(collect({ batchSize: 0, seed: 1 })).rejects.toMatchObject({ code: 'BAD_OPTION' });
  await expect(collect({ batchSize: 10, seed: 1, row: 1e6 })).rejects.toMatchObject({ code: 'BAD_OPTION' });
  const file = join(dataset.directory, dataset.split.parts.validation.files[0]!);
  const bytes = await readFile(file);
  await writeFile(file, bytes.subarray(0, bytes.length / 2));
  const reading = async () => {
    for await (const _ of dataset.batches('validation', { batchSize: 10, seed: 1 }));
  };
  await expect(reading()).rejects.toMatchObject({ code: 'DATASET_CORRUPT' });
  await writeFile(file, bytes);
});
