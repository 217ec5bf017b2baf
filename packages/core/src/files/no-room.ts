import { LarrError } from '../errors.js';

/** What the system says where a file system takes no more, in its own words, which DuckDB and LibTorch hand on, and by node's code. */
const troubles = [
  { code: 'ENOSPC', says: /No space left on device/i, is: 'the disk is full' },
  { code: 'EDQUOT', says: /Disk quota exceeded/i, is: 'the disk quota is used up' },
  {
    code: 'EFBIG',
    says: /File too large/i,
    is: 'a file is larger than the system lets this process write (ulimit -f)',
  },
] as const;

/** Why there was no room to write, in a few words; null where an error is of another sort. */
export function noRoom(error: unknown): string | null {
  if (!(error instanceof Error)) return null;
  // Of what LARR raises on purpose, only this may be a full disk: others may quote what a file of the user's says.
  if (error instanceof LarrError && error.code !== 'TENSOR_FILE') return null;
  const { code } = error as NodeJS.ErrnoException;
  return troubles.find((one) => one.code === code || one.says.test(error.message))?.is ?? null;
}

/**
 * The error as it came, or, where there was no room to write, one that names what was to be written and says what to do.
 * @param place what was written: an output, or the temporary directory
 * @param advice a sentence
 */
export function explainNoRoom(error: unknown, place: string, advice: string): unknown {
  const why = noRoom(error);
  return why === null
    ? error
    : new LarrError('SYSTEM', `${why}: ${place} cannot be written. ${advice}`, { file: place, cause: error });
}
