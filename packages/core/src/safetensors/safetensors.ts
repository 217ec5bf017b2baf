import { type FileHandle, open } from 'node:fs/promises';
import { DataError } from '../errors.js';
import { writeFileAtomic } from '../files/atomic.js';

export type SafetensorsDType =
  | 'F64'
  | 'F32'
  | 'F16'
  | 'BF16'
  | 'I64'
  | 'I32'
  | 'I16'
  | 'I8'
  | 'U64'
  | 'U32'
  | 'U16'
  | 'U8'
  | 'BOOL';
export type SafetensorsData =
  | Float64Array
  | Float32Array
  | BigInt64Array
  | BigUint64Array
  | Int32Array
  | Uint32Array
  | Int16Array
  | Uint16Array
  | Int8Array
  | Uint8Array;

export interface SafetensorsTensor {
  dtype: SafetensorsDType;
  shape: number[];
  /** F16 and BF16 come as their bit patterns in a Uint16Array; BOOL as 0/1 in a Uint8Array. */
  data: SafetensorsData;
}

const layouts: Record<
  SafetensorsDType,
  { bytes: number; view: (buffer: ArrayBuffer, offset: number, length: number) => SafetensorsData }
> = {
  F64: { bytes: 8, view: (b, o, n) => new Float64Array(b, o, n) },
  F32: { bytes: 4, view: (b, o, n) => new Float32Array(b, o, n) },
  F16: { bytes: 2, view: (b, o, n) => new Uint16Array(b, o, n) },
  BF16: { bytes: 2, view: (b, o, n) => new Uint16Array(b, o, n) },
  I64: { bytes: 8, view: (b, o, n) => new BigInt64Array(b, o, n) },
  U64: { bytes: 8, view: (b, o, n) => new BigUint64Array(b, o, n) },
  I32: { bytes: 4, view: (b, o, n) => new Int32Array(b, o, n) },
  U32: { bytes: 4, view: (b, o, n) => new Uint32Array(b, o, n) },
  I16: { bytes: 2, view: (b, o, n) => new Int16Array(b, o, n) },
  U16: { bytes: 2, view: (b, o, n) => new Uint16Array(b, o, n) },
  I8: { bytes: 1, view: (b, o, n) => new Int8Array(b, o, n) },
  U8: { bytes: 1, view: (b, o, n) => new Uint8Array(b, o, n) },
  BOOL: { bytes: 1, view: (b, o, n) => new Uint8Array(b, o, n) },
};

/** A tensor's elements in a buffer of its file, without a copy. */
export function viewOf(file: ArrayBuffer, { dtype, byteOffset, bytes }: TensorPlace): SafetensorsData {
  const { bytes: each, view } = layouts[dtype];
  return view(file, byteOffset, bytes / each);
}

/** The format's own limit on the header's size. */
const maxHeaderBytes = 100_000_000;

/** Where a tensor lies in a file. */
export interface TensorPlace {
  dtype: SafetensorsDType;
  shape: number[];
  /** of its first value, from the beginning of the file */
  byteOffset: number;
  bytes: number;
}

/**
 * Reads a whole safetensors file into memory. For files of gigabytes use `@larr/torch` or `@larr/native-cuda`, which map them.
 * @throws DataError `SAFETENSORS_CORRUPT`, `FILE_MISSING`
 */
export async function readSafetensors(
  path: string,
): Promise<{ tensors: Record<string, SafetensorsTensor>; metadata: Record<string, string> }> {
  return withFile(path, async (handle) => {
    const { places, metadata } = await readHeader(path, handle);
    const tensors: Record<string, SafetensorsTensor> = {};
    for (const [name, { dtype, shape, byteOffset, bytes }] of Object.entries(places)) {
      const layout = layouts[dtype];
      // Each tensor gets a buffer of its own, which also aligns it.
      const buffer = new ArrayBuffer(bytes);
      let done = 0;
      while (done < bytes) {
        const wanted = Math.min(bytes - done, 1 << 30);
        const { bytesRead } = await handle.read(new Uint8Array(buffer, done, wanted), 0, wanted, byteOffset + done);
        if (bytesRead === 0) throw corrupt(path, 'it ended early');
        done += bytesRead;
      }
      tensors[name] = { dtype, shape, data: layout.view(buffer, 0, bytes / layout.bytes) };
    }
    return { tensors, metadata };
  });
}

/**
 * Where the tensors of a safetensors file lie, for who maps the file instead of reading it. The header is checked as
 * `readSafetensors` checks it: what is returned lies in the file and is as long as type and shape say.
 * @throws DataError `SAFETENSORS_CORRUPT`, `FILE_MISSING`
 */
export async function tensorPlaces(path: string): Promise<Record<string, TensorPlace>> {
  return withFile(path, async (handle) => (await readHeader(path, handle)).places);
}

async function withFile<T>(path: string, work: (handle: FileHandle) => Promise<T>): Promise<T> {
  const handle = await open(path).catch((cause) => {
    throw new DataError('FILE_MISSING', `${path} cannot be opened: ${(cause as Error).message}`, { file: path, cause });
  });
  try {
    return await work(handle);
  } finally {
    await handle.close();
  }
}

function corrupt(path: string, what: string): DataError {
  return new DataError(
    'SAFETENSORS_CORRUPT',
    `${path} is not a valid safetensors file: ${what}. Write or copy it again.`,
    { file: path },
  );
}

async function readHeader(
  path: string,
  handle: FileHandle,
): Promise<{ places: Record<string, TensorPlace>; metadata: Record<string, string> }> {
  const { size } = await handle.stat();
  if (size < 8) throw corrupt(path, `it has ${size} bytes`);
  const head = new Uint8Array(8);
  await handle.read(head, 0, 8, 0);
  const headerBytes = Number(new DataView(head.buffer).getBigUint64(0, true));
  if (headerBytes > maxHeaderBytes || 8 + headerBytes > size)
    throw corrupt(path, `the header claims ${headerBytes} bytes of ${size}`);
  const headerBuffer = new Uint8Array(headerBytes);
  await handle.read(headerBuffer, 0, headerBytes, 8);
  let header: unknown;
  try {
    header = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(headerBuffer));
  } catch {
    throw corrupt(path, 'the header is not JSON');
  }
  if (typeof header !== 'object' || header === null || Array.isArray(header))
    throw corrupt(path, 'the header is not an object');
  const dataBytes = size - 8 - headerBytes;
  const places: Record<string, TensorPlace> = {};
  let metadata: Record<string, string> = {};
  for (const [name, value] of Object.entries(header as Record<string, unknown>)) {
    if (name === '__metadata__') {
      metadata = value as Record<string, string>;
      continue;
    }
    const {
      dtype,
      shape,
      data_offsets: offsets,
    } = (value ?? {}) as {
      dtype?: SafetensorsDType;
      shape?: number[];
      data_offsets?: [number, number];
    };
    const layout = dtype === undefined ? undefined : layouts[dtype];
    if (layout === undefined) throw corrupt(path, `tensor "${name}" has the unknown type ${String(dtype)}`);
    if (!sizes(shape) || !sizes(offsets) || offsets.length !== 2)
      throw corrupt(path, `tensor "${name}" has no shape or offsets`);
    const [begin, end] = offsets;
    const bytes = shape.reduce((product, n) => product * n, layout.bytes);
    if (!(end <= dataBytes && end - begin === bytes)) {
      throw corrupt(path, `tensor "${name}" of shape [${shape}] lies at ${begin}–${end} of ${dataBytes} bytes`);
    }
    places[name] = { dtype: dtype!, shape, byteOffset: 8 + headerBytes + begin, bytes };
  }
  return { places, metadata };
}

function sizes(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((n) => Number.isSafeInteger(n) && n >= 0);
}

/** What a tensor is written from: its type follows from the array unless `dtype` says BF16, F16 or BOOL. */
type Writable = Record<string, { shape: readonly number[]; data: SafetensorsData; dtype?: SafetensorsDType }>;

/**
 * Writes a safetensors file atomically, without a copy of the tensors. They are laid out by falling alignment and then name, so the
 * same input gives the same bytes and every tensor is aligned.
 */
export async function writeSafetensors(
  path: string,
  tensors: Writable,
  metadata: Record<string, string> = {},
): Promise<void> {
  await writeFileAtomic(path, pieces(tensors, metadata));
}

/** The bytes of a safetensors file of less than 4 GiB. See `writeSafetensors`. */
export function encodeSafetensors(tensors: Writable, metadata: Record<string, string> = {}): Uint8Array {
  const all = [...pieces(tensors, metadata)];
  const bytes = new Uint8Array(all.reduce((sum, piece) => sum + piece.length, 0));
  let at = 0;
  for (const piece of all) {
    bytes.set(piece, at);
    at += piece.length;
  }
  return bytes;
}

/** A Uint8Array cannot be of 4 GiB or more. */
const PIECE_BYTES = 1 << 28;

/** The bytes of a file: its header, then each tensor's own. */
function* pieces(tensors: Writable, metadata: Record<string, string>): Generator<Uint8Array> {
  const entries = Object.entries(tensors).map(([name, t]) => {
    const dtype = t.dtype ?? dtypeOf(t.data);
    const count = t.shape.reduce((product, n) => product * n, 1);
    if (count !== t.data.length || layouts[dtype].bytes !== t.data.BYTES_PER_ELEMENT) {
      throw new RangeError(
        `tensor "${name}" of shape [${t.shape}] and type ${dtype} has ${t.data.length} elements of ${t.data.BYTES_PER_ELEMENT} bytes`,
      );
    }
    return { name, dtype, shape: t.shape, data: t.data };
  });
  entries.sort((a, b) => layouts[b.dtype].bytes - layouts[a.dtype].bytes || (a.name < b.name ? -1 : 1));
  const header: Record<string, unknown> = {};
  if (Object.keys(metadata).length > 0) header.__metadata__ = metadata;
  let offset = 0;
  for (const { name, dtype, shape, data } of entries) {
    header[name] = { dtype, shape, data_offsets: [offset, offset + data.byteLength] };
    offset += data.byteLength;
  }
  const json = new TextEncoder().encode(JSON.stringify(header));
  const padded = Math.ceil(json.length / 8) * 8;
  const head = new Uint8Array(8 + padded).fill(0x20);
  new DataView(head.buffer).setBigUint64(0, BigInt(padded), true);
  head.set(json, 8);
  yield head;
  for (const { data } of entries) {
    for (let at = 0; at < data.byteLength; at += PIECE_BYTES)
      yield new Uint8Array(data.buffer, data.byteOffset + at, Math.min(PIECE_BYTES, data.byteLength - at));
  }
}

function dtypeOf(data: SafetensorsData): SafetensorsDType {
  if (data instanceof Float64Array) return 'F64';
  if (data instanceof Float32Array) return 'F32';
  if (data instanceof BigInt64Array) return 'I64';
  if (data instanceof BigUint64Array) return 'U64';
  if (data instanceof Int32Array) return 'I32';
  if (data instanceof Uint32Array) return 'U32';
  if (data instanceof Int16Array) return 'I16';
  if (data instanceof Uint16Array) return 'U16';
  if (data instanceof Int8Array) return 'I8';
  return 'U8';
}
