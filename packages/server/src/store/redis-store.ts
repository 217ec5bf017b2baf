import { createHash } from 'node:crypto';
import { UsageError } from '@larr/core';
import { Cluster, Redis } from 'ioredis';
import { type Store, StoreAway } from './store.js';

export interface RedisOptions {
  /** Longest wait for an answer, milliseconds; beyond it the store counts as away. */
  timeoutMs?: number;
  /** How often a store that is away is asked whether it is back, milliseconds. */
  retryMs?: number;
}

/**
 * How keys and values are laid out. Another layout gets another number: its servers see nothing of what earlier ones wrote, load it from their bundles
 * again, and say that old keys are left (`earlier`). Servers of two versions may share a database while one takes the other's place.
 */
const LAYOUT = 2;

/** Values, claims and feeds have beginnings of their own, so that none is taken for another. */
const PREFIX = `larr:${LAYOUT}:v:`;
const CLAIMS = `larr:${LAYOUT}:c:`;
const FEEDS = `larr:${LAYOUT}:f:`;

/** Keys of the layouts before they were numbered, and of those with a lower number. Nothing else that begins with "larr:", as a sink's stream may. */
const EARLIER = [/^larr:[vcf]:/, /^larr:(claim:|feed:\{)/, /^larr:[0-9a-f]{12}:(meta$|used$|[up]:)/];
const isEarlier = (key: string): boolean => {
  const layout = /^larr:(\d{1,4}):[vcf]:/.exec(key)?.[1];
  return layout === undefined ? EARLIER.some((pattern) => pattern.test(key)) : Number(layout) < LAYOUT;
};

/** When data of an earlier layout were used last. Names hold no colon, as what users and POIs are called may. */
const EARLIER_MARK = /^larr:(?:(?:\d{1,4}:)?v:[^:]+|[0-9a-f]{12}):used$/;

/** Keys that one SCAN goes through, about. */
const SCANNED = 1000;

/** A look at the start goes through this many keys at most, about: the database may have others' too. */
const GLANCE = 100_000;

/** Numbers members of a feed and moves its counter in one step, so that no reader sees a number before the one below it. */
const ANNOUNCE = `
local last = tonumber(redis.call('GET', KEYS[1]) or '0')
for _, member in ipairs(ARGV) do
  last = last + 1
  redis.call('ZADD', KEYS[2], last, member)
end
redis.call('SET', KEYS[1], string.format('%.0f', last))
return last`;

/** Sets a value where the one before has this digest ('' = there was none): what was merged into is what is replaced. */
const REPLACE = `
local before = redis.call('GET', KEYS[1])
if (before and redis.sha1hex(before) or '') ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
return 1`;

const CLAIM = `
local owner = redis.call('GET', KEYS[1])
if owner and owner ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1`;

const RELEASE = `
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])`;

/**
 * The store in Redis (redis://, rediss://) or a Redis Cluster (redis-cluster://host:port,host:port). An answer that does not come in time opens a
 * circuit: until Redis has answered a ping again, every call fails at once, so no request waits for a server that is away.
 */
export class RedisStore implements Store {
  readonly kind = 'redis';
  readonly #client: Redis | Cluster;
  readonly #timeoutMs: number;
  readonly #retryMs: number;
  #reachable = false;
  #closed = false;
  #probe: NodeJS.Timeout | null = null;

  private constructor(client: Redis | Cluster, { timeoutMs = 50, retryMs = 250 }: RedisOptions) {
    this.#client = client;
    this.#timeoutMs = timeoutMs;
    this.#retryMs = retryMs;
    // Every failure is met where it is asked; without a listener the library prints them.
    client.on('error', () => {});
  }

  /**
   * Connects; a server that is not there counts as away, and is asked again and again.
   * @throws UsageError STORE_URL
   */
  static async open(url: string, options: RedisOptions = {}): Promise<RedisStore> {
    const store = new RedisStore(clientOf(url), options);
    await store.#ping(Math.max(1000, store.#timeoutMs));
    return store;
  }

  get reachable(): boolean {
    return this.#reachable;
  }

  get(key: string): Promise<Buffer | null> {
    return this.#ask((client) => client.getBuffer(PREFIX + key));
  }

  read(key: string): Promise<Buffer | null> {
    return this.#ask((client) => client.getBuffer(PREFIX + key), 20);
  }

  async put(entries: readonly (readonly [string, Buffer])[]): Promise<void> {
    // One by one: keys of a cluster lie on several servers. The client sends those of one turn together.
    for (let from = 0; from < entries.length; from += 1000) {
      const some = entries.slice(from, from + 1000);
      await this.#ask((client) => Promise.all(some.map(([key, value]) => client.set(PREFIX + key, value))), 100);
    }
  }

  async add(entries: readonly (readonly [string, Buffer])[]): Promise<void> {
    for (let from = 0; from < entries.length; from += 1000) {
      const some = entries.slice(from, from + 1000);
      await this.#ask((client) => Promise.all(some.map(([key, value]) => client.setnx(PREFIX + key, value))), 100);
    }
  }

  async update(keys: readonly string[], merge: (key: string, before: Buffer | null) => Buffer): Promise<void> {
    // Those that somebody else changed between the look and the write are tried again; each time one of all who try succeeds.
    for (let left = [...keys]; left.length > 0; ) {
      const some = left.slice(0, 1000);
      const done = await this.#ask((client) => Promise.all(some.map((key) => replaced(client, key, merge))), 100);
      left = [...some.filter((_, i) => !done[i]), ...left.slice(1000)];
    }
  }

  async announce(feed: string, members: readonly string[]): Promise<void> {
    for (let from = 0; from < members.length; from += 1000) {
      const some = members.slice(from, from + 1000);
      await this.#ask((client) => client.eval(ANNOUNCE, 2, counterOf(feed), feedOf(feed), ...some), 100);
    }
  }

  async changes(feed: string, since: number, limit: number): Promise<{ last: number; members: string[] }> {
    const found = await this.#ask(
      (client) => client.zrangebyscore(feedOf(feed), `(${since}`, '+inf', 'WITHSCORES', 'LIMIT', 0, limit),
      20,
    );
    const members = found.filter((_, i) => i % 2 === 0);
    return { last: members.length === 0 ? since : Number(found.at(-1)), members };
  }

  async claim(name: string, owner: string, milliseconds: number): Promise<boolean> {
    const key = `${CLAIMS}${name}`;
    return (await this.#ask((client) => client.eval(CLAIM, 1, key, owner, Math.ceil(milliseconds)), 20)) === 1;
  }

  async release(name: string, owner: string): Promise<void> {
    await this.#ask((client) => client.eval(RELEASE, 1, `${CLAIMS}${name}`, owner), 20);
  }

  async names(): Promise<string[]> {
    const names = new Set<string>();
    await this.#scan(`${PREFIX}*`, async (keys) => {
      for (const key of keys) names.add(key.slice(PREFIX.length).split(':', 1)[0]!);
    });
    return [...names].sort();
  }

  async drop(prefix: string): Promise<number> {
    let values = 0;
    for (const beginning of [PREFIX, CLAIMS, `${FEEDS}{`]) {
      await this.#scan(`${beginning}${escapeGlob(prefix)}*`, async (keys) => {
        const gone = await this.#ask((client) => Promise.all(keys.map((key) => client.del(key))), 100);
        if (beginning === PREFIX) values += gone.reduce((sum, one) => sum + one, 0);
      });
    }
    return values;
  }

  async earlier({ glance = false } = {}): Promise<{ keys: number; used: Date | null }> {
    let keys = 0;
    let used = 0;
    await this.#scan(
      'larr:*',
      async (found) => {
        const old = found.filter(isEarlier);
        keys += old.length;
        const marks = old.filter((key) => EARLIER_MARK.test(key));
        const said = await this.#ask((client) => Promise.all(marks.map((key) => client.get(key))), 100);
        for (const at of said) used = Math.max(used, Number(at) || 0);
      },
      glance ? GLANCE : Number.POSITIVE_INFINITY,
    );
    return { keys, used: used === 0 ? null : new Date(used) };
  }

  async dropEarlier(): Promise<number> {
    let dropped = 0;
    await this.#scan('larr:*', async (found) => {
      const old = found.filter(isEarlier);
      const gone = await this.#ask((client) => Promise.all(old.map((key) => client.del(key))), 100);
      dropped += gone.reduce((sum, one) => sum + one, 0);
    });
    return dropped;
  }

  async close(): Promise<void> {
    this.#closed = true;
    if (this.#probe !== null) clearTimeout(this.#probe);
    this.#client.disconnect();
  }

  /** @param patience how many times longer than a request this may take: what is not waited for by a user */
  async #ask<T>(question: (client: Redis | Cluster) => Promise<T>, patience = 1): Promise<T> {
    if (!this.#reachable) throw new StoreAway('it did not answer before');
    try {
      return await within(this.#timeoutMs * patience, question(this.#client));
    } catch (error) {
      this.#away();
      throw new StoreAway((error as Error).message, error);
    }
  }

  /** All keys like this, some at a time; one may come twice. @param most of a node, how many of all its keys are looked at, about */
  async #scan(
    pattern: string,
    some: (keys: string[]) => Promise<void>,
    most = Number.POSITIVE_INFINITY,
  ): Promise<void> {
    const nodes = this.#client instanceof Cluster ? this.#client.nodes('master') : [this.#client];
    for (const node of nodes) {
      let cursor = '0';
      let looked = 0;
      do {
        const [next, keys] = await this.#ask(() => node.scan(cursor, 'MATCH', pattern, 'COUNT', SCANNED), 100);
        cursor = next;
        if (keys.length > 0) await some(keys);
        looked += SCANNED;
      } while (cursor !== '0' && looked < most);
    }
  }

  /** Opens the circuit, and asks until there is an answer. */
  #away(): void {
    if (!this.#reachable || this.#closed) return;
    this.#reachable = false;
    this.#later();
  }

  #later(): void {
    if (this.#closed || this.#probe !== null) return;
    this.#probe = setTimeout(() => {
      this.#probe = null;
      void this.#ping(Math.max(1000, this.#timeoutMs));
    }, this.#retryMs).unref();
  }

  async #ping(patienceMs: number): Promise<void> {
    try {
      if (this.#client.status === 'wait') await within(patienceMs, this.#client.connect());
      await within(patienceMs, this.#client.ping());
      this.#reachable = !this.#closed;
    } catch {
      this.#reachable = false;
      this.#later();
    }
  }
}

/** @returns false where somebody changed the value meanwhile */
async function replaced(
  client: Redis | Cluster,
  key: string,
  merge: (key: string, before: Buffer | null) => Buffer,
): Promise<boolean> {
  const before = await client.getBuffer(PREFIX + key);
  const digest = before === null ? '' : createHash('sha1').update(before).digest('hex');
  return (await client.eval(REPLACE, 1, PREFIX + key, digest, merge(key, before))) === 1;
}

const counterOf = (feed: string): string => `${FEEDS}{${feed}}:last`;
const feedOf = (feed: string): string => `${FEEDS}{${feed}}`;
const escapeGlob = (text: string): string => text.replaceAll(/[\\*?[\]]/g, '\\$&');

/** @throws UsageError STORE_URL */
function clientOf(url: string): Redis | Cluster {
  const options = {
    lazyConnect: true,
    // What cannot be sent now fails now.
    enableOfflineQueue: false,
    maxRetriesPerRequest: 0,
    connectTimeout: 1000,
    enableAutoPipelining: true,
    retryStrategy: (times: number) => Math.min(50 * 2 ** times, 1000),
  };
  if (!url.startsWith('redis-cluster://') && !url.startsWith('rediss-cluster://')) {
    if (!URL.canParse(url)) throw badUrl(url);
    return new Redis(url, options);
  }
  const tls = url.startsWith('rediss');
  const [, credentials, hosts] = /^rediss?-cluster:\/\/(?:([^@/]*)@)?([^@/]+)\/?$/.exec(url) ?? [];
  if (hosts === undefined) throw badUrl(url);
  const [username, password] = (credentials ?? '').split(':').map(decodeURIComponent) as [string, string?];
  const nodes = hosts.split(',').map((part) => {
    const found = /^(\[[^\]]+\]|[^:]+):(\d+)$/.exec(part);
    if (found === null) throw badUrl(url);
    return { host: found[1]!.replaceAll(/[[\]]/g, ''), port: Number(found[2]) };
  });
  return new Cluster(nodes, {
    lazyConnect: true,
    enableOfflineQueue: false,
    enableAutoPipelining: true,
    clusterRetryStrategy: options.retryStrategy,
    redisOptions: {
      connectTimeout: options.connectTimeout,
      ...(tls ? { tls: {} } : {}),
      ...(username === '' ? {} : { username }),
      ...(password === undefined ? {} : { password }),
    },
  });
}

/** Never shows the URL: it may hold a password. */
function badUrl(url: string): UsageError {
  return new UsageError(
    'STORE_URL',
    `the address of the store, ${url.split('://', 1)[0]}://…, is not one of redis://[user:password@]host:port[/number], rediss://… and redis-cluster://host:port,host:port`,
  );
}

/** @throws Error where it takes longer */
function within<T>(milliseconds: number, work: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      // Where it was this process that was busy, the answer may have come long since: what is there is read before this.
      setImmediate(() => setImmediate(() => reject(new Error(`no answer within ${milliseconds} ms`))));
    }, milliseconds);
    work.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}
