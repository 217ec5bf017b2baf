import { constants } from 'node:fs';
import { access, lstat, readdir, readFile, realpath, stat } from 'node:fs/promises';
import { basename, dirname, join, relative, resolve, sep } from 'node:path';
import { UsageError } from '../errors.js';

/** Files that say what a directory is, and the `format` that makes it one of ours. */
const markers = [
  ['dataset.json', 'larr-dataset'],
  ['manifest.json', 'larr-bundle'],
] as const;

/**
 * Makes sure that a path is a directory or can become one: nothing on its way is a file, and what is there already may be written to.
 * @throws UsageError `OUT_NOT_A_DIRECTORY`, `OUT_NOT_WRITABLE`
 */
export async function mustBeDirectory(output: string): Promise<void> {
  const whole = resolve(output);
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
 * Makes sure that an output directory may be replaced: there is none, it is empty, or it is a dataset or bundle of ours. Long
 * work calls this before it begins; `buildDirectoryAtomic` does in any case.
 * @param only the one kind that may be replaced, so that a bundle never takes the place of a dataset
 * @throws UsageError `OUT_NOT_OURS`, `OUT_NOT_A_DIRECTORY`, `OUT_NOT_WRITABLE`
 */
export async function mustBeReplaceable(output: string, only?: (typeof markers)[number][1]): Promise<void> {
  await mustBeDirectory(output);
  if ((await stat(output).catch(() => null)) === null) return;
  if ((await readdir(output)).length === 0) return;
  for (const [file, format] of markers) {
    if (only !== undefined && format !== only) continue;
    const text = await readFile(join(output, file), 'utf8').catch(() => null);
    if (text !== null && formatOf(text) === format) return;
  }
  throw new UsageError(
    'OUT_NOT_OURS',
    `${output} holds files and is not a ${only === undefined ? 'dataset or bundle' : only === 'larr-bundle' ? 'bundle' : 'dataset'} that LARR wrote, so it is not replaced. Name a new or empty directory, or remove this one yourself.`,
    { file: output },
  );
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
async function realPath(path: string): Promise<string> {
  try {
    return await realpath(path);
  } catch {
    const parent = dirname(path);
    return parent === path ? path : join(await realPath(parent), basename(path));
  }
}
