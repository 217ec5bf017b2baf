import type { DuckdbSession } from './session.js';

/**
 * What to do where DuckDB wanted an extension that is not installed and could not be downloaded (PostgreSQL, SQLite, S3, https); null
 * where its message is of something else.
 */
export async function missingExtension(db: DuckdbSession, message: string): Promise<string | null> {
  const name = /Failed to download extension "(\w+)"/.exec(message)?.[1];
  if (name === undefined) return null;
  const { version, platform, directory } = await db.row<{ version: string; platform: string; directory: string }>(
    `SELECT version() AS version, platform, current_setting('extension_directory') AS directory FROM pragma_platform()`,
  );
  const folder = `${directory || '~/.duckdb/extensions'}/${version}/${platform}`;
  return (
    `this needs DuckDB's extension "${name}", which is not installed and could not be downloaded. Where there is a network, ` +
    `"INSTALL ${name};" in DuckDB ${version}, or "INSTALL ${name}" under "setup" of the schema, fetches it once; or copy ${name}.duckdb_extension from such a machine to ${folder}.`
  );
}
