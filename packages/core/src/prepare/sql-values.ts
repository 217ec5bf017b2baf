import { literal } from '../duckdb/session.js';
import { timeSeconds } from '../scene/moment.js';

/** A column of one of the loaded tables: SQL that reads it, and its DuckDB type. */
export interface ColumnSql {
  sql: string;
  type: string;
}

/** The SQL of `canonicalText` (scene/moment.ts): the text that vocabularies know a value by. */
export function canonicalSql({ sql, type }: ColumnSql): string {
  if (type === 'VARCHAR') return sql;
  if (type.endsWith('[]')) return `nullif(array_to_string(${sql}, ', '), '')`;
  if (/^(FLOAT|DOUBLE|DECIMAL)/.test(type)) {
    const x = `(${sql})::DOUBLE`;
    // A 32-bit 0.1 is the number that is written "0.1", not 0.10000000149011612: requests will say 0.1.
    const written = type === 'FLOAT' ? `(${sql})` : x;
    return `CASE WHEN isnan(${x}) THEN NULL WHEN ${x} = trunc(${x}) AND abs(${x}) <= ${Number.MAX_SAFE_INTEGER} THEN (${x})::BIGINT::VARCHAR ELSE ${written}::VARCHAR END`;
  }
  // UTC, whatever zone this machine is set to: the text must be the same where the model is served.
  if (type === 'TIMESTAMP WITH TIME ZONE') return `make_timestamp(epoch_us(${sql}))::VARCHAR`;
  return `(${sql})::VARCHAR`;
}

/** The canonical text, NULL where it is empty or one of the markers. */
export function presentSql(column: ColumnSql, missing: ReadonlySet<string>): string {
  const text = canonicalSql(column);
  return `CASE WHEN (${text}) IN (${['', ...missing].map(literal).join(', ')}) THEN NULL ELSE ${text} END`;
}

/** A keyword text in SQL: blanks trimmed and collapsed, markers NULL (scene/moment.ts, `keywordText`). */
export function keywordSql(column: ColumnSql, missing: ReadonlySet<string>): string {
  const text = `regexp_replace(trim(${presentSql(column, missing)}, ' \t\n\r'), '\\s+', ' ', 'g')`;
  return `CASE WHEN (${text}) IN (${['', ...missing].map(literal).join(', ')}) THEN NULL ELSE ${text} END`;
}

/** A finite number; NULL where missing or (a complaint of `loadTables`) something else, "nan" and "inf" in a text included. */
export function numberSql(column: ColumnSql, missing: ReadonlySet<string>): string {
  if (column.type === 'BOOLEAN')
    return `CASE WHEN ${presentSql(column, missing)} IS NULL THEN NULL ELSE (${column.sql})::INTEGER::DOUBLE END`;
  // 32-bit numbers go by their text too, so that 0.7 falls into the same bucket here and in a request; and what is no number (a date, a
  // UUID) has a text that is none, where a cast of its own would not even be refused row by row.
  if (column.type === 'FLOAT' || !holdsNumbers(column.type) || [...missing].some(looksLikeNumber))
    return finite(`TRY_CAST(${presentSql(column, missing)} AS DOUBLE)`);
  return finite(`(${column.sql})::DOUBLE`);
}

/** Whether DuckDB keeps the values of such a column as numbers. */
export function holdsNumbers(type: string): boolean {
  return /^(U?(TINY|SMALL|BIG|HUGE)INT|U?INTEGER|BIGNUM|FLOAT|DOUBLE|DECIMAL(\(.*\))?)$/.test(type);
}

/** How a label is written, in lower case: what happened, and what did not. */
export const labelWords = {
  yes: ['1', 'true', 'yes', 'y', 't', '1.0'],
  no: ['0', 'false', 'no', 'n', 'f', '0.0'],
} as const;

/** Whether values of a type have no text that a request could give too: bytes, and nested ones. */
export function isUnwritable(type: string): boolean {
  return isNested(type) || /^(BLOB|BIT)\b/.test(type);
}

/** Whether a type nests values; a plain list of texts or numbers is none. */
export function isNested(type: string): boolean {
  return /^(STRUCT|MAP|UNION|VARIANT|GEOMETRY)\b/.test(type) || /\[\d*\]\[\d*\]$/.test(type);
}

/** Whether a marker can stand in a column of numbers at all. */
function looksLikeNumber(marker: string): boolean {
  return marker.trim() !== '' && !Number.isNaN(Number(marker.replace(/^[+-]?inf(inity)?$/i, 'Infinity')));
}

function finite(x: string): string {
  return `CASE WHEN isfinite(${x}) THEN ${x} END`;
}

/** The SQL of `localTime` (scene/moment.ts): a TIMESTAMP that holds the local clock; NULL where it cannot be read. */
export function timeSql({ sql, type }: ColumnSql, unit?: 'timestamp' | 's' | 'ms' | 'us'): string {
  if (type === 'TIMESTAMP WITH TIME ZONE') return `make_timestamp(epoch_us(${sql}))`;
  if (type.startsWith('TIMESTAMP') || type === 'DATE') return `(${sql})::TIMESTAMP`;
  if (type !== 'VARCHAR' && !holdsNumbers(type)) return 'NULL::TIMESTAMP';
  const x = `TRY_CAST(${sql} AS DOUBLE)`;
  const microseconds =
    unit === 's'
      ? `${x} * 1e6`
      : unit === 'ms'
        ? `${x} * 1e3`
        : unit === 'us'
          ? x
          : `CASE WHEN abs(${x}) < 1e11 THEN ${x} * 1e6 WHEN abs(${x}) < 1e14 THEN ${x} * 1e3 ELSE ${x} END`;
  const fromNumber = `CASE WHEN (${microseconds}) BETWEEN ${timeSeconds.first}e6 AND ${timeSeconds.last}e6 THEN make_timestamp(TRY_CAST(${microseconds} AS BIGINT)) END`;
  if (type !== 'VARCHAR') return fromNumber;
  const wall = `(left(${sql}, 10) || regexp_replace(substr(${sql}, 11), '(Z|[+-]\\d{2}:?(\\d{2})?)$', ''))`;
  return `CASE WHEN regexp_full_match(${sql}, '-?\\d+(\\.\\d+)?') THEN ${fromNumber} ELSE TRY_CAST(${wall} AS TIMESTAMP) END`;
}

/** A text cut to so many characters at a word boundary, or in the middle of a word where there is none (Chinese). */
export function cutSql(text: string, characters: number | undefined): string {
  if (characters === undefined) return text;
  const head = `left(${text}, ${characters + 1})`;
  return `CASE WHEN length(${text}) <= ${characters} THEN ${text} ELSE coalesce(nullif(regexp_extract(${head}, '^(.*\\S)\\s', 1), ''), left(${text}, ${characters})) END`;
}

/** A text with `{slot}`s; NULL when any slot is. */
export function templateSql(template: string, slot: (name: string) => string): string {
  const parts = template.split(/\{([^}]+)\}/);
  return parts.map((part, i) => (i % 2 === 0 ? literal(part) : `(${slot(part)})`)).join(' || ');
}

/** Names of the slots of a template. */
export function templateSlots(template: string): string[] {
  return [...template.matchAll(/\{([^}]+)\}/g)].map((match) => match[1]!);
}

/** A uniform number in [0, 2^64) that depends on the seed, a label and a key alone: the same on every machine and shard. */
export function uniformSql(seed: number, label: string, key: string): string {
  return `md5_number_lower(${literal(`${seed}:${label}:`)} || (${key})::VARCHAR)`;
}
