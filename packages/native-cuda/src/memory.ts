import { count, floats, ints, shape } from './arrays.js';
import { KernelError } from './errors.js';
import { native } from './native.js';

/**
 * Rows of a table, [rows.length, width]; index -1 gives a row of zeros.
 * @throws KernelError BAD_ARGUMENT, BAD_SHAPE, DETACHED, or OUT_OF_RANGE naming the position of an index outside the table.
 */
export function gatherRows(table: Float32Array, width: number, rows: Int32Array, out?: Float32Array): Float32Array {
  count('width', width);
  if (!(rows instanceof Int32Array)) throw new KernelError('BAD_ARGUMENT', 'rows must be an Int32Array [n]');
  if (!(table instanceof Float32Array))
    throw new KernelError('BAD_ARGUMENT', `table must be a Float32Array [rows, width = ${width}]`);
  if (table.length % width !== 0) {
    throw new KernelError('BAD_SHAPE', `table must hold whole rows of width ${width}, got ${table.length} elements`);
  }
  floats('table', table, shape('[rows, width]', table.length / width, width));
  ints('rows', rows, shape('[n]', rows.length));
  const to =
    out === undefined
      ? new Float32Array(rows.length * width)
      : floats('out', out, shape('[rows, width]', rows.length, width));
  native().gatherRows(table, table.length / width, width, rows, to);
  return to;
}

/**
 * A file's bytes without reading it: pages come from the system's cache as they are touched, and are given back when the buffer is
 * collected. Writing into the buffer changes this process's copy of the page, never the file. The file must not shrink meanwhile.
 * @throws KernelError KERNEL_FAILED naming the path and the system's reason.
 */
export function mapFile(path: string): ArrayBuffer {
  if (typeof path !== 'string' || path === '' || path.includes('\0'))
    throw new KernelError('BAD_ARGUMENT', 'path must be the name of a file');
  return native().mapFile(path);
}
