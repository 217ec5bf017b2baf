import { makeDirectory } from '@larr/core';
import { open, type RootDatabase } from 'lmdb';
import type { Store } from './store.js';

const VALUE = 'v';
const FEED_AT = 'a';
const FEED_OF = 'o';
const FEED_LAST = 'l';
const CLAIM = 'c';

/**
 * The store in a directory, read through a memory map: a read copies one value and takes no system call. Several processes of one
 * machine may share the directory.
 */
export class LmdbStore implements Store {
  readonly kind = 'lmdb';
  readonly reachable = true;
  readonly #db: RootDatabase<Buffer, (string | number)[]>;

  /** @param lasting false: a crash of the machine may lose what was written, as it is made again anyway */
  constructor(directory: string, lasting = true) {
    makeDirectory(directory);
    this.#db = open<Buffer, (string | number)[]>({
      path: directory,
      encoding: 'binary',
      noSync: !lasting,
      overlappingSync: lasting,
    });
  }

  get(key: string): Buffer | null {
    return this.#db.get([VALUE, key]) ?? null;
  }

  async read(key: string): Promise<Buffer | null> {
    return this.get(key);
  }

  async put(entries: readonly (readonly [string, Buffer])[]): Promise<void> {
    await this.#db.transaction(() => {
      for (const [key, value] of entries) this.#db.put([VALUE, key], value);
    });
    await this.#db.flushed;
  }

  async add(entries: readonly (readonly [string, Buffer])[]): Promise<void> {
    await this.#db.transaction(() => {
      for (const [key, value] of entries)
        if (this.#db.get([VALUE, key]) === undefined) this.#db.put([VALUE, key], value);
    });
    await this.#db.flushed;
  }

  async update(keys: readonly string[], merge: (key: string, before: Buffer | null) => Buffer): Promise<void> {
    await this.#db.transaction(() => {
      for (const key of keys) this.#db.put([VALUE, key], merge(key, this.get(key)));
    });
    await this.#db.flushed;
  }

  async announce(feed: string, members: readonly string[]): Promise<void> {
    await this.#db.transaction(() => {
      let last = this.#number([FEED_LAST, feed]);
      for (const member of members) {
        const before = this.#db.get([FEED_OF, feed, member]);
        if (before !== undefined) this.#db.remove([FEED_AT, feed, before.readDoubleLE()]);
        last++;
        this.#db.put([FEED_OF, feed, member], double(last));
        this.#db.put([FEED_AT, feed, last], Buffer.from(member));
      }
      this.#db.put([FEED_LAST, feed], double(last));
    });
    await this.#db.flushed;
  }

  async changes(feed: string, since: number, limit: number): Promise<{ last: number; members: string[] }> {
    const members: string[] = [];
    let last = since;
    for (const { key, value } of this.#db.getRange({
      start: [FEED_AT, feed, since + 1],
      end: [FEED_AT, feed, Number.MAX_SAFE_INTEGER],
      limit,
    })) {
      last = key[2] as number;
      members.push(value.toString());
    }
    return { last, members };
  }

  async claim(name: string, owner: string, milliseconds: number): Promise<boolean> {
    return this.#db.transaction(() => {
      const held = this.#claim(name);
      if (held !== null && held.owner !== owner && held.until > Date.now()) return false;
      this.#db.put([CLAIM, name], Buffer.concat([double(Date.now() + milliseconds), Buffer.from(owner)]));
      return true;
    });
  }

  async release(name: string, owner: string): Promise<void> {
    await this.#db.transaction(() => {
      if (this.#claim(name)?.owner === owner) this.#db.remove([CLAIM, name]);
    });
  }

  async names(): Promise<string[]> {
    const names: string[] = [];
    for (let from = ''; ; ) {
      const [first] = this.#db.getKeys({ start: [VALUE, from], end: [VALUE, '\uffff'], limit: 1 });
      if (first === undefined) return names;
      const name = (first[1] as string).split(':', 1)[0]!;
      names.push(name);
      // what sorts behind all keys that begin with the name and a colon
      from = `${name};`;
    }
  }

  async drop(prefix: string): Promise<number> {
    let values = 0;
    for (const kind of [VALUE, FEED_AT, FEED_OF, FEED_LAST, CLAIM]) {
      for (;;) {
        const range = { start: [kind, prefix], end: [kind, `${prefix}\uffff`], limit: 10_000 };
        const found = [...this.#db.getKeys(range)];
        if (found.length === 0) break;
        await this.#db.transaction(() => {
          for (const key of found) this.#db.remove(key);
        });
        if (kind === VALUE) values += found.length;
      }
    }
    await this.#db.flushed;
    return values;
  }

  /** A directory has had one layout only. */
  async earlier(): Promise<{ keys: number; used: Date | null }> {
    return { keys: 0, used: null };
  }

  async dropEarlier(): Promise<number> {
    return 0;
  }

  async close(): Promise<void> {
    await this.#db.close();
  }

  #claim(name: string): { owner: string; until: number } | null {
    const found = this.#db.get([CLAIM, name]);
    return found === undefined ? null : { owner: found.toString('utf8', 8), until: found.readDoubleLE() };
  }

  #number(key: (string | number)[]): number {
    return this.#db.get(key)?.readDoubleLE() ?? 0;
  }
}

function double(value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeDoubleLE(value);
  return bytes;
}
