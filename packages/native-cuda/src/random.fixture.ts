/** Seeded numbers for tests: mulberry32, and normals by Box and Muller. */
export function randomSource(seed: number): {
  uniform(): number;
  below(n: number): number;
  normals(n: number, std?: number, mean?: number): Float32Array;
} {
  let state = seed >>> 0;
  const uniform = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
  const normal = () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
  return {
    uniform,
    below: (n) => Math.floor(uniform() * n),
    normals: (n, std = 1, mean = 0) => Float32Array.from({ length: n }, () => mean + std * normal()),
  };
}
