import { setImmediate } from 'node:timers/promises';
import type { Samples } from '../dataset/samples.js';

/**
 * Puts a window's rows into another order, in place: row `order[i]` becomes row i.
 *
 * One column after another, each through a scratch copy: a column fits the cache, the window does not, and gathering batch by
 * batch cost fifteen times as much. Between columns others get their turn.
 */
export async function shuffleRows(samples: Samples, order: Uint32Array): Promise<void> {
  const { rows } = samples;
  let scratch = new Int32Array(rows);
  for (const array of fourByteColumns(samples)) {
    for (let start = 0; start < array.length; start += rows) {
      const column = array.subarray(start, start + rows);
      scratch.set(column);
      permute(scratch, column, order);
      await setImmediate();
    }
  }
  for (const { words, width } of rowsOfWords(samples)) {
    if (scratch.length < words.length) scratch = new Int32Array(words.length);
    scratch.set(words);
    permuteRows(scratch, words, order, width);
    await setImmediate();
  }
}

/** Copies rows from … from + count − 1 of a window to the rows at … of a batch. */
export function copyRows(window: Samples, batch: Samples, from: number, count: number, at: number): void {
  const targets = fourByteColumns(batch);
  fourByteColumns(window).forEach((source, i) => {
    const columns = source.length / window.rows;
    for (let c = 0; c < columns; c++) {
      const s = c * window.rows + from;
      targets[i]!.set(source.subarray(s, s + count), c * batch.rows + at);
    }
  });
  const rows = rowsOfWords(batch);
  rowsOfWords(window).forEach(({ words, width }, i) => {
    rows[i]!.words.set(words.subarray(from * width, (from + count) * width), at * width);
  });
}

function permute(source: Int32Array, target: Int32Array, order: Uint32Array): void {
  for (let i = 0; i < order.length; i++) target[i] = source[order[i]!]!;
}

function permuteRows(source: Int32Array, target: Int32Array, order: Uint32Array, width: number): void {
  for (let i = 0; i < order.length; i++) {
    const s = order[i]! * width;
    const t = i * width;
    for (let k = 0; k < width; k++) target[t + k] = source[s + k]!;
  }
}

/** Column-major arrays as their 32-bit words: one loop moves all kinds. */
function fourByteColumns(samples: Samples): Int32Array[] {
  const { categorical, dense, scene, user, poi, click, order } = samples;
  return [categorical, words(dense), scene, user, poi, words(click), ...(order === null ? [] : [words(order)])];
}

/** Arrays in which a row is several words. */
function rowsOfWords({ sequences, rowId, rows }: Samples): { words: Int32Array; width: number }[] {
  return [...sequences.map((s) => ({ words: s, width: s.length / rows })), { words: words(rowId), width: 2 }].filter(
    ({ words }) => words.length > 0,
  );
}

function words(array: Float32Array | BigInt64Array): Int32Array {
  return new Int32Array(array.buffer as ArrayBuffer, array.byteOffset, array.byteLength / 4);
}
