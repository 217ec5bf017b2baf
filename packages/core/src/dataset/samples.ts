import type { DuckDBDataChunk } from '@duckdb/node-api';
import { ident } from '../duckdb/session.js';
import type { SplitManifest } from './manifest.js';

/** Samples of a part, or some of them, column-major: a feature's values lie side by side. */
export interface Samples {
  rows: number;
  /** [features, rows]: vocabulary indices in the manifest's order. */
  categorical: Int32Array;
  /** [features, rows]: transformed, not standardised. */
  dense: Float32Array;
  /** [fields, rows]: indices into each field's texts, 0 = missing. */
  scene: Int32Array;
  /** One per sequence feature, each [rows, length]: poi_index + 1, 0 = padding, newest first. */
  sequences: Int32Array[];
  /** [rows] user_index. */
  user: Int32Array;
  /** [rows] poi_index. */
  poi: Int32Array;
  click: Float32Array;
  order: Float32Array | null;
  rowId: BigInt64Array;
}

/** Which columns samples have; plain data, so that it can be sent to a thread. */
export interface SampleShape {
  categorical: string[];
  dense: string[];
  scene: string[];
  sequences: { name: string; length: number }[];
  /** user, poi, click, row_id and, where there are orders, order; all of them are empty arrays where not. */
  keys: { order: boolean } | null;
}

export function sampleShape(split: SplitManifest, orders: boolean): SampleShape {
  return {
    categorical: split.categorical.map((f) => f.name),
    dense: split.dense.map((f) => f.name),
    scene: split.scene.map((f) => f.field),
    sequences: split.sequences.map(({ name, length }) => ({ name, length })),
    keys: { order: orders },
  };
}

/** Bytes that one sample takes in memory. */
export function bytesPerSample(shape: SampleShape): number {
  const sequences = shape.sequences.reduce((sum, s) => sum + s.length, 0);
  return 4 * (shape.categorical.length + shape.dense.length + shape.scene.length + sequences) + keyBytes(shape);
}

function keyBytes({ keys }: SampleShape): number {
  return keys === null ? 0 : 8 + 4 * (keys.order ? 4 : 3);
}

/**
 * Shares the columns of samples out, as whole arrays of `Samples`, into so many shapes of about the same size; fewer where there are
 * not so many. `joinSamples` puts them together again.
 */
export function shareColumns(shape: SampleShape, parts: number): SampleShape[] {
  const none: SampleShape = { categorical: [], dense: [], scene: [], sequences: [], keys: null };
  const pieces: { bytes: number; piece: Partial<SampleShape> }[] = [
    { bytes: 4 * shape.categorical.length, piece: { categorical: shape.categorical } },
    { bytes: 4 * shape.dense.length, piece: { dense: shape.dense } },
    { bytes: 4 * shape.scene.length, piece: { scene: shape.scene } },
    { bytes: 4 * shape.sequences.reduce((sum, s) => sum + s.length, 0), piece: { sequences: shape.sequences } },
    { bytes: keyBytes(shape), piece: { keys: shape.keys } },
  ];
  const shares = Array.from({ length: parts }, () => ({ bytes: 0, shape: none }));
  for (const { bytes, piece } of pieces.filter(({ bytes }) => bytes > 0).sort((a, b) => b.bytes - a.bytes)) {
    const least = shares.reduce((a, b) => (b.bytes < a.bytes ? b : a));
    least.bytes += bytes;
    least.shape = { ...least.shape, ...piece };
  }
  return shares.filter(({ bytes }) => bytes > 0).map(({ shape }) => shape);
}

/** Samples of which each share has some of the arrays (`shareColumns`) and the others empty. */
export function joinSamples(shares: readonly Samples[]): Samples {
  const of = <T extends { length: number }>(array: (samples: Samples) => T): T =>
    array(shares.find((samples) => array(samples).length > 0) ?? shares[0]!);
  return {
    rows: shares[0]!.rows,
    categorical: of((s) => s.categorical),
    dense: of((s) => s.dense),
    scene: of((s) => s.scene),
    sequences: of((s) => s.sequences),
    user: of((s) => s.user),
    poi: of((s) => s.poi),
    click: of((s) => s.click),
    order: shares.find((s) => s.order !== null)?.order ?? null,
    rowId: of((s) => s.rowId),
  };
}

/**
 * The arrays of so many samples, all zero.
 * @param buffer one buffer of `rows * bytesPerSample` bytes for all of them, so that it can go to another thread; without it each
 * array has its own memory, as large parts need
 */
export function samplesOver(shape: SampleShape, rows: number, buffer?: ArrayBuffer): Samples {
  let at = 0;
  const take = <T>(
    type: { new (length: number): T; new (buffer: ArrayBuffer, offset: number, length: number): T },
    columns: number,
    width = 4,
  ): T => {
    const length = columns * rows;
    if (buffer === undefined) return new type(length);
    const array = new type(buffer, at, length);
    at += length * width;
    return array;
  };
  const key = shape.keys === null ? 0 : 1;
  // Eight-byte values first: every view is aligned.
  const rowId = take(BigInt64Array, key, 8);
  return {
    rows,
    categorical: take(Int32Array, shape.categorical.length),
    dense: take(Float32Array, shape.dense.length),
    scene: take(Int32Array, shape.scene.length),
    sequences: shape.sequences.map((s) => take(Int32Array, s.length)),
    user: take(Int32Array, key),
    poi: take(Int32Array, key),
    click: take(Float32Array, key),
    order: shape.keys?.order ? take(Float32Array, 1) : null,
    rowId,
  };
}

/** The select list that `SampleCopier` expects. */
export function sampleColumns(shape: SampleShape): string {
  return [
    ...shape.categorical.map((name) => ident(`cat_${name}`)),
    ...shape.dense.map((name) => ident(`dense_${name}`)),
    ...shape.scene.map((name) => ident(`scene_${name}`)),
    ...shape.sequences.map((s) => `${ident(`seq_${s.name}`)}::INTEGER[${s.length}]`),
    ...(shape.keys === null
      ? []
      : ['user_index', 'poi_index', 'click', ...(shape.keys.order ? ['"order"'] : []), 'row_id']),
  ].join(', ');
}

type Column = Int32Array | Float32Array | BigInt64Array;
/** What a vector of @duckdb/node-api holds: the native memory itself, as a typed array. */
interface FlatVector {
  items: Int32Array | Float32Array | Uint8Array | BigInt64Array;
}

/** Copies DuckDB's vectors into samples as whole runs: no value ever becomes a JavaScript object. */
export class SampleCopier {
  /** For each column of the query: where row 0 goes, and how many values a row has. */
  readonly #targets: { array: Column; start: number; width: number }[] = [];

  constructor(shape: SampleShape, samples: Samples) {
    const { rows } = samples;
    const columns = (array: Column, count: number) => {
      for (let i = 0; i < count; i++) this.#targets.push({ array, start: i * rows, width: 1 });
    };
    columns(samples.categorical, shape.categorical.length);
    columns(samples.dense, shape.dense.length);
    columns(samples.scene, shape.scene.length);
    shape.sequences.forEach(({ length }, i) => {
      this.#targets.push({ array: samples.sequences[i]!, start: 0, width: length });
    });
    if (shape.keys === null) return;
    columns(samples.user, 1);
    columns(samples.poi, 1);
    columns(samples.click, 1);
    if (samples.order !== null) columns(samples.order, 1);
    columns(samples.rowId, 1);
  }

  /** Copies a chunk's rows to the samples from row `at` on. @returns how many */
  copy(chunk: DuckDBDataChunk, at: number): number {
    const n = chunk.rowCount;
    for (let c = 0; c < this.#targets.length; c++) {
      const { array, start, width } = this.#targets[c]!;
      const vector = chunk.getColumnVector(c) as unknown as FlatVector & { childData: FlatVector };
      const items = width === 1 ? vector.items : vector.childData.items;
      const run = items.length === n * width ? items : items.subarray(0, n * width);
      // Labels come as Uint8Array: set() makes floats of them.
      (array as Int32Array).set(run as Int32Array, start + at * width);
    }
    return n;
  }
}
