import { noGrad, tensor, tidy } from '@larr/torch';
import { draws } from '../language-model/draws.js';
import { type Eigen, symmetricEigen } from './eigen.js';

/** Directions carried along beside those that are wanted: the last of them converge slowly. */
const SPARE = 16;
const ROUNDS = 60;
/** Up to this width all directions take less than a second. */
const SMALL = 256;
/** Added to every eigenvalue while directions are looked for, as a share of their mean: directions without any would be lost. */
const SHIFT = 1e-6;

/**
 * The eigenvectors of the `count` greatest eigenvalues of a symmetric positive matrix [n, n], by subspace iteration with a
 * Rayleigh–Ritz step (Halko, Martinsson and Tropp 2011): for the widths of language models and sentence encoders, where all of
 * them would take minutes to hours. Eigenvalues fall; where the matrix has fewer directions than `count`, the others are any.
 */
export function principalAxes(matrix: Float64Array, n: number, count: number, seed: number): Eigen {
  const width = Math.min(n, count + SPARE);
  if (n <= Math.max(width, SMALL)) return symmetricEigen(matrix, n);
  const next = draws(seed, 'first directions');
  let basis = orthonormal(
    Float64Array.from({ length: width * n }, () => next() - 0.5),
    width,
    n,
  );
  const image = (rows: Float64Array) => product(rows, matrix, width, n, n);
  let trace = 0;
  for (let i = 0; i < n; i++) trace += matrix[i * n + i]!;
  const shift = (SHIFT * trace) / n;
  for (let round = 0; round < ROUNDS; round++) {
    const images = image(basis);
    for (let i = 0; i < images.length; i++) images[i]! += shift * basis[i]!;
    basis = orthonormal(images, width, n);
  }
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
