import { expect, it } from 'vitest';
import { manualSeed, randint, randn, sceneAttention, setNumThreads, type Tensor, tidy } from './index.js';

const ENTRIES = 30;

/** Values and gradients of the attention in a dtype, on numbers that are the same for every dtype. */
function run(dtype: 'f32' | 'f64', heads: number, d: number, rows = 300): number[][] {
  return tidy(() => {
    manualSeed(9);
    const [logits, values] = [randn([ENTRIES + 1, heads]), randn([ENTRIES + 1, d])].map((t) =>
      t.to(dtype).requiresGrad_(),
    ) as [Tensor, Tensor];
    const index = randint(0, ENTRIES, [rows, 7]);
    const missing = randint(0, 3, [rows, 7]).eq(0);
    const weight = randn([rows, d]).to(dtype);
    const context = sceneAttention(logits, values, index, missing);
    context.mul(weight).sum().backward();
    return [context, logits.grad!, values.grad!].map((t) => Array.from(t.to('f64').toArray() as Float64Array));
  });
}

it.each([
  [1, 8],
  [4, 32],
  [3, 15],
])('equals what is composed from operators in float64, %i heads of %i', (heads, d) => {
  const [got, wanted] = [run('f32', heads, d), run('f64', heads, d)];
  got.forEach((numbers, i) => {
    const scale = Math.max(...wanted[i]!.map(Math.abs));
    numbers.forEach((x, j) => {
      expect(Math.abs(x - wanted[i]![j]!), `${i}, element ${j}`).toBeLessThan(2e-6 * scale);
    });
  });
});

it('is the same at any number of threads', () => {
  const one = run('f32', 4, 32);
  setNumThreads(4);
  const four = run('f32', 4, 32);
  setNumThreads(1);
  expect(four).toEqual(one);
});

it('gives a row without any entry the value of the query itself', () => {
  tidy(() => {
    const values = randn([3, 4]);
    const nothing = randint(0, 2, [2, 5]).ge(0);
    const context = sceneAttention(randn([3, 2]), values, randint(0, 2, [2, 5]), nothing);
    expect(
      context
        .sub(values.narrow(0, 2, 1))
        .abs()
        .amax()
        .item(),
    ).toBeLessThan(1e-6);
  });
});

it('refuses entries that the table has not, and shapes that do not go together', () => {
  tidy(() => {
    const [logits, values] = [randn([3, 2]), randn([3, 4])];
    const some = randint(0, 1, [2, 5]);
    expect(() => sceneAttention(logits, values, some.add(2), some.ne(0))).toThrow(/entry 2 is none of the 2/);
    expect(() => sceneAttention(logits, randn([3, 5]), some, some.ne(0))).toThrow(/do not go together/);
    expect(() => sceneAttention(logits, values, some, some)).toThrow(/truth values/);
  });
});
