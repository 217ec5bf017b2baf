import { DuckDBInstance } from '@duckdb/node-api';
import { BundleError, type Row } from '@larr/core';

/** Users or POIs as they were when the dataset was prepared: raw columns that features read, statistics, sequences. */
export class EntityStore {
  readonly rows: readonly Row[];
  readonly #index = new Map<string, number>();

  private constructor(rows: readonly Row[], key: string) {
    this.rows = rows;
    for (const [i, row] of rows.entries()) this.#index.set(String(row[key]), i);
  }

  /**
   * Reads a store file of a bundle into memory.
   * @param key column with the ids
   * @throws BundleError STORE_UNREADABLE
   */
  static async read(file: string, key: string): Promise<EntityStore> {
    const rows = await readRows(file);
    if (rows[0] !== undefined && !(key in rows[0])) {
      throw new BundleError('STORE_UNREADABLE', `the bundle's store has no column "${key}": export it again`);
    }
    return new EntityStore(rows, key);
  }

  /** Position of an id among the rows; −1 for an unknown one. */
  indexOf(id: string): number {
    return this.#index.get(id) ?? -1;
  }

  get(id: string): Row | undefined {
    return this.rows[this.indexOf(id)];
  }
}

/** What is known of (user, POI) pairs: the statistics of their history together. */
export class PairStore {
  readonly #rows = new Map<string, Row>();

  static async read(file: string | null): Promise<PairStore> {
    const store = new PairStore();
    if (file === null) return store;
    for (const row of await readRows(file)) store.#rows.set(pairKey(row.user_index, row.poi_index), row);
    return store;
  }

  get(user: Row | undefined, poi: Row | undefined): Row | undefined {
    if (user === undefined || poi === undefined || this.#rows.size === 0) return undefined;
    return this.#rows.get(pairKey(user.user_index, poi.poi_index));
  }
}

const pairKey = (user: unknown, poi: unknown): string => `${user} ${poi}`;

async function readRows(file: string): Promise<Row[]> {
  const instance = await DuckDBInstance.create(':memory:', { preserve_insertion_order: 'true' });
  try {
    const connection = await instance.connect();
    try {
      const reader = await connection.runAndReadAll('SELECT * FROM read_parquet($1)', [file]);
      return reader.getRowObjectsJS().map(plain);
    } finally {
      connection.closeSync();
    }
  } catch (cause) {
    throw new BundleError('STORE_UNREADABLE', `${file} is not a readable Parquet file: export the bundle again`, {
      cause,
    });
  } finally {
    instance.closeSync();
  }
}

/** 64-bit columns come as bigint; features compute with numbers. */
function plain(row: Record<string, unknown>): Row {
  for (const [column, value] of Object.entries(row)) if (typeof value === 'bigint') row[column] = Number(value);
  return row;
}
