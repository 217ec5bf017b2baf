import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import {
  Adam,
  AdamW,
  clipGradNorm,
  constant,
  embedding,
  RowwiseAdagrad,
  RowwiseAdam,
  randn,
  type Tensor,
  TensorError,
  tensor,
  tidy,
  warmupCosine,
  warmupLinear,
} from './index.js';

const reference = JSON.parse(readFileSync(new URL('../test/reference/optimisers.json', import.meta.url), 'utf8')) as {
  start: number[][];
  steps: number;
  adamw: number[][];
  adam: number[][];
  table: number[][];
  rows: number[][];
  sparseAdam: number[][];
  adagrad: number[][];
  clip: { norm: number; a: number[][]; b: number[] };
};
const settings = { lr: 0.05, betas: [0.8, 0.95] as const, eps: 1e-6 };

function leaf(rows: number[][], dtype: 'f32' | 'f64' = 'f64'): Tensor {
  return tensor(rows.flat(), [rows.length, rows[0]!.length], { dtype, requiresGrad: true });
}

function expectClose(got: Tensor, wanted: number[][], tolerance = 1e-12): void {
  const values = got.to('f64').toArray();
  wanted.flat().forEach((x, i) => {
    expect(Math.abs(Number(values[i]) - x), `element ${i}: ${values[i]} against ${x}`).toBeLessThan(tolerance);
  });
}

/** The gradient that the reference used: sin(p · t). */
function setDenseGradient(p: Tensor, t: number): void {
  tidy(() => {
    p.grad = p.detach().mul(t).sin();
  });
}

/** A sparse gradient of cos(row · t) for each row named: that of Σ embedding(p, rows) · cos(…). */
function setSparseGradient(p: Tensor, rows: number[], t: number): void {
  tidy(() => {
    p.grad = null;
    const index = tensor(rows, [rows.length], { dtype: 'i64' });
    const wanted = p.detach().indexSelect(0, index).mul(t).cos();
    embedding(p, index, { sparse: true }).mul(wanted).sum().backward();
  });
}

describe('Adam and AdamW', () => {
  it.each([
    ['AdamW', (p: Tensor) => new AdamW([p], { ...settings, weightDecay: 0.1 }), reference.adamw],
    ['Adam', (p: Tensor) => new Adam([p], { ...settings, weightDecay: 0.1 }), reference.adam],
  ] as const)("%s takes PyTorch's steps", (_, make, wanted) => {
    for (const [dtype, tolerance] of [
      ['f64', 1e-12],
      ['f32', 1e-5],
    ] as const) {
      const p = leaf(reference.start, dtype);
      const optimiser = make(p);
      for (let t = 1; t <= reference.steps; t++) {
        setDenseGradient(p, t);
        optimiser.step();
      }
      expectClose(p, wanted, tolerance);
    }
  });

  it('goes on from a saved state as if it had not stopped', () => {
    const p = leaf(reference.start);
    const first = new AdamW([p], { ...settings, weightDecay: 0.1 });
    for (let t = 1; t <= 4; t++) {
      setDenseGradient(p, t);
      first.step();
    }
    const saved = Object.fromEntries(Object.entries(first.stateDict()).map(([name, state]) => [name, state.clone()]));
    const resumed = new AdamW([p], { ...settings, weightDecay: 0.1 });
    resumed.loadStateDict(saved);
    for (let t = 5; t <= reference.steps; t++) {
      setDenseGradient(p, t);
      resumed.step();
    }
    expectClose(p, reference.adamw);
  });

  it('keeps the ratio of a group to the learning rate, and its weight decay', () => {
    const steps = (lr: number, groupLr?: number) => {
      const [a, b] = [leaf([[1]]), leaf([[1]])];
      const optimiser = new AdamW([{ params: [a] }, { params: [b], lr: groupLr ?? lr, weightDecay: 0 }], {
        lr,
        weightDecay: 0.5,
      });
      optimiser.lr = lr / 2;
      for (const p of [a, b]) setDenseGradient(p, 1);
      optimiser.step();
      return [1 - a.item(), 1 - b.item()] as const;
    };
    const [a, b] = steps(0.1, 0.2);
    // The first step of Adam is the learning rate, whatever the gradient; decay adds lr · 0.5 · p.
    expect(a).toBeCloseTo(0.05 + 0.05 * 0.5, 6);
    expect(b).toBeCloseTo(0.1, 6);
  });

  it('leaves a parameter without a gradient alone, and all after zeroGrad', () => {
    const [a, b] = [leaf([[1]]), leaf([[1]])];
    const optimiser = new AdamW([a, b], { lr: 0.1 });
    setDenseGradient(a, 1);
    optimiser.step();
    expect(a.item()).not.toBe(1);
    expect(b.item()).toBe(1);
    optimiser.zeroGrad();
    expect(a.grad).toBeNull();
    const at = a.item();
    optimiser.step();
    expect(a.item()).toBe(at);
  });

  it('refuses what cannot be trained, with the reason', () => {
    expect(() => new AdamW([randn([2])])).toThrow(/require gradients/);
    expect(() => new AdamW([])).toThrow(/needs parameters/);
    expect(() => new AdamW([leaf([[1]])], { lr: -1 })).toThrow(/lr must be/);
    expect(() => new AdamW([leaf([[1]])], { betas: [1, 0.9] })).toThrow(/betas\[0\]/);
    const table = leaf(reference.table);
    setSparseGradient(table, [1], 1);
    expect(() => new AdamW([table]).step()).toThrow(/RowwiseAdam/);
    const p = leaf([[1]]);
    setDenseGradient(p, 1);
    expect(() => new RowwiseAdam([p]).step()).toThrow(/AdamW/);
  });

  it('refuses a state of other parameters, and use after disposal', () => {
    const optimiser = new AdamW([leaf([[1, 2]])]);
    expect(() => optimiser.loadStateDict({})).toThrow(/no '0.mean'/);
    expect(() => optimiser.loadStateDict(new AdamW([leaf([[1, 2, 3]])]).stateDict())).toThrow(/another shape/);
    optimiser.dispose();
    optimiser.dispose();
    expect(() => optimiser.step()).toThrow(TensorError);
  });
});

describe('RowwiseAdagrad', () => {
  const options = { lr: 0.05, eps: 1e-3, initialSum: 0.1 };

  it.each(['f64', 'f32', 'bf16'] as const)("takes the steps of PyTorch's Adagrad in %s", (dtype) => {
    const p = tidy(() => leaf(reference.table).detach().to(dtype)).requiresGrad_();
    const optimiser = new RowwiseAdagrad([p], options);
    reference.rows.forEach((rows, i) => {
      setSparseGradient(p, rows, i + 1);
      optimiser.step();
    });
    expectClose(p, reference.adagrad, { f64: 1e-12, f32: 1e-5, bf16: 0.05 }[dtype]);
  });

  it('touches no row outside the gradient, and goes on from a saved state', () => {
    const p = leaf(reference.table);
    let optimiser = new RowwiseAdagrad([p], options);
    const untouched = [...p.toArray()].slice(15);
    reference.rows.forEach((rows, i) => {
      if (i === 2) {
        const saved = tidy(() =>
          Object.fromEntries(Object.entries(optimiser.stateDict()).map(([name, state]) => [name, state.clone()])),
        );
        optimiser = new RowwiseAdagrad([p], options);
        optimiser.loadStateDict(saved);
      }
      setSparseGradient(p, rows, i + 1);
      optimiser.step();
    });
    expectClose(p, reference.adagrad);
    expect([...p.toArray()].slice(15)).toEqual(untouched);
    expect([...optimiser.stateDict()['0.sum']!.toArray()].slice(15)).toEqual([0.1, 0.1, 0.1]);
    expect(() => optimiser.loadStateDict({})).toThrow(/no '0.sum'/);
    optimiser.dispose();
    expect(() => optimiser.step()).toThrow(TensorError);
    expect(() => new RowwiseAdagrad([p], { lr: Number.NaN })).toThrow(/lr must be/);
  });
});

describe('RowwiseAdam', () => {
  it.each(['f64', 'f32', 'bf16'] as const)(
    "takes the steps of PyTorch's SparseAdam in %s, rows named twice summed",
    (dtype) => {
      const p = tidy(() => leaf(reference.table).detach().to(dtype)).requiresGrad_();
      const optimiser = new RowwiseAdam([p], { ...settings, eps: 1e-15 });
      reference.rows.forEach((rows, i) => {
        setSparseGradient(p, rows, i + 1);
        optimiser.step();
      });
      expectClose(p, reference.sparseAdam, { f64: 1e-12, f32: 1e-5, bf16: 0.05 }[dtype]);
    },
  );

  it('is AdamW, eps and weight decay included, where every step names every row', () => {
    const [sparse, dense] = [leaf(reference.table), leaf(reference.table)];
    const options = { ...settings, eps: 0.1, weightDecay: 0.2 };
    const [rowwise, adamw] = [new RowwiseAdam([sparse], options), new AdamW([dense], options)];
    for (let t = 1; t <= 5; t++) {
      setSparseGradient(sparse, [3, 1, 0, 5, 2, 4, 1], t);
      dense.grad = tensor(sparse.grad!.toArray(), sparse.shape);
      rowwise.step();
      adamw.step();
    }
    expectClose(
      sparse,
      Array.from({ length: 6 }, (_, i) => [...dense.toArray()].slice(3 * i, 3 * i + 3).map(Number)),
    );
  });

  it('touches no row outside the gradient, moments and weight decay included', () => {
    const p = leaf(reference.table);
    const optimiser = new RowwiseAdam([p], { ...settings, weightDecay: 0.1 });
    const before = p.toArray();
    setSparseGradient(p, [1, 3, 1], 1);
    optimiser.step();
    const after = p.toArray();
    for (let row = 0; row < reference.table.length; row++) {
      const same = [0, 1, 2].every((j) => after[row * 3 + j] === before[row * 3 + j]);
      expect(same).toBe(row !== 1 && row !== 3);
    }
    const moved = optimiser.stateDict()['0.square']!.sum(1).gt(0).toArray();
    expect([...moved]).toEqual([0, 1, 0, 1, 0, 0]);
  });

  it('is the same at any thread count and goes on from a saved state', () => {
    const run = (stopAt?: number) => {
      const p = leaf(reference.table);
      let optimiser = new RowwiseAdam([p], settings);
      reference.rows.forEach((rows, i) => {
        if (i === stopAt) {
          const saved = optimiser.stateDict();
          optimiser = new RowwiseAdam([p], settings);
          optimiser.loadStateDict(saved);
        }
        setSparseGradient(p, rows, i + 1);
        optimiser.step();
      });
      return p.toArray();
    };
    expect(run(2)).toEqual(run());
  });

  it('costs what the rows cost, not what the table costs', () => {
    const step = (rows: number) => {
      const p = randn([rows, 8], { requiresGrad: true });
      const optimiser = new RowwiseAdam([p]);
      setSparseGradient(p, [1, 2, 3], 1);
      let best = Number.POSITIVE_INFINITY;
      for (let i = 0; i < 50; i++) {
        const start = performance.now();
        optimiser.step();
        best = Math.min(best, performance.now() - start);
      }
      return best;
    };
    expect(step(500_000)).toBeLessThan(20 * step(500) + 0.2);
  });

  it('tells backward that the table changed', () => {
    const p = leaf(reference.table);
    const optimiser = new RowwiseAdam([p], settings);
    setSparseGradient(p, [1], 1);
    const loss = p.square().sum();
    optimiser.step();
    expect(() => loss.backward()).toThrow(/modified by an inplace operation/);
  });
});

describe('clipGradNorm', () => {
  it("gives PyTorch's norm and gradients", () => {
    const a = leaf([
      [0, 0],
      [0, 0],
    ]);
    const b = leaf([[0, 0, 0]]);
    a.grad = tensor([1, -2, 3, 0.5], [2, 2], { dtype: 'f64' });
    b.grad = tensor([0.25, -4, 1], [1, 3], { dtype: 'f64' });
    expect(clipGradNorm([a, b], 1.5)).toBeCloseTo(reference.clip.norm, 10);
    expectClose(a.grad!, reference.clip.a);
    expectClose(b.grad!, [reference.clip.b]);
    expect(clipGradNorm([a, b], 100)).toBeCloseTo(1.5, 5);
  });

  it('counts sparse gradients, rows named twice summed first', () => {
    const p = leaf(reference.table);
    const dense = leaf(reference.table);
    setSparseGradient(p, [2, 2, 4], 1);
    dense.grad = tensor(p.grad!.toArray(), p.shape);
    const norm = clipGradNorm([p], 0.1);
    expect(norm).toBeCloseTo(clipGradNorm([dense], 0.1), 10);
    expect([...p.grad!.toFloat32Array()]).toEqual([...dense.grad!.toFloat32Array()]);
  });

  it('mixes dtypes, and shows a gradient that is not finite', () => {
    const a = leaf([[0]], 'f64');
    const b = leaf([[0]], 'f32');
    a.grad = tensor([3], [1, 1], { dtype: 'f64' });
    b.grad = tensor([4], [1, 1]);
    expect(clipGradNorm([a, b], 1)).toBeCloseTo(5, 6);
    a.grad = tensor([Number.NaN], [1, 1], { dtype: 'f64' });
    expect(clipGradNorm([a, b], 1)).toBeNaN();
    expect(clipGradNorm([leaf([[1]])], 1)).toBe(0);
  });
});

describe('schedules', () => {
  it('rise, fall and end where they should', () => {
    const cosine = warmupCosine({ warmup: 10, total: 110, minRatio: 0.1 });
    expect([cosine(0), cosine(9), cosine(10)]).toEqual([0.1, 1, 1]);
    expect(cosine(60)).toBeCloseTo(0.55, 12);
    expect(cosine(35)).toBeCloseTo(0.1 + 0.9 * 0.5 * (1 + Math.cos(Math.PI / 4)), 12);
    expect([cosine(110), cosine(1000)].map((x) => Math.round(x * 1e9) / 1e9)).toEqual([0.1, 0.1]);
    const linear = warmupLinear({ warmup: 0, total: 100 });
    expect([linear(0), linear(25), linear(100), linear(200)]).toEqual([1, 0.75, 0, 0]);
    expect(constant()(7)).toBe(1);
  });
});
