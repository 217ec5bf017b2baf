import { noGrad, tensor, tidy } from '@larr/torch';
import { draws } from '../../language-model/draws.js';
import { type Eigen, symmetricEigen } from '../eigen.js';

/** Directions carried along beside those that are wanted: the last of them converge slowly. */
const SPARE = 16;
const ROUNDS = 60;

/**
 * The eigenvectors of the `count` greatest eigenvalues of a symmetric positive matrix [n, n], by subspace iteration with a
 * Rayleigh–Ritz step (Halko, Martinsson and Tropp 2011): for the widths of sentence encoders, where all of them would take minutes.
 */
export function principalAxes(matrix: Float64Array, n: number, count: number, seed: number): Eigen {
  const width = Math.min(n, count + SPARE);
  if (width === n) return symmetricEigen(matrix, n);
  const next = draws(seed, 'first directions');
  let basis = orthonormal(
    Float64Array.from({ length: width * n }, () => next() - 0.5),
    width,
    n,
  );
  const image = (rows: Float64Array) => product(rows, matrix, width, n, n);
  for (let round = 0; round < ROUNDS; round++) basis = orthonormal(image(basis), width, n);
  // Within the subspace the problem is small: its eigenvectors turn the basis into those of the matrix.
  const transposed = new Float64Array(n * width);
  for (let i = 0; i < width; i++) for (let j = 0; j < n; j++) transposed[j * width + i] = basis[i * n + j]!;
  const small = symmetricEigen(product(image(basis), transposed, width, n, width), width);
  const vectors = product(small.vectors, basis, width, width, n);
  return { values: small.values.slice(0, count), vectors: vectors.slice(0, count * n) };
}

/** [rows, inner] · [inner, columns] */
function product(a: Float64Array, b: Float64Array, rows: number, inner: number, columns: number): Float64Array {
  return noGrad(() =>
    tidy(
      () =>
        tensor(a, [rows, inner])
          .matmul(tensor(b, [inner, columns]))
          .contiguous()
          .toArray() as Float64Array,
    ),
  );
}

/** Gram–Schmidt, twice, on the rows [count, n]; a row that depends on those before it becomes zero. */
function orthonormal(rows: Float64Array, count: number, n: number): Float64Array {
  for (let i = 0; i < count; i++) {
    const own = rows.subarray(i * n, (i + 1) * n);
    const before = Math.hypot(...own);
    for (let pass = 0; pass < 2; pass++) {
      for (let j = 0; j < i; j++) {
        const other = rows.subarray(j * n, (j + 1) * n);
        let dot = 0;
        for (let k = 0; k < n; k++) dot += own[k]! * other[k]!;
        for (let k = 0; k < n; k++) own[k]! -= dot * other[k]!;
      }
    }
    const length = Math.hypot(...own);
    const scale = length > 1e-12 * before && length > 0 ? 1 / length : 0;
    for (let k = 0; k < n; k++) own[k]! *= scale;
  }
  return rows;
}
