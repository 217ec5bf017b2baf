import { mkdir, realpath, rm } from 'node:fs/promises';
import { basename, dirname, join, relative, resolve } from 'node:path';
import { contentDigest } from '../dataset/content-digest.js';
import type { DatasetManifest } from '../dataset/manifest.js';
import { missingExtension } from '../duckdb/extensions.js';
import { DuckdbSession, ident, literal } from '../duckdb/session.js';
import { ConfigError } from '../errors.js';
import { buildDirectoryAtomic, writeFileAtomic } from '../files/atomic.js';
import { mustBeReplaceable, mustNotHold } from '../files/output-directory.js';
import type { DatasetSchema } from '../schema/schema.js';
import { schemaDigest } from '../schema/validate.js';
import { filesFrom } from './files-in-sql.js';
import { outOfMemory } from './memory.js';
import { drawNegatives } from './negatives.js';
import { type PrepareProgress, startProgress } from './progress.js';
import { buildSamples, type WideSamples } from './samples.js';
import { databaseFile } from './sources.js';
import { parquetOptions, writeSplit } from './split-files.js';
import { absentValues, stateColumns } from './statistics.js';
import { type LoadedTables, loadTables } from './tables.js';
import { keywordSpecs, writePoiTexts, writeUserTexts } from './text-files.js';

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
  /** Events that are joined with their features at a time; default 6 million. Fewer take less memory. */
  eventsAtOnce?: number;
  progress?: (progress: PrepareProgress) => void;
  /** Stops the preparation, in the middle of a query too; it throws the signal's reason and leaves nothing behind. */
  signal?: AbortSignal;
}

/**
 * Turns the tables of a schema into a dataset directory (docs/data.md, "What is written"): samples without leakage, splits,
 * vocabularies, texts and the serving store. The directory appears, or replaces an older one, only when it is complete.
 * @throws UsageError `OUT_NOT_OURS`, `OUT_HOLDS_INPUT` where replacing `output` would remove other files than an older dataset's
 * @throws ConfigError, DataError: see `loadTables` and `writeSplit`
 */
export async function prepare(output: string, options: PrepareOptions): Promise<DatasetManifest> {
  await mustNotHold(output, inputFiles(options));
  await mustBeReplaceable(output, 'larr-dataset');
  const base = resolve(options.baseDirectory ?? process.cwd());
  return buildDirectoryAtomic(output, async (directory) => {
    // Seen from the dataset's place, past symbolic links: the way there has to stay right when both are moved together.
    const home = join(await realpath(dirname(directory)), basename(resolve(output)));
    return prepareInto(directory, options, relative(home, await realpath(base).catch(() => base)));
  });
}

/** Files and patterns on this machine that a schema reads; of SQL, every text in quotes that may be one. */
function inputFiles({ schema, baseDirectory }: PrepareOptions): string[] {
  const files: string[] = [];
  const quoted = (sql: string) => {
    const placed = filesFrom(sql, baseDirectory ?? process.cwd());
    for (const [, text] of placed.matchAll(/'([^'\n]+)'/g))
      if (/[./\\]/.test(text!) && !remote(text!)) files.push(text!);
  };
  for (const source of Object.values(schema.tables)) {
    if (source === undefined) continue;
    if (typeof source === 'object' && 'query' in source) {
      quoted(source.query);
      continue;
    }
    const path = typeof source === 'string' ? source : source.path;
    if (!remote(path)) files.push(resolve(baseDirectory ?? process.cwd(), databaseFile(path)));
  }
  schema.setup.forEach(quoted);
  return files;
}

const remote = (path: string) => /^[a-z][a-z0-9+]+:\/\//i.test(path);

/**
 * `prepare` into a directory that exists already and may hold other things (source tables of an importer or of the world).
 * Callers make it atomic as a whole with `buildDirectoryAtomic`; the manifest is written last.
 * @param tablesFrom where the schema's relative paths start, relative to the directory
 */
export async function prepareInto(
  directory: string,
  options: PrepareOptions,
  tablesFrom = '',
): Promise<DatasetManifest> {
  const { schema } = options;
  const seed = options.seed ?? 1;
  const splitNames = Object.keys(schema.splits);
  const progress = startProgress(splitNames, options.progress);
  const { step } = progress;
  const scratch = join(directory, '.scratch');
  try {
    using db = await openScratch(scratch, options);
    const tables = await loadTables(db, schema, options.baseDirectory ?? process.cwd(), (stage) =>
      step(stage, stage === 'reading events' ? () => db.queryProgress() : undefined),
    );
    await drawNegatives(db, schema, seed, tables.notes);
    step('statistics');
    const wide = await buildSamples(db, schema, tables, {
      seed,
      ...(options.eventsAtOnce === undefined ? {} : { eventsAtOnce: options.eventsAtOnce }),
      onRows: (share) => (share === 0 ? step('features') : progress.within(share)),
    });
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
    step('checksums');
    await writeFileAtomic(join(directory, 'schema.json'), `${JSON.stringify(schema, null, 2)}\n`);
    const manifest: DatasetManifest = {
      format: 'larr-dataset',
      version: 1,
      name: schema.name,
      seed,
      schemaDigest: schemaDigest(schema),
      contentDigest: await contentDigest(directory, options.signal),
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
      ...(tablesFrom === '' ? {} : { tablesFrom }),
    };
    await writeFileAtomic(join(directory, 'dataset.json'), `${JSON.stringify(manifest, null, 2)}\n`);
    options.signal?.throwIfAborted();
    progress.finish();
    return manifest;
  } finally {
    progress.stop();
    await rm(scratch, { recursive: true, force: true });
  }
}

/**
 * The database that a preparation computes in, in a directory of its own, after the schema's `setup`.
 * @throws ConfigError `SETUP_FAILED`, `EXTENSION_MISSING`
 */
export async function openScratch(scratch: string, options: PrepareOptions): Promise<DuckdbSession> {
  await mkdir(scratch, { recursive: true });
  const memoryLimit = options.memoryLimit ?? '2GB';
  const db = await DuckdbSession.open({
    file: join(scratch, 'prepare.duckdb'),
    memoryLimit,
    outOfMemory: (session, cause) => outOfMemory(session, memoryLimit, cause),
    temporaryDirectory: join(scratch, 'spill'),
    ...(options.threads === undefined ? {} : { threads: options.threads }),
    ...(options.signal === undefined ? {} : { signal: options.signal }),
  });
  try {
    for (const [i, statement] of options.schema.setup.entries())
      await runSetup(db, filesFrom(statement, options.baseDirectory ?? process.cwd()), `setup[${i}]`);
  } catch (error) {
    db[Symbol.dispose]();
    throw error;
  }
  return db;
}

/** Runs a statement of `setup` with its environment variables. What they hold is in no message. */
export async function runSetup(db: DuckdbSession, statement: string, field: string): Promise<void> {
  const values = new Map<string, string>();
  const filled = statement.replace(/\$\{(\w+)\}/g, (slot, name: string) => {
    const value = process.env[name];
    if (value === undefined)
      throw new ConfigError(
        'SETUP_FAILED',
        `${field}: there is no environment variable ${name}, which ${slot} stands for. Set it.`,
        { field },
      );
    values.set(slot, value);
    // It stands within quotes.
    return value.replaceAll("'", "''");
  });
  await db.run(filled).catch(async (cause) => {
    db.throwIfInterrupted();
    let said = (cause as Error).message;
    for (const [slot, value] of values) if (value !== '') said = said.replaceAll(value, slot);
    const extension = await missingExtension(db, said);
    throw new ConfigError(
      extension === null ? 'SETUP_FAILED' : 'EXTENSION_MISSING',
      `${field}: ${statement} failed: ${extension ?? said}`,
      { field },
    );
  });
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
