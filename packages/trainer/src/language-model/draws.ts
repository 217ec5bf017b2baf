/**
 * Random draws that depend on nothing but (seed, stream, index): a run that is resumed opens the same stream at the same
 * place, and needs no saved generator for its data order. SplitMix32-style mixing, 32 bits a draw.
 */
export function draws(seed: number, stream: string, index = 0): () => number {
  let state = mix(seed | 0);
  for (let i = 0; i < stream.length; i++) state = mix(state ^ stream.charCodeAt(i));
  state = mix(state ^ index);
  return () => {
    state = (state + 0x9e3779b9) | 0;
    return (mix(state) >>> 0) / 2 ** 32;
  };
}

function mix(value: number): number {
  let x = Math.imul(value ^ (value >>> 16), 0x21f0aaad);
  x = Math.imul(x ^ (x >>> 15), 0x735a2d97);
  return x ^ (x >>> 15);
}

/** The numbers 0 … n−1 in an order that `next` decides (Fisher–Yates). */
export function shuffled(n: number, next: () => number): Int32Array {
  const order = Int32Array.from({ length: n }, (_, i) => i);
  for (let i = n - 1; i > 0; i--) {
    const j = Math.floor(next() * (i + 1));
    const held = order[i]!;
    order[i] = order[j]!;
    order[j] = held;
  }
  return order;
}
