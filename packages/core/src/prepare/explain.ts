import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PARTS, type Part } from '../dataset/manifest.js';
import { type DuckdbSession, ident } from '../duckdb/session.js';
import { featureLayout } from '../features/layout.js';
import { explainNoRoom } from '../files/no-room.js';
import { wrapKeyword } from '../keywords/tokens.js';
import type { DatasetSchema } from '../schema/schema.js';
import { drawNegatives } from './negatives.js';
import { openScratch, type PrepareOptions } from './prepare.js';
import type { PrepareProgress } from './progress.js';
import { buildSamples } from './samples.js';
import { bucketSql, collisionRate, countParts, valuesOf } from './split-files.js';
import { numberSql, presentSql } from './sql-values.js';
import { type LoadedTables, loadTables } from './tables.js';
import { keywordSpecs, poiTextsQuery, userTextsQuery } from './text-files.js';

/** What `prepare` would do with a schema and its tables. */
export interface PreparationReport {
  name: string;
  users: number;
  pois: number;
  /** Columns that are read, and those that nothing reads. */
  columns: { table: string; used: string[]; unused: string[] }[];
  splits: {
    name: string;
    kind: string;
    parts: Record<Part, { rows: number; clicks: number; orders: number | null }>;
    /**
     * `size` counts index 0; `unseen` is the share of the test part's rows whose value the train part does not know; `collisionRate`,
     * of a hashed feature, the share of the train part's values that share a bucket with another.
     */
    categorical: { name: string; size: number; unseen: number; collisionRate: number | null }[];
    /** Of the train part, transformed. */
    dense: { name: string; mean: number; std: number; missing: number }[];
  }[];
  sequences: { name: string; length: number }[];
  /** Scene keywords: how many texts, examples, and the share of samples without one. */
  scene: { field: string; texts: number; examples: string[]; missing: number }[];
  /** Wrapped texts of a few POIs and users, as the language model gets them. */
  examples: { pois: string[]; users: string[] };
  warnings: string[];
}

const exampleCount = 2;
/** With fewer test rows of one class than this the standard error of an AUC is above 0.04 or so. */
const fewTestRows = 50;
/** In fewer rows than this whole numbers are all different by chance. */
const fewestNumbered = 50n;

/**
 * Goes through a preparation without writing a dataset: everything is checked, and what would come out is told. It computes in a
 * temporary directory, which is gone afterwards.
 * @param firstEvents looks at so many events only
 * @throws ConfigError, DataError: whatever `prepare` would throw
 */
export async function explainPreparation(options: PrepareOptions, firstEvents?: number): Promise<PreparationReport> {
  const { schema } = options;
  const seed = options.seed ?? 1;
  const splitNames = Object.keys(schema.splits);
  const total = 2 + splitNames.length;
  const step = (done: number, stage: string) =>
    options.progress?.({ stage, done, total, secondsLeft: null } satisfies PrepareProgress);
  const scratch = await mkdtemp(join(tmpdir(), 'larr-check-'));
  try {
    using db = await openScratch(scratch, options);
    step(0, 'reading tables');
    const tables = await loadTables(db, schema, options.baseDirectory ?? process.cwd(), undefined, firstEvents);
    await drawNegatives(db, schema, seed, tables.notes);
    step(1, 'features');
    const wide = await buildSamples(db, schema, tables, { seed });
    const { layout } = wide;
    const warnings = [...tables.notes];
    const { rows } = await db.row<{ rows: bigint }>('SELECT count(*) AS rows FROM wide');
    const share = (n: bigint | number | null, of: bigint | number) =>
      Number(of) === 0 ? 0 : Number(n ?? 0) / Number(of);

    const splits: PreparationReport['splits'] = [];
    const examples: PreparationReport['examples'] = { pois: [], users: [] };
    const specs = keywordSpecs(schema);
    const wrapped = async (query: string, keywords: typeof specs.poi) => {
      // Rows with the most keywords say most.
      const present = keywords.map((k) => `(${ident(k.column)} IS NOT NULL)::INTEGER`);
      if (present.length === 0) return [];
      const found = await db.rows<Record<string, string | null>>(
        `SELECT * FROM (${query}) ORDER BY ${present.join(' + ')} DESC, 1 LIMIT ${exampleCount}`,
      );
      return found.map((row) =>
        keywords.flatMap((k) => (row[k.column] == null ? [] : [wrapKeyword(k.token, row[k.column]!)])).join(' '),
      );
    };
    examples.pois = await wrapped(poiTextsQuery(schema, tables), specs.poi);
    for (const [number, name] of splitNames.entries()) {
      step(2 + number, `split ${name}`);
      const parts = await countParts(db, schema, number, name, tables.orders);
      const { rows: testRows, clicks } = parts.test;
      const rarer = Math.min(clicks, testRows - clicks);
      if (rarer < fewTestRows)
        warnings.push(
          `splits.${name}: the test part has ${testRows} rows, ${clicks} of them clicked. An AUC of so few is off by several hundredths${
            schema.splits[name]!.kind === 'time' ? '; is the last day cut short? A higher testDays takes more' : ''
          }.`,
        );
      const categorical: PreparationReport['splits'][number]['categorical'] = [];
      for (const [i, f] of [...layout.categorical, ...layout.cross].entries()) {
        const { columns: keys, named } = valuesOf(wide, number, i);
        const present = keys.map((k) => `${k} IS NOT NULL`).join(' AND ');
        const found = await db.row<{ known: bigint; unseen: bigint | null }>(
          `SELECT count(*) FILTER (n >= ${f.minCount}) AS known, sum(test) FILTER (n < ${f.minCount})::BIGINT AS unseen FROM (
            SELECT count(*) FILTER (part${number} = 0) AS n, count(*) FILTER (part${number} = 2) AS test FROM wide WHERE ${present} GROUP BY ${keys.join(', ')})`,
        );
        const size =
          f.buckets === null ? Math.min(Number(found.known), f.maxSize ?? Number.POSITIVE_INFINITY) + 1 : f.buckets + 1;
        const unseen = share(found.unseen, parts.test.rows);
        categorical.push({
          name: f.name,
          size,
          unseen,
          collisionRate:
            f.buckets === null
              ? null
              : await collisionRate(db, `SELECT ${bucketSql('value', f.buckets)} AS idx FROM (${named}) WHERE n > 0`),
        });
        if (size <= 2)
          warnings.push(
            `splits.${name}: the feature "${f.name}" has ${size === 1 ? 'no value' : 'one value'} in the train part and tells nothing.`,
          );
        if (unseen > 0.5 && !schema.splits[name]!.kind.startsWith('cold')) {
          warnings.push(
            `splits.${name}: ${percent(unseen)} of the test rows have a value of "${f.name}" that the train part never saw${f.minCount > 1 ? ` ${f.minCount} times` : ''}.`,
          );
        }
      }
      const dense: PreparationReport['splits'][number]['dense'] = [];
      for (const [i, f] of [...layout.dense, ...layout.statistics].entries()) {
        const d = wide.history[number]!.dense[i];
        const found = await db.row<{ mean: number | null; std: number | null; missing: bigint }>(
          `SELECT avg(${d})::DOUBLE AS mean, stddev_pop(${d})::DOUBLE AS std, count(*) FILTER (${d} IS NULL) AS missing FROM wide WHERE part${number} = 0`,
        );
        const missing = share(found.missing, parts.train.rows);
        dense.push({ name: f.name, mean: found.mean ?? 0, std: found.std ?? 0, missing });
        if ((found.std ?? 0) <= 1e-12)
          warnings.push(`splits.${name}: the feature "${f.name}" is constant in the train part.`);
        else if (missing > 0.5)
          warnings.push(`splits.${name}: "${f.name}" is missing in ${percent(missing)} of the train part.`);
      }
      if (number === 0) examples.users = await wrapped(await userTextsQuery(db, schema, tables, number), specs.user);
      splits.push({
        name,
        kind: schema.splits[name]!.kind,
        parts: Object.fromEntries(
          PARTS.map((part) => {
            const { rows, clicks, orders } = parts[part];
            return [part, { rows, clicks, orders }];
          }),
        ) as PreparationReport['splits'][number]['parts'],
        categorical,
        dense,
      });
    }
    warnings.push(...(await rowNumbers(db, schema, tables)));
    const scene: PreparationReport['scene'] = [];
    for (const [i, k] of schema.keywords.scene.entries()) {
      const { missing } = await db.row<{ missing: bigint }>(
        `SELECT count(*) FILTER (s${i} IS NULL) AS missing FROM wide`,
      );
      const texts = wide.scene[i]!;
      scene.push({
        field: k.name,
        texts: texts.length,
        examples: [...texts].sort().slice(0, 4),
        missing: share(missing, rows),
      });
      if (texts.length === 0) warnings.push(`The scene keyword "${k.name}" is missing in every row.`);
      else if (texts.length > 10_000)
        warnings.push(
          `The scene keyword "${k.name}" has ${texts.length} texts; every one is encoded by the language model. A bucket or a coarser column is better.`,
        );
    }
    if (specs.poi.length === 0) warnings.push('No POI keywords: the language model has nothing to learn POIs from.');
    for (const { table, unused } of tables.columns)
      if (unused.length > 0) warnings.push(`Nothing reads ${unused.map((c) => `${table}.${c}`).join(', ')}.`);
    options.progress?.({ stage: 'done', done: total, total, secondsLeft: 0 });
    return {
      name: schema.name,
      users: tables.users,
      pois: tables.pois,
      columns: tables.columns,
      splits,
      sequences: schema.features.sequences.map(({ name, length }) => ({ name, length })),
      scene,
      examples,
      warnings,
    };
  } catch (error) {
    throw explainNoRoom(error, tmpdir(), 'Make room there, or let TMPDIR name a directory on another disk.');
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

/** Warnings of features over columns of the events that hold another whole number, or another text, in every row. */
async function rowNumbers(db: DuckdbSession, schema: DatasetSchema, tables: LoadedTables): Promise<string[]> {
  const warnings: string[] = [];
  const { categorical, dense } = featureLayout(schema);
  for (const [of, features] of [
    ['text', categorical],
    ['number', dense],
  ] as const) {
    for (const { name, value, missing } of features) {
      if (typeof value !== 'string' || !value.startsWith('events.')) continue;
      const column = tables.column(value);
      const x = of === 'text' ? presentSql(column, missing) : numberSql(column, missing);
      // Drawn negatives repeat the row of their positive.
      const { rows, distinct, fractions } = await db.row<{ rows: bigint; distinct: bigint; fractions: bigint }>(
        `SELECT count(*) AS rows, count(DISTINCT x) AS "distinct", ${of === 'text' ? '0::BIGINT' : 'count(*) FILTER (x <> trunc(x))'} AS fractions
         FROM (SELECT ${x} AS x FROM ev ${schema.negatives?.method === 'unused' ? 'WHERE ev.click = 1' : ''})`,
      );
      if (rows < fewestNumbered || distinct !== rows || fractions > 0n) continue;
      warnings.push(
        `The feature "${name}" is another one in each of the ${rows} rows, as a row's number is: a value that never comes back tells nothing, and a number that only grows leads a model astray in the test part. Leave it out.`,
      );
    }
  }
  return warnings;
}

function percent(share: number): string {
  return `${Math.round(share * 100)} %`;
}
