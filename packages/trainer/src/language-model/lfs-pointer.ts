import { closeSync, openSync, readSync } from 'node:fs';
import { dirname } from 'node:path';
import { DataError } from '@larr/core';

const BEGINNING = 'version https://git-lfs.github.com/spec/';

/**
 * Tells of a file that could not be read that it is what git leaves in a large file's place, where it is.
 * @param code of the error
 * @throws DataError
 */
export function refuseLfsPointer(path: string, code: string): void {
  let beginning: string;
  try {
    const file = openSync(path, 'r');
    const bytes = Buffer.alloc(BEGINNING.length);
    const read = readSync(file, bytes, 0, bytes.length, 0);
    closeSync(file);
    beginning = bytes.toString('latin1', 0, read);
  } catch {
    return;
  }
  if (beginning !== BEGINNING) return;
  throw new DataError(
    code,
    `${path} is not the file itself but a git-LFS pointer to it, as a clone without git-lfs leaves it. Fetch the files: install git-lfs and run "git lfs pull" in ${dirname(path)}.`,
    { file: path },
  );
}
