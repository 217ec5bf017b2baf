import { type DuckdbSession, ident, literal } from '../duckdb/session.js';
import { DataError } from '../errors.js';
import { type OpenSource, reading } from '../prepare/sources.js';
import { timeSql } from '../prepare/sql-values.js';

export type Table = 'events' | 'users' | 'pois';

/** A column as its first rows show it. */
export interface ColumnSketch {
  name: string;
  kind: 'number' | 'text' | 'time' | 'list' | 'boolean';
  /** Different values among the rows looked at. */
  distinct: number;
  missing: number;
  min: number | null;
  max: number | null;
  length: number;
  /** Its values are 0 and 1 (or true and false) and both occur. */
  binary: boolean;
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
}

export type Sketches = Record<Table, ColumnSketch[]>;

/** Words that people and programs write where there is nothing, in lower case. */
const nothings = ['n/a', 'na', 'nan', 'null', 'none', 'nil', 'unknown', 'undefined', '-', '--', '?', '\\n'];

/** Rows that are looked at. */
const lookedAt = 200_000;

/** Looks at the first rows of a table, which stay in the database under its name. @throws DataError `TABLE_EMPTY`, as `openSource` */
export async function sketchTable(db: DuckdbSession, table: Table, source: OpenSource): Promise<ColumnSketch[]> {
  await reading(db, source, () => db.run(`CREATE TABLE ${table} AS SELECT * FROM ${source.sql} LIMIT ${lookedAt}`));
  const { n } = await db.row<{ n: bigint }>(`SELECT count(*) AS n FROM ${table}`);
  if (n === 0n)
    throw new DataError('TABLE_EMPTY', `${source.where} has no rows, so there is nothing to draft a schema from.`, {
      file: source.where,
    });
  const sketches: ColumnSketch[] = [];
  for (const [name, type] of await db.columns(`SELECT * FROM ${table}`)) {
    const c = ident(name);
    const whole = type.endsWith('[]') ? `array_to_string(${c}, ', ')` : `${c}::VARCHAR`;
    const nothing = `lower(trim(${whole})) IN (${nothings.map(literal).join(', ')})`;
    const text = `CASE WHEN ${nothing} THEN NULL ELSE ${whole} END`;
    const readTime = `CASE WHEN ${nothing} THEN NULL ELSE ${type.endsWith('[]') ? 'NULL' : timeSql({ sql: c, type })} END`;
    const found = await db.row<Record<string, number | null> & { nothings: { items: string[] } | null }>(
      `SELECT count(DISTINCT nullif(text, ''))::INTEGER AS "distinct", count(*) FILTER (text IS NULL OR text = '')::DOUBLE / count(*) AS missing,
       min(TRY_CAST(text AS DOUBLE)) AS min, max(TRY_CAST(text AS DOUBLE)) AS max, avg(length(text)) AS length,
       count(*) FILTER (text <> '' AND TRY_CAST(text AS DOUBLE) IS NULL)::INTEGER AS words,
       count(*) FILTER (TRY_CAST(text AS DOUBLE) <> trunc(TRY_CAST(text AS DOUBLE)))::INTEGER AS fractions,
       count(*) FILTER (lower(text) NOT IN ('0', '1', 'true', 'false'))::INTEGER AS other,
       count(*) FILTER (text <> '' AND time IS NULL)::INTEGER AS timeless,
       list(DISTINCT whole ORDER BY whole) FILTER (text IS NULL AND whole IS NOT NULL) AS nothings
       FROM (SELECT ${whole} AS whole, ${text} AS text, ${readTime} AS time FROM ${table})`,
    );
    const distinct = found.distinct!;
    const numeric = distinct > 0 && found.words === 0;
    const kind: ColumnSketch['kind'] = type.endsWith('[]')
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
    const binary = found.other === 0 && found.missing === 0 && distinct === 2;
    const unique = found.missing === 0 && BigInt(distinct) === n;
    const personal = n >= 20n && distinct * 2 > Number(n);
    sketches.push({
      name,
      unique,
      whole: numeric && found.fractions === 0,
      personal,
      nothings: found.nothings?.items ?? [],
      kind,
      distinct,
      missing: found.missing!,
      min,
      max,
      length: found.length ?? 0,
      binary,
      unit,
    });
  }
  return sketches;
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
  for (const own of sketches[table].filter((c) => c.unique && c.kind !== 'time' && c.kind !== 'list')) {
    for (const event of sketches.events.filter((c) => c.distinct > 1 && !c.binary && c.kind !== 'list')) {
      const { met, distinct } = await db.row<{ met: number; distinct: number }>(
        `SELECT count(*)::INTEGER AS distinct, count(*) FILTER (v IN (SELECT ${ident(own.name)}::VARCHAR FROM ${table}))::INTEGER AS met
         FROM (SELECT DISTINCT ${ident(event.name)}::VARCHAR AS v FROM events WHERE ${ident(event.name)}::VARCHAR <> '')`,
      );
      if (met >= 0.8 * distinct && met > (best?.met ?? 1)) best = { event: event.name, own: own.name, met };
    }
  }
  return best;
}
