/** What went wrong: a wrong argument, an index past a table, a call cut off, memory, a missing GPU or build, anything else. */
export type KernelErrorCode =
  | 'BAD_ARGUMENT'
  | 'BAD_SHAPE'
  | 'DETACHED'
  | 'OUT_OF_RANGE'
  | 'CANCELLED'
  | 'OUT_OF_MEMORY'
  | 'DISPOSED'
  | 'NO_SUCH_DEVICE'
  | 'NOT_BUILT'
  | 'KERNEL_FAILED';

/** Every error of this package. The message names the argument and the shape it should have had. */
export class KernelError extends Error {
  override readonly name = 'KernelError';
  constructor(
    readonly code: KernelErrorCode,
    message: string,
  ) {
    super(message);
  }
}
