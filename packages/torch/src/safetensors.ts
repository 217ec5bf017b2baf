import { randomBytes } from 'node:crypto';
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { native } from './addon.js';
import { TensorError } from './errors.js';
import type { Device, DType, Tensor } from './tensor.js';

// The format: 8 bytes header length (little-endian), a JSON header {name: {dtype, shape, data_offsets}}, the bytes of the tensors
// one after another without holes. https://github.com/huggingface/safetensors

type Entry = [dtype: string, shape: number[], offset: number];
const mapTensors = native.mapTensors as (path: string, size: number, entries: Entry[]) => Tensor[];
const writeTensors = native.writeTensors as (
  path: string,
  temporary: string,
  header: Uint8Array,
  tensors: Tensor[],
) => void;

const stored: Record<DType, { name: string; bytes: number }> = {
  f32: { name: 'F32', bytes: 4 },
  f64: { name: 'F64', bytes: 8 },
  bf16: { name: 'BF16', bytes: 2 },
  i64: { name: 'I64', bytes: 8 },
  i32: { name: 'I32', bytes: 4 },
  i16: { name: 'I16', bytes: 2 },
  bool: { name: 'BOOL', bytes: 1 },
};
/** f16 is read as f32. */
const readable = new Map([
  ...Object.values(stored).map(({ name, bytes }) => [name, bytes] as const),
  ['F16', 2] as const,
]);

/** As the reference implementation: a longer header is no header. */
const longestHeader = 100_000_000;

export interface LoadedTensors {
  tensors: Record<string, Tensor>;
  metadata: Record<string, string>;
}

/**
 * Reads a safetensors file. On the CPU the tensors are the file's pages, mapped copy-on-write: opening costs nothing, and writing
 * to such a tensor never changes the file. The file must not be truncated while they live.
 * @param options.device  where to (default cpu)
 * @param options.dtype   what to convert floating tensors to
 * @throws TensorError TENSOR_FILE when the file cannot be read or is damaged, TENSOR_DTYPE where its numbers are of a kind not read
 */
export function loadSafetensors(path: string, options: { device?: Device; dtype?: DType } = {}): LoadedTensors {
  const damaged = (reason: string): TensorError =>
    new TensorError('TENSOR_FILE', 'loadSafetensors', [], `${path} is damaged: ${reason}`);
  const { header, start, size } = readHeader(path, damaged);
  const metadata: Record<string, string> = {};
  const parts: { name: string; dtype: string; shape: number[]; from: number; to: number }[] = [];
  for (const [name, value] of Object.entries(header)) {
    if (typeof value !== 'object' || value === null) throw damaged(`the header's '${name}' is no object`);
    if (name === '__metadata__') {
      for (const [key, text] of Object.entries(value)) {
        if (typeof text !== 'string') throw damaged(`the metadata's '${key}' is no text`);
        metadata[key] = text;
      }
      continue;
    }
    parts.push(part(name, value as Record<string, unknown>, damaged));
  }
  parts.sort((a, b) => a.from - b.from || a.to - b.to);
  let end = 0;
  for (const { name, from, to } of parts) {
    if (from < end) throw damaged(`'${name}' overlaps the tensor before it`);
    if (from > end) throw damaged(`${from - end} bytes before '${name}' belong to no tensor`);
    end = to;
  }
  if (start + end > size)
    throw damaged(`it has ${size} bytes, but its header tells of ${start + end}: it was cut short`);
  if (start + end < size) throw damaged(`${size - start - end} bytes at its end belong to no tensor`);
  const mapped = mapTensors(
    path,
    size,
    parts.map(({ dtype, shape, from }) => [dtype, shape, start + from]),
  );
  const tensors: Record<string, Tensor> = {};
  parts.forEach(({ name }, i) => {
    tensors[name] = converted(mapped[i]!, options);
  });
  return { tensors, metadata };
}

function readHeader(
  path: string,
  damaged: (reason: string) => TensorError,
): { header: Record<string, unknown>; start: number; size: number } {
  let file: number;
  try {
    file = openSync(path, 'r');
  } catch (error) {
    throw new TensorError('TENSOR_FILE', 'loadSafetensors', [], `cannot open ${path}: ${(error as Error).message}`);
  }
  try {
    const size = fstatSync(file).size;
    if (size < 8) throw damaged(`it has ${size} bytes, fewer than the 8 of its header's length`);
    const length = Buffer.alloc(8);
    readSync(file, length, 0, 8, 0);
    const headerBytes = length.readBigUInt64LE();
    if (headerBytes > BigInt(longestHeader))
      throw damaged(`its header's length is ${headerBytes}, more than any header has`);
    if (headerBytes > BigInt(size - 8))
      throw damaged(`its header's length is ${headerBytes}, but only ${size - 8} bytes follow`);
    const text = Buffer.alloc(Number(headerBytes));
    let read = 0;
    while (read < text.length) {
      const got = readSync(file, text, read, text.length - read, 8 + read);
      if (got === 0) throw damaged('its header ends early');
      read += got;
    }
    let header: unknown;
    try {
      header = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(text));
    } catch (error) {
      throw damaged(`its header is no JSON (${(error as Error).message})`);
    }
    if (typeof header !== 'object' || header === null || Array.isArray(header))
      throw damaged('its header is no object');
    return { header: header as Record<string, unknown>, start: 8 + text.length, size };
  } finally {
    closeSync(file);
  }
}

function part(name: string, value: Record<string, unknown>, damaged: (reason: string) => TensorError) {
  const { dtype, shape, data_offsets: offsets } = value;
  const isSize = (x: unknown): x is number => Number.isSafeInteger(x) && (x as number) >= 0;
  const bytes = typeof dtype === 'string' ? readable.get(dtype) : undefined;
  if (typeof dtype !== 'string') throw damaged(`'${name}' has no dtype`);
  if (bytes === undefined) {
    throw new TensorError(
      'TENSOR_DTYPE',
      'loadSafetensors',
      [],
      `'${name}' is ${dtype}, which is not supported: ${[...readable.keys()].join(', ')} are`,
    );
  }
  if (!Array.isArray(shape) || !shape.every(isSize)) throw damaged(`'${name}' has no valid shape`);
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isSize))
    throw damaged(`'${name}' has no valid data_offsets`);
  const [from, to] = offsets as [number, number];
  const wanted = shape.reduce((product: number, extent: number) => product * extent, bytes);
  if (to - from !== wanted)
    throw damaged(`'${name}' is ${dtype} [${shape.join(', ')}], ${wanted} bytes, but its offsets hold ${to - from}`);
  return { name, dtype, shape: shape as number[], from, to };
}

function converted(tensor: Tensor, { device, dtype }: { device?: Device; dtype?: DType }): Tensor {
  const floating = tensor.dtype === 'f32' || tensor.dtype === 'f64' || tensor.dtype === 'bf16';
  const wanted = floating && dtype !== undefined && dtype !== tensor.dtype ? dtype : undefined;
  if (wanted === undefined && (device === undefined || device === 'cpu')) return tensor;
  try {
    return tensor.to({ dtype: wanted, device });
  } finally {
    tensor.dispose();
  }
}

/**
 * Writes a safetensors file: to a temporary file beside it, synced, then renamed over it, so that at any moment the path holds the
 * old file or the new one, whole.
 * @throws TensorError TENSOR_FILE when it cannot be written; nothing is left behind then
 */
export function saveSafetensors(
  path: string,
  tensors: Record<string, Tensor>,
  metadata?: Record<string, string>,
): void {
  const entries = Object.entries(tensors).map(([name, tensor]) => {
    if (name === '__metadata__')
      throw new TensorError('TENSOR_ARGUMENT', 'saveSafetensors', [], "no tensor can be named '__metadata__'");
    return { name, tensor, shape: tensor.shape, ...{ type: stored[tensor.dtype] } };
  });
  // Wide elements first: then every tensor starts at a multiple of its element's size and can be mapped.
  entries.sort((a, b) => b.type.bytes - a.type.bytes || (a.name < b.name ? -1 : 1));
  const header: Record<string, unknown> = {};
  if (metadata !== undefined) header.__metadata__ = metadata;
  let offset = 0;
  for (const { name, type, shape } of entries) {
    const bytes = shape.reduce((product, extent) => product * extent, type.bytes);
    header[name] = { dtype: type.name, shape, data_offsets: [offset, offset + bytes] };
    offset += bytes;
  }
  const json = Buffer.from(JSON.stringify(header));
  // Spaces after the JSON bring the data to a cache line's start.
  const padded = Math.ceil((8 + json.length) / 64) * 64;
  const bytes = Buffer.alloc(padded, ' ');
  bytes.writeBigUInt64LE(BigInt(padded - 8));
  json.copy(bytes, 8);
  const temporary = `${path}.${process.pid}.${randomBytes(4).toString('hex')}.tmp`;
  try {
    writeTensors(
      path,
      temporary,
      bytes,
      entries.map(({ tensor }) => tensor),
    );
  } catch (error) {
    // The shapes of everything that was to be saved would hide why it was not.
    if (error instanceof TensorError && error.code === 'TENSOR_FILE')
      // Nor does anybody know the temporary's name, which is gone.
      throw new TensorError(
        error.code,
        'saveSafetensors',
        [],
        `${error.reason.replaceAll(temporary, path)}. What was there before is as it was; make room there, or write elsewhere (another --out)`,
      );
    throw error;
  }
}
