/** The first row of `vectors` [rows, width] that holds NaN or infinity; null where every number is finite. */
export function notFiniteRow(vectors: Float32Array, width: number): number | null {
  for (let i = 0; i < vectors.length; i++) if (!Number.isFinite(vectors[i]!)) return Math.floor(i / width);
  return null;
}
