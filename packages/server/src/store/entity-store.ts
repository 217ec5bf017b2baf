import { DuckDBInstance } from '@duckdb/node-api';
import { BundleError, canonicalSql, ident, type Row } from '@larr/core';

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
      const described = await connection.runAndReadAll('DESCRIBE SELECT * FROM read_parquet($1)', [file]);
      const columns = described
        .getRowObjectsJS()
        .map(({ column_name, column_type }) => asFeaturesReadIt(String(column_name), String(column_type)));
      const reader = await connection.runAndReadAll(`SELECT ${columns.join(', ')} FROM read_parquet($1)`, [file]);
      return reader.getRowObjectsJS();
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

/** Types whose JavaScript values say all that their text would. */
const PLAIN = /^(VARCHAR|DOUBLE|U?(TINYINT|SMALLINT)|INTEGER)$/;

/**
 * A column as features read it. Wide integers, dates, decimals, truth values and lists are read as the text that `prepare` knew them
 * by when it made the vocabularies; as JavaScript values they would be rounded, or lose their type.
 */
function asFeaturesReadIt(name: string, type: string): string {
  const column = ident(name);
  if (PLAIN.test(type) || (name.startsWith('seq_') && type === 'INTEGER[]')) return column;
  const text = canonicalSql({ sql: column, type });
  // A 32-bit number is the number that its text says; widened it would be another.
  return type === 'FLOAT' ? `(${text})::DOUBLE AS ${column}` : `${text} AS ${column}`;
}
