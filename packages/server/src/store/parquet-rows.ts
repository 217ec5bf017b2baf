import { type DuckDBConnection, DuckDBInstance } from '@duckdb/node-api';
import { BundleError, canonicalSql, ident, type Row } from '@larr/core';

/** Rows that are in memory at once. */
const AT_A_TIME = 8192;

export interface ParquetOptions {
  /** only these; all by default. Those that the file lacks are left out. */
  columns?: readonly string[];
  /** ids of one column; others are left out */
  only?: { column: string; values: readonly string[] };
  /** columns to sort by, smallest first; the file's order by default */
  order?: readonly string[];
}

/** Reads with a connection of its own; what goes wrong is the file's. */
async function* read<T>(file: string, rows: (connection: DuckDBConnection) => AsyncGenerator<T>): AsyncGenerator<T> {
  const instance = await DuckDBInstance.create(':memory:', { preserve_insertion_order: 'true' });
  try {
    const connection = await instance.connect();
    try {
      yield* rows(connection);
    } finally {
      connection.closeSync();
    }
  } catch (cause) {
    if (cause instanceof BundleError) throw cause;
    throw new BundleError('STORE_UNREADABLE', `${file} is not a readable Parquet file: export the bundle again`, {
      cause,
    });
  } finally {
    instance.closeSync();
  }
}

const orderedBy = (columns: readonly string[]): string =>
  columns.length === 0 ? '' : ` ORDER BY ${columns.map(ident).join(', ')}`;

/**
 * Rows of a bundle's Parquet file as features read them, some thousand at a time: wide integers, dates, decimals, truth values and lists
 * come as the text that `prepare` knew them by when it made the vocabularies; as JavaScript values they would be rounded, or lose their
 * type.
 * @throws BundleError STORE_UNREADABLE
 */
export function parquetRows(file: string, options: ParquetOptions = {}): AsyncGenerator<Row[]> {
  return read(file, async function* (connection) {
    const described = await connection.runAndReadAll('DESCRIBE SELECT * FROM read_parquet($1)', [file]);
    const columns = described
      .getRowObjectsJS()
      .map(({ column_name, column_type }) => ({ name: String(column_name), type: String(column_type) }));
    const wanted =
      options.columns === undefined ? columns : columns.filter(({ name }) => options.columns!.includes(name));
    const { only, order = [] } = options;
    const filter =
      only === undefined
        ? ''
        : ` WHERE CAST(${ident(only.column)} AS VARCHAR) IN (${only.values.map((_, i) => `$${i + 2}`).join(', ')})`;
    const result = await connection.stream(
      `SELECT ${wanted.map(({ name, type }) => asFeaturesReadIt(name, type)).join(', ')} FROM read_parquet($1)${filter}${orderedBy(order)}`,
      [file, ...(only?.values ?? [])],
    );
    let rows: Row[] = [];
    for await (const some of result.yieldRowObjectJs()) {
      rows.push(...some);
      if (rows.length < AT_A_TIME) continue;
      yield rows;
      rows = [];
    }
    if (rows.length > 0) yield rows;
  });
}

/**
 * Columns of numbers of a bundle's Parquet file, some thousand rows at a time; NaN where a value is missing.
 * @throws BundleError STORE_UNREADABLE
 */
export function parquetNumbers(
  file: string,
  columns: readonly string[],
  order: readonly string[],
): AsyncGenerator<Float64Array[]> {
  return read(file, async function* (connection) {
    const result = await connection.stream(
      `SELECT ${columns.map((name) => `coalesce(${ident(name)}::DOUBLE, 'nan') AS ${ident(name)}`).join(', ')} FROM read_parquet($1)${orderedBy(order)}`,
      [file],
    );
    for await (const chunk of result) {
      yield columns.map((_, i) => Float64Array.from(chunk.getColumnValues(i) as number[]));
    }
  });
}

/** The columns of a bundle's Parquet file. @throws BundleError STORE_UNREADABLE */
export async function parquetColumns(file: string): Promise<string[]> {
  return [...(await parquetTypes(file)).keys()];
}

/** DuckDB's type of each column of a bundle's Parquet file, in the file's order. @throws BundleError STORE_UNREADABLE */
export async function parquetTypes(file: string): Promise<Map<string, string>> {
  const rows = await asked(file, 'DESCRIBE SELECT * FROM read_parquet($1)');
  return new Map(rows.map(({ column_name, column_type }) => [String(column_name), String(column_type)]));
}

/** The largest whole number of a column; −1 where it has none. @throws BundleError STORE_UNREADABLE */
export async function parquetLargest(file: string, column: string): Promise<number> {
  const [row] = await asked(
    file,
    `SELECT coalesce(max(${ident(column)}), -1)::DOUBLE AS largest FROM read_parquet($1)`,
  );
  return row!.largest as number;
}

/** The answer to one question about a file, $1. */
async function asked(file: string, sql: string): Promise<Row[]> {
  const instance = await DuckDBInstance.create(':memory:');
  try {
    const connection = await instance.connect();
    try {
      return (await connection.runAndReadAll(sql, [file])).getRowObjectsJS() as Row[];
    } finally {
      connection.closeSync();
    }
  } catch (cause) {
    throw new BundleError('STORE_UNREADABLE', `${file} is not a readable Parquet file: export the bundle again`, {
      cause,
    });
  } finally {
    instance.closeSync();
  }
}

/** Types whose JavaScript values say all that their text would. */
const PLAIN = /^(VARCHAR|DOUBLE|U?(TINYINT|SMALLINT)|INTEGER)$/;

function asFeaturesReadIt(name: string, type: string): string {
  const column = ident(name);
  if (PLAIN.test(type) || (name.startsWith('seq_') && type === 'INTEGER[]')) return column;
  const text = canonicalSql({ sql: column, type });
  // A 32-bit number is the number that its text says; widened it would be another.
  return type === 'FLOAT' ? `(${text})::DOUBLE AS ${column}` : `${text} AS ${column}`;
}
