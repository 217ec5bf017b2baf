import { timingSafeEqual } from 'node:crypto';
import type { Scope } from '../api/operation.js';
import { digestOfKey, idOfKey, readKeys, type StoredKey } from './key-file.js';
import { type Watch, watchFiles } from './watched-file.js';

/** What a good key allows. */
export interface Grant {
  readonly id: string;
  readonly name: string;
  readonly scopes: ReadonlySet<Scope>;
  /** requests a second; null for the server's own limit */
  readonly rate: number | null;
}

interface Held extends Grant {
  readonly digest: Buffer;
  /** milliseconds since 1970 */
  readonly expires: number;
}

export type Checked = { grant: Grant } | { refused: 'unknown' | 'expired' };

/** Compared with where an id is unknown, so that this takes as long as a wrong secret. */
const NOBODY = Buffer.alloc(32);

/** The keys that a server knows, as of its key file. */
export class KeyRing {
  #keys: ReadonlyMap<string, Held>;
  #watch: Watch | null = null;

  constructor(keys: readonly StoredKey[]) {
    this.#keys = held(keys);
  }

  /**
   * Reads the file, and reads it again when it changes. One that has become unreadable changes nothing: the keys that were good go on being good.
   * @param reloaded told of each time, with the reason where it failed
   * @throws ConfigError those of readKeys
   */
  static async open(
    file: string,
    reloaded: (keys: number, error: Error | null) => void,
    everyMs?: number,
  ): Promise<KeyRing> {
    // Watched before it is read, so that no change falls between the two.
    let ring: KeyRing | null = null;
    const watch = await watchFiles(
      [file],
      async () => {
        if (ring === null) return;
        try {
          ring.#keys = held(await readKeys(file));
          reloaded(ring.size, null);
        } catch (error) {
          reloaded(ring.size, error as Error);
        }
      },
      everyMs,
    );
    try {
      ring = new KeyRing(await readKeys(file));
    } catch (error) {
      watch.close();
      throw error;
    }
    ring.#watch = watch;
    return ring;
  }

  get size(): number {
    return this.#keys.size;
  }

  /** Whether a key is one of these, in constant time as far as its secret goes. */
  check(key: string, now = Date.now()): Checked {
    const id = idOfKey(key);
    if (id === null) return { refused: 'unknown' };
    const found = this.#keys.get(id);
    const same = timingSafeEqual(digestOfKey(key), found?.digest ?? NOBODY);
    if (found === undefined || !same) return { refused: 'unknown' };
    if (found.expires <= now) return { refused: 'expired' };
    return { grant: found };
  }

  close(): void {
    this.#watch?.close();
  }
}

function held(keys: readonly StoredKey[]): Map<string, Held> {
  return new Map(
    keys.map(({ id, name, scopes, sha256, expires, rate }) => [
      id,
      {
        id,
        name,
        scopes: new Set(scopes),
        rate,
        digest: Buffer.from(sha256, 'hex'),
        expires: expires === null ? Number.POSITIVE_INFINITY : Date.parse(expires),
      },
    ]),
  );
}
