import { LarrError } from '@larr/core';

/**
 * What the online store needs of a database: bytes by key, and feeds that say which things changed. LMDB (embedded) and Redis do this
 * alike; what the bytes mean is feature-store.ts's business.
 */
export interface Store {
  readonly kind: 'lmdb' | 'redis';
  /** Whether it answered when it was asked last. While it is away, `get` fails at once instead of waiting. */
  readonly reachable: boolean;
  /** The value of a key; null where there is none. At once where the database is in this process. @throws StoreAway */
  get(key: string): Buffer | null | Promise<Buffer | null>;
  /** The same for what no request waits for: with more patience. @throws StoreAway */
  read(key: string): Promise<Buffer | null>;
  /** Writes all; they are on the disk, or with the server, when it resolves. @throws StoreAway */
  put(entries: readonly (readonly [key: string, value: Buffer])[]): Promise<void>;
  /** Writes those whose key has no value yet; what is there stays. @throws StoreAway */
  add(entries: readonly (readonly [key: string, value: Buffer])[]): Promise<void>;
  /**
   * Puts `merge(key, value)` in place of each key's value (null where there is none), with nobody writing between: of two who change one key at the
   * same time, the second merges into what the first wrote. `merge` may be asked again, so it must have no effects. @throws StoreAway
   */
  update(keys: readonly string[], merge: (key: string, before: Buffer | null) => Buffer): Promise<void>;
  /** Gives each member the next number of a feed; one that has a number already moves up. @throws StoreAway */
  announce(feed: string, members: readonly string[]): Promise<void>;
  /**
   * Members with a number above `since`, lowest first, at most `limit`; `last` is the number of the last of them, or `since` where there are
   * none. @throws StoreAway
   */
  changes(feed: string, since: number, limit: number): Promise<{ last: number; members: string[] }>;
  /** Takes a name for so long from now, if nobody else has it; the same owner renews it so. @throws StoreAway */
  claim(name: string, owner: string, milliseconds: number): Promise<boolean>;
  /** Gives a name back, if this owner has it. @throws StoreAway */
  release(name: string, owner: string): Promise<void>;
  /** Removes all keys, feeds and claims that begin so. @returns how many keys @throws StoreAway */
  drop(prefix: string): Promise<number>;
  /** What stands before the first colon of keys, each once. Reads through a shared database: nothing for a request. @throws StoreAway */
  names(): Promise<string[]>;
  /**
   * How many keys an earlier version of LARR left that this one does not read, and when a server of that version last said that it uses them.
   * @param glance true: not through all keys of a large database @throws StoreAway
   */
  earlier(options?: { glance?: boolean }): Promise<{ keys: number; used: Date | null }>;
  /** Removes these. @returns how many @throws StoreAway */
  dropEarlier(): Promise<number>;
  close(): Promise<void>;
}

/** The database does not answer. Who asks goes on without what it holds. */
export class StoreAway extends LarrError {
  constructor(reason: string, cause?: unknown) {
    super('STORE_AWAY', `the online store does not answer: ${reason}`, { cause });
  }
}
