// What is said where a preparation needs more memory than it may take: nearly always one text is far longer than any other.
import { type DuckdbSession, ident } from '../duckdb/session.js';
import { DataError } from '../errors.js';

/** Texts are told of from this length on: what is shorter is no reason to run out of memory. */
const long = 10_000;

/** The tables of a preparation as the schema calls them, once and before they are joined (`loadTables`). */
const tables: Record<string, { called: string; row: string }> = {
  raw_users: { called: 'users', row: 'file_row' },
  raw_pois: { called: 'pois', row: 'file_row' },
  raw_events: { called: 'events', row: 'file_row' },
  us: { called: 'users', row: 'user_index + 1' },
  po: { called: 'pois', row: 'poi_index + 1' },
  ev: { called: 'events', row: 'NULL' },
};

/** An error `OUT_OF_MEMORY` that names the longest text of the loaded tables, and what to do. */
export async function outOfMemory(db: DuckdbSession, memoryLimit: string, cause: unknown): Promise<DataError> {
  const longest = await longestText(db).catch(() => null);
  const more = 'or give more memory with --memory (prepare.memoryLimit)';
  if (longest === null)
    return new DataError(
      'OUT_OF_MEMORY',
      `the preparation needs more memory than its limit of ${memoryLimit}. Read fewer columns, ${more}.`,
      { cause },
    );
  const { table, column, row, length } = longest;
  return new DataError(
    'OUT_OF_MEMORY',
    `the preparation needs more memory than its limit of ${memoryLimit}. The longest text is tables.${table}${row === null ? '' : `, row ${row}`}, column "${column}": ${length.toLocaleString('en')} characters, which every event that it belongs to repeats where it is a feature. Shorten it, make the table a query that does ({"query": "SELECT * REPLACE (left(${ident(column).replaceAll('"', '\\"')}, 2000) AS ${ident(column).replaceAll('"', '\\"')}) FROM …"}), ${more}.`,
    { field: column, ...(row === null ? {} : { row }), cause },
  );
}

async function longestText(
  db: DuckdbSession,
): Promise<{ table: string; column: string; row: number | null; length: number } | null> {
  const columns = await db.rows<{ table_name: string; column_name: string }>(
    `SELECT table_name, column_name FROM duckdb_columns() WHERE data_type = 'VARCHAR' AND starts_with(column_name, 'c:')`,
  );
  let longest: Awaited<ReturnType<typeof longestText>> = null;
  for (const { table_name, column_name } of columns) {
    const known = tables[table_name];
    if (known === undefined) continue;
    const text = ident(column_name);
    const { length, row } = await db.row<{ length: number | null; row: number | null }>(
      `SELECT max(length(${text}))::DOUBLE AS length, max_by(${known.row}, length(${text}))::DOUBLE AS row FROM ${ident(table_name)}`,
    );
    if (length !== null && length >= long && length > (longest?.length ?? 0))
      longest = { table: known.called, column: column_name.slice(2), row, length };
  }
  return longest;
}
