import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { DuckdbSession, ident, literal } from '../duckdb/session.js';
import { DataError, didYouMean, UsageError } from '../errors.js';
import { hashBucket } from '../features/serving.js';
import type { KeywordText } from '../keywords/tokens.js';
import { type BatchOptions, type SampleBatch, streamBatches } from '../loader/batches.js';
import type { DatasetSchema } from '../schema/schema.js';
import { parseSchema, schemaDigest } from '../schema/validate.js';
import type { CategoricalSpec, DatasetManifest, KeywordSpec, Part, SplitManifest } from './manifest.js';
import { SampleCopier, type Samples, sampleColumns, sampleShape, samplesOver } from './samples.js';

/** User–POI positives of the train part. */
export interface Pairs {
  user: Int32Array;
  poi: Int32Array;
  count: Int32Array;
}

/** A dataset directory that has been opened on one of its splits. */
export interface Dataset {
  readonly directory: string;
  readonly manifest: DatasetManifest;
  readonly schema: DatasetSchema;
  readonly splitName: string;
  readonly split: SplitManifest;
  /**
   * Reads a whole part into memory, in row order.
   * @param options.limit at most so many rows
   * @throws DataError `DATASET_CORRUPT` where a file is missing or does not have what the manifest says
   */
  loadPart(part: Part, options?: { limit?: number }): Promise<Samples>;
  /**
   * One epoch of a part in (shuffled) batches from another thread, in bounded memory: for parts that memory does not hold,
   * where `loadPart` would read it whole. See `streamBatches`.
   */
  batches(part: Part, options: BatchOptions): AsyncGenerator<SampleBatch, void>;
  /** [pois]: the keywords that each POI has, in the manifest's order. */
  poiTexts(): Promise<KeywordText[][]>;
  /** [pois]: the place each POI is in, null where unknown; null altogether where the schema names no place of POIs. */
  poiPlaces(): Promise<(string | null)[] | null>;
  /** [users]: likewise; behaviour comes from this split's train part. */
  userTexts(): Promise<KeywordText[][]>;
  pairs(): Promise<Pairs>;
  /** [pois]: the index of each POI's id in the vocabulary of a categorical feature of role "poi"; 0 = not in the train part. */
  poiIndices(feature: string): Promise<Int32Array>;
  /** The vocabulary of a categorical feature: index → value; empty strings for a hashed one. */
  vocabulary(feature: string): Promise<string[]>;
}

/**
 * Opens a dataset that `import`, `world` or `prepare` wrote.
 * @param split default: the dataset's default split
 * @throws DataError `DATASET_MISSING`, `DATASET_CORRUPT`, `DATASET_VERSION`, `SPLIT_UNKNOWN`
 */
export async function openDataset(directory: string, split?: string): Promise<Dataset> {
  const manifest = checkManifest(await readJson(directory, 'dataset.json'), directory);
  const splitName = split ?? manifest.defaultSplit;
  const splitManifest = manifest.splits[splitName];
  if (splitManifest === undefined) {
    throw new DataError(
      'SPLIT_UNKNOWN',
      `${directory} has no split "${splitName}".${didYouMean(splitName, Object.keys(manifest.splits))}`,
    );
  }
  const schema = parseSchema(await readJson(directory, 'schema.json'), join(directory, 'schema.json'));
  if (schemaDigest(schema) !== manifest.schemaDigest)
    throw corrupt(directory, 'schema.json is not the schema that dataset.json was made with');
  return {
    directory,
    manifest,
    schema,
    splitName,
    split: splitManifest,
    loadPart: (part, options = {}) => loadPart(directory, manifest, splitManifest, part, options.limit),
    batches: (part, options) => {
      const { files, rows } = splitManifest.parts[part];
      return streamBatches({ directory, files, rows, shape: sampleShape(splitManifest, manifest.orders) }, options);
    },
    poiTexts: () => readTexts(directory, 'texts/pois.parquet', 'poi_index', manifest.keywords.poi, manifest.pois),
    poiPlaces: async () =>
      schema.place?.poi === undefined
        ? null
        : readPoiColumn<string | null>(directory, 'texts/pois.parquet', 'place', manifest.pois),
    userTexts: () =>
      readTexts(
        directory,
        `splits/${splitName}/texts/users.parquet`,
        'user_index',
        manifest.keywords.user,
        manifest.users,
      ),
    pairs: () => readPairs(directory, `splits/${splitName}/pairs.parquet`),
    poiIndices: async (feature) => {
      const { hashed } = categoricalSpec(splitManifest, feature);
      const ids = await readPoiColumn<string>(directory, 'texts/pois.parquet', 'poi', manifest.pois);
      if (hashed !== undefined) return Int32Array.from(ids, (id) => hashBucket(id, hashed.buckets));
      const indexOf = new Map((await readVocabulary(directory, splitManifest, feature)).map((value, i) => [value, i]));
      return Int32Array.from(ids, (id) => indexOf.get(id) ?? 0);
    },
    vocabulary: (feature) => readVocabulary(directory, splitManifest, feature),
  };
}

/** @throws UsageError `FEATURE_UNKNOWN` */
function categoricalSpec(split: SplitManifest, feature: string): CategoricalSpec {
  const spec = split.categorical.find((f) => f.name === feature);
  if (spec !== undefined) return spec;
  throw new UsageError(
    'FEATURE_UNKNOWN',
    `There is no categorical feature "${feature}".${didYouMean(
      feature,
      split.categorical.map((f) => f.name),
    )}`,
  );
}

async function readVocabulary(directory: string, split: SplitManifest, feature: string): Promise<string[]> {
  const spec = categoricalSpec(split, feature);
  const values = (await readJson(directory, spec.vocabulary)) as string[];
  if (!Array.isArray(values) || (spec.hashed === undefined && values.length !== spec.size)) {
    throw corrupt(directory, `${spec.vocabulary} does not have ${spec.size} entries`);
  }
  return values;
}

function corrupt(directory: string, what: string, cause?: unknown): DataError {
  return new DataError('DATASET_CORRUPT', `The dataset ${directory} is damaged: ${what}. Prepare it again.`, {
    file: directory,
    cause,
  });
}

async function readJson(directory: string, file: string): Promise<unknown> {
  let text: string;
  try {
    text = await readFile(join(directory, file), 'utf8');
  } catch (cause) {
    if (file !== 'dataset.json') throw corrupt(directory, `${file} cannot be read`, cause);
    throw new DataError(
      'DATASET_MISSING',
      `${directory} is not a dataset: it has no dataset.json. Make one with "larr world", "larr import" or "larr prepare".`,
      { file: directory, cause },
    );
  }
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw corrupt(directory, `${file} is not JSON`, cause);
  }
}

function checkManifest(value: unknown, directory: string): DatasetManifest {
  const manifest = value as DatasetManifest;
  if (manifest === null || typeof manifest !== 'object' || manifest.format !== 'larr-dataset')
    throw corrupt(directory, 'dataset.json is not a dataset manifest');
  if (manifest.version !== 1) {
    throw new DataError(
      'DATASET_VERSION',
      `${directory} is of version ${String(manifest.version)}; this program reads version 1. Prepare it again.`,
      { file: directory },
    );
  }
  for (const field of [
    'name',
    'schemaDigest',
    'contentDigest',
    'defaultSplit',
    'splits',
    'pois',
    'users',
    'keywords',
    'texts',
  ] as const) {
    if (manifest[field] === undefined) throw corrupt(directory, `dataset.json lacks "${field}"`);
  }
  if (!/^[0-9a-f]{64}$/.test(manifest.contentDigest))
    throw corrupt(directory, 'the "contentDigest" in dataset.json is not a sha256');
  for (const [name, split] of Object.entries(manifest.splits)) {
    for (const field of ['kind', 'parts', 'categorical', 'dense', 'sequences', 'scene'] as const) {
      if (split[field] === undefined) throw corrupt(directory, `dataset.json lacks "splits.${name}.${field}"`);
    }
  }
  return manifest;
}

async function loadPart(
  directory: string,
  manifest: DatasetManifest,
  split: SplitManifest,
  part: Part,
  limit?: number,
): Promise<Samples> {
  const { files, rows: available } = split.parts[part];
  const rows = Math.min(available, limit ?? available);
  const shape = sampleShape(split, manifest.orders);
  const samples = samplesOver(shape, rows);
  const copier = new SampleCopier(shape, samples);
  using db = await DuckdbSession.open();
  const list = files.map((file) => literal(join(directory, file))).join(', ');
  let at = 0;
  try {
    const result = await db.connection.stream(
      `SELECT ${sampleColumns(shape)} FROM read_parquet([${list}])${rows < available ? ` LIMIT ${rows}` : ''}`,
    );
    for (;;) {
      const chunk = await result.fetchChunk();
      if (chunk === null || chunk.rowCount === 0) break;
      if (at + chunk.rowCount > rows) throw new RangeError(`more than the ${available} rows of the manifest`);
      at += copier.copy(chunk, at);
    }
  } catch (cause) {
    throw corrupt(directory, `the ${part} part cannot be read (${(cause as Error).message.split('\n')[0]})`, cause);
  }
  if (at !== rows) throw corrupt(directory, `the ${part} part has ${at} rows, not ${available}`);
  return samples;
}

async function readTexts(
  directory: string,
  file: string,
  index: string,
  keywords: KeywordSpec[],
  expected: number,
): Promise<KeywordText[][]> {
  using db = await DuckdbSession.open();
  const texts: KeywordText[][] = [];
  try {
    const columns = keywords.map((k) => `, ${ident(k.column)}`).join('');
    const result = await db.connection.stream(
      `SELECT ${index}${columns} FROM read_parquet(${literal(join(directory, file))}) ORDER BY 1`,
    );
    for (;;) {
      const chunk = await result.fetchChunk();
      if (chunk === null || chunk.rowCount === 0) break;
      for (const row of chunk.getRows()) {
        const present: KeywordText[] = [];
        keywords.forEach((k, i) => {
          const text = row[i + 1] as string | null;
          if (text !== null) present.push({ keyword: k.name, token: k.token, text });
        });
        texts.push(present);
      }
    }
  } catch (cause) {
    throw corrupt(directory, `${file} cannot be read (${(cause as Error).message.split('\n')[0]})`, cause);
  }
  if (texts.length !== expected) throw corrupt(directory, `${file} has ${texts.length} rows, not ${expected}`);
  return texts;
}

/** One column of the POIs' file, in the order of the POIs. */
async function readPoiColumn<T extends string | null>(
  directory: string,
  file: string,
  column: 'poi' | 'place',
  expected: number,
): Promise<T[]> {
  using db = await DuckdbSession.open();
  const rows = await db
    .rows<{ value: T }>(
      `SELECT ${column} AS value FROM read_parquet(${literal(join(directory, file))}) ORDER BY poi_index`,
    )
    .catch((cause) => {
      throw corrupt(directory, `${file} cannot be read (${(cause as Error).message.split('\n')[0]})`, cause);
    });
  if (rows.length !== expected) throw corrupt(directory, `${file} has ${rows.length} rows, not ${expected}`);
  return rows.map(({ value }) => value);
}

async function readPairs(directory: string, file: string): Promise<Pairs> {
  using db = await DuckdbSession.open();
  const from = `FROM read_parquet(${literal(join(directory, file))})`;
  try {
    const { n } = await db.row<{ n: bigint }>(`SELECT count(*) AS n ${from}`);
    const pairs: Pairs = {
      user: new Int32Array(Number(n)),
      poi: new Int32Array(Number(n)),
      count: new Int32Array(Number(n)),
    };
    const result = await db.connection.stream(`SELECT user_index, poi_index, count ${from}`);
    let at = 0;
    for (;;) {
      const chunk = await result.fetchChunk();
      if (chunk === null || chunk.rowCount === 0) break;
      [pairs.user, pairs.poi, pairs.count].forEach((array, c) => {
        array.set((chunk.getColumnVector(c) as unknown as { items: Int32Array }).items.subarray(0, chunk.rowCount), at);
      });
      at += chunk.rowCount;
    }
    return pairs;
  } catch (cause) {
    throw corrupt(directory, `${file} cannot be read (${(cause as Error).message.split('\n')[0]})`, cause);
  }
}
