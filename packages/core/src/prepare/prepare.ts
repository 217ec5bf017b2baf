import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { type DatasetManifest, PARTS } from '../dataset/manifest.js';
import { DuckdbSession, ident, literal } from '../duckdb/session.js';
import { ConfigError } from '../errors.js';
import { buildDirectoryAtomic, writeFileAtomic } from '../files/atomic.js';
import type { DatasetSchema } from '../schema/schema.js';
import { schemaDigest } from '../schema/validate.js';
import { drawUnusedNegatives } from './negatives.js';
import { buildSamples, type WideSamples } from './samples.js';
import { parquetOptions, writeSplit } from './split-files.js';
import { absentValues, stateColumns } from './statistics.js';
import { type LoadedTables, loadTables } from './tables.js';
import { keywordSpecs, writePoiTexts, writeUserTexts } from './text-files.js';

/** How far a preparation is. */
export interface PrepareProgress {
  /** What is being done, for people: "reading tables", "random: train samples". */
  stage: string;
  done: number;
  total: number;
}

export interface PrepareOptions {
  schema: DatasetSchema;
  /** Directory that the schema's relative paths start from; default the current one. */
  baseDirectory?: string;
  /** Of splits and negatives; default 1. */
  seed?: number;
  /** DuckDB's memory limit; what does not fit is spilled to the output's disk. Default "2GB". */
  memoryLimit?: string;
  /** Default: all processors. */
  threads?: number;
  /** Samples per Parquet shard; default 4 million. */
  rowsPerShard?: number;
  progress?: (progress: PrepareProgress) => void;
}

/**
 * Turns the tables of a schema into a dataset directory (docs/data.md, "What is written"): samples without leakage, splits,
 * vocabularies, texts and the serving store. The directory appears, or replaces an older one, only when it is complete.
 * @throws ConfigError, DataError: see `loadTables` and `writeSplit`
 */
export async function prepare(output: string, options: PrepareOptions): Promise<DatasetManifest> {
  return buildDirectoryAtomic(output, (directory) => prepareInto(directory, options));
}

/**
 * `prepare` into a directory that exists already and may hold other things (source tables of an importer or of the world).
 * Callers make it atomic as a whole with `buildDirectoryAtomic`; the manifest is written last.
 */
export async function prepareInto(directory: string, options: PrepareOptions): Promise<DatasetManifest> {
  const { schema } = options;
  const seed = options.seed ?? 1;
  const splitNames = Object.keys(schema.splits);
  const total = 4 + splitNames.length * (PARTS.length + 2);
  let done = 0;
  const step = (stage: string) => options.progress?.({ stage, done: done++, total });
  const scratch = join(directory, '.scratch');
  await mkdir(scratch, { recursive: true });
  try {
    using db = await DuckdbSession.open({
      file: join(scratch, 'prepare.duckdb'),
      memoryLimit: options.memoryLimit ?? '2GB',
      temporaryDirectory: join(scratch, 'spill'),
      ...(options.threads === undefined ? {} : { threads: options.threads }),
    });
    for (const statement of schema.setup) {
      await db.run(statement).catch((cause) => {
        throw new ConfigError('SETUP_FAILED', `setup: ${statement} failed: ${(cause as Error).message}`, {
          field: 'setup',
          cause,
        });
      });
    }
    step('reading tables');
    const tables = await loadTables(db, schema, options.baseDirectory ?? process.cwd());
    if (schema.negatives?.method === 'unused') {
      const missing = await drawUnusedNegatives(db, schema.keys.poi, schema.negatives.perPositive, seed);
      if (missing > 0)
        tables.notes.push(`${missing} negatives could not be drawn: those users have used nearly every POI.`);
    }
    step('features');
    const wide = await buildSamples(db, schema, tables, seed);
    step('texts');
    await writePoiTexts(db, schema, tables, directory);
    step('serving store');
    await writeStore(db, schema, tables, wide, directory);
    const absent = await absentValues(db, wide.layout.statistics);
    await db.run('DROP TABLE ev');

    const splits: DatasetManifest['splits'] = {};
    for (const [number, name] of splitNames.entries()) {
      step(`${name}: vocabularies`);
      splits[name] = await writeSplit(db, schema, wide, {
        directory,
        number,
        name,
        orders: tables.orders,
        rowsPerShard: options.rowsPerShard ?? 4_000_000,
        absent,
        onPart: (part) => step(`${name}: ${part} samples`),
      });
      step(`${name}: user texts`);
      await writeUserTexts(db, schema, tables, { directory, number, name });
    }
    const manifest: DatasetManifest = {
      format: 'larr-dataset',
      version: 1,
      name: schema.name,
      seed,
      schemaDigest: schemaDigest(schema),
      orders: tables.orders,
      defaultSplit: schema.defaultSplit!,
      splits,
      pois: tables.pois,
      users: tables.users,
      keywords: keywordSpecs(schema),
      texts: schema.texts,
      ...(schema.training === undefined
        ? {}
        : { training: schema.training as NonNullable<DatasetManifest['training']> }),
      ...(tables.notes.length === 0 ? {} : { notes: tables.notes }),
    };
    await writeFileAtomic(join(directory, 'schema.json'), `${JSON.stringify(schema, null, 2)}\n`);
    await writeFileAtomic(join(directory, 'dataset.json'), `${JSON.stringify(manifest, null, 2)}\n`);
    options.progress?.({ stage: 'done', done: total, total });
    return manifest;
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

/**
 * Writes store/users.parquet, store/pois.parquet and, where there are statistics of pairs, store/pairs.parquet: the raw
 * columns that features and scenes read, statistics (`dense_<name>`) and sequences (`seq_<name>`) as of the end of the data.
 */
async function writeStore(
  db: DuckdbSession,
  schema: DatasetSchema,
  tables: LoadedTables,
  wide: WideSamples,
  directory: string,
): Promise<void> {
  await mkdir(join(directory, 'store'), { recursive: true });
  const copy = (query: string, file: string) =>
    db.run(`COPY (${query}) TO ${literal(join(directory, 'store', file))} ${parquetOptions}`);
  for (const [table, alias, index, id, of] of [
    ['users', 'us', 'user_index', 'user', 'user'],
    ['pois', 'po', 'poi_index', 'poi', 'poi'],
  ] as const) {
    const raw = tables.stored[table]
      .filter((c) => c !== id && c !== index)
      .map((c) => `, ${tables.column(`${table}.${c}`).sql} AS ${ident(c)}`);
    const state = stateColumns(wide.layout.statistics, of);
    const joins = state.tables.map((t) => `LEFT JOIN ${t} ON ${t}.${index} = ${alias}.${index} AND ${t}.row_id = -1`);
    if (table === 'users') {
      schema.features.sequences.forEach((f, i) => {
        raw.push(`, list_resize(coalesce(q${i}.pois, []::INTEGER[]), ${f.length}, 0) AS ${ident(`seq_${f.name}`)}`);
        joins.push(
          `LEFT JOIN (SELECT user_index, max_by(pois, t) AS pois FROM sequence${i} GROUP BY 1) q${i} ON q${i}.user_index = us.user_index`,
        );
      });
    }
    await copy(
      `SELECT ${alias}.${index}, ${alias}.${id}${raw.join('')}${state.columns.map((c) => `, ${c}`).join('')} FROM ${alias} ${joins.join(' ')} ORDER BY 1`,
      `${table}.parquet`,
    );
  }
  const pairs = stateColumns(wide.layout.statistics, 'user-poi');
  const [first, ...others] = pairs.tables;
  if (first === undefined) return;
  await copy(
    `SELECT ${first}.user_index, ${first}.poi_index${pairs.columns.map((c) => `, ${c}`).join('')} FROM ${first}
     ${others.map((t) => `JOIN ${t} ON ${t}.user_index = ${first}.user_index AND ${t}.poi_index = ${first}.poi_index AND ${t}.row_id = -1`).join(' ')}
     WHERE ${first}.row_id = -1 ORDER BY 1, 2`,
    'pairs.parquet',
  );
}
