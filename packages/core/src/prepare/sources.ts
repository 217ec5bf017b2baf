import { stat } from 'node:fs/promises';
import { isAbsolute, resolve } from 'node:path';
import { missingExtension } from '../duckdb/extensions.js';
import { type DuckdbSession, ident, literal } from '../duckdb/session.js';
import { DataError, nearestName } from '../errors.js';
import { noRoom } from '../files/no-room.js';
import { whyNotText } from '../files/not-text.js';
import type { TableSource } from '../schema/schema.js';
import { filesFrom } from './files-in-sql.js';

/** A source table, found and described, ready to be read. */
export interface OpenSource {
  /** How messages call it: the path as the schema names it, or its query. */
  where: string;
  /** Relation for a FROM clause. */
  sql: string;
  /** Column name → DuckDB type. */
  columns: Map<string, string>;
  /** Of a CSV file: the character between its columns. */
  delimiter: string | null;
  /** The file itself, where it is a single one on this machine that ought to be text. */
  textFile: string | null;
}

/** How messages call a source. */
export function sourceName(source: TableSource, table: string): string {
  if (typeof source === 'string') return source;
  return 'path' in source ? source.path : `the query of tables.${table}`;
}

/**
 * Finds a source and its columns.
 * @throws DataError `FILE_MISSING`, `FORMAT_UNKNOWN`, `TABLE_UNKNOWN`, `EXTENSION_MISSING`, `UNREADABLE`, `BAD_HEADER`, `BAD_ENCODING`, `NOT_TEXT`
 */
export async function openSource(
  db: DuckdbSession,
  source: TableSource,
  table: string,
  baseDirectory: string,
): Promise<OpenSource> {
  const where = sourceName(source, table);
  const plain = { where, delimiter: null, textFile: null };
  const describe = async (sql: string, textFile: string | null = null): Promise<OpenSource> => ({
    ...plain,
    textFile,
    sql,
    columns: await reading(db, { where, textFile }, () => db.columns(`SELECT * FROM ${sql}`)),
  });
  if (typeof source === 'object' && 'query' in source) return describe(`(${filesFrom(source.query, baseDirectory)})`);
  const given = typeof source === 'string' ? source : source.path;
  const remote = /^[a-z][a-z0-9+]+:\/\//i.test(given);
  const path = remote || isAbsolute(given) ? given : resolve(baseDirectory, given);
  const format = formatOf(source, table, given, path);
  if (format === 'duckdb') return describe(await databaseTable(db, where, path, table));
  // Whether a pattern matches anything is DuckDB's to say.
  const pattern = /[*?[\]{}]/.test(path);
  if (!remote && !pattern) await mustBeFile(path, table);
  const textFile = remote || pattern ? null : path;
  const file = literal(path);
  if (format === 'parquet') return describe(`read_parquet(${file})`);
  if (format === 'jsonl') return describe(`read_json_auto(${file}, format = 'newline_delimited')`, textFile);

  const delimiter =
    (typeof source === 'object' && 'path' in source ? source.delimiter : undefined) ?? (format === 'tsv' ? '\t' : ',');
  const header = await readHeader(db, file, { where, textFile }, delimiter);
  // Everything as text: types follow from what the schema uses a column for, so a bad value is reported with its row, and a code
  // such as "007" stays what it is. The columns are the header's, so a short or long row is an error of its own line.
  const columns = header.map((name) => `${literal(name)}: 'VARCHAR'`).join(', ');
  return {
    where,
    textFile,
    delimiter,
    columns: new Map(header.map((name) => [name, 'VARCHAR'])),
    sql: `read_csv(${file}, auto_detect = false, columns = {${columns}}, header = true, delim = ${literal(delimiter)}, quote = '"', escape = '"', max_line_size = 16777216)`,
  };
}

function formatOf(
  source: TableSource,
  table: string,
  given: string,
  path: string,
): 'parquet' | 'csv' | 'tsv' | 'jsonl' | 'duckdb' {
  const stated = typeof source === 'object' && 'path' in source ? source.format : undefined;
  if (stated !== undefined) return stated;
  const plain = path.toLowerCase().replace(/\.(gz|zst)$/, '');
  if (plain.endsWith('.parquet')) return 'parquet';
  if (plain.endsWith('.tsv')) return 'tsv';
  if (plain.endsWith('.csv')) return 'csv';
  if (/\.(jsonl|ndjson)$/.test(plain)) return 'jsonl';
  if (/\.duckdb(#.*)?$/.test(plain)) return 'duckdb';
  throw new DataError(
    'FORMAT_UNKNOWN',
    `tables.${table}: the format of ${given} does not follow from its ending. Add "format": "parquet", "csv", "tsv", "jsonl" or "duckdb".`,
    { file: path },
  );
}

/** The file of a source's path, without the table that "shop.duckdb#events" names. */
export function databaseFile(path: string): string {
  return path.replace(/#[^/\\]*$/, '');
}

/**
 * A table or view of a DuckDB database, "shop.duckdb#events" or "shop.duckdb#schema.events", for a FROM clause; the name may be left out
 * where the database has only one. It is attached read-only.
 * @throws DataError `FILE_MISSING`, `TABLE_UNKNOWN`, `UNREADABLE`
 */
async function databaseTable(db: DuckdbSession, where: string, path: string, table: string): Promise<string> {
  const file = databaseFile(path);
  const wanted = path.slice(file.length + 1);
  await mustBeFile(file, table);
  const attached = () =>
    db.rows<{ name: string }>(`SELECT database_name AS name FROM duckdb_databases() WHERE path = ${literal(file)}`);
  if ((await attached()).length === 0) {
    const { n } = await db.row<{ n: bigint }>('SELECT count(*) AS n FROM duckdb_databases()');
    await reading(db, { where, textFile: null }, () =>
      db.run(`ATTACH ${literal(file)} AS ${ident(`source_${n}`)} (READ_ONLY)`),
    );
  }
  const { name } = (await attached())[0]!;
  const tables = await db.rows<{ schema: string; name: string }>(
    `SELECT schema_name AS schema, table_name AS name FROM duckdb_tables() WHERE database_name = ${literal(name)} UNION ALL
     SELECT schema_name, view_name FROM duckdb_views() WHERE database_name = ${literal(name)} AND NOT internal ORDER BY ALL`,
  );
  const called = tables.map((t) => (t.schema === 'main' ? t.name : `${t.schema}.${t.name}`));
  const at = wanted === '' && tables.length === 1 ? 0 : called.indexOf(wanted);
  const found = tables[at];
  if (found !== undefined) return [name, found.schema, found.name].map(ident).join('.');
  const near = wanted === '' ? undefined : nearestName(wanted, called);
  throw new DataError(
    'TABLE_UNKNOWN',
    `tables.${table}: ${wanted === '' ? `${where} does not say which table of the database is meant` : `${file} has no table "${wanted}"`}. ${
      called.length === 0
        ? 'It has none at all.'
        : `Write "${databaseFile(where)}#${called[0]}", say; it has ${called.join(', ')}.${near === undefined ? '' : ` Did you mean "${near}"?`}`
    }`,
    { file, field: `tables.${table}` },
  );
}

async function mustBeFile(path: string, table: string): Promise<void> {
  const found = await stat(path).catch((cause) => {
    throw new DataError(
      'FILE_MISSING',
      `tables.${table}: there is no file ${path}. Check the path; a relative one starts where the schema file lies.`,
      { file: path, cause },
    );
  });
  if (found.isDirectory())
    throw new DataError(
      'FILE_MISSING',
      `tables.${table}: ${path} is a folder. Name a file, or a pattern such as "${path}/*.parquet".`,
      { file: path },
    );
}

/**
 * The column names of a CSV file: its first line, which DuckDB reads as one text from wherever the file lies. Read without regard to quotes,
 * later lines may mix kinds of line ends (a quoted text has its own), which only the loose mode stands.
 */
async function readHeader(
  db: DuckdbSession,
  file: string,
  source: Pick<OpenSource, 'where' | 'textFile'>,
  delimiter: string,
): Promise<string[]> {
  const { where } = source;
  const lines = await reading(db, source, () =>
    db.rows<{ line: string | null }>(
      `SELECT line FROM read_csv(${file}, auto_detect = false, columns = {'line': 'VARCHAR'}, header = false, delim = '\u001f', quote = '', escape = '', strict_mode = false, max_line_size = 16777216) LIMIT 1`,
    ),
  );
  const line = (lines[0]?.line ?? '').replace(/^\ufeff/, '').replace(/\r$/, '');
  if (line.trim() === '')
    throw new DataError('TABLE_EMPTY', `${where} is empty: its first line has to name the columns.`, { file: where });
  if ((line.match(/"/g) ?? []).length % 2 === 1)
    throw new DataError(
      'BAD_HEADER',
      `${where}: the header opens a quotation mark and does not close it in its line. Name the columns in one line.`,
      { file: where, row: 1 },
    );
  const names = splitHeader(line, delimiter).map((name, i) => (name.trim() === '' ? `column${i}` : name.trim()));
  // Columns are told apart without regard to case.
  const same = names.map((name) => name.toLowerCase());
  const at = same.findIndex((name, i) => same.indexOf(name) !== i);
  if (at >= 0) {
    const [first, second] = [names[same.indexOf(same[at]!)]!, names[at]!];
    throw new DataError(
      'BAD_HEADER',
      `${where}: the header names ${first === second ? `the column "${first}" twice` : `the columns "${first}" and "${second}", which differ in nothing but case`}. Rename one of them.`,
      { file: where, field: second },
    );
  }
  return names;
}

/** Cuts a header line at its delimiters, those in quotes left alone. */
function splitHeader(line: string, delimiter: string): string[] {
  const names: string[] = [];
  let name = '';
  let quoted = false;
  for (let i = 0; i < line.length; i++) {
    const c = line[i]!;
    if (c === '"' && quoted && line[i + 1] === '"') {
      name += c;
      i++;
    } else if (c === '"') quoted = !quoted;
    else if (c === delimiter && !quoted) {
      names.push(name);
      name = '';
    } else name += c;
  }
  return [...names, name];
}

/** What seems to separate the columns of a file whose header is one single name under the given delimiter; null where nothing does. */
export function likelyDelimiter(source: Pick<OpenSource, 'columns' | 'delimiter'>): string | null {
  if (source.delimiter === null || source.columns.size !== 1) return null;
  const [name] = source.columns.keys();
  return [';', '\t', '|', ','].find((c) => c !== source.delimiter && name!.includes(c)) ?? null;
}

/**
 * Turns DuckDB's complaints about a source into errors that name the file and, where it can be told, the line: a file that is not
 * UTF-8 text is looked through for the first place where it is not.
 */
export async function reading<T>(
  db: DuckdbSession,
  { where, textFile }: Pick<OpenSource, 'where' | 'textFile'>,
  read: () => Promise<T>,
): Promise<T> {
  try {
    return await read();
  } catch (cause) {
    db.throwIfInterrupted();
    if (cause instanceof DataError && cause.code === 'OUT_OF_MEMORY') throw cause;
    // The table was being read into a database of the preparation's own: that is what cannot be written.
    if (noRoom(cause) !== null) throw cause;
    const message = (cause as Error).message;
    if (/No files found/i.test(message)) {
      throw new DataError(
        'FILE_MISSING',
        `No file matches ${where}. Check the path; a relative one starts where the schema file lies.`,
        { file: where, cause },
      );
    }
    const extension = await missingExtension(db, message);
    if (extension !== null) throw new DataError('EXTENSION_MISSING', `${where}: ${extension}`, { file: where, cause });
    if (textFile !== null) await mustBeText(where, textFile, cause);
    const line = /Line:?\s+(\d+)/i.exec(message)?.[1];
    const at = line === undefined ? '' : `, line ${line}`;
    if (/unicode|utf-?8|encod|vector of size/i.test(message) && !/sniffing/i.test(message)) {
      throw new DataError(
        'BAD_ENCODING',
        `${where}${at}: not valid UTF-8. Convert the file, e.g. with iconv -f ISO-8859-1 -t UTF-8.`,
        { file: where, ...(line === undefined ? {} : { row: Number(line) }), cause },
      );
    }
    throw new DataError('UNREADABLE', `${where}${at}: cannot be read: ${inShort(message)}`, {
      file: where,
      ...(line === undefined ? {} : { row: Number(line) }),
      cause,
    });
  }
}

/** @throws DataError `NOT_TEXT`, `BAD_ENCODING` where the file is not UTF-8 text */
export async function mustBeText(where: string, file: string, cause?: unknown): Promise<void> {
  const reason = await whyNotText(file);
  if (reason === null) return;
  throw new DataError(reason.code, `${where}${reason.message}`, {
    file: where,
    ...(reason.line === undefined ? {} : { row: reason.line }),
    cause,
  });
}

/** What DuckDB says, without its advice about its own options and without its stack. */
function inShort(message: string): string {
  const [what = '', ...rest] = message.split(/\n\s*Possible fixes:|\n\s*Stack Trace:/)[0]!.split('\n');
  const numbers = rest.filter((line) => /^(Original Line|Expected Number of Columns|Value with)/.test(line.trim()));
  const quotes = /unterminated quote|quoted value/i.test(message)
    ? ['A quotation mark is opened and not closed; inside a quoted value it is written twice ("").']
    : [];
  const said = what
    .replace(/^([A-Z]\w* )*Error: /, '')
    .replace(/^CSV Error on Line: \d+$/, 'the row does not fit the header');
  return [said, ...numbers.map((line) => line.trim()), ...quotes].join(' · ').trim();
}

/** A relation that reads the named columns, each as "c:<column>", after the number of its row in the file. */
export function numberedRows(source: Pick<OpenSource, 'sql'>, columns: readonly string[]): string {
  return `SELECT row_number() OVER () AS file_row${columns.map((c) => `, ${ident(c)} AS ${ident(`c:${c}`)}`).join('')} FROM ${source.sql}`;
}
