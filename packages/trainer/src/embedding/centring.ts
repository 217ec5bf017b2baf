// What all vectors share tells nothing apart (method.md, section 7): it is taken off before they are compared.

/** Vectors, row after row. */
export interface Rows {
  data: Float32Array;
  shape: readonly [rows: number, dimension: number];
}

/**
 * In place: takes the mean of the rows that are not all zeros off each of them, and makes it of length 1. Rows of zeros stay what they are.
 * @returns [dimension]: what was taken off
 */
export function centreAndNormalise({ data, shape: [rows, d] }: Rows): Float64Array {
  const mean = new Float64Array(d);
  const present: number[] = [];
  for (let row = 0; row < rows; row++) {
    const own = data.subarray(row * d, (row + 1) * d);
    if (own.every((x) => x === 0)) continue;
    present.push(row);
    own.forEach((x, i) => {
      mean[i]! += x;
    });
  }
  if (present.length > 0) for (let i = 0; i < d; i++) mean[i]! /= present.length;
  for (const row of present) {
    const own = data.subarray(row * d, (row + 1) * d);
    let square = 0;
    for (let i = 0; i < d; i++) {
      own[i]! -= mean[i]!;
      square += own[i]! ** 2;
    }
    const scale = square > 0 ? 1 / Math.sqrt(square) : 0;
    for (let i = 0; i < d; i++) own[i]! *= scale;
  }
  return mean;
}
