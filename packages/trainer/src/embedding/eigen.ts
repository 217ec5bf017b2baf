import { noGrad, type Tensor, tensor, tidy } from '@larr/torch';

/** Eigenvalues, falling, and their eigenvectors as the rows of `vectors` [n, n]. */
export interface Eigen {
  values: Float64Array;
  vectors: Float64Array;
}

/** Up to this width rotations take less than a second, and give the same bits on any number of threads. */
const SMALL = 256;

/** Eigenvectors of a symmetric matrix [n, n]: all of them, a width of 4,096 in some ten seconds. */
export function symmetricEigen(matrix: Float64Array, n: number): Eigen {
  return n <= SMALL ? byRotations(matrix, n) : byLibrary(matrix, n);
}

/** Those of the `count` greatest eigenvalues. */
export function principalAxes(matrix: Float64Array, n: number, count: number): Eigen {
  const { values, vectors } = symmetricEigen(matrix, n);
  return { values: values.slice(0, count), vectors: vectors.slice(0, count * n) };
}

/** LAPACK's. */
function byLibrary(matrix: Float64Array, n: number): Eigen {
  return noGrad(() =>
    tidy(() => {
      const [rising, columns] = tensor(matrix, [n, n]).eigh();
      const numbers = (t: Tensor) => t.contiguous().toArray() as Float64Array;
      return { values: numbers(rising.flip([0])), vectors: numbers(columns.transpose(0, 1).flip([0])) };
    }),
  );
}

/** Cyclic Jacobi rotations (Golub and Van Loan, 8.5): exact to rounding, O(n³) a sweep, some eight sweeps. */
function byRotations(matrix: Float64Array, n: number): Eigen {
  const a = Float64Array.from(matrix);
  const v = new Float64Array(n * n);
  for (let i = 0; i < n; i++) v[i * n + i] = 1;
  for (let sweep = 0; sweep < 40; sweep++) {
    let off = 0;
    let diagonal = 0;
    for (let i = 0; i < n; i++) {
      diagonal += a[i * n + i]! ** 2;
      for (let j = i + 1; j < n; j++) off += a[i * n + j]! ** 2;
    }
    if (off <= 1e-24 * diagonal) break;
    for (let p = 0; p < n; p++) {
      for (let q = p + 1; q < n; q++) {
        const apq = a[p * n + q]!;
        if (apq === 0) continue;
        const theta = (a[q * n + q]! - a[p * n + p]!) / (2 * apq);
        const t = Math.sign(theta || 1) / (Math.abs(theta) + Math.sqrt(theta * theta + 1));
        const c = 1 / Math.sqrt(t * t + 1);
        const s = t * c;
        rotateColumns(a, n, p, q, c, s);
        rotateRows(a, n, p, q, c, s);
        rotateRows(v, n, p, q, c, s);
      }
    }
  }
  const order = Array.from({ length: n }, (_, i) => i).sort((i, j) => a[j * n + j]! - a[i * n + i]!);
  const values = Float64Array.from(order, (i) => a[i * n + i]!);
  const vectors = new Float64Array(n * n);
  order.forEach((from, to) => {
    vectors.set(v.subarray(from * n, (from + 1) * n), to * n);
  });
  return { values, vectors };
}

function rotateRows(m: Float64Array, n: number, p: number, q: number, c: number, s: number): void {
  for (let k = 0; k < n; k++) {
    const x = m[p * n + k]!;
    const y = m[q * n + k]!;
    m[p * n + k] = c * x - s * y;
    m[q * n + k] = s * x + c * y;
  }
}

function rotateColumns(m: Float64Array, n: number, p: number, q: number, c: number, s: number): void {
  for (let k = 0; k < n; k++) {
    const x = m[k * n + p]!;
    const y = m[k * n + q]!;
    m[k * n + p] = c * x - s * y;
    m[k * n + q] = s * x + c * y;
  }
}
