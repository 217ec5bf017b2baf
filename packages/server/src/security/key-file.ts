import { createHash, randomBytes } from 'node:crypto';
import { type FileHandle, open, readFile, rm, stat } from 'node:fs/promises';
import { ConfigError, UsageError, writeFileAtomic } from '@larr/core';
import { z } from 'zod';
import type { Scope } from '../api/operation.js';

/** What a key may be allowed: `rank` (rank, score, recall, catalogue), `events`, `read` (reports, runs, health, metrics), `admin`. None includes another. */
export const SCOPES = ['rank', 'events', 'read', 'admin'] as const satisfies readonly Scope[];

const StoredKey = z.strictObject({
  id: z.string().regex(/^[a-z0-9]{10}$/),
  name: z.string().min(1).max(100),
  scopes: z.array(z.enum(SCOPES)).min(1),
  /** SHA-256 of the whole key, hex */
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
  created: z.iso.datetime(),
  /** from then on it is refused; null for never */
  expires: z.iso.datetime().nullable(),
  /** requests a second; null for the server's own limit */
  rate: z.number().positive().nullable(),
});
export type StoredKey = z.infer<typeof StoredKey>;

const KeyFile = z.strictObject({
  format: z.literal('larr-keys'),
  version: z.literal(1),
  keys: z.array(StoredKey),
});

/** A key as its user holds it: `larr_<id>_<secret>`, the secret 32 random bytes in base64url. */
const KEY = /^larr_([a-z0-9]{10})_[A-Za-z0-9_-]{43}$/;

/** The id within a key, by which it is found; null where the text is no key. */
export function idOfKey(key: string): string | null {
  return KEY.exec(key)?.[1] ?? null;
}

/**
 * The digest that is kept of a key. SHA-256, not a memory-hard function: those make guessing passwords dear, and there is nothing to guess here.
 * The secret is 256 random bits, so that trying even 10^15 a second would find it after 10^54 years, and no table made before can hold it; a hash
 * that takes 100 ms would only give whoever sends wrong keys a way to keep the server busy.
 */
export function digestOfKey(key: string): Buffer {
  return createHash('sha256').update(key).digest();
}

export interface NewKey {
  name: string;
  scopes: readonly Scope[];
  expires: Date | null;
  rate: number | null;
}

/** Makes a key. The text is in no file: who loses it makes another. */
export function makeKey({ name, scopes, expires, rate }: NewKey, now = new Date()): { key: string; stored: StoredKey } {
  const letters = 'abcdefghijklmnopqrstuvwxyz0123456789';
  // 252 is the largest multiple of 36 in a byte: without the rest no letter is likelier than another.
  let id = '';
  while (id.length < 10) {
    const [byte] = randomBytes(1);
    if (byte! < 252) id += letters[byte! % 36];
  }
  const key = `larr_${id}_${randomBytes(32).toString('base64url')}`;
  const stored: StoredKey = {
    id,
    name,
    scopes: [...new Set(scopes)],
    sha256: digestOfKey(key).toString('hex'),
    created: now.toISOString(),
    expires: expires?.toISOString() ?? null,
    rate,
  };
  return { key, stored };
}

/**
 * Reads a key file.
 * @throws ConfigError KEYS_MISSING, KEYS_INVALID, KEYS_WRITABLE (others than its owner could add keys of their own)
 */
export async function readKeys(file: string): Promise<StoredKey[]> {
  let text: string;
  try {
    const { mode } = await stat(file);
    if ((mode & 0o022) !== 0)
      throw new ConfigError(
        'KEYS_WRITABLE',
        `${file}: others than its owner may write this file, and could give themselves keys: chmod go-w ${file}`,
        { file },
      );
    text = await readFile(file, 'utf8');
  } catch (error) {
    if (error instanceof ConfigError) throw error;
    const { code } = error as NodeJS.ErrnoException;
    throw new ConfigError(
      'KEYS_MISSING',
      code === 'ENOENT'
        ? `${file}: no such file. Make a key: larr-server keys add --keys ${file} --name NAME --scopes rank`
        : `${file} cannot be read (${code ?? 'unknown reason'})`,
      { file, cause: error },
    );
  }
  return parseKeys(text, file);
}

function parseKeys(text: string, file: string): StoredKey[] {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new ConfigError('KEYS_INVALID', `${file}: not JSON. Is it the file of "larr-server keys"?`, { file, cause });
  }
  const parsed = KeyFile.safeParse(value);
  if (!parsed.success) {
    const issue = parsed.error.issues[0]!;
    const field = issue.path.join('.');
    throw new ConfigError(
      'KEYS_INVALID',
      `${file}: ${field === '' ? 'the document' : field}: ${issue.message}. Mend it, or make the key again`,
      { file, field },
    );
  }
  const { keys } = parsed.data;
  const twice = keys.find(({ id }, i) => keys.findIndex((other) => other.id === id) !== i);
  if (twice !== undefined)
    throw new ConfigError('KEYS_INVALID', `${file}: the id ${twice.id} stands there twice; remove one`, { file });
  return keys;
}

/**
 * Changes a key file, which is made where there is none. Readers see the old or the new one whole.
 * @throws ConfigError those of readKeys; UsageError IN_USE where another command changes it now
 */
export async function changeKeys<T>(
  file: string,
  change: (keys: StoredKey[]) => { keys: StoredKey[]; result: T },
): Promise<T> {
  // Two that read, change and write at once would lose a revocation.
  const lock = `${file}.lock`;
  let held: FileHandle;
  try {
    held = await open(lock, 'wx');
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'EEXIST') throw cannotWrite(file, cause);
    throw new UsageError(
      'IN_USE',
      `${file} is being changed by another command. Where none runs, remove ${lock} and try again`,
      { file, cause },
    );
  }
  try {
    const mode = await stat(file).then(
      (found) => found.mode & 0o777,
      () => null,
    );
    const { keys, result } = change(mode === null ? [] : await readKeys(file));
    const document: z.infer<typeof KeyFile> = { format: 'larr-keys', version: 1, keys };
    try {
      await writeFileAtomic(file, `${JSON.stringify(document, null, 2)}\n`, mode ?? 0o600);
    } catch (cause) {
      throw cannotWrite(file, cause);
    }
    return result;
  } finally {
    await held.close();
    await rm(lock, { force: true });
  }
}

function cannotWrite(file: string, cause: unknown): ConfigError {
  const { code } = cause as NodeJS.ErrnoException;
  return new ConfigError('KEYS_UNWRITABLE', `${file} cannot be written (${code ?? 'unknown reason'})`, { file, cause });
}
