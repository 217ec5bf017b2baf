// How fast shuffled batches come out of the training loader, against the way that @duckdb/node-api offers to read the same shards: its columns
// as JavaScript arrays, chunk after chunk, made typed arrays one by one, and neither shuffled nor put into batches. (PyTorch's own loaders read no Parquet, so there is no Python peer.)
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { memories, peakExtra } from '../../../scripts/bench-memory.mjs';
import {
  contentDigest,
  DuckdbSession,
  defineSchema,
  ident,
  literal,
  openDataset,
  schemaDigest,
} from '../dist/index.js';

const columns = 25;

/** A dataset of 25 sample columns in shards as `prepare` writes them: 13 ID features, 4 numbers, 4 scenes, keys, label, row. */
export async function writeDataset(directory, rows) {
  const categorical = Array.from({ length: 13 }, (_, i) => `c${i}`);
  const dense = Array.from({ length: 4 }, (_, i) => `d${i}`);
  const scene = Array.from({ length: 4 }, (_, i) => `s${i}`);
  const schema = defineSchema({
    name: 'bench',
    tables: { events: 'events.parquet' },
    labels: { click: 'click' },
    features: {
      categorical: categorical.map((name) => ({ name, value: `events.${name}` })),
      dense: dense.map((name) => ({ name, value: `events.${name}` })),
    },
    keywords: { scene: scene.map((name) => ({ name, value: `events.${name}` })) },
  });
  const folder = join(directory, 'splits/random/train');
  mkdirSync(folder, { recursive: true });
  const files = [];
  {
    const db = await DuckdbSession.open({ threads: 2 });
    const h = (column, size) => `(hash(i * 64 + ${column}) % ${size})`;
    const select = [
      // Vocabularies from a handful to a million, the frequent first, as ID features are.
      ...categorical.map(
        (name, i) =>
          `floor(pow(${h(i, 1_000_000)} / 1e6, 3) * ${Math.round(4 * 2.6 ** i)})::INTEGER AS ${ident(`cat_${name}`)}`,
      ),
      ...dense.map((name, i) => `(${h(20 + i, 1000)} / 100.0)::FLOAT AS ${ident(`dense_${name}`)}`),
      ...scene.map((name, i) => `${h(30 + i, 9)}::INTEGER AS ${ident(`scene_${name}`)}`),
      `${h(40, 80_000)}::INTEGER AS user_index, ${h(41, 5000)}::INTEGER AS poi_index, (${h(42, 100)} < 8)::UTINYINT AS click, i AS row_id`,
    ];
    const perShard = rows / 2;
    for (let shard = 0; shard * perShard < rows; shard++) {
      const file = `splits/random/train/part-${String(shard).padStart(5, '0')}.parquet`;
      files.push(file);
      await db.run(
        `COPY (SELECT ${select.join(', ')} FROM range(${shard * perShard}, ${(shard + 1) * perShard}) t(i))
         TO ${literal(join(directory, file))} (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 122880)`,
      );
    }
    db[Symbol.dispose]();
  }
  const part = { rows, files, clicks: 0, orders: null };
  const split = {
    kind: 'random',
    parts: { train: part, validation: part, test: part },
    categorical: categorical.map((name) => ({ name, role: 'context', size: 2 ** 20, vocabulary: '' })),
    dense: dense.map((name) => ({ name, role: 'context', mean: 0, std: 1 })),
    sequences: [],
    scene: scene.map((field) => ({ field, token: field, texts: [''] })),
  };
  writeFileSync(join(directory, 'schema.json'), JSON.stringify(schema));
  const manifest = {
    format: 'larr-dataset',
    version: 1,
    name: 'bench',
    seed: 1,
    schemaDigest: schemaDigest(schema),
    contentDigest: await contentDigest(directory),
    orders: false,
    defaultSplit: 'random',
    splits: { random: split },
    pois: 5000,
    users: 80_000,
    keywords: { poi: [], user: [], scene: [] },
    texts: schema.texts,
  };
  writeFileSync(join(directory, 'dataset.json'), JSON.stringify(manifest));
}

/** Samples per second of one pass. */
async function loader(dataset, epoch) {
  const start = performance.now();
  let taken = 0;
  for await (const { samples } of dataset.batches('train', { batchSize: 4096, seed: 1, epoch })) taken += samples.rows;
  const { rows } = dataset.split.parts.train;
  if (taken !== rows) throw new Error(`the loader gave ${taken} rows of ${rows}`);
  return (taken * 1000) / (performance.now() - start);
}

async function columnArrays(dataset) {
  const db = await DuckdbSession.open({ threads: 2 });
  const files = dataset.split.parts.train.files.map((file) => literal(join(dataset.directory, file)));
  const start = performance.now();
  let taken = 0;
  const result = await db.connection.stream(`SELECT * FROM read_parquet([${files.join(', ')}])`);
  const types = result.columnTypes().map(String);
  for (;;) {
    const chunk = await result.fetchChunk();
    if (chunk === null || chunk.rowCount === 0) break;
    const values = chunk.getColumns();
    // What a tensor is made of.
    const typed = values.map((column, c) =>
      (types[c] === 'FLOAT' ? Float32Array : types[c] === 'BIGINT' ? BigInt64Array : Int32Array).from(column),
    );
    taken += typed[0].length;
  }
  const rate = (taken * 1000) / (performance.now() - start);
  db[Symbol.dispose]();
  return rate;
}

const median = (values) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];

/** Bytes at the peak of one pass over the dataset. */
export async function memory({ directory }, side) {
  const dataset = await openDataset(directory);
  return peakExtra(() => (side === 'ours' ? loader(dataset, 0) : columnArrays(dataset)));
}

/** @param settings fewer rows and rounds for a trial */
export async function* run({ rows = 4_000_000, rounds = 3 } = {}) {
  const directory = mkdtempSync(join(tmpdir(), 'larr-loader-'));
  try {
    await writeDataset(directory, rows);
    const dataset = await openDataset(directory);
    const ours = [];
    const peer = [];
    for (let round = 0; round < rounds; round++) {
      ours.push(await loader(dataset, round));
      peer.push(await columnArrays(dataset));
    }
    const [ourRate, peerRate] = [median(ours), median(peer)];
    yield {
      bench: 'loader',
      case: { columns },
      ours: ourRate,
      peer: 'duckdb-columns',
      peerValue: peerRate,
      unit: 'samples/s',
      ratio: ourRate / peerRate,
      memory: await memories(import.meta.url, { directory }),
    };
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}
