/** Rows of the `k` highest scores, highest first; equal ones in the order they came. */
export function bestFirst(scores: Float32Array, k: number): number[] {
  const rows = Array.from(scores.keys());
  rows.sort((a, b) => scores[b]! - scores[a]! || a - b);
  return rows.slice(0, k);
}
