import { type DuckdbSession, ident, literal } from '../duckdb/session.js';
import { DataError } from '../errors.js';
import { mostOutside, noChance } from '../prepare/outcomes.js';
import { type OpenSource, reading } from '../prepare/sources.js';
import { canonicalSql, isUnwritable, timeSql } from '../prepare/sql-values.js';
import { type OddTimes, oddTimes } from './odd-times.js';
import { type TwoValues, twoValues } from './two-values.js';

export type Table = 'events' | 'users' | 'pois';

/** A column as its first rows show it. */
export interface ColumnSketch {
  name: string;
  kind: 'number' | 'text' | 'time' | 'list' | 'boolean';
  /** Different values among the rows looked at. */
  distinct: number;
  /** Rows looked at. */
  rows: number;
  missing: number;
  min: number | null;
  max: number | null;
  length: number;
  /** Its values are 0 and 1 (true and false, yes and no in some language) and both occur. */
  binary: boolean;
  /** Its two values, one of them in every row; null where it has more, or gaps. */
  two: TwoValues | null;
  /** The table has about as many values as rows: each says which row it is, and little else. */
  personal: boolean;
  /** Which of the words for nothing it holds, as they are written. */
  nothings: string[];
  /** Its values are whole numbers. */
  whole: boolean;
  /** No value occurs twice, and none is missing. */
  unique: boolean;
  /** Unit of numbers that look like times. */
  unit: 's' | 'ms' | 'us' | null;
  /** Texts that look like times but cannot all be read as such. */
  times: OddTimes | null;
  /** Of texts, which most of them are instead of words. */
  texts: 'decimal commas' | 'addresses of the web' | null;
  /** Type of values that are no text, number or time: bytes, nested ones. */
  unwritable: string | null;
  /** Its values, the most frequent first, where there are few; else the most frequent alone. */
  values: string[];
}

export type Sketches = Record<Table, ColumnSketch[]>;

/** Words that people and programs write where there is nothing, in lower case. */
const nothings = ['n/a', 'na', 'nan', 'null', 'none', 'nil', 'unknown', 'undefined', '-', '--', '?', '\\n'];

/** So many values are kept by name. */
const fewValues = 12;

/** Rows that are looked at. */
const lookedAt = 200_000;

/** Looks at the first rows of a table, which stay in the database under its name. @throws DataError `TABLE_EMPTY`, as `openSource` */
export async function sketchTable(db: DuckdbSession, table: Table, source: OpenSource): Promise<ColumnSketch[]> {
  await reading(db, source, () =>
    db.run(`CREATE OR REPLACE TABLE ${table} AS SELECT * FROM ${source.sql} LIMIT ${lookedAt}`),
  );
  const { n } = await db.row<{ n: bigint }>(`SELECT count(*) AS n FROM ${table}`);
  if (n === 0n)
    throw new DataError('TABLE_EMPTY', `${source.where} has no rows, so there is nothing to draft a schema from.`, {
      file: source.where,
    });
  const sketches: ColumnSketch[] = [];
  for (const [name, type] of await db.columns(`SELECT * FROM ${table}`))
    sketches.push(await sketchColumn(db, table, name, type, Number(n)));
  return sketches;
}

async function sketchColumn(
  db: DuckdbSession,
  table: Table,
  name: string,
  type: string,
  n: number,
): Promise<ColumnSketch> {
  const c = ident(name);
  const unwritable = isUnwritable(type) ? type : null;
  const whole = unwritable !== null ? 'NULL' : canonicalSql({ sql: c, type });
  const nothing = `lower(trim(whole)) IN (${nothings.map(literal).join(', ')})`;
  const text = `CASE WHEN ${nothing} THEN NULL ELSE whole END`;
  const list = type.endsWith('[]');
  const readTime = `CASE WHEN ${nothing} THEN NULL ELSE ${list || unwritable !== null ? 'NULL' : timeSql({ sql: c, type })} END`;
  const found = await db.row<Record<string, number | null> & { nothings: { items: string[] } | null }>(
    `SELECT count(DISTINCT nullif(text, ''))::INTEGER AS "distinct", count(*) FILTER (text IS NULL OR text = '')::DOUBLE / count(*) AS missing,
     min(TRY_CAST(text AS DOUBLE)) AS min, max(TRY_CAST(text AS DOUBLE)) AS max, avg(length(text)) AS length,
     count(*) FILTER (text <> '' AND TRY_CAST(text AS DOUBLE) IS NULL)::INTEGER AS words,
     count(*) FILTER (TRY_CAST(text AS DOUBLE) <> trunc(TRY_CAST(text AS DOUBLE)))::INTEGER AS fractions,
     count(*) FILTER (text <> '' AND time IS NULL)::INTEGER AS timeless,
     count(*) FILTER (regexp_full_match(text, '-?\\d{1,3}(\\.\\d{3})*,\\d+|-?\\d+,\\d+'))::INTEGER AS commas,
     count(*) FILTER (regexp_full_match(text, '-?\\d{1,3}(\\.\\d{3})*(,\\d+)?|-?\\d+(,\\d+)?'))::INTEGER AS european,
     count(*) FILTER (regexp_matches(text, '^(https?://|www\\.|data:)'))::INTEGER AS addresses,
     list(DISTINCT whole ORDER BY whole) FILTER (text IS NULL AND whole IS NOT NULL) AS nothings
     FROM (SELECT whole, ${text} AS text, ${readTime} AS time FROM (SELECT *, ${whole} AS whole FROM ${table}))`,
  );
  const distinct = found.distinct!;
  const present = n - Math.round(found.missing! * n);
  const numeric = distinct > 0 && found.words === 0;
  const kind: ColumnSketch['kind'] = list
    ? 'list'
    : type === 'BOOLEAN'
      ? 'boolean'
      : /^(TIMESTAMP|DATE)/.test(type) || (distinct > 0 && !numeric && found.timeless === 0)
        ? 'time'
        : numeric
          ? 'number'
          : 'text';
  const [min, max] = numeric ? [found.min!, found.max!] : [null, null];
  // Seconds, milliseconds or microseconds between 1990 and 2100.
  const unit =
    min === null || max === null
      ? null
      : min > 6e8 && max < 4.2e9
        ? 's'
        : min > 6e11 && max < 4.2e12
          ? 'ms'
          : min > 6e14 && max < 4.2e15
            ? 'us'
            : null;
  const values = await db.rows<{ value: string }>(
    `SELECT value FROM (SELECT ${whole} AS value FROM ${table}) WHERE value <> '' GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT ${distinct <= fewValues ? fewValues : 1}`,
  );
  const two =
    list || unwritable !== null || found.missing !== 0 || distinct > fewValues
      ? null
      : twoValues(values.map(({ value }) => value));
  return {
    name,
    unique: found.missing === 0 && distinct === n,
    whole: numeric && found.fractions === 0,
    personal: n >= 20 && distinct * 2 > n,
    nothings: found.nothings?.items ?? [],
    kind,
    distinct,
    rows: n,
    missing: found.missing!,
    min,
    max,
    length: found.length ?? 0,
    binary: two !== null && two.positive !== null,
    two,
    unit,
    times: type === 'VARCHAR' && unit === null && kind !== 'time' ? await oddTimes(db, table, name) : null,
    texts:
      kind !== 'text' || present === 0
        ? null
        : found.commas! > 0 && found.european === present
          ? 'decimal commas'
          : found.addresses! * 2 > present
            ? 'addresses of the web'
            : null,
    unwritable,
    values: values.map(({ value }) => value),
  };
}

/**
 * The column of the events whose values are those of a unique column of another table: its key, whatever the two are called. Of
 * several, the one that meets most of the table (an hour meets the first two dozen of numbered users).
 */
export async function linkByValues(
  db: DuckdbSession,
  sketches: Sketches,
  table: 'users' | 'pois',
): Promise<{ event: string; own: string } | null> {
  let best: { event: string; own: string; met: number } | null = null;
  for (const own of sketches[table].filter(
    (c) => c.unique && c.kind !== 'time' && c.kind !== 'list' && c.unwritable === null,
  )) {
    for (const event of sketches.events.filter(
      (c) => c.distinct > 1 && !c.binary && c.kind !== 'list' && c.unwritable === null,
    )) {
      const { met, distinct } = await db.row<{ met: number; distinct: number }>(
        `SELECT count(*)::INTEGER AS distinct, count(*) FILTER (v IN (SELECT ${ident(own.name)}::VARCHAR FROM ${table}))::INTEGER AS met
         FROM (SELECT DISTINCT ${ident(event.name)}::VARCHAR AS v FROM events WHERE ${ident(event.name)}::VARCHAR <> '')`,
      );
      if (met >= 0.8 * distinct && met > (best?.met ?? 1)) best = { event: event.name, own: own.name, met };
    }
  }
  return best;
}

/**
 * Columns of the events that say the same in every event of a key: what describes the POI, not the moment. Only where enough keys come
 * back, often enough, and enough values differ, for that to be no chance.
 */
export async function followsKey(db: DuckdbSession, columns: readonly ColumnSketch[], key: string): Promise<string[]> {
  const k = `${ident(key)}::VARCHAR`;
  await db.run(`CREATE OR REPLACE TEMP TABLE repeated AS SELECT * FROM events WHERE ${k} IN (
    SELECT ${k} FROM events WHERE ${k} <> '' GROUP BY 1 HAVING count(*) > 1)`);
  const { keys, rows } = await db.row<{ keys: number; rows: number }>(
    `SELECT count(DISTINCT ${k})::INTEGER AS keys, count(*)::INTEGER AS rows FROM repeated`,
  );
  if (keys < leastKeys || rows < keys * leastRows) return [];
  const found: string[] = [];
  for (const { name, distinct, unwritable, kind } of columns) {
    if (name === key || distinct < 2 || unwritable !== null) continue;
    const v = kind === 'list' ? `array_to_string(${ident(name)}, ', ')` : `coalesce(${ident(name)}::VARCHAR, '')`;
    const { several, values, rare } = await db.row<{ several: number; values: number; rare: number }>(
      `WITH of AS (SELECT ${k} AS k, ${v} AS v, count(*) AS n FROM repeated GROUP BY 1, 2), by_value AS (SELECT v, count(*) AS keys FROM of GROUP BY 1)
       SELECT (SELECT count(*) FROM (SELECT k FROM of GROUP BY 1 HAVING count(*) > 1))::INTEGER AS several,
         (SELECT count(*) FROM by_value)::INTEGER AS values, (SELECT sum(keys) - max(keys) FROM by_value)::INTEGER AS rare`,
    );
    if (several === 0 && values > 1 && rare >= leastKeys / 2) found.push(name);
  }
  return found;
}

const leastKeys = 10;
/** Events of a key, on the average: what stays the same over these is no chance. */
const leastRows = 5;

/**
 * For each column of 0 and 1 of the events, the others that are 1 wherever it is and seldom elsewhere, beyond chance: as a click is to an order, they are
 * steps on the way.
 */
export async function stepsTo(db: DuckdbSession, columns: readonly ColumnSketch[]): Promise<Map<string, string[]>> {
  const types = await db.columns('SELECT * FROM events');
  const positive = new Map(columns.flatMap((c) => (c.two?.positive == null ? [] : [[c.name, c.two.positive]])));
  const binary = [...positive.keys()];
  const yes = (name: string) =>
    `(lower(${canonicalSql({ sql: ident(name), type: types.get(name)! })}) = lower(${literal(positive.get(name)!)}))`;
  const found = new Map<string, string[]>();
  for (const label of binary) {
    const others = binary.filter((name) => name !== label);
    if (others.length === 0) continue;
    const counts = await db.row<Record<string, number>>(
      `SELECT count(*)::INTEGER AS n, count(*) FILTER (${yes(label)})::INTEGER AS ones,
       ${others.map((name, i) => `count(*) FILTER (${yes(name)})::INTEGER AS c${i}, count(*) FILTER (${yes(name)} AND ${yes(label)})::INTEGER AS b${i}`).join(', ')} FROM events`,
    );
    const { n, ones } = counts as { n: number; ones: number };
    const steps = others.filter((_, i) => {
      const [own, both] = [counts[`c${i}`]!, counts[`b${i}`]!];
      return both === ones && own > ones && (own - ones) / (n - ones) < mostOutside && noChance(ones, own, n);
    });
    if (steps.length > 0) found.set(label, steps);
  }
  return found;
}
