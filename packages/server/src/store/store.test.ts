import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DuckdbSession } from '@larr/core';
import { Cluster, Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { dropData, FeatureStore, type StoreFiles, storedData } from './feature-store.js';
import { openStore } from './open-store.js';
import { redisInstalled, startRedis, type TestRedis } from './redis.fixture.js';
import { RedisStore } from './redis-store.js';
import { type Store, StoreAway } from './store.js';
import { runStoreCommand } from './store-commands.js';

// A load takes seconds where the machine is busy.
vi.setConfig({ testTimeout: 30_000 });

const USERS = 5000;
let directory: string;
let files: StoreFiles;

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'larr-store-'));
  using db = await DuckdbSession.open();
  files = {
    users: join(directory, 'users.parquet'),
    pois: join(directory, 'pois.parquet'),
    pairs: join(directory, 'pairs.parquet'),
  };
  await db.run(
    `COPY (SELECT ${USERS} - 1 - i AS user_index, 'u' || i AS user, i + 9007199254740993 AS wide, CASE WHEN i % 2 = 0 THEN 'Xi''an 西安' END AS city,
       (i / 7.0)::DOUBLE AS dense_user_ctr_all, [i, i + 1]::INTEGER[] AS seq_clicked FROM range(${USERS}) t(i)) TO '${files.users}'`,
  );
  await db.run(
    `COPY (SELECT i::INTEGER AS poi_index, 'p' || i AS poi, 'city' || i % 3 AS city, (10 + i)::DOUBLE AS price FROM range(50) t(i)) TO '${files.pois}'`,
  );
  // every third user has pairs, in no order
  await db.run(
    `COPY (SELECT user_index, poi_index, user_index + poi_index AS dense_user_poi_clicks_all,
       CASE WHEN poi_index % 2 = 0 THEN 0.5 END AS dense_user_poi_ctr_all
     FROM range(0, ${USERS}, 3) t(user_index), (VALUES (40), (7), (12)) v(poi_index) ORDER BY hash(user_index, poi_index)) TO '${files.pairs}'`,
  );
}, 60_000);
afterAll(() => rmSync(directory, { recursive: true, force: true }));

let redis: TestRedis | null = null;
let cluster: TestRedis | null = null;
beforeAll(async () => {
  if (!redisInstalled) return;
  redis = await startRedis();
  cluster = await startRedis(['--cluster-enabled', 'yes', '--cluster-announce-ip', '127.0.0.1']);
  // one server may be a cluster: it takes all slots
  const setup = new Redis(cluster.url);
  await setup.call('CLUSTER', 'ADDSLOTSRANGE', '0', '16383');
  await vi.waitFor(async () => expect(await setup.call('CLUSTER', 'INFO')).toContain('cluster_state:ok'), 10_000);
  setup.disconnect();
}, 30_000);
afterAll(async () => {
  await redis?.remove();
  await cluster?.remove();
});

/** What these tests are about is no matter of milliseconds, whatever else the machine does. */
const UNHURRIED = { timeoutMs: 10_000 };

const later = (milliseconds: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, milliseconds));

function signal(): { given: Promise<void>; give: () => void } {
  let give = (): void => {};
  const given = new Promise<void>((resolve) => {
    give = resolve;
  });
  return { given, give: () => give() };
}

/** The store with some of its methods replaced. */
const changed = (store: Store, methods: Partial<Store>): Store =>
  new Proxy(store, {
    get(of, name) {
      const value = name in methods ? methods[name as keyof Store] : of[name as keyof Store];
      return typeof value === 'function' ? value.bind(of) : value;
    },
  });

const kinds: [string, () => Promise<Store>][] = [
  ['LMDB', () => openStore(join(directory, 'lmdb'))],
  ['LMDB of the process alone', () => openStore(null)],
  ...(redisInstalled
    ? ([
        ['Redis', () => RedisStore.open(redis!.url, UNHURRIED)],
        ['Redis Cluster', () => RedisStore.open(`redis-cluster://127.0.0.1:${cluster!.port}`, UNHURRIED)],
      ] as [string, () => Promise<Store>][])
    : []),
];

describe.each(kinds)('the online store in %s', (kind, open) => {
  let store: Store;
  beforeEach(async () => {
    store = await open();
  });
  afterEach(async () => {
    await store.drop('');
    await store.close();
  });

  it('gives back the bytes that were put under a key, and nothing for others', async () => {
    const bytes = Buffer.from(Array.from({ length: 256 }, (_, i) => i));
    await store.put([
      ['a:1', bytes],
      ['a:2', Buffer.alloc(0)],
      ['b:1*', Buffer.from('茶')],
    ]);
    expect(await store.get('a:1')).toEqual(bytes);
    expect((await store.get('a:2'))?.length).toBe(0);
    expect((await store.get('b:1*'))?.toString()).toBe('茶');
    expect(await store.get('a:3')).toBeNull();
    await store.announce('feed:1', ['m']);
    await store.claim('claim:1', 'me', 60_000);
    expect(await store.names()).toEqual(['a', 'b']);
    await store.drop('feed:');
    await store.drop('claim:');
    expect(await store.changes('feed:1', 0, 1)).toEqual({ last: 0, members: [] });
    expect(await store.claim('claim:1', 'other', 60_000)).toBe(true);
    expect(await store.drop('b:1*')).toBe(1);
    expect(await store.get('b:1*')).toBeNull();
    expect(await store.get('a:1')).not.toBeNull();
  });

  it('tells what changed since a number, each once, in order, and no further than asked', async () => {
    expect(await store.changes('f', 0, 10)).toEqual({ last: 0, members: [] });
    await store.announce('f', ['a', 'b', 'c']);
    const first = await store.changes('f', 0, 2);
    expect(first.members).toEqual(['a', 'b']);
    await store.announce('f', ['b', 'd']);
    const second = await store.changes('f', first.last, 10);
    expect(second.members).toEqual(['c', 'b', 'd']);
    expect(await store.changes('f', second.last, 10)).toEqual({ last: second.last, members: [] });
    expect((await store.changes('f', 0, 10)).members).toEqual(['a', 'c', 'b', 'd']);
    expect((await store.changes('other', 0, 10)).members).toEqual([]);
  });

  it('gives a claim to one at a time, until it is released or its time is over', async () => {
    expect(await store.claim('c', 'a', 60_000)).toBe(true);
    expect(await store.claim('c', 'b', 60_000)).toBe(false);
    await store.release('c', 'b');
    expect(await store.claim('c', 'b', 60_000)).toBe(false);
    await store.release('c', 'a');
    expect(await store.claim('c', 'b', 40)).toBe(true);
    await vi.waitFor(async () => expect(await store.claim('c', 'a', 60_000)).toBe(true), 5000);
    await store.release('c', 'b');
    expect(await store.claim('c', 'b', 60_000)).toBe(false);
    // renewed by who has it
    expect(await store.claim('c', 'a', 40)).toBe(true);
    await vi.waitFor(async () => expect(await store.claim('c', 'b', 60_000)).toBe(true), 5000);
  });

  it('adds what is not there yet, and loses no change of those that happen at once', async () => {
    await store.put([['k:1', Buffer.from('own')]]);
    await store.add([
      ['k:1', Buffer.from('other')],
      ['k:2', Buffer.from('new')],
    ]);
    expect([await store.get('k:1'), await store.get('k:2')].map(String)).toEqual(['own', 'new']);
    const another = await open();
    try {
      const one = (letter: string) => (_key: string, before: Buffer | null) =>
        Buffer.concat([before ?? Buffer.alloc(0), Buffer.from(letter)]);
      const letters = 'abcdefghijklmnopqrst';
      // a store of one process alone has no second client
      const second = kind === 'LMDB of the process alone' ? store : another;
      await Promise.all([...letters].map((x, i) => (i % 2 ? store : second).update(['k:2', 'k:3'], one(x))));
      for (const [key, begin] of [
        ['k:2', 'new'],
        ['k:3', ''],
      ] as const) {
        const now = String(await store.get(key));
        expect(now.startsWith(begin)).toBe(true);
        expect([...now.slice(begin.length)].sort().join('')).toBe(letters);
      }
    } finally {
      await another.close();
    }
  });

  it('loads an export once, and has every user with all that belongs to them in one record', async () => {
    const features = await FeatureStore.open(store, 'export1', files);
    const other = await FeatureStore.open(store, 'export1', files);
    // two at once, as two servers would
    expect((await Promise.all([features.load(), other.load()])).sort((a, b) => a - b)).toEqual([0, USERS]);
    expect(await features.load()).toBe(0);
    for (const i of [0, 1, 2, 1997, USERS - 1]) {
      const record = await features.user(`u${i}`);
      const index = USERS - 1 - i;
      expect(record?.row).toMatchObject({
        user: `u${i}`,
        wide: String(BigInt(i) + 9007199254740993n),
        city: i % 2 === 0 ? "Xi'an 西安" : null,
        dense_user_ctr_all: i / 7,
        seq_clicked: [i, i + 1],
      });
      expect(features.pairColumns).toEqual(['dense_user_poi_clicks_all', 'dense_user_poi_ctr_all']);
      if (index % 3 !== 0) expect(record?.pairs).toBeNull();
      else {
        expect([...record!.pairs!.poi]).toEqual([7, 12, 40]);
        expect([...record!.pairs!.values]).toEqual([index + 7, Number.NaN, index + 12, 0.5, index + 40, 0.5]);
      }
    }
    expect(await features.user('nobody')).toBeNull();
    expect(await (await FeatureStore.open(store, 'export2', files)).loaded()).toBe(false);
    expect(await storedData(store)).toMatchObject([{ name: 'export1', users: USERS, used: expect.any(Date) }]);
  });

  it('loses no column of a user or POI that several change at once', async () => {
    const features = await FeatureStore.open(store, 'export1', files);
    const other = await FeatureStore.open(store, 'export1', files);
    await features.load();
    await Promise.all([
      features.putUsers(new Map([['u2', { city: 'Paris' }]])),
      other.putUsers(new Map([['u2', { dense_user_ctr_all: 9 }]])),
      features.putPois(new Map([['p3', { price: 99 }]])),
      other.putPois(new Map([['p3', { city: 'cityX' }]])),
    ]);
    expect((await features.user('u2'))?.row).toMatchObject({ city: 'Paris', dense_user_ctr_all: 9 });
    expect((await features.changedPois(0)).rows).toEqual([{ poi_index: 3, poi: 'p3', city: 'cityX', price: 99 }]);
  });

  it('lets one load for as long as it needs', async () => {
    const slow = changed(store, { add: (entries) => later(150).then(() => store.add(entries)) });
    const loads = [slow, slow].map(async (one) => (await FeatureStore.open(one, 'export1', files)).load(() => {}, 300));
    expect((await Promise.all(loads)).sort((a, b) => a - b)).toEqual([0, USERS]);
  });

  it('does not load again what was loaded between the question and the claim', async () => {
    const features = await FeatureStore.open(store, 'export1', files);
    const late = changed(store, {
      claim: async (...of) => {
        if (!(await features.loaded())) {
          await features.load();
          await features.putUsers(new Map([['u2', { city: 'Paris' }]]));
        }
        return store.claim(...of);
      },
    });
    expect(await (await FeatureStore.open(late, 'export1', files)).load()).toBe(0);
    expect((await features.user('u2'))?.row.city).toBe('Paris');
  });

  it('keeps newer records from one who loads on after another took over', async () => {
    const [reached, gate] = [signal(), signal()];
    let claims = 0;
    const paused = changed(store, {
      // as a process that was stopped: it does not renew, and writes when it wakes
      claim: async (...of) => claims++ > 0 || store.claim(...of),
      add: async (entries) => {
        reached.give();
        await gate.given;
        return store.add(entries);
      },
    });
    const loading = (await FeatureStore.open(paused, 'export1', files)).load(() => {}, 50);
    await reached.given;
    const features = await FeatureStore.open(store, 'export1', files);
    expect(await features.load()).toBe(USERS);
    await features.putUsers(new Map([['u2', { city: 'Paris' }]]));
    expect(await store.claim('export1:load', 'a third', 60_000)).toBe(true);
    gate.give();
    await loading;
    expect((await features.user('u2'))?.row.city).toBe('Paris');
    // nor does its end give back what a third has claimed since
    expect(await store.claim('export1:load', 'a fourth', 60_000)).toBe(false);
  });

  it('changes columns of users and POIs, adds new ones, and refuses columns that nobody reads', async () => {
    const features = await FeatureStore.open(store, 'export1', files);
    await expect(features.putUsers(new Map([['u1', { city: 'x' }]]))).rejects.toMatchObject({
      code: 'STORE_NOT_LOADED',
    });
    await features.load();
    await features.putUsers(
      new Map<string, Record<string, unknown>>([
        ['u2', { city: 'Paris' }],
        ['newcomer', { city: 'Rome', seq_clicked: [3] }],
      ]),
    );
    expect((await features.user('u2'))?.row).toMatchObject({ city: 'Paris', dense_user_ctr_all: 2 / 7 });
    expect((await features.user('u2'))?.pairs === null).toBe((USERS - 3) % 3 !== 0);
    expect((await features.user('newcomer'))?.row).toMatchObject({ user: 'newcomer', city: 'Rome' });
    await features.putPois(new Map([['p3', { price: 99 }]]));
    await features.putPois(
      new Map<string, Record<string, unknown>>([
        ['p3', { city: 'cityX' }],
        ['px', { price: 1.5 }],
      ]),
    );
    const { last, rows } = await features.changedPois(0);
    expect(rows).toEqual([
      { poi_index: 3, poi: 'p3', city: 'cityX', price: 99 },
      { poi: 'px', price: 1.5 },
    ]);
    expect((await features.changedPois(last)).rows).toEqual([]);
    for (const columns of [{ colour: 'red' }, { user_index: 3 }])
      await expect(features.putUsers(new Map([['u1', columns]]))).rejects.toMatchObject({ code: 'COLUMN_UNKNOWN' });
    for (const [field, columns] of Object.entries({
      'rows.u1.seq_clicked[1]': { seq_clicked: [50, 51] },
      'rows.u1.city': { city: 3 },
      'rows.u1.dense_user_ctr_all': { city: 'x', dense_user_ctr_all: 'much' },
    })) {
      const change = features.putUsers(new Map([['u1', columns]]));
      await expect(change).rejects.toMatchObject({ code: 'VALUE_INVALID', field });
    }
    expect((await features.user('u1'))?.row.city).toBeNull();
    await expect(features.putPois(new Map([['p1', { price: 'low' }]]))).rejects.toMatchObject({
      code: 'VALUE_INVALID',
      field: 'rows.p1.price',
    });
  });

  it('drops the data of a name alone, and none that a server uses', async () => {
    const [old, current] = [
      await FeatureStore.open(store, 'export1', files),
      await FeatureStore.open(store, 'export10', files),
    ];
    for (const one of [old, current]) {
      await one.load();
      await one.putPois(new Map([['p3', { price: 99 }]]));
    }
    await expect(dropData(store, 'export1')).rejects.toMatchObject({ code: 'DATA_IN_USE' });
    await expect(dropData(store, 'export')).rejects.toMatchObject({ code: 'DATA_UNKNOWN' });
    // users, the POI, and two records about the data
    expect(await dropData(store, 'export1', new Date(Date.now() + 61_000))).toBe(USERS + 3);
    expect((await storedData(store)).map(({ name }) => name)).toEqual(['export10']);
    expect(await old.loaded()).toBe(false);
    expect((await old.changedPois(0)).rows).toEqual([]);
    expect(await current.user('u2')).not.toBeNull();
    expect((await current.changedPois(0)).rows).toHaveLength(1);
  });

  it('keeps apart ids of any length and writing', async () => {
    const features = await FeatureStore.open(store, 'export1', files);
    await features.load();
    const ids = ['x'.repeat(600), `${'x'.repeat(599)}y`, 'a:b', 'a', '🍜'.repeat(300), '*'];
    await features.putUsers(new Map(ids.map((id, i) => [id, { city: `city ${i}` }])));
    for (const [i, id] of ids.entries()) expect((await features.user(id))?.row.city).toBe(`city ${i}`);
  });
});

describe.runIf(redisInstalled)('a Redis that goes away', () => {
  it('fails at once while it is away, and is there again by itself', async () => {
    const mortal = await startRedis();
    const store = await RedisStore.open(mortal.url, { timeoutMs: 50, retryMs: 50 });
    try {
      await store.put([['k', Buffer.from('v')]]);
      await mortal.kill();
      await expect(store.get('k')).rejects.toBeInstanceOf(StoreAway);
      expect(store.reachable).toBe(false);
      const took: number[] = [];
      for (let i = 0; i < 101; i++) {
        const started = performance.now();
        await expect(store.get('k')).rejects.toBeInstanceOf(StoreAway);
        took.push(performance.now() - started);
      }
      // the median: other work on the machine delays some of them
      expect(took.sort((a, b) => a - b)[50]).toBeLessThan(5);
      await mortal.start();
      await vi.waitFor(() => expect(store.reachable).toBe(true), 10_000);
      expect((await store.get('k'))?.toString()).toBe('v');
    } finally {
      await store.close();
      await mortal.remove();
    }
  });

  it('is used once it is there, where it was not when the server started', async () => {
    const late = await startRedis();
    await late.kill();
    const store = await RedisStore.open(late.url, { retryMs: 50 });
    try {
      expect(store.reachable).toBe(false);
      await expect(store.get('k')).rejects.toMatchObject({ code: 'STORE_AWAY' });
      await late.start();
      await vi.waitFor(() => expect(store.reachable).toBe(true), 10_000);
      expect(await store.get('k')).toBeNull();
    } finally {
      await store.close();
      await late.remove();
    }
  });

  it('does not let a request wait for a server that has stopped answering', async () => {
    const hung = await startRedis(['--enable-debug-command', 'yes']);
    const store = await RedisStore.open(hung.url, { timeoutMs: 40, retryMs: 100 });
    const other = new Redis(hung.url);
    try {
      void other.call('DEBUG', 'SLEEP', '3').catch(() => {});
      await new Promise((resolve) => setTimeout(resolve, 50));
      const started = performance.now();
      await expect(store.get('k')).rejects.toBeInstanceOf(StoreAway);
      await expect(store.get('k')).rejects.toBeInstanceOf(StoreAway);
      expect(performance.now() - started).toBeLessThan(2000);
      await vi.waitFor(() => expect(store.reachable).toBe(true), 10_000);
    } finally {
      other.disconnect();
      await store.close();
      await hung.remove();
    }
  });
});

it('lists and drops the data of a store that no server uses any more', async () => {
  const place = join(directory, 'commanded');
  await expect(runStoreCommand([])).rejects.toMatchObject({ code: 'ACTION_MISSING' });
  await expect(runStoreCommand(['list', '--store', place])).rejects.toMatchObject({ code: 'STORE_NOT_THERE' });
  const store = await openStore(place);
  await (await FeatureStore.open(store, 'export1', files)).load();
  await expect(runStoreCommand(['drop', '--store', place, 'export1'])).rejects.toMatchObject({ code: 'DATA_IN_USE' });
  await store.put([['export1:used', Buffer.from('1700000000000')]]);
  await store.close();
  const listed = JSON.parse((await runStoreCommand(['list', '--json', '--store', place])).stdout);
  expect(listed).toEqual({ data: [{ name: 'export1', users: USERS, used: '2023-11-14T22:13:20.000Z' }], earlier: 0 });
  const dropped = JSON.parse((await runStoreCommand(['drop', '--json', '--store', place, 'export1'])).stdout);
  expect(dropped).toEqual({ dropped: 'export1', records: USERS + 2 });
  expect((await runStoreCommand(['list', '--store', place])).stderr).toBe('no data\n');
  for (const wrong of [
    ['drop', '--store', place],
    ['list'],
    ['lst', '--store', place],
    ['list', 'x', '--store', place],
    ['list', '--earlier', '--store', place],
    ['drop', 'x', '--earlier', '--store', place],
  ])
    await expect(runStoreCommand(wrong)).rejects.toMatchObject({
      code: expect.stringMatching(/^(OPTION|ACTION)_/),
    });
});

describe.runIf(redisInstalled).each([
  ['Redis', () => redis!.url],
  ['Redis Cluster', () => `redis-cluster://127.0.0.1:${cluster!.port}`],
])('keys that earlier versions left in %s', (_, url) => {
  it('are not read, are told of, and are dropped by a command, and nothing else is', async () => {
    const plain = url().startsWith('redis-cluster')
      ? new Cluster([{ host: '127.0.0.1', port: cluster!.port }])
      : new Redis(url());
    const store = await RedisStore.open(url(), UNHURRIED);
    try {
      const longAgo = String(Date.now() - 3_600_000);
      const notTime = String(Date.now() + 3_600_000);
      const old = [
        ['larr:v:0123456789ab:meta', '{}'],
        ['larr:v:0123456789ab:used', longAgo],
        ['larr:v:0123456789ab:u:anna', 'old'],
        ['larr:c:0123456789ab:load', 'x'],
        ['larr:f:{0123456789ab}:last', '1'],
        ['larr:1:v:0123456789ab:u:anna', 'old'],
        ['larr:1:v:0123456789ab:used', String(Number(longAgo) - 1)],
        ['larr:0123456789ab:u:anna', 'old'],
        ['larr:0123456789ab:used', String(Number(longAgo) - 2)],
        // Users whose ids end as the mark does; what is kept of them is no time.
        ['larr:v:0123456789ab:u:used', notTime],
        ['larr:1:v:0123456789ab:p:shop:used', notTime],
        ['larr:0123456789ab:u:used', notTime],
        ['larr:claim:0123456789ab:load', '1'],
        ['larr:feed:{0123456789ab}:last', '1'],
      ];
      const others = [
        ['larr:events', 'a stream of somebody'],
        ['larr:v', 'x'],
        ['larr:99:v:0123456789ab:meta', 'of a later version'],
      ];
      for (const [key, value] of [...old, ...others]) await plain.set(key!, value!);
      await store.put([['0123456789ab:u:anna', Buffer.from('new')]]);
      expect((await store.get('0123456789ab:u:anna'))?.toString()).toBe('new');
      expect(await store.earlier()).toEqual({ keys: old.length, used: new Date(Number(longAgo)) });
      const command = (...args: string[]) => runStoreCommand([...args, '--store', url()]);
      expect((await command('list')).stderr).toContain('14 keys of an earlier version');
      await plain.set('larr:v:0123456789ab:used', String(Date.now()));
      await expect(command('drop', '--earlier')).rejects.toMatchObject({ code: 'DATA_IN_USE' });
      await plain.set('larr:v:0123456789ab:used', longAgo);
      expect((await command('drop', '--earlier')).stderr).toBe('dropped 14 keys of earlier versions\n');
      expect(await store.earlier()).toEqual({ keys: 0, used: null });
      for (const [key, value] of others) expect(await plain.get(key!)).toBe(value);
      expect((await store.get('0123456789ab:u:anna'))?.toString()).toBe('new');
      for (const [key] of others) await plain.del(key!);
    } finally {
      await store.drop('');
      await store.close();
      plain.disconnect();
    }
  });
});

it('never shows the password of a store whose address it cannot read', async () => {
  const bad = [
    'redsi://user:secret@host:6379',
    'redis-cluster://user:secret@nowhere',
    'redis://user:secret@[',
    'redis-cluster://:secret@a:b',
  ];
  for (const url of bad) {
    const error = await openStore(url).then(
      () => null,
      (reason: Error & { code: string }) => reason,
    );
    expect(error?.code).toBe('STORE_URL');
    expect(error?.message).not.toContain('secret');
  }
});
