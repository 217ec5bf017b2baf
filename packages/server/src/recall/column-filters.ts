import type { Row } from '@larr/core';
import { ApiError } from '../api/errors.js';
import type { PoiTable } from '../ranking/poi-table.js';
import { parquetColumns, parquetRows } from '../store/parquet-rows.js';
import { StoreAway } from '../store/store.js';

/** Columns of POIs that changed after `since`, with their ids; `last` is `since` at the end. @throws StoreAway */
export type ChangesOfPois = (since: number) => Promise<{ last: number; rows: Row[] }>;

/**
 * Values of POI columns, read when the first question asks for them: one number a POI, and each different value once. A column is the export's
 * with all that changed since; what changes while it is read comes after that.
 */
export class ColumnFilters {
  readonly #file: string;
  readonly #changes: ChangesOfPois;
  #names: Promise<string[]> | null = null;
  readonly #columns = new Map<string, { values: FilterColumn; ready: Promise<void> }>();

  constructor(file: string, changes: ChangesOfPois) {
    this.#file = file;
    this.#changes = changes;
  }

  /** @throws ApiError COLUMN_UNKNOWN (400); BundleError STORE_UNREADABLE */
  async rows(within: Readonly<Record<string, string>>, table: PoiTable): Promise<((row: number) => boolean) | null> {
    const tests: ((row: number) => boolean)[] = [];
    for (const [name, value] of Object.entries(within)) {
      if (!(await this.#columnNames()).includes(name))
        throw new ApiError(400, 'COLUMN_UNKNOWN', `within.${name}: POIs have no such column`, `within.${name}`);
      const column = await this.#column(name, table);
      const code = column.codes.get(value);
      tests.push((row) => code !== undefined && column.of[row] === code);
    }
    return tests.length === 0 ? null : (row) => tests.every((test) => test(row));
  }

  /** Columns of POIs changed. */
  put(pois: readonly Row[], table: PoiTable): void {
    for (const { values } of this.#columns.values()) values.put(pois, table);
  }

  #columnNames(): Promise<string[]> {
    if (this.#names === null) {
      const names = parquetColumns(this.#file);
      this.#names = names;
      names.catch(() => {
        this.#names = null;
      });
    }
    return this.#names;
  }

  async #column(name: string, table: PoiTable): Promise<FilterColumn> {
    const known = this.#columns.get(name);
    if (known?.values.current === true) return known.values;
    const values = known?.values ?? new FilterColumn(name);
    const ready = known === undefined ? this.#load(values, table) : known.ready.then(() => this.#takeUp(values, table));
    this.#columns.set(name, { values, ready });
    // What failed once may work the next time.
    ready.catch(() => {
      if (this.#columns.get(name)?.values === values) this.#columns.delete(name);
    });
    await ready;
    return values;
  }

  async #load(column: FilterColumn, table: PoiTable): Promise<void> {
    column.hold();
    for await (const rows of parquetRows(this.#file, { columns: ['poi', column.name] })) column.set(rows, table);
    await this.#takeUp(column, table);
  }

  /** Everything since the export, as it is now. While the store is away that has to wait for a later question. */
  async #takeUp(column: FilterColumn, table: PoiTable): Promise<void> {
    if (column.current) return;
    column.hold();
    try {
      for (let since = -1, next = 0; next > since; ) {
        since = next;
        const { last, rows } = await this.#changes(since);
        column.set(
          rows.filter((row) => column.name in row),
          table,
        );
        next = last;
      }
      column.current = true;
    } catch (error) {
      if (!(error instanceof StoreAway)) throw error;
    } finally {
      column.release(table);
    }
  }
}

/** One column: the number of its value for each row of the table of POIs, −1 where it has none. */
class FilterColumn {
  readonly codes = new Map<string, number>();
  of = new Int32Array(0);
  /** whether it has all that changed before it was read */
  current = false;
  #held: Row[] | null = null;

  constructor(readonly name: string) {}

  put(pois: readonly Row[], table: PoiTable): void {
    if (this.#held === null) this.set(pois, table);
    else this.#held.push(...pois);
  }

  /** From now on, what is put waits: what is being read meanwhile may be older. */
  hold(): void {
    this.#held ??= [];
  }

  release(table: PoiTable): void {
    const held = this.#held ?? [];
    this.#held = null;
    this.set(held, table);
  }

  set(pois: readonly Row[], table: PoiTable): void {
    for (const poi of pois) this.#set(poi, table);
  }

  #set(poi: Row, table: PoiTable): void {
    const row = table.rowOf(String(poi.poi));
    if (row < 0) return;
    if (row >= this.of.length) {
      const larger = new Int32Array(Math.max(table.size, row + 1)).fill(-1);
      larger.set(this.of);
      this.of = larger;
    }
    const value = poi[this.name];
    if (value === null || value === undefined) {
      this.of[row] = -1;
      return;
    }
    const text = String(value);
    let code = this.codes.get(text);
    if (code === undefined) {
      code = this.codes.size;
      this.codes.set(text, code);
    }
    this.of[row] = code;
  }
}
