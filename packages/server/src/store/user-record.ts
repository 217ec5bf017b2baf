import type { Row } from '@larr/core';

/** What is known of a user together with POIs: the statistics of their history. */
export interface Pairs {
  /** poi_index of each, ascending */
  poi: Int32Array;
  /** [pairs, columns], NaN where nothing is known */
  values: Float32Array;
}

/** All that a request reads of its user. */
export interface UserRecord {
  /** columns that features read, statistics, sequences */
  row: Row;
  /** null for a user without any */
  pairs: Pairs | null;
}

const HEADER = 8;

/** One record as bytes: lengths, the row as JSON, the pairs' POIs (i32) and values (f32), little end first. */
export function encodeUser({ row, pairs }: UserRecord): Buffer {
  const json = Buffer.from(JSON.stringify(row, numbersAsTexts));
  const at = HEADER + json.length + (-json.length & 3);
  const bytes = Buffer.alloc(at + (pairs === null ? 0 : pairs.poi.byteLength + pairs.values.byteLength));
  bytes.writeUInt32LE(json.length, 0);
  bytes.writeUInt32LE(pairs?.poi.length ?? 0, 4);
  json.copy(bytes, HEADER);
  if (pairs !== null) {
    bytes.set(bytesOf(pairs.poi), at);
    bytes.set(bytesOf(pairs.values), at + pairs.poi.byteLength);
  }
  return bytes;
}

export function decodeUser(bytes: Buffer): UserRecord {
  const json = bytes.readUInt32LE(0);
  const count = bytes.readUInt32LE(4);
  const row = JSON.parse(bytes.toString('utf8', HEADER, HEADER + json)) as Row;
  if (count === 0) return { row, pairs: null };
  const from = bytes.byteOffset + HEADER + json + (-json & 3);
  // A buffer may begin anywhere in its memory, numbers may not.
  const own = bytes.buffer.slice(from, bytes.byteOffset + bytes.byteLength);
  return { row, pairs: { poi: new Int32Array(own, 0, count), values: new Float32Array(own, 4 * count) } };
}

/** Where a POI is among the pairs; −1 for one that the user has no history with. */
export function pairAt({ poi }: Pairs, index: number): number {
  let low = 0;
  let high = poi.length - 1;
  while (low <= high) {
    const middle = (low + high) >> 1;
    const found = poi[middle]!;
    if (found === index) return middle;
    if (found < index) low = middle + 1;
    else high = middle - 1;
  }
  return -1;
}

/** JSON knows no infinity; its text is read as the same number. */
function numbersAsTexts(_key: string, value: unknown): unknown {
  if (typeof value !== 'number' || Number.isFinite(value)) return value;
  return Number.isNaN(value) ? null : value > 0 ? 'inf' : '-inf';
}

const bytesOf = (array: Int32Array | Float32Array): Uint8Array =>
  new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
