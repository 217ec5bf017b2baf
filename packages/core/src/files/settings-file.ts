import { readFileSync } from 'node:fs';
import { UsageError } from '../errors.js';

/** Why a file that somebody named cannot be read. */
const reasons: Record<string, string> = {
  ENOENT: 'there is no such file',
  ENOTDIR: 'there is no such file',
  EISDIR: 'it is a directory',
  EACCES: 'permission is denied',
};

/**
 * The text of a file of settings that a person wrote, without the byte order mark that some editors put before it.
 * @param what what the file is, for the message: "the configuration"
 * @throws UsageError `code` where it cannot be read
 */
export function settingsText(file: string, code: string, what: string): string {
  try {
    return readFileSync(file, 'utf8').replace(/^\ufeff/, '');
  } catch (cause) {
    const reason = (cause as NodeJS.ErrnoException).code ?? '';
    throw new UsageError(code, `${what} ${file} can't be read: ${reasons[reason] ?? reason}. Check the path.`, {
      file,
      cause,
    });
  }
}

/** Why a text that should be JSON is none, as `JSON.parse` says it. */
export function whyNotJson(text: string, cause: unknown): string {
  return text.trim() === '' ? 'it is empty' : (cause as Error).message;
}
