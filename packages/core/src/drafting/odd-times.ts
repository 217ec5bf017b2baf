import { type DuckdbSession, ident, literal } from '../duckdb/session.js';
import { timeSql } from '../prepare/sql-values.js';

/** Texts that look like times in other ways of writing than ISO 8601, or in several ways at once. */
export interface OddTimes {
  /** The ways they are written, most frequent first; `format` is that of DuckDB's strptime, null for what is read as it is. */
  formats: { format: string | null; example: string; rows: number }[];
  /** Rows whose time cannot be read as it is, and the first of them. */
  unread: number;
  first: { row: number; value: string };
  /** Rows that none of the formats reads. */
  unknown: number;
  /** Those that are read as they are DuckDB's cast reads alike: no number, and no offset, which a cast would apply. */
  cast: boolean;
  /** Day and month could be either way round. */
  ambiguous: boolean;
}

const clocks = ['', ' %H:%M', ' %H:%M:%S', ' %H:%M:%S.%f', ', %H:%M', ', %H:%M:%S', ' %I:%M %p', ' %I:%M:%S %p'];
const days = ['-', '.', '/'].flatMap((s) => [`%d${s}%m${s}%Y`, `%m${s}%d${s}%Y`, `%d${s}%m${s}%y`, `%m${s}%d${s}%y`]);
/** Ways of writing a time that people and programs use beside ISO 8601. */
const formats = [
  ...[...days, '%Y/%m/%d', '%Y.%m.%d', '%d %b %Y', '%d %B %Y', '%b %d, %Y', '%B %d, %Y', '%d-%b-%Y'].flatMap((day) =>
    clocks.map((clock) => day + clock),
  ),
  '%Y%m%d',
  '%Y%m%d%H%M%S',
  '%Y%m%d %H:%M:%S',
  '%Y%m%dT%H%M%S',
  '%a %b %d %H:%M:%S %Y',
  '%a, %d %b %Y %H:%M:%S GMT',
];
/** What a text in a format looks like, for the choice of those that are worth trying. */
const shapes = formats.map(
  (format) =>
    new RegExp(
      `^${format
        .replace(/[.]/g, '\\.')
        .replace(/%Y/g, '\\d{4}')
        .replace(/%[dmHMSIy]/g, '\\d{1,2}')
        .replace(/%f/g, '\\d+')
        .replace(/%[abBp]/g, '[A-Za-z]+')}$`,
    ),
);
const mostFormats = 6;
/** Times are long ago and not far ahead: a number of eight digits is seldom a day. */
const sane = (time: string) => `${time} BETWEEN TIMESTAMP '1990-01-01' AND TIMESTAMP '2100-01-01'`;

/** A day as three numbers, as eight digits or with the name of a month, or a number that counts since 1970. */
const likely =
  '^\\d{1,4}[-./]\\d{1,2}[-./]\\d{1,4}|^\\d{8}([ T]?\\d|$)|^\\d{9,16}$|(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*[ .,-]+\\d';
/** Unread texts that say which format comes next. */
const sampled = 2000;

/** Looks whether at least half of a column's texts are times, though not all can be read as such; null where not. */
export async function oddTimes(db: DuckdbSession, table: string, name: string): Promise<OddTimes | null> {
  const v = ident(name);
  // The first rows say whether it is worth a look at all.
  const few = await db.row<{ likely: number; all: number }>(
    `SELECT count(*) FILTER (length(v) <= 40 AND regexp_matches(v, ${literal(likely)}, 'i'))::INTEGER AS likely, count(*)::INTEGER AS all
     FROM (SELECT trim(${v}) AS v FROM ${table} WHERE ${v} <> '' LIMIT 200)`,
  );
  if (few.all === 0 || few.likely * 2 < few.all) return null;
  await db.run(
    `CREATE OR REPLACE TEMP TABLE times AS SELECT row_number() OVER () AS row, trim(${v}) AS v, ${timeSql({ sql: `trim(${v})`, type: 'VARCHAR' })} AS t
     FROM ${table}`,
  );
  await db.run(
    `UPDATE times SET t = NULL WHERE NOT ${sane('t')} OR (regexp_full_match(v, '\\d+(\\.\\d+)?') AND length(v) < 9)`,
  );
  const { present, read, numbers, cast } = await db.row<{
    present: number;
    read: number;
    numbers: number;
    cast: boolean;
  }>(
    `SELECT count(*) FILTER (v <> '')::INTEGER AS present, count(*) FILTER (t IS NOT NULL)::INTEGER AS read,
     count(*) FILTER (t IS NOT NULL AND regexp_full_match(v, '\\d+(\\.\\d+)?'))::INTEGER AS numbers,
     coalesce(bool_and(TRY_CAST(v AS TIMESTAMP) IS NOT DISTINCT FROM t) FILTER (t IS NOT NULL), true) AS cast FROM times`,
  );
  // All of them numbers without a unit: an id, rather.
  if (numbers === present && present > 0) return null;
  const found: OddTimes['formats'] = [];
  const exampleOf = async (where: string) =>
    (await db.row<{ v: string }>(`SELECT v FROM times WHERE ${where} ORDER BY row LIMIT 1`)).v;
  if (read > numbers)
    found.push({
      format: null,
      example: await exampleOf(`t IS NOT NULL AND NOT regexp_full_match(v, '\\d+(\\.\\d+)?')`),
      rows: read - numbers,
    });
  if (numbers > 0)
    found.push({
      format: null,
      example: await exampleOf(`t IS NOT NULL AND regexp_full_match(v, '\\d+(\\.\\d+)?')`),
      rows: numbers,
    });
  await db.run(`CREATE OR REPLACE TEMP TABLE unread AS SELECT row, v FROM times WHERE v <> '' AND t IS NULL`);
  const { unread } = await db.row<{ unread: number }>('SELECT count(*)::INTEGER AS unread FROM unread');
  if (unread === 0) return null;
  const first = await db.row<{ row: bigint; v: string }>('SELECT row, v FROM unread ORDER BY row LIMIT 1');
  let unknown = unread;
  let ambiguous = false;
  while (unknown > 0 && found.length < mostFormats) {
    const sample = (
      await db.rows<{ v: string }>(`SELECT DISTINCT v FROM (FROM unread ORDER BY row LIMIT ${sampled})`)
    ).map((row) => row.v);
    const tried = formats.flatMap((format, i) => (sample.some((v) => shapes[i]!.test(v)) ? [{ format, i }] : []));
    if (tried.length === 0) break;
    const counts = await db.row<Record<string, number>>(
      `SELECT ${tried.map(({ format, i }) => `count(*) FILTER (${sane(`try_strptime(v, ${literal(format)})`)})::INTEGER AS f${i}`).join(', ')} FROM (FROM unread ORDER BY row LIMIT ${sampled})`,
    );
    const rows = formats.map((_, i) => counts[`f${i}`] ?? 0);
    const most = Math.max(...rows);
    if (most === 0) break;
    const format = formats[rows.indexOf(most)]!;
    const reads = sane(`try_strptime(v, ${literal(format)})`);
    const turned = format.replace(/%d([-./])%m/, '%m$1%d');
    if (turned !== format && rows[formats.indexOf(turned)] === most) ambiguous = true;
    const { example, n } = await db.row<{ example: string; n: number }>(
      `SELECT min_by(v, row) AS example, count(*)::INTEGER AS n FROM unread WHERE ${reads}`,
    );
    found.push({ format, example, rows: n });
    await db.run(`DELETE FROM unread WHERE ${reads}`);
    unknown -= n;
  }
  if ((present - unknown) * 2 < present) return null;
  return {
    formats: found.sort((a, b) => b.rows - a.rows),
    unread,
    first: { row: Number(first.row), value: first.v },
    unknown,
    cast,
    ambiguous,
  };
}
