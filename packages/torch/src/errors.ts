import { LarrError } from '@larr/core';

/** What went wrong: see `TensorError.code`. */
export type TensorErrorCode =
  /** an argument that is not what the operator takes */
  | 'TENSOR_ARGUMENT'
  /** a tensor was used after its disposal */
  | 'TENSOR_DISPOSED'
  /** LibTorch refused: shapes, dtypes or devices that do not fit, or a failure inside an operator */
  | 'TENSOR_OPERATOR'
  /** an index or dim out of range */
  | 'TENSOR_INDEX'
  /** memory ran out */
  | 'TENSOR_MEMORY'
  /** a device that is not there */
  | 'TENSOR_DEVICE'
  /** a scope that has ended, or an asynchronous function where a synchronous one belongs */
  | 'TENSOR_SCOPE'
  /** a tensor file that cannot be read or written, or is damaged */
  | 'TENSOR_FILE'
  /** a tensor file of numbers of a kind that is not read */
  | 'TENSOR_DTYPE'
  /** an optimiser's state that does not fit its parameters */
  | 'TENSOR_STATE'
  /** several processes that can't work together, or do not do the same */
  | 'TENSOR_JOB'
  /** the native part is missing or cannot be loaded */
  | 'TENSOR_ADDON';

/** An error of an operator: `operator` is its name, `shapes` are the shapes of the tensors that it was given (`this` first). */
export class TensorError extends LarrError {
  readonly operator: string;
  readonly shapes: readonly (readonly number[])[];
  /** What went wrong, without the operator and the shapes. */
  readonly reason: string;

  constructor(code: TensorErrorCode, operator: string, shapes: readonly (readonly number[])[], message: string) {
    const given = shapes.length > 0 ? ` (shapes ${shapes.map((shape) => `[${shape.join(', ')}]`).join(', ')})` : '';
    super(code, `${operator}: ${message}${given}`);
    this.operator = operator;
    this.shapes = shapes;
    this.reason = message;
  }
}
