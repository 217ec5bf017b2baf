import { mkdirSync, statSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { UsageError } from '../errors.js';

/**
 * Makes a directory and those above it that are missing, each tried once. Node's own recursive `mkdir` never ends, and cannot be interrupted, where a file
 * system says that there is no such directory whenever one is to be made in it, as /proc does.
 * @returns the first directory that was made, whole; undefined where all were there
 * @throws UsageError `OUT_NOT_WRITABLE`, `OUT_NOT_A_DIRECTORY`
 */
export function makeDirectory(path: string): string | undefined {
  const missing: string[] = [];
  let at = resolve(path);
  while (found(at) === null && dirname(at) !== at) {
    missing.push(at);
    at = dirname(at);
  }
  let first: string | undefined;
  for (const directory of missing.reverse()) {
    try {
      mkdirSync(directory);
      first ??= directory;
    } catch (cause) {
      const { code, message } = cause as NodeJS.ErrnoException;
      // Another process was quicker.
      if (code === 'EEXIST' && found(directory) === 'directory') continue;
      throw new UsageError(
        'OUT_NOT_WRITABLE',
        `${path} cannot be made: ${dirname(directory)} takes no new directories (${message}). Name another directory`,
        { file: path, cause },
      );
    }
  }
  if (found(resolve(path)) !== 'directory')
    throw new UsageError('OUT_NOT_A_DIRECTORY', `${path} is a file, not a directory. Name another directory`, {
      file: path,
    });
  return first;
}

/** What is at a path, as far as one can look. */
function found(path: string): 'directory' | 'other' | null {
  try {
    return statSync(path).isDirectory() ? 'directory' : 'other';
  } catch {
    return null;
  }
}
