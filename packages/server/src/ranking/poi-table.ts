import { IdIndex, type Row } from '@larr/core';

/** What the table keeps of each POI, told by what the model's rows need. */
export interface PoiColumnsWanted {
  /** ID features of the POI alone */
  ids: number;
  /** dense features of the POI alone */
  dense: number;
  /** numbers that features of user and POI together are computed from */
  numbers: number;
  /** texts that they are computed from */
  texts: number;
}

/** Computes what the table keeps of one POI from its columns, into the given places. */
export interface PoiEncoder {
  readonly wanted: PoiColumnsWanted;
  encode(poi: Row, ids: Int32Array, idsAt: number, dense: Float32Array, denseAt: number): void;
  /** NaN = missing */
  number(poi: Row, i: number): number;
  text(poi: Row, i: number): string | null;
}

/**
 * Every POI's own features as columns in this process: a candidate costs a look-up of its id and some copied numbers. What a feature of user and
 * POI together needs of the POI is here too, parsed once.
 */
export class PoiTable {
  readonly #encoder: PoiEncoder;
  readonly #index = new IdIndex();
  /** [POIs, wanted.ids] */
  ids = new Int32Array(0);
  /** [POIs, wanted.dense] */
  dense = new Float32Array(0);
  /** wanted.numbers columns of [POIs] */
  numbers: Float64Array[];
  /** wanted.texts columns of [POIs]: places in `words`, −1 = missing */
  texts: Int32Array[];
  readonly words: string[] = [];
  readonly #wordAt = new Map<string, number>();
  /** [POIs]: the data's number of the POI, which pairs, sequences and vectors go by; −1 for one that the data did not have */
  poiIndex = new Int32Array(0);
  /** [POIs]: how often what is here of the POI was put */
  versions = new Int32Array(0);
  #capacity = 0;

  constructor(encoder: PoiEncoder) {
    this.#encoder = encoder;
    this.numbers = Array.from({ length: encoder.wanted.numbers }, () => new Float64Array(0));
    this.texts = Array.from({ length: encoder.wanted.texts }, () => new Int32Array(0));
  }

  get size(): number {
    return this.#index.size;
  }

  /** Memory that it takes, bytes. */
  get bytes(): number {
    const columns = [this.ids, this.dense, this.poiIndex, this.versions, ...this.numbers, ...this.texts];
    return columns.reduce((sum, { byteLength }) => sum + byteLength, this.#index.bytes);
  }

  /** Row of a POI; −1 for an unknown one. */
  rowOf(id: string): number {
    return this.#index.get(id);
  }

  idOf(row: number): string {
    return this.#index.id(row);
  }

  /** Adds POIs, or puts what they are now in place of what they were. */
  put(pois: readonly Row[]): void {
    const { ids, dense, numbers, texts } = this.#encoder.wanted;
    for (const poi of pois) {
      const row = this.#index.add(String(poi.poi));
      if (row >= this.#capacity) this.#grow(Math.max(row + 1, Math.ceil(1.5 * this.#capacity), 64));
      // First: what is written in part only must not pass for what was there.
      this.versions[row]!++;
      this.poiIndex[row] = typeof poi.poi_index === 'number' ? poi.poi_index : -1;
      this.#encoder.encode(poi, this.ids, row * ids, this.dense, row * dense);
      for (let i = 0; i < numbers; i++) this.numbers[i]![row] = this.#encoder.number(poi, i);
      for (let i = 0; i < texts; i++) this.texts[i]![row] = this.#word(this.#encoder.text(poi, i));
    }
  }

  /** Gives back what was set aside for more POIs. */
  trim(): void {
    this.#grow(this.size);
  }

  #word(text: string | null): number {
    if (text === null) return -1;
    let at = this.#wordAt.get(text);
    if (at === undefined) {
      at = this.words.push(text) - 1;
      this.#wordAt.set(text, at);
    }
    return at;
  }

  #grow(capacity: number): void {
    const { ids, dense } = this.#encoder.wanted;
    const kept = Math.min(capacity, this.#capacity);
    const resized = <T extends Int32Array | Float32Array | Float64Array>(column: T, larger: T, width: number): T => {
      larger.set(column.subarray(0, kept * width) as never);
      return larger;
    };
    this.ids = resized(this.ids, new Int32Array(capacity * ids), ids);
    this.dense = resized(this.dense, new Float32Array(capacity * dense), dense);
    this.poiIndex = resized(this.poiIndex, new Int32Array(capacity), 1);
    this.versions = resized(this.versions, new Int32Array(capacity), 1);
    this.numbers = this.numbers.map((column) => resized(column, new Float64Array(capacity), 1));
    this.texts = this.texts.map((column) => resized(column, new Int32Array(capacity), 1));
    this.#capacity = capacity;
  }
}
