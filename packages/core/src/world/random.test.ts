import { expect, test } from 'vitest';
import { AliasTable, pairNormal, Random } from './random.js';

const MASK = (1n << 64n) - 1n;

/** PCG32 as its paper writes it, in 64-bit integers. */
function referencePcg(state: bigint, count: number): number[] {
  const out: number[] = [];
  for (let i = 0; i < count; i++) {
    const xorshifted = Number((((state >> 18n) ^ state) >> 27n) & 0xffffffffn);
    const rotation = Number(state >> 59n);
    out.push(((xorshifted >>> rotation) | (xorshifted << (-rotation & 31))) >>> 0);
    state = (state * 6364136223846793005n + 1442695040888963407n) & MASK;
  }
  return out;
}

test('the generator is PCG32: its numbers are those of 64-bit arithmetic from the same state', () => {
  const random = new Random(12345, 3, 9);
  const { hi, lo } = random as unknown as { hi: number; lo: number };
  const state = (BigInt(hi >>> 0) << 32n) | BigInt(lo >>> 0);
  const ours = Array.from({ length: 2000 }, () => random.next());
  expect(ours).toEqual(referencePcg(state, 2000));
});

test('streams are their own: the same address repeats, another seed, stream or index does not', () => {
  const draw = (seed: number, stream: number, index: number): string => {
    const random = new Random(seed, stream, index);
    return [random.next(), random.next(), random.next()].join();
  };
  expect(draw(1, 2, 3)).toBe(draw(1, 2, 3));
  const addresses = new Set<string>();
  for (let seed = 0; seed < 20; seed++)
    for (let stream = 0; stream < 10; stream++)
      for (let index = 0; index < 50; index++) addresses.add(draw(seed, stream, index));
  expect(addresses.size).toBe(20 * 10 * 50);
  // Seeds beyond 32 bits differ too.
  expect(draw(1, 2, 3)).not.toBe(draw(1 + 2 ** 32, 2, 3));
});

test('uniform, normal, weighted and alias draws have the moments they should', () => {
  const random = new Random(7, 1);
  const n = 200_000;
  let uniform = 0;
  let square = 0;
  for (let i = 0; i < n; i++) uniform += random.uniform();
  for (let i = 0; i < n; i++) square += random.normal() ** 2;
  expect(uniform / n).toBeCloseTo(0.5, 2);
  expect(square / n).toBeCloseTo(1, 1);
  const weights = [1, 0, 5, 2];
  const table = new AliasTable(weights);
  const fromTable = [0, 0, 0, 0];
  const direct = [0, 0, 0, 0];
  for (let i = 0; i < n; i++) {
    fromTable[table.draw(random)]! += 8 / n;
    direct[random.weighted(weights)]! += 8 / n;
  }
  for (const [i, weight] of weights.entries()) {
    expect(fromTable[i]).toBeCloseTo(weight, 1);
    expect(direct[i]).toBeCloseTo(weight, 1);
  }
});

test('the value of a pair is fixed, standardised, and unlike that of its neighbours', () => {
  expect(pairNormal(1, 5, 9)).toBe(pairNormal(1, 5, 9));
  let sum = 0;
  let square = 0;
  let lag = 0;
  for (let i = 0; i < 100_000; i++) {
    const value = pairNormal(3, i % 317, Math.floor(i / 317));
    sum += value;
    square += value * value;
    lag += value * pairNormal(3, (i % 317) + 1, Math.floor(i / 317));
  }
  expect(sum / 1e5).toBeCloseTo(0, 1);
  expect(square / 1e5).toBeCloseTo(1, 1);
  expect(Math.abs(lag / 1e5)).toBeLessThan(0.02);
});
