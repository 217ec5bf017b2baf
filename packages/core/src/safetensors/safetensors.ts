import { open } from 'node:fs/promises';
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

/** The format's own limit on the header's size. */
const maxHeaderBytes = 100_000_000;

/**
 * Reads a whole safetensors file into memory. For files of gigabytes use `@larr/torch` or `@larr/native-cuda`, which map them.
 * @throws DataError `SAFETENSORS_CORRUPT`, `FILE_MISSING`
 */
export async function readSafetensors(
  path: string,
): Promise<{ tensors: Record<string, SafetensorsTensor>; metadata: Record<string, string> }> {
  const corrupt = (what: string) =>
    new DataError('SAFETENSORS_CORRUPT', `${path} is not a valid safetensors file: ${what}. Write or copy it again.`, {
      file: path,
    });
  const handle = await open(path).catch((cause) => {
    throw new DataError('FILE_MISSING', `${path} cannot be opened: ${(cause as Error).message}`, { file: path, cause });
  });
  try {
    const { size } = await handle.stat();
    if (size < 8) throw corrupt(`it has ${size} bytes`);
    const head = new Uint8Array(8);
    await handle.read(head, 0, 8, 0);
    const headerBytes = Number(new DataView(head.buffer).getBigUint64(0, true));
    if (headerBytes > maxHeaderBytes || 8 + headerBytes > size)
      throw corrupt(`the header claims ${headerBytes} bytes of ${size}`);
    const headerBuffer = new Uint8Array(headerBytes);
    await handle.read(headerBuffer, 0, headerBytes, 8);
    let header: Record<string, unknown>;
    try {
      header = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(headerBuffer)) as Record<string, unknown>;
    } catch {
      throw corrupt('the header is not JSON');
    }
    const dataBytes = size - 8 - headerBytes;
    const tensors: Record<string, SafetensorsTensor> = {};
    let metadata: Record<string, string> = {};
    for (const [name, value] of Object.entries(header)) {
      if (name === '__metadata__') {
        metadata = value as Record<string, string>;
        continue;
      }
      const entry = value as { dtype?: SafetensorsDType; shape?: number[]; data_offsets?: [number, number] };
      const layout = entry.dtype === undefined ? undefined : layouts[entry.dtype];
      if (layout === undefined) throw corrupt(`tensor "${name}" has the unknown type ${String(entry.dtype)}`);
      if (!Array.isArray(entry.shape) || !Array.isArray(entry.data_offsets))
        throw corrupt(`tensor "${name}" has no shape or offsets`);
      const [begin, end] = entry.data_offsets;
      const count = entry.shape.reduce((product, n) => product * n, 1);
      if (!(begin >= 0 && end <= dataBytes && end - begin === count * layout.bytes)) {
        throw corrupt(`tensor "${name}" of shape [${entry.shape}] lies at ${begin}–${end} of ${dataBytes} bytes`);
      }
      // Each tensor gets a buffer of its own, which also aligns it.
      const buffer = new ArrayBuffer(end - begin);
      let done = 0;
      while (done < buffer.byteLength) {
        const wanted = Math.min(buffer.byteLength - done, 1 << 30);
        const { bytesRead } = await handle.read(
          new Uint8Array(buffer, done, wanted),
          0,
          wanted,
          8 + headerBytes + begin + done,
        );
        if (bytesRead === 0) throw corrupt('it ended early');
        done += bytesRead;
      }
      tensors[name] = { dtype: entry.dtype!, shape: entry.shape, data: layout.view(buffer, 0, count) };
    }
    return { tensors, metadata };
  } finally {
    await handle.close();
  }
}

/**
 * Writes a safetensors file atomically. Tensors are laid out by falling alignment and then name, so the same input gives
 * the same bytes and every tensor is aligned.
 * @param tensors name → typed data with its shape; the type follows from the array unless `dtype` says BF16, F16 or BOOL
 */
export async function writeSafetensors(
  path: string,
  tensors: Record<string, { shape: readonly number[]; data: SafetensorsData; dtype?: SafetensorsDType }>,
  metadata: Record<string, string> = {},
): Promise<void> {
  await writeFileAtomic(path, encodeSafetensors(tensors, metadata));
}

/** The bytes of a safetensors file. See `writeSafetensors`. */
export function encodeSafetensors(
  tensors: Record<string, { shape: readonly number[]; data: SafetensorsData; dtype?: SafetensorsDType }>,
  metadata: Record<string, string> = {},
): Uint8Array {
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
  let json = new TextEncoder().encode(JSON.stringify(header));
  const padded = Math.ceil(json.length / 8) * 8;
  const spaces = new Uint8Array(padded).fill(0x20);
  spaces.set(json);
  json = spaces;
  const bytes = new Uint8Array(8 + json.length + offset);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(json.length), true);
  bytes.set(json, 8);
  let at = 8 + json.length;
  for (const { data } of entries) {
    bytes.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), at);
    at += data.byteLength;
  }
  return bytes;
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
