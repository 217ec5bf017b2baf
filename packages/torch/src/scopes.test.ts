import { setImmediate, setTimeout as sleep } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { describe, expect, it } from 'vitest';
import {
  AdamW,
  autocast,
  empty,
  keep,
  memoryStats,
  noGrad,
  randn,
  type Tensor,
  TensorError,
  tensor,
  tidy,
  tidyAsync,
  zeros,
} from './index.js';

const live = () => memoryStats().tensors;

setFlagsFromString('--expose-gc');
const gc = runInNewContext('gc') as () => void;

/** How many tensors live once those that earlier tests left behind are collected: a collection in the middle of a test must not take any of them. */
async function liveOnceCollected(): Promise<number> {
  for (let same = 0, last = -1; same < 3; ) {
    gc();
    await sleep(5);
    same = live() === last ? same + 1 : 0;
    last = live();
  }
  return live();
}

describe('tidy', () => {
  it('disposes of all but what is returned, nested in arrays, objects and maps', () => {
    const before = live();
    const result = tidy(() => {
      zeros([3]);
      const a = zeros([1]);
      const cyclic: Record<string, unknown> = {
        a,
        list: [zeros([2]), { b: zeros([4]) }],
        map: new Map([['c', zeros([5])]]),
      };
      cyclic.self = cyclic;
      return cyclic as { a: Tensor; list: [Tensor, { b: Tensor }]; map: Map<string, Tensor> };
    });
    expect(live()).toBe(before + 4);
    expect([result.a, result.list[0], result.list[1].b, result.map.get('c')!].map((t) => t.numel)).toEqual([
      1, 2, 4, 5,
    ]);
  });

  it('hands survivors to the scope around', () => {
    let inner!: Tensor;
    tidy(() => {
      inner = tidy(() => zeros([1]));
      expect(inner.disposed).toBe(false);
    });
    expect(inner.disposed).toBe(true);
  });

  it('disposes when the function throws', () => {
    let made!: Tensor;
    expect(() =>
      tidy(() => {
        made = zeros([1]);
        throw new Error('stop');
      }),
    ).toThrow('stop');
    expect(made.disposed).toBe(true);
    expect(tidy(() => tidy(() => 1))).toBe(1);
  });

  it('leaves what is kept, what was there before, and gradients', () => {
    const w = randn([2], { requiresGrad: true });
    let kept!: Tensor;
    tidy(() => {
      kept = keep(w.detach());
      w.square().sum().backward();
    });
    expect(kept.disposed).toBe(false);
    expect(w.grad!.numel).toBe(2);
  });

  it('refuses an asynchronous function', () => {
    expect(() => tidy(async () => zeros([1]))).toThrow(/use tidyAsync/);
  });

  it('works with `using`', () => {
    let outer!: Tensor;
    {
      using t = zeros([1]);
      outer = t;
      expect(t.disposed).toBe(false);
    }
    expect(outer.disposed).toBe(true);
  });

  it('disposes of optimiser state that was looked at, not of the optimiser', () => {
    const w = randn([2], { requiresGrad: true });
    const optimiser = new AdamW([w], { lr: 0.1 });
    tidy(() => {
      w.sum().backward();
      optimiser.step();
      optimiser.stateDict();
    });
    expect(() => optimiser.step()).not.toThrow();
  });
});

describe('tidyAsync', () => {
  it('gives every tensor to its own function, however they interleave', async () => {
    const before = await liveOnceCollected();
    const made: Tensor[][] = [[], [], [], []];
    const results = await Promise.all(
      made.map((mine, k) =>
        tidyAsync(async () => {
          for (let i = 0; i < 6; i++) {
            mine.push(zeros([k + 1]));
            if (i % 2) await null;
            else await sleep(((i * 7 + k * 3) % 5) + 1);
          }
          // One that ends early must take nothing of the others with it.
          if (k === 0) return zeros([9]);
          await sleep(15);
          expect(mine.every((t) => !t.disposed)).toBe(true);
          return zeros([9]);
        }),
      ),
    );
    expect(made.flat().every((t) => t.disposed)).toBe(true);
    expect(results.every((t) => !t.disposed)).toBe(true);
    for (const t of results) t.dispose();
    expect(live()).toBe(before);
  });

  it('nests, synchronous inside asynchronous and asynchronous inside asynchronous', async () => {
    const before = await liveOnceCollected();
    const made: Tensor[] = [];
    await tidyAsync(async () => {
      const outer = zeros([1]);
      await sleep(1);
      const inner = await tidyAsync(async () => {
        made.push(zeros([1]));
        await sleep(1);
        tidy(() => made.push(zeros([1])));
        expect(made[1]!.disposed).toBe(true);
        expect(made[0]!.disposed).toBe(false);
        await null;
        made.push(zeros([1]));
        return zeros([3]);
      });
      expect(made.every((t) => t.disposed)).toBe(true);
      expect(outer.disposed).toBe(false);
      expect(inner.disposed).toBe(false);
    });
    expect(live()).toBe(before);
  });

  it('leaves alone what other callbacks make meanwhile', async () => {
    let stranger!: Tensor;
    const timer = sleep(2).then(() => {
      stranger = zeros([1]);
    });
    await tidyAsync(async () => {
      zeros([1]);
      await sleep(8);
    });
    await timer;
    expect(stranger.disposed).toBe(false);
    stranger.dispose();
  });

  it('disposes when the function rejects', async () => {
    let made!: Tensor;
    await expect(
      tidyAsync(async () => {
        made = zeros([1]);
        await sleep(1);
        throw new Error('stop');
      }),
    ).rejects.toThrow('stop');
    expect(made.disposed).toBe(true);
  });

  it('hands work that outlives its scope to the scope around', async () => {
    let late!: Promise<Tensor>;
    await tidyAsync(async () => {
      late = tidyAsync(async () => {
        await sleep(5);
        return zeros([1]);
      });
    });
    const t = await late;
    expect(t.disposed).toBe(false);
    t.dispose();
  });
});

describe('noGrad and autocast', () => {
  it('record nothing, and again afterwards, also when the function throws', () => {
    const w = randn([2], { requiresGrad: true });
    expect(noGrad(() => w.mul(2)).requiresGrad).toBe(false);
    expect(() =>
      noGrad(() => {
        throw new Error('stop');
      }),
    ).toThrow('stop');
    expect(w.mul(2).requiresGrad).toBe(true);
  });

  it('hold through an async function and touch no other', async () => {
    const w = randn([2], { requiresGrad: true });
    const seen: boolean[] = [];
    await Promise.all([
      noGrad(async () => {
        for (let i = 0; i < 4; i++) {
          seen.push(w.mul(2).requiresGrad);
          await sleep(1);
        }
      }),
      (async () => {
        for (let i = 0; i < 4; i++) {
          expect(w.mul(2).requiresGrad).toBe(true);
          await sleep(1);
        }
      })(),
    ]);
    expect(seen).toEqual([false, false, false, false]);
    expect(w.mul(2).requiresGrad).toBe(true);
  });

  it('hold inside a tidyAsync that was begun within', async () => {
    const w = randn([2], { requiresGrad: true });
    await noGrad(async () => {
      await tidyAsync(async () => {
        await sleep(1);
        expect(w.mul(2).requiresGrad).toBe(false);
      });
    });
  });

  it('refuse a promise of a function that is not async', () => {
    expect(() => noGrad(() => Promise.resolve(1))).toThrow(TensorError);
  });

  it('multiply in bf16 and keep sums and weights in f32', () => {
    const x = randn([4, 8]);
    const w = randn([2, 8], { requiresGrad: true });
    const { product, loss, off } = autocast(
      () => {
        const product = x.linear(w);
        return { product, loss: product.mseLoss(zeros([4, 2])), off: autocast(() => x.linear(w), { enabled: false }) };
      },
      { dtype: 'bf16' },
    );
    expect([product.dtype, loss.dtype, off.dtype]).toEqual(['bf16', 'f32', 'f32']);
    expect(x.linear(w).dtype).toBe('f32');
    loss.backward();
    expect(w.grad!.dtype).toBe('f32');
    expect(autocast(() => x.linear(w), { enabled: false }).dtype).toBe('f32');
  });

  it('see new weights after a step inside', () => {
    const w = tensor([1], [1, 1], { requiresGrad: true });
    const optimiser = new AdamW([w], { lr: 0.5, weightDecay: 0 });
    autocast(() => {
      const x = tensor([1], [1, 1]);
      x.linear(w).sum().backward();
      optimiser.step();
      expect(x.linear(w).item()).toBe(0.5);
    });
  });
});

describe('garbage collection', () => {
  it('is the backstop for tensors that nobody disposed of', async () => {
    const before = live();
    (() => {
      for (let i = 0; i < 100; i++) zeros([1000]);
    })();
    expect(live()).toBeGreaterThan(before);
    for (let i = 0; i < 20 && live() > before; i++) {
      gc();
      await sleep(5);
    }
    // The last one made may still be on the stack.
    expect(live()).toBeLessThanOrEqual(before + 1);
  });

  it('is driven by the memory that tensors hold, not by their small objects', async () => {
    const each = 16 << 20;
    let most = 0;
    for (let i = 0; i < 512; i++) {
      empty([each / 4]); // pages that nobody touches take no memory
      most = Math.max(most, memoryStats().bytes);
      await setImmediate();
    }
    expect(most).toBeLessThan((512 * each) / 2);
  });
});
