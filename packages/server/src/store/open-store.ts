import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { UsageError } from '@larr/core';
import { LmdbStore } from './lmdb-store.js';
import type { RedisOptions } from './redis-store.js';
import type { Store } from './store.js';

/**
 * Opens the online store: a `redis://`, `rediss://` or `redis-cluster://` URL, a directory (LMDB), or null for one of this process alone in a
 * temporary directory, which goes when it is closed.
 * @throws UsageError STORE_URL
 */
export async function openStore(place: string | null, options: RedisOptions = {}): Promise<Store> {
  // The client of Redis is read where it is used: servers without one start sooner.
  if (place !== null && /^rediss?(-cluster)?:\/\//.test(place))
    return (await import('./redis-store.js')).RedisStore.open(place, options);
  const scheme = /^([a-z][a-z0-9+.-]*):\/\//i.exec(place ?? '')?.[1];
  if (scheme !== undefined)
    throw new UsageError(
      'STORE_URL',
      `--store ${scheme}://…: no store has such an address. Name a directory, or redis://HOST:PORT, rediss://HOST:PORT, redis-cluster://HOST:PORT,HOST:PORT`,
    );
  if (place !== null) return new LmdbStore(place);
  const directory = await mkdtemp(join(tmpdir(), 'larr-store-'));
  const store = new LmdbStore(directory, false);
  const close = store.close.bind(store);
  store.close = async () => {
    await close();
    await rm(directory, { recursive: true, force: true });
  };
  return store;
}
