import { expect, it } from 'vitest';
import { draws } from '../language-model/draws.js';
import { linearProbe } from './probe.js';

it.each([20, 600])('reads what a linear map can, from vectors of width %d, and no noise', (width) => {
  const next = draws(3, 'vectors');
  const rows = 3 * width;
  const vectors = Float32Array.from({ length: rows * width }, () => next() - 0.5);
  const linear = Float32Array.from({ length: rows }, (_, i) => vectors[i * width]! - 3 * vectors[i * width + 7]!);
  const noise = Float32Array.from({ length: rows }, () => next() - 0.5);
  const train = Array.from({ length: rows }, (_, i) => i % 3 !== 0);
  expect(linearProbe(vectors, width, linear, 1, train)).toBeGreaterThan(0.97);
  expect(linearProbe(vectors, width, noise, 1, train)).toBeLessThan(0.1);
});

it('of a width that few rows span gives what those tell', () => {
  const width = 400;
  const next = draws(4, 'vectors');
  const hidden = Array.from({ length: 300 }, () => Array.from({ length: 5 }, () => next() - 0.5));
  const directions = Array.from({ length: 5 }, () => Array.from({ length: width }, () => next() - 0.5));
  const vectors = Float32Array.from(
    hidden.flatMap((h) => directions[0]!.map((_, k) => h.reduce((s, x, j) => s + x * directions[j]![k]!, 0))),
  );
  const target = Float32Array.from(hidden, (h) => h[0]! + 2 * h[3]!);
  const train = hidden.map((_, i) => i % 3 !== 0);
  expect(linearProbe(vectors, width, target, 1, train)).toBeGreaterThan(0.97);
});
