import { native } from './addon.js';
import { TensorError } from './errors.js';
import type { Device, DType, Tensor } from './tensor.js';

/** dtype f32, device 'cpu' and no gradient, unless told otherwise. */
export interface TensorOptions {
  dtype?: DType;
  device?: Device;
  requiresGrad?: boolean;
}

type Tail = [dtype?: DType, device?: Device, requiresGrad?: boolean];
type Maker<A extends unknown[]> = (...args: [...A, ...Tail]) => Tensor;

const fromTypedArray = native.fromTypedArray as Maker<[data: NodeJS.TypedArray, shape: readonly number[]]>;
const nativeFull = native.full as Maker<[shape: readonly number[], value: number]>;
const nativeZeros = native.zeros as Maker<[shape: readonly number[]]>;
const nativeEmpty = native.empty as Maker<[shape: readonly number[]]>;
const nativeRand = native.rand as Maker<[shape: readonly number[]]>;
const nativeRandn = native.randn as Maker<[shape: readonly number[]]>;
const nativeRandint = native.randint as Maker<[low: number, high: number, shape: readonly number[]]>;
const nativeRandperm = native.randperm as Maker<[n: number]>;
const nativeArange = native.arange as Maker<[start: number, end: number, step: number]>;
const nativeEye = native.eye as Maker<[n: number]>;
const nativeFullLike = native.fullLike as (tensor: Tensor, value: number) => Tensor;

function tail(options: TensorOptions | undefined): Tail {
  return options === undefined ? [] : [options.dtype, options.device, options.requiresGrad];
}

/**
 * A tensor of these values, copied once. The dtype is the typed array's, when not given: Float32Array f32, Float64Array f64,
 * BigInt64Array i64, Int32Array i32, Uint8Array bool, Uint16Array bf16 (its bits); plain numbers are f32, plain booleans bool.
 * @param shape  [data.length] when absent
 * @throws TensorError TENSOR_OPERATOR when the shape does not hold as many elements
 */
export function tensor(
  data: NodeJS.TypedArray | readonly number[] | readonly bigint[] | readonly boolean[],
  shape: readonly number[] = [data.length],
  options?: TensorOptions,
): Tensor {
  if (ArrayBuffer.isView(data)) return fromTypedArray(data, shape, ...tail(options));
  const first = data[0];
  if (typeof first === 'bigint') {
    return fromTypedArray(
      BigInt64Array.from(data as readonly bigint[]),
      shape,
      options?.dtype ?? 'i64',
      options?.device,
      options?.requiresGrad,
    );
  }
  if (typeof first === 'boolean') {
    return fromTypedArray(
      Uint8Array.from(data as readonly boolean[], Number),
      shape,
      options?.dtype ?? 'bool',
      options?.device,
      options?.requiresGrad,
    );
  }
  if (first !== undefined && typeof first !== 'number') {
    throw new TensorError(
      'TENSOR_ARGUMENT',
      'tensor',
      [],
      `data must be a flat array of numbers, not of ${typeof first}s`,
    );
  }
  // f64 holds every whole number that a JavaScript number can.
  const dtype = options?.dtype ?? 'f32';
  const values =
    dtype === 'f32' ? Float32Array.from(data as readonly number[]) : Float64Array.from(data as readonly number[]);
  return fromTypedArray(values, shape, dtype, options?.device, options?.requiresGrad);
}

/** A tensor of no dims. */
export function scalar(value: number, options?: TensorOptions): Tensor {
  return nativeFull([], value, options?.dtype ?? 'f32', options?.device, options?.requiresGrad);
}

export function zeros(shape: readonly number[], options?: TensorOptions): Tensor {
  return nativeZeros(shape, ...tail(options));
}
export function ones(shape: readonly number[], options?: TensorOptions): Tensor {
  return nativeFull(shape, 1, ...tail(options));
}
export function full(shape: readonly number[], value: number, options?: TensorOptions): Tensor {
  return nativeFull(shape, value, ...tail(options));
}
/** Memory as it comes: to be written before it is read. */
export function empty(shape: readonly number[], options?: TensorOptions): Tensor {
  return nativeEmpty(shape, ...tail(options));
}
/** start, start + step, … below end; i64 when all three are whole, else f32. `arange(end)` starts at 0. */
export function arange(start: number, end?: number, step = 1, options?: TensorOptions): Tensor {
  return end === undefined
    ? nativeArange(0, start, step, ...tail(options))
    : nativeArange(start, end, step, ...tail(options));
}
/** Uniform in [0, 1). */
export function rand(shape: readonly number[], options?: TensorOptions): Tensor {
  return nativeRand(shape, ...tail(options));
}
/** Standard normal. */
export function randn(shape: readonly number[], options?: TensorOptions): Tensor {
  return nativeRandn(shape, ...tail(options));
}
/** Whole numbers low … high − 1 (i64 unless told otherwise). */
export function randint(low: number, high: number, shape: readonly number[], options?: TensorOptions): Tensor {
  return nativeRandint(low, high, shape, ...tail(options));
}
/** 0 … n − 1 in random order (i64 unless told otherwise). */
export function randperm(n: number, options?: TensorOptions): Tensor {
  return nativeRandperm(n, ...tail(options));
}
/** The identity matrix [n, n]. */
export function eye(n: number, options?: TensorOptions): Tensor {
  return nativeEye(n, ...tail(options));
}
export function zerosLike(like: Tensor): Tensor {
  return nativeFullLike(like, 0);
}
export function onesLike(like: Tensor): Tensor {
  return nativeFullLike(like, 1);
}
/** Standard normal, with the shape, dtype and device of another. */
export const randnLike = native.randnLike as (like: Tensor) => Tensor;
