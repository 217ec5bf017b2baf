import { createHash, randomUUID } from 'node:crypto';
import { type DatasetSchema, didYouMean, LarrError, type Row, UsageError } from '@larr/core';
import { valueProblem } from './column-values.js';
import { type Coordinate, coordinateColumns, coordinateProblem } from './coordinate-columns.js';
import { parquetColumns, parquetLargest, parquetNumbers, parquetRows, parquetTypes } from './parquet-rows.js';
import { type Store, StoreAway } from './store.js';
import { decodeUser, encodeUser, type Pairs, type UserRecord } from './user-record.js';

/** Where a bundle's users, POIs and pairs lie. */
export interface StoreFiles {
  users: string;
  pois: string;
  /** null where the model has no statistics of pairs */
  pairs: string | null;
}

interface Meta {
  users: number;
  /** columns of users and of POIs, as updates may name them */
  userColumns: string[];
  poiColumns: string[];
}

/** How long after a sign of life of the process that loads a bundle's users another one takes over. */
const CLAIM_MS = 60_000;
/** How often a server says that it uses data, and how long that holds. */
const SAY_USED_MS = 10_000;
const IN_USE_MS = 60_000;
const WRITE_AT_A_TIME = 2000;

/**
 * Users' and POIs' features in the online store, under the name of the data that they were exported with: two bundles of the same data share
 * them, those of other data have their own. A request reads one record, its user's. POIs' features stay in the process (poi-table.ts); here
 * are only those that changed since the export, and a feed of which.
 */
export class FeatureStore {
  readonly #store: Store;
  readonly #name: string;
  readonly #files: StoreFiles;
  /** columns of pairs.parquet behind the two keys: what a record's pair values are, in this order */
  readonly pairColumns: readonly string[];
  /** How many POIs the data have: entries of users' sequences go from 1 to this. */
  readonly pois: number;
  /** columns that are read as coordinates, of users and of POIs */
  readonly #coordinates: Record<'users' | 'pois', ReadonlyMap<string, Coordinate[]>>;
  #saidUsed = 0;

  private constructor(
    store: Store,
    name: string,
    files: StoreFiles,
    pairColumns: readonly string[],
    pois: number,
    schema: DatasetSchema | null,
  ) {
    this.#store = store;
    this.#name = name;
    this.#files = files;
    this.pairColumns = pairColumns;
    this.pois = pois;
    const none = new Map<string, Coordinate[]>();
    this.#coordinates = {
      users: schema === null ? none : coordinateColumns(schema, 'users'),
      pois: schema === null ? none : coordinateColumns(schema, 'pois'),
    };
  }

  /**
   * @param name names the data: the same for bundles with the same users, POIs and pairs
   * @param schema of the data, which says what columns are coordinates; without it none are known to be
   */
  static async open(
    store: Store,
    name: string,
    files: StoreFiles,
    schema: DatasetSchema | null = null,
  ): Promise<FeatureStore> {
    const columns = files.pairs === null ? [] : await parquetColumns(files.pairs);
    const pairs = columns.filter((column) => column !== 'user_index' && column !== 'poi_index');
    return new FeatureStore(store, name, files, pairs, (await parquetLargest(files.pois, 'poi_index')) + 1, schema);
  }

  get name(): string {
    return this.#name;
  }

  get kind(): Store['kind'] {
    return this.#store.kind;
  }

  get reachable(): boolean {
    return this.#store.reachable;
  }

  /** A user's record; null for an unknown one. At once where the store is embedded. @throws StoreAway */
  user(id: string): UserRecord | null | Promise<UserRecord | null> {
    const found = this.#store.get(this.#userKey(id));
    return found instanceof Promise ? found.then(decoded) : decoded(found);
  }

  /** Whether the users of the export are in the store. @throws StoreAway */
  async loaded(): Promise<boolean> {
    return (await this.#meta()) !== null;
  }

  /**
   * Loads the export's users and pairs where the store does not have them yet. Where another process does that already, waits for it.
   * A record that is there is never overwritten: it is the export's, or newer.
   * @param claimMs how long after its last sign of life a loading process counts as gone
   * @returns how many users this call loaded; 0 where they were there
   * @throws StoreAway; BundleError STORE_UNREADABLE
   */
  async load(onUsers: (users: number) => void = () => {}, claimMs = CLAIM_MS): Promise<number> {
    const owner = randomUUID();
    const claim = async (): Promise<boolean> => {
      await this.use();
      return this.#store.claim(`${this.#name}:load`, owner, claimMs);
    };
    while (!(await this.loaded())) {
      if (await claim()) {
        // A store that is away for the renewal is away for the load too, which says so.
        const renewing = setInterval(() => claim().catch(() => {}), claimMs / 4).unref();
        try {
          // Who had the claim before may have finished between the question and the claim.
          return (await this.loaded()) ? 0 : await this.#load(onUsers);
        } finally {
          clearInterval(renewing);
          await this.#store.release(`${this.#name}:load`, owner).catch(() => {});
        }
      }
      await new Promise((resolve) => setTimeout(resolve, 250));
    }
    return 0;
  }

  /** Says, at most every ten seconds, that a server uses these data, so that nobody drops them. @throws StoreAway */
  async use(): Promise<void> {
    if (Date.now() - this.#saidUsed < SAY_USED_MS) return;
    this.#saidUsed = Date.now();
    await this.#store.put([[`${this.#name}:used`, Buffer.from(String(this.#saidUsed))]]);
  }

  /**
   * Changes columns of users; other columns stay, and users that are new are added.
   * @throws StoreAway; LarrError STORE_NOT_LOADED, COLUMN_UNKNOWN, VALUE_INVALID
   */
  async putUsers(users: ReadonlyMap<string, Row>): Promise<void> {
    await this.#checked('userColumns', users);
    const changes = new Map([...users].map(([id, columns]) => [this.#userKey(id), { id, columns }]));
    await this.#store.update([...changes.keys()], (key, bytes) => {
      const { id, columns } = changes.get(key)!;
      const before = decoded(bytes);
      return encodeUser({ row: { ...(before?.row ?? { user: id }), ...columns }, pairs: before?.pairs ?? null });
    });
  }

  /**
   * Changes columns of POIs; other columns stay, and POIs that are new are added. Servers take it up within about a second.
   * @throws StoreAway; LarrError STORE_NOT_LOADED, COLUMN_UNKNOWN, VALUE_INVALID
   */
  async putPois(pois: ReadonlyMap<string, Row>): Promise<void> {
    await this.#checked('poiColumns', pois);
    const changes = new Map([...pois].map(([id, columns]) => [this.#poiKey(id), columns]));
    await this.#store.update([...changes.keys()], (key, before) => {
      const row = { ...(before === null ? {} : (JSON.parse(before.toString()) as Row)), ...changes.get(key)! };
      return Buffer.from(JSON.stringify(row));
    });
    // The records first: who hears of a change finds it.
    await this.#store.announce(this.#feed(), [...pois.keys()]);
  }

  /**
   * POIs that changed after `since`: their whole rows, the export's with what was changed.
   * @throws StoreAway; BundleError STORE_UNREADABLE
   */
  async changedPois(since: number, limit = 1000): Promise<{ last: number; rows: Row[] }> {
    const { last, rows: patched } = await this.patchedPois(since, limit);
    if (patched.length === 0) return { last, rows: [] };
    const exported = new Map<string, Row>();
    const values = patched.map(({ poi }) => String(poi));
    for await (const rows of parquetRows(this.#files.pois, { only: { column: 'poi', values } }))
      for (const row of rows) exported.set(String(row.poi), row);
    return { last, rows: patched.map((row) => ({ ...exported.get(String(row.poi)), ...row })) };
  }

  /** The same with the changed columns alone, and the ids. @throws StoreAway */
  async patchedPois(since: number, limit = 1000): Promise<{ last: number; rows: Row[] }> {
    const { last, members } = await this.#store.changes(this.#feed(), since, limit);
    const rows = await Promise.all(
      members.map(async (id) => {
        const changed = await this.#store.read(this.#poiKey(id));
        return { ...(changed === null ? {} : (JSON.parse(changed.toString()) as Row)), poi: id };
      }),
    );
    return { last, rows };
  }

  /** Columns that updates may name. @throws StoreAway; LarrError STORE_NOT_LOADED */
  async columns(): Promise<{ users: string[]; pois: string[] }> {
    const meta = await this.#meta();
    if (meta === null)
      throw new LarrError('STORE_NOT_LOADED', `the online store has not loaded the users of ${this.#name} yet`);
    return { users: meta.userColumns, pois: meta.poiColumns };
  }

  async #load(onUsers: (users: number) => void): Promise<number> {
    const pairs = new PairReader(this.#files.pairs, this.pairColumns);
    let users = 0;
    let entries: [string, Buffer][] = [];
    const write = async (): Promise<void> => {
      await this.#store.add(entries);
      entries = [];
      onUsers(users);
    };
    for await (const rows of parquetRows(this.#files.users, { order: ['user_index'] })) {
      for (const row of rows) {
        entries.push([
          this.#userKey(String(row.user)),
          encodeUser({ row, pairs: await pairs.of(Number(row.user_index)) }),
        ]);
        users++;
        if (entries.length >= WRITE_AT_A_TIME) await write();
      }
    }
    await write();
    const meta: Meta = {
      users,
      userColumns: await parquetColumns(this.#files.users),
      poiColumns: await parquetColumns(this.#files.pois),
    };
    // Last: without it the load counts as not done.
    await this.#store.put([[this.#metaKey(), Buffer.from(JSON.stringify(meta))]]);
    return users;
  }

  async #meta(): Promise<Meta | null> {
    const found = await this.#store.read(this.#metaKey());
    return found === null ? null : (JSON.parse(found.toString()) as Meta);
  }

  /** Refuses all where one value is wrong. */
  async #checked(kind: 'userColumns' | 'poiColumns', rows: ReadonlyMap<string, Row>): Promise<void> {
    const { users, pois } = await this.columns();
    const known = new Set(kind === 'userColumns' ? users : pois);
    for (const key of kind === 'userColumns' ? ['user', 'user_index'] : ['poi', 'poi_index']) known.delete(key);
    const coordinates = this.#coordinates[kind === 'userColumns' ? 'users' : 'pois'];
    const types = await parquetTypes(kind === 'userColumns' ? this.#files.users : this.#files.pois);
    for (const [id, row] of rows) {
      for (const [column, value] of Object.entries(row)) {
        if (known.has(column)) {
          const unfit = valueProblem(column, types.get(column) ?? 'VARCHAR', value, this.pois);
          const nowhere = unfit === null ? coordinateProblem(value, coordinates.get(column) ?? []) : null;
          const problem = nowhere === null ? unfit : { at: '', reason: nowhere };
          if (problem === null) continue;
          const field = `rows.${id}.${column}${problem.at}`;
          throw new LarrError('VALUE_INVALID', `${field}: ${problem.reason}`, { field });
        }
        const message = `"${column}" is not a column of ${kind === 'userColumns' ? 'users' : 'POIs'}; known: ${[...known].join(', ')}`;
        throw new LarrError('COLUMN_UNKNOWN', message, { field: column });
      }
    }
  }

  #userKey = (id: string): string => `${this.#name}:u:${short(id)}`;
  #poiKey = (id: string): string => `${this.#name}:p:${short(id)}`;
  #feed = (): string => `${this.#name}:pois`;
  #metaKey = (): string => `${this.#name}:meta`;
}

/** What a store holds under one name. */
export interface StoredData {
  name: string;
  /** users that were loaded; null where a load has not been finished */
  users: number | null;
  /** when a server last said that it uses it */
  used: Date | null;
}

/** The data that a store holds, those used last first. @throws StoreAway */
export async function storedData(store: Store): Promise<StoredData[]> {
  const found: StoredData[] = [];
  for (const name of await store.names()) {
    const [meta, used] = [await store.read(`${name}:meta`), await store.read(`${name}:used`)];
    found.push({
      name,
      users: meta === null ? null : (JSON.parse(meta.toString()) as Meta).users,
      used: used === null ? null : new Date(Number(used.toString())),
    });
  }
  return found.sort((a, b) => Number(b.used) - Number(a.used));
}

/**
 * Removes what a store holds under a name, changes included.
 * @returns how many records
 * @throws StoreAway; UsageError DATA_UNKNOWN, DATA_IN_USE where a server has a bundle of it loaded
 */
export async function dropData(store: Store, name: string, now = new Date()): Promise<number> {
  const all = await storedData(store);
  const data = all.find((one) => one.name === name);
  if (data === undefined)
    throw new UsageError(
      'DATA_UNKNOWN',
      `the store has no data ${name}.${didYouMean(
        name,
        all.map((one) => one.name),
      )}`,
    );
  if (data.used !== null && now.getTime() - data.used.getTime() < IN_USE_MS)
    throw new UsageError(
      'DATA_IN_USE',
      `a server used the data ${name} ${secondsSince(data.used, now)} s ago: stop it or let it load another bundle, and try again ${IN_USE_MS / 1000} s later`,
    );
  // First what says that it is loaded: what is left of an interrupted drop counts as no data.
  return (await store.drop(`${name}:meta`)) + (await store.drop(`${name}:`));
}

/**
 * Removes what an earlier version of LARR left in a store, and no server of this version reads.
 * @returns how many keys
 * @throws StoreAway; UsageError DATA_IN_USE where a server of that version still runs
 */
export async function dropEarlierData(store: Store, now = new Date()): Promise<number> {
  const { used } = await store.earlier();
  if (used !== null && now.getTime() - used.getTime() < IN_USE_MS)
    throw new UsageError(
      'DATA_IN_USE',
      `a server of an earlier version used its data ${secondsSince(used, now)} s ago: stop it, and try again ${IN_USE_MS / 1000} s later`,
    );
  return store.dropEarlier();
}

const secondsSince = (at: Date, now: Date): number => Math.max(0, Math.round((now.getTime() - at.getTime()) / 1000));

export { StoreAway };

const decoded = (bytes: Buffer | null): UserRecord | null => (bytes === null ? null : decodeUser(bytes));

/** Databases bound the length of keys; ids of any length keep apart by their digest. */
function short(id: string): string {
  return Buffer.byteLength(id) <= 400 ? id : `sha256:${createHash('sha256').update(id).digest('hex')}`;
}

/** Reads pairs.parquet along with the users, both by user_index. */
class PairReader {
  readonly #width: number;
  readonly #chunks: AsyncGenerator<Float64Array[]> | null;
  /** user_index, poi_index, then the values' columns */
  #chunk: Float64Array[] = [];
  #at = 0;

  constructor(file: string | null, columns: readonly string[]) {
    this.#width = columns.length;
    const order = ['user_index', 'poi_index'];
    this.#chunks = file === null ? null : parquetNumbers(file, [...order, ...columns], order);
  }

  /** Pairs of a user; to be asked with ascending numbers. */
  async of(user: number): Promise<Pairs | null> {
    const poi: number[] = [];
    const values: number[] = [];
    for (;;) {
      // a promise for every row would cost more than the row
      const more = this.#more();
      if (!(typeof more === 'boolean' ? more : await more)) break;
      const [users, pois, ...columns] = this.#chunk as [Float64Array, Float64Array, ...Float64Array[]];
      const number = users[this.#at]!;
      if (number > user) break;
      if (number === user) {
        poi.push(pois[this.#at]!);
        for (let i = 0; i < this.#width; i++) values.push(columns[i]![this.#at]!);
      }
      this.#at++;
    }
    return poi.length === 0 ? null : { poi: Int32Array.from(poi), values: Float32Array.from(values) };
  }

  /** Whether there is a row at the present place. */
  #more(): boolean | Promise<boolean> {
    return this.#at < (this.#chunk[0]?.length ?? 0) || this.#next();
  }

  async #next(): Promise<boolean> {
    if (this.#chunks === null) return false;
    for (;;) {
      const { value, done } = await this.#chunks.next();
      if (done === true) return false;
      this.#chunk = value;
      this.#at = 0;
      if (value[0]!.length > 0) return true;
    }
  }
}
