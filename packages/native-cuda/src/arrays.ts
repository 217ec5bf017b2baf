import { types } from 'node:util';
import { markAsUntransferable } from 'node:worker_threads';
import { KernelError } from './errors.js';

/** A shape in words, `[batch, dim] = [3, 4]`, and how many elements that is. */
export interface Shape {
  words: string;
  sizes: number[];
}

export function shape(words: string, ...sizes: number[]): Shape {
  return { words, sizes };
}

const elements = (s: Shape): number => s.sizes.reduce((a, b) => a * b, 1);
const inWords = (s: Shape): string => `${s.words} = [${s.sizes.join(', ')}]`;

interface Kind<T> {
  name: string;
  is(value: unknown): value is T;
}
const float32: Kind<Float32Array> = { name: 'Float32Array', is: types.isFloat32Array };
const int32: Kind<Int32Array> = { name: 'Int32Array', is: types.isInt32Array };

/** Whether a typed array's memory has been taken away (transferred). */
function isDetached(array: Float32Array | Int32Array): boolean {
  const buffer = array.buffer as ArrayBuffer & { detached?: boolean };
  if (buffer.detached !== undefined) return buffer.detached;
  if (buffer.byteLength !== 0 || types.isSharedArrayBuffer(buffer)) return false;
  try {
    new Uint8Array(buffer); // throws on a detached buffer, not on an empty one
    return false;
  } catch {
    return true;
  }
}

function check<T extends Float32Array | Int32Array>(kind: Kind<T>, name: string, value: unknown, wanted: Shape): T {
  if (!kind.is(value)) {
    const got = types.isTypedArray(value)
      ? value.constructor.name
      : value === null
        ? 'null'
        : Array.isArray(value)
          ? 'an array'
          : typeof value;
    throw new KernelError('BAD_ARGUMENT', `${name} must be a ${kind.name} ${inWords(wanted)}, got ${got}`);
  }
  if (isDetached(value))
    throw new KernelError('DETACHED', `${name} (${inWords(wanted)}) is detached: its memory was transferred away`);
  // Pages of a buffer that is made smaller are gone at once, whoever reads them.
  if ((value.buffer as ArrayBuffer & { resizable?: boolean }).resizable === true)
    throw new KernelError(
      'BAD_ARGUMENT',
      `${name} (${inWords(wanted)}) lies in a resizable ArrayBuffer, whose memory could be taken away while a kernel runs; pass a copy`,
    );
  if (value.length !== elements(wanted)) {
    throw new KernelError(
      'BAD_SHAPE',
      `${name} must hold ${elements(wanted)} elements, ${inWords(wanted)}, got ${value.length}`,
    );
  }
  return value;
}

/** @throws KernelError naming the argument and its shape where it is not a live Float32Array of exactly that many elements. */
export const floats = (name: string, value: unknown, wanted: Shape): Float32Array =>
  check(float32, name, value, wanted);
/** @throws KernelError like {@link floats}. */
export const ints = (name: string, value: unknown, wanted: Shape): Int32Array => check(int32, name, value, wanted);

/** @throws KernelError unless `value` is a whole number from `least` to 2^31 - 1. */
export function count(name: string, value: unknown, least = 1): number {
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < least || value > 0x7fffffff) {
    throw new KernelError(
      'BAD_ARGUMENT',
      `${name} must be a whole number from ${least} to 2147483647, got ${String(value)}`,
    );
  }
  return value;
}

/** @throws KernelError unless `value` is a finite number. */
export function finite(name: string, value: unknown): number {
  if (typeof value !== 'number' || !Number.isFinite(value)) {
    throw new KernelError('BAD_ARGUMENT', `${name} must be a finite number, got ${String(value)}`);
  }
  return value;
}

/** @throws KernelError unless `value`, an argument that holds others, is an object. */
export function holder<T extends object>(name: string, value: T): T {
  if (typeof value !== 'object' || value === null) {
    throw new KernelError('BAD_ARGUMENT', `${name} must be an object, got ${value === null ? 'null' : typeof value}`);
  }
  return value;
}

/** @throws KernelError unless `value` is 'f32' or 'bf16'. */
export function isBf16(value: unknown): boolean {
  if (value !== undefined && value !== 'f32' && value !== 'bf16') {
    throw new KernelError('BAD_ARGUMENT', `dtype must be 'f32' or 'bf16', got ${String(value)}`);
  }
  return value === 'bf16';
}

/**
 * Keeps the memory of arrays that a running call uses where it is: a reference alone would not stop `postMessage` from transferring
 * it to a thread that then frees it. Node has no way to take this back, so such buffers are copied, not moved, by a later transfer.
 */
export function pin(...arrays: (Float32Array | Int32Array | null | undefined)[]): void {
  for (const array of arrays) if (array && !types.isSharedArrayBuffer(array.buffer)) markAsUntransferable(array.buffer);
}
