import { expect, it } from 'vitest';
import {
  embeddingBag,
  getNumThreads,
  manualSeed,
  randint,
  randn,
  setNumThreads,
  type Tensor,
  tensor,
  tidy,
} from './index.js';

const ROWS = 50;

function problem(): { table: Tensor; index: Tensor; offsets: Tensor } {
  manualSeed(4);
  // the second bag is empty, the last one runs to the end
  const offsets = BigInt64Array.from([0n, 7n, 7n, 8n, 200n]);
  return { table: randn([ROWS, 19]), index: randint(0, ROWS, [300]), offsets: tensor(offsets, [5]) };
}

it.each([
  ['sum', undefined],
  ['mean', undefined],
  ['sum', 3],
  ['mean', 0],
  ['mean', -1],
])('a table that learns nothing gives the %s that one which learns gives, padding %s', (mode, paddingIndex) => {
  tidy(() => {
    const { table, index, offsets } = problem();
    const options = { mode, ...(paddingIndex !== undefined && { paddingIndex }) };
    for (const given of [index, index.to('i32')]) {
      const starts = offsets.to(given.dtype);
      const got = embeddingBag(table, given, starts, options).toFloat32Array();
      // LibTorch's own operator takes what asks for a gradient
      const wanted = embeddingBag(table.clone().requiresGrad_(), given, starts, options).detach().toFloat32Array();
      got.forEach((x, i) => {
        expect(x).toBeCloseTo(wanted[i]!, 5);
      });
    }
  });
});

it('gives the same bits on any number of threads, and zeros to a bag of padding alone', () => {
  const threads = getNumThreads();
  try {
    tidy(() => {
      const table = randn([ROWS, 64]);
      const index = randint(1, ROWS, [4000]);
      index.narrow(0, 0, 4).fill_(0);
      const offsets = tensor(
        BigInt64Array.from({ length: 1000 }, (_, i) => BigInt(4 * i)),
        [1000],
      );
      const run = () => embeddingBag(table, index, offsets, { mode: 'mean', paddingIndex: 0 }).toFloat32Array();
      setNumThreads(1);
      const one = run();
      expect(one.slice(0, 64).every((x) => x === 0)).toBe(true);
      setNumThreads(3);
      expect(run()).toEqual(one);
    });
  } finally {
    setNumThreads(threads);
  }
});

it('refuses an index that no row has, and offsets that do not rise', () => {
  tidy(() => {
    const { table, index, offsets } = problem();
    expect(() => embeddingBag(table, index.add(1), offsets)).toThrow(/index 50 is none of the 50 rows/);
    expect(() => embeddingBag(table, index.sub(1), offsets)).toThrow(/index -1 is none of the 50 rows/);
    const falling = tensor(BigInt64Array.from([0n, 9n, 8n]), [3]);
    expect(() => embeddingBag(table, index, falling)).toThrow(/offset 2 is 8/);
    const late = tensor(BigInt64Array.from([1n, 9n]), [2]);
    expect(() => embeddingBag(table, index, late)).toThrow(/rise from 0/);
    for (const paddingIndex of [ROWS, -ROWS - 1])
      expect(() => embeddingBag(table, index, offsets, { paddingIndex })).toThrow(/is none of the 50 rows/);
  });
});
