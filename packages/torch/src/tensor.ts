import { inspect } from 'node:util';
import { native } from './addon.js';
import { formatTensor } from './format.js';
import type { TensorOperators } from './operators.generated.js';

export type DType = 'f32' | 'f64' | 'bf16' | 'i64' | 'i32' | 'i16' | 'bool';
/** 'cpu', 'cuda' (the current device) or 'cuda:N'. */
export type Device = string;

export type TensorArray =
  | Float32Array
  | Float64Array
  | BigInt64Array
  | Int32Array
  | Int16Array
  | Uint8Array
  | Uint16Array;

/**
 * An n-dimensional array of numbers with automatic differentiation; a thin handle on a LibTorch tensor.
 *
 * Memory: a tensor lives until `dispose()`, the end of its scope (`tidy`, `using`), or, as a backstop alone, until garbage
 * collection. Numbers in operations that are whole stay whole: `i64.mul(2)` is i64, `i64.mul(0.5)` is f32.
 * Every method throws TensorError: with code TENSOR_DISPOSED after disposal, and with the operator and the shapes otherwise.
 */
export interface Tensor extends TensorOperators, Disposable {
  readonly shape: number[];
  readonly dtype: DType;
  readonly device: Device;
  readonly requiresGrad: boolean;
  /** The number of elements. */
  readonly numel: number;
  readonly ndim: number;
  /** Whether it is stored as indices and values, as the gradient of an embedding with `sparse` is. */
  readonly sparse: boolean;
  readonly disposed: boolean;
  /** The gradient that `backward` has gathered (a new handle at each reading); settable, to null above all. */
  grad: Tensor | null;

  /** The value of a tensor of one element; i64 as a number. */
  item(): number;
  /** A copy of all elements in order, converted. */
  toFloat32Array(): Float32Array;
  /** A copy of all elements in order: i64 as BigInt64Array, bool as Uint8Array, bf16 as its bits in a Uint16Array. */
  toArray(): TensorArray;
  /** Adds to `.grad` of every leaf that requires it. Runs on this thread; `gradient` may be absent for one element. */
  backward(gradient?: Tensor): void;
  /** Marks a leaf as something to differentiate by. */
  requiresGrad_(on?: boolean): this;
  /** A tensor of another dtype or on another device (itself under a new handle, when it is so already). Gradients flow through. */
  to(target: DType | { dtype?: DType; device?: Device }): Tensor;
  /** Normal random values, in place, outside the graph. */
  normal_(mean: number, std: number): this;
  /** Random values of [low, high), in place, outside the graph. */
  uniform_(low: number, high: number): this;
  /** Frees it now; doing so twice is allowed. */
  dispose(): void;
  toString(): string;
}

interface NativeTensor extends Tensor {
  convert(dtype?: DType, device?: Device): Tensor;
}

/** The class of tensors, for `instanceof`; made by functions such as `tensor`, `zeros` and `randn`. */
export const Tensor = native.Tensor as abstract new () => Tensor;

Object.defineProperties(Tensor.prototype, {
  to: {
    value(this: NativeTensor, target: DType | { dtype?: DType; device?: Device }): Tensor {
      return typeof target === 'string' ? this.convert(target) : this.convert(target.dtype, target.device);
    },
    configurable: true,
    writable: true,
  },
  toString: {
    value(this: Tensor): string {
      return formatTensor(this);
    },
    configurable: true,
    writable: true,
  },
  [inspect.custom]: {
    value(this: Tensor): string {
      return formatTensor(this);
    },
    configurable: true,
  },
  [Symbol.dispose]: {
    value(this: Tensor): void {
      this.dispose();
    },
    configurable: true,
  },
});
