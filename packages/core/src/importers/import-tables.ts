import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { DatasetManifest } from '../dataset/manifest.js';
import { DuckdbSession, ident, literal } from '../duckdb/session.js';
import { buildDirectoryAtomic } from '../files/atomic.js';
import { mustBeReplaceable, mustNotHold } from '../files/output-directory.js';
import { type PrepareOptions, prepareInto } from '../prepare/prepare.js';
import { parquetOptions } from '../prepare/split-files.js';
import type { DatasetSchema } from '../schema/schema.js';

export interface ImportOptions
  extends Pick<PrepareOptions, 'memoryLimit' | 'threads' | 'rowsPerShard' | 'progress' | 'signal'> {
  /** Directory with the files as their publisher ships them. */
  input: string;
  /** Dataset directory to write. */
  output: string;
  /** Of splits and negatives; default 1. */
  seed?: number;
}

/** A column of a table to be written: its DuckDB type and one value per row, null = missing. */
export interface ImportedColumn {
  type: 'VARCHAR' | 'VARCHAR[]' | 'BIGINT' | 'DOUBLE' | 'UTINYINT' | 'TIMESTAMP';
  values: readonly (string | number | null | readonly string[])[];
}

/**
 * What every importer asks first: whether its output may be replaced, and does not hold the files it reads.
 * @throws UsageError `OUT_NOT_OURS`, `OUT_HOLDS_INPUT`
 */
export async function checkOutput({ input, output }: ImportOptions): Promise<void> {
  await mustBeReplaceable(output, 'larr-dataset');
  await mustNotHold(output, [input]);
}

/**
 * Writes an importer's tables as `tables/<name>.parquet` and prepares them by a schema whose paths start there. The output
 * appears only when it is complete.
 */
export async function importTables(
  options: ImportOptions,
  tables: Record<string, Record<string, ImportedColumn>>,
  schema: DatasetSchema,
): Promise<DatasetManifest> {
  options.signal?.throwIfAborted();
  return buildDirectoryAtomic(options.output, async (directory) => {
    await mkdir(join(directory, 'tables'));
    for (const [name, columns] of Object.entries(tables))
      await writeTable(columns, join(directory, 'tables', `${name}.parquet`), options.signal);
    return prepareInto(directory, { ...options, schema, baseDirectory: directory });
  });
}

async function writeTable(
  columns: Record<string, ImportedColumn>,
  file: string,
  signal: AbortSignal | undefined,
): Promise<void> {
  using db = await DuckdbSession.open(signal === undefined ? {} : { signal });
  // Everything goes in as text and is cast on the way out: one appender call for every type.
  const names = Object.keys(columns);
  await db.run(`CREATE TABLE t (${names.map((name) => `${ident(name)} VARCHAR`).join(', ')})`);
  const appender = await db.connection.createAppender('t');
  const rows = Object.values(columns)[0]!.values.length;
  const listSeparator = '\u001f';
  for (let row = 0; row < rows; row++) {
    for (const name of names) {
      const value = columns[name]!.values[row]!;
      if (value === null || value === '') appender.appendNull();
      else appender.appendVarchar(typeof value === 'object' ? value.join(listSeparator) : String(value));
    }
    appender.endRow();
  }
  appender.closeSync();
  const select = names.map((name) => {
    const { type } = columns[name]!;
    const cast =
      type === 'VARCHAR[]' ? `string_split(${ident(name)}, ${literal(listSeparator)})` : `${ident(name)}::${type}`;
    return `${cast} AS ${ident(name)}`;
  });
  await db.run(`COPY (SELECT ${select.join(', ')} FROM t) TO ${literal(file)} ${parquetOptions}`);
}
