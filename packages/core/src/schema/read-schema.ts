import { readFile, realpath } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { withoutComments } from '../drafting/commented-json.js';
import { ConfigError, LarrError } from '../errors.js';
import { settingsText, whyNotJson } from '../files/settings-file.js';
import type { DatasetSchema } from './schema.js';
import { defineSchema, parseSchema } from './validate.js';

/**
 * Reads a schema file: JSON, in which `//` comments may stand, or a module in TypeScript or JavaScript (`.ts`, `.mts`, `.js`, `.mjs`)
 * whose default export it is. A module may import `defineSchema` from "@larr/core" wherever the file lies.
 * @throws UsageError `FILE_MISSING`; ConfigError `SCHEMA_NOT_JSON`, `SCHEMA_NOT_MODULE`, `SCHEMA_INVALID`
 */
export async function readSchema(file: string): Promise<DatasetSchema> {
  const text = settingsText(file, 'FILE_MISSING', 'the schema file');
  if (/\.m?[jt]s$/.test(file)) return parseSchema(await defaultExport(file), file);
  let value: unknown;
  try {
    value = JSON.parse(withoutComments(text));
  } catch (cause) {
    throw new ConfigError('SCHEMA_NOT_JSON', `${file} is not JSON: ${whyNotJson(text, cause)}`, { file, cause });
  }
  return parseSchema(value, file);
}

/**
 * The directory that a schema file's relative paths start from: its own, but of a dataset's copy that of the tables which the dataset was made
 * of, as its manifest says it relative to the dataset. So the copy reads the same tables wherever it is called from, and after a move of both.
 */
export async function schemaDirectory(file: string): Promise<string> {
  const own = dirname(resolve(file));
  if (basename(file) !== 'schema.json') return own;
  const text = await readFile(join(own, 'dataset.json'), 'utf8').catch(() => null);
  if (text === null) return own;
  try {
    const { format, tablesFrom } = JSON.parse(text) as { format?: unknown; tablesFrom?: unknown };
    if (format === 'larr-dataset' && typeof tablesFrom === 'string') return resolve(await realpath(own), tablesFrom);
  } catch {
    // No manifest of ours, or a damaged one: the paths start where any schema's do.
  }
  return own;
}

/** Node 20 loads no TypeScript, so jiti does; nothing is cached on disk. */
async function defaultExport(file: string): Promise<unknown> {
  const { createJiti } = await import('jiti');
  const load = createJiti(resolve(file), {
    fsCache: false,
    moduleCache: false,
    interopDefault: false,
    // What a module of types and data needs of this package, as the very functions that check it here.
    virtualModules: { '@larr/core': { defineSchema } },
  });
  const loaded = await load.import<{ default?: unknown }>(resolve(file)).catch((cause) => {
    if (cause instanceof LarrError) throw cause;
    throw new ConfigError('SCHEMA_NOT_MODULE', `${file} cannot be loaded: ${(cause as Error).message}`, {
      file,
      cause,
    });
  });
  if (loaded.default === undefined)
    throw new ConfigError('SCHEMA_NOT_MODULE', `${file} has no default export; write "export default { … }".`, {
      file,
    });
  return loaded.default;
}
