import { constants } from 'node:fs';
import { access, lstat, readdir, readFile, realpath, stat } from 'node:fs/promises';
import { basename, dirname, join, relative, resolve, sep } from 'node:path';
import { PARTS } from '../dataset/manifest.js';
import { UsageError } from '../errors.js';

/** Files that say what a directory is, and the `format` that makes it one of ours. */
const markers = [
  { file: 'dataset.json', format: 'larr-dataset', kind: 'dataset' },
  { file: 'manifest.json', format: 'larr-bundle', kind: 'bundle' },
] as const;
type Marker = (typeof markers)[number];

/** Every file that is written into a dataset; "*" stands for any part of a name. */
const datasetFiles = [
  'dataset.json',
  'schema.json',
  'tables/*.parquet',
  'texts/pois.parquet',
  'store/*.parquet',
  'splits/*/pairs.parquet',
  'splits/*/texts/users.parquet',
  'splits/*/vocabulary/*.json',
  ...PARTS.map((part) => `splits/*/${part}/part-*.parquet`),
  'corpus/*.jsonl',
  'controls/*.parquet',
  'controls/*.json',
];

/**
 * Makes sure that a path is a directory or can become one: nothing on its way is a file or a dataset or bundle, and what is there
 * already may be written to.
 * @throws UsageError `OUT_NOT_A_DIRECTORY`, `OUT_NOT_WRITABLE`, `OUT_INSIDE`
 */
export async function mustBeDirectory(output: string): Promise<void> {
  const whole = resolve(output);
  await mustBeOutside(output);
  for (let path = whole; ; path = dirname(path)) {
    const found = await stat(path).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return null;
      throw new UsageError('OUT_NOT_WRITABLE', `${output} cannot be looked at: ${error.message}.`, { file: output });
    });
    const what = path === whole ? `${output} is` : `${output} cannot be made: ${path} is`;
    if (found === null) {
      // A link that leads nowhere looks like nothing, and nothing can be made in its place.
      const link = await lstat(path).catch(() => null);
      if (link === null) continue;
      throw new UsageError('OUT_NOT_A_DIRECTORY', `${what} a link that leads nowhere. Name another directory.`, {
        file: output,
      });
    }
    if (!found.isDirectory())
      throw new UsageError('OUT_NOT_A_DIRECTORY', `${what} a file, not a directory. Name another directory.`, {
        file: output,
      });
    await access(path, constants.W_OK | constants.X_OK).catch(() => {
      throw new UsageError(
        'OUT_NOT_WRITABLE',
        `${what} not writable for this user. Name another directory, or change its permissions.`,
        { file: output },
      );
    });
    return;
  }
}

/**
 * Makes sure that a path is not below a dataset or bundle: these are replaced as a whole, with all that is in them.
 * @throws UsageError `OUT_INSIDE`
 */
export async function mustBeOutside(output: string): Promise<void> {
  const whole = await realPath(resolve(output));
  for (let path = dirname(whole); ; path = dirname(path)) {
    const marker = await markerOf(path);
    if (marker !== null)
      throw new UsageError(
        'OUT_INSIDE',
        `${output} would lie in the ${marker.kind} ${path}, which is replaced as a whole when it is made again. Name a place outside of it.`,
        { file: output },
      );
    if (path === dirname(path)) return;
  }
}

/**
 * Makes sure that an output directory may be replaced: there is none, it is empty, or it is a dataset or bundle of ours with nothing
 * else in it. Long work calls this before it begins; `buildDirectoryAtomic` does in any case.
 * @param only the one kind that may be replaced, so that a bundle never takes the place of a dataset
 * @throws UsageError `OUT_NOT_OURS`, `OUT_NOT_A_DIRECTORY`, `OUT_NOT_WRITABLE`, `OUT_INSIDE`
 */
export async function mustBeReplaceable(output: string, only?: Marker['format']): Promise<void> {
  await mustBeDirectory(output);
  if ((await stat(output).catch(() => null)) === null) return;
  if ((await readdir(output)).length === 0) return;
  const marker = await markerOf(output, only);
  if (marker === null)
    throw new UsageError(
      'OUT_NOT_OURS',
      `${output} holds files and is not a ${only === undefined ? 'dataset or bundle' : only === 'larr-bundle' ? 'bundle' : 'dataset'} that LARR wrote, so it is not replaced. Name a new or empty directory, or remove this one yourself.`,
      { file: output },
    );
  const foreign = await foreignEntries(output, marker.kind === 'dataset' ? datasetFiles : await bundleFiles(output));
  if (foreign.length === 0) return;
  const shown = foreign.slice(0, 5).join(', ');
  throw new UsageError(
    'OUT_NOT_OURS',
    `${output} is a ${marker.kind}, but holds what is no part of it and would be lost with it: ${shown}${
      foreign.length > 5 ? `, … (${foreign.length} in all)` : ''
    }. Move that elsewhere, or name another directory.`,
    { file: output },
  );
}

/** What a directory says it is; null where it is nothing of ours, or not of the kind asked for. */
async function markerOf(directory: string, only?: Marker['format']): Promise<Marker | null> {
  for (const marker of markers) {
    if (only !== undefined && marker.format !== only) continue;
    const text = await readFile(join(directory, marker.file), 'utf8').catch(() => null);
    if (text !== null && formatOf(text) === marker.format) return marker;
  }
  return null;
}

/** The files of a bundle, by its manifest. */
async function bundleFiles(directory: string): Promise<string[]> {
  const { files } = JSON.parse(await readFile(join(directory, 'manifest.json'), 'utf8')) as { files?: object | null };
  return ['manifest.json', ...Object.keys(files ?? {})];
}

/**
 * Files and folders that none of the patterns stands for, as paths from the directory; of a foreign folder it alone, not what is in it.
 * A folder that patterns lead into may be empty.
 */
async function foreignEntries(directory: string, patterns: readonly string[]): Promise<string[]> {
  const known = patterns.map((pattern) => pattern.split('/'));
  const foreign: string[] = [];
  const walk = async (folder: string[]) => {
    for (const entry of await readdir(join(directory, ...folder), { withFileTypes: true })) {
      const path = [...folder, entry.name];
      const leads = known.some(
        (pattern) =>
          (entry.isDirectory() ? pattern.length > path.length : pattern.length === path.length) &&
          path.every((name, i) => isLike(name, pattern[i]!)),
      );
      if (!leads) foreign.push(`${path.join('/')}${entry.isDirectory() ? '/' : ''}`);
      else if (entry.isDirectory()) await walk(path);
    }
  };
  await walk([]);
  return foreign.sort();
}

function isLike(name: string, pattern: string): boolean {
  if (!pattern.includes('*')) return name === pattern;
  const [start, end] = pattern.split('*') as [string, string];
  return name.length >= start.length + end.length && name.startsWith(start) && name.endsWith(end);
}

function formatOf(text: string): unknown {
  try {
    return (JSON.parse(text) as { format?: unknown } | null)?.format;
  } catch {
    return undefined;
  }
}

/**
 * Makes sure that replacing an output directory removes none of the files that it is to be made from.
 * @param inputs files, folders or glob patterns
 * @throws UsageError `OUT_HOLDS_INPUT`
 */
export async function mustNotHold(output: string, inputs: readonly string[]): Promise<void> {
  const outside = await realPath(resolve(output));
  for (const input of inputs) {
    const segments = resolve(input).split(sep);
    const pattern = segments.findIndex((s) => /[*?[\]{}]/.test(s));
    const path = await realPath(pattern < 0 ? segments.join(sep) : segments.slice(0, pattern).join(sep) || sep);
    const way = relative(outside, path);
    if (way === '..' || way.startsWith(`..${sep}`)) continue;
    throw new UsageError(
      'OUT_HOLDS_INPUT',
      `The output directory ${output} holds the input ${input}, which replacing it would remove. Name another output directory.`,
      { file: output },
    );
  }
}

/** The path without links, also of what does not exist yet. */
export async function realPath(path: string): Promise<string> {
  try {
    return await realpath(path);
  } catch {
    const parent = dirname(path);
    return parent === path ? path : join(await realPath(parent), basename(path));
  }
}
