// What LibTorch does on a GPU, against the same on the CPU. Without a CUDA device there is nothing to test here.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Worker } from 'node:worker_threads';
import { describe, expect, it } from 'vitest';
import * as torch from './index.js';
import {
  Adam,
  AdamW,
  autocast,
  clipGradNorm,
  cudaAvailable,
  cudaDevices,
  cudaMemory,
  type Device,
  type DType,
  embedding,
  getRngState,
  infoNce,
  init,
  loadSafetensors,
  manualSeed,
  noGrad,
  RowwiseAdam,
  rand,
  randint,
  randn,
  saveSafetensors,
  scalar,
  setRngState,
  synchronize,
  type Tensor,
  TensorError,
  tensor,
  tidy,
  versions,
  zeros,
} from './index.js';
import { all, build, call, shapeOf, stream, values, weighed, whole } from './operators.fixture.js';

const cuda = { device: 'cuda' } as const;

/** All elements in order, also of a sparse tensor. */
function numbers(t: Tensor): ArrayLike<number> {
  if (t.dtype === 'f32' || t.dtype === 'bf16') return t.toFloat32Array();
  const values = t.toArray();
  return values instanceof BigInt64Array ? Float64Array.from(values, Number) : values;
}

/** The greatest difference of two tensors, relative to the second where that is large; NaN where either is. */
function distance(got: Tensor, wanted: Tensor): number {
  expect(got.shape).toEqual(wanted.shape);
  expect(got.dtype).toBe(wanted.dtype);
  const [a, b] = [numbers(got), numbers(wanted)];
  let most = 0;
  for (let i = 0; i < b.length; i++) {
    const one = Math.abs(a[i]! - b[i]!) / Math.max(1, Math.abs(b[i]!));
    if (!(one <= most)) most = one;
  }
  return most;
}

/** That `step` only queues its work: behind products that take long it returns before half of the time until all is done. */
function expectNoWait(step: () => void): void {
  const large = randn([6144, 6144], cuda);
  const work = () => tidy(() => large.matmul(large).matmul(large).matmul(large).matmul(large));
  step();
  work().dispose();
  synchronize('cuda');
  const started = performance.now();
  for (let i = 0; i < 6; i++) work().dispose();
  step();
  const returned = performance.now() - started;
  synchronize('cuda');
  expect(returned).toBeLessThan((performance.now() - started) / 2);
}

const codeOf = (fn: () => unknown): string => {
  try {
    fn();
  } catch (error) {
    if (error instanceof TensorError) return error.code;
    throw error;
  }
  return 'no error';
};

if (!cudaAvailable()) {
  it.skip('tests of CUDA: this LibTorch sees no CUDA device', () => {});
} else {
  describe.each([
    { dtype: 'f64', tolerance: 1e-9 },
    { dtype: 'f32', tolerance: 2e-5 },
  ] as const)('operators on CUDA in $dtype, against the CPU', ({ dtype, tolerance }) => {
    for (const { operator, isMethod } of all) {
      const { name } = operator;
      operator.samples.forEach((sample, n) => {
        // Dropout draws other numbers on each device, and has a test of its own.
        if (name === 'dropout' && sample[2] === true) return;
        // Without `sorted` the order of the k largest is the device's own.
        const ordered = !(name === 'topk' && sample[4] === false);
        const differentiated = operator.noGradient === undefined && ordered;

        const evaluate = (device: Device) => {
          const random = stream(1000 + n);
          const leaves: Tensor[] = [];
          const args = sample.map((argument) =>
            build(argument, (s) => {
              const kind = whole[s.sample];
              if (kind) return tensor(values(s, stream(0)), shapeOf(s), { dtype: kind, device });
              const leaf = tensor(values(s, random), shapeOf(s), {
                dtype,
                device,
                requiresGrad: differentiated && !s.constant,
              });
              leaves.push(leaf);
              return leaf;
            }),
          );
          const result = call(name, isMethod, args);
          if (differentiated) weighed(result, dtype).backward();
          return { results: (Array.isArray(result) ? result : [result]) as Tensor[], leaves };
        };

        it(`${name} #${n}`, () => {
          tidy(() => {
            const [here, there] = [evaluate('cpu'), evaluate('cuda')];
            expect(there.results.length).toBe(here.results.length);
            there.results.forEach((result, i) => {
              expect(result.device).toBe('cuda:0');
              const wanted = here.results[i]!;
              if (ordered) expect(distance(result, wanted)).toBeLessThan(tolerance);
              else expect(distance(result.sort(0)[0], wanted.sort(0)[0])).toBeLessThan(tolerance);
            });
            there.leaves.forEach((leaf, i) => {
              const wanted = here.leaves[i]!.grad;
              expect(leaf.grad === null).toBe(wanted === null);
              if (wanted !== null)
                expect(distance(leaf.grad!, wanted), `gradient of input ${i}`).toBeLessThan(tolerance);
            });
          });
        });
      });
    }

    it('dropout keeps its share, scaled, and carries the gradient of what it kept', () => {
      tidy(() => {
        const x = torch.ones([100_000], { dtype, ...cuda }).requiresGrad_();
        const y = x.dropout(0.25, true);
        const kept = y.ne(0).to('f64').mean().item();
        expect(Math.abs(kept - 0.75)).toBeLessThan(0.01);
        expect(Math.abs(y.amax().item() - 1 / 0.75)).toBeLessThan(1e-6);
        y.sum().backward();
        expect(distance(x.grad!, y)).toBe(0);
      });
    });
  });

  describe('tensors on CUDA', () => {
    it.each([
      ['zeros', (o: torch.TensorOptions) => torch.zeros([3, 4], o)],
      ['ones', (o: torch.TensorOptions) => torch.ones([3, 4], o)],
      ['full', (o: torch.TensorOptions) => torch.full([3, 4], 2.5, o)],
      ['eye', (o: torch.TensorOptions) => torch.eye(5, o)],
      ['arange', (o: torch.TensorOptions) => torch.arange(2, 9, 0.5, o)],
      ['scalar', (o: torch.TensorOptions) => scalar(1.25, o)],
      ['tensor of numbers', (o: torch.TensorOptions) => tensor([1, 2, 3, 4], [2, 2], o)],
      ['tensor of f64', (o: torch.TensorOptions) => tensor(Float64Array.of(1, 2.5), [2], o)],
      ['tensor of i32, widened', (o: torch.TensorOptions) => tensor(Int32Array.of(7, -8), [2], { ...o, dtype: 'i64' })],
      ['tensor of i64', (o: torch.TensorOptions) => tensor(BigInt64Array.of(1n, -2n), [2], o)],
      ['tensor of truth values', (o: torch.TensorOptions) => tensor([true, false], [2], o)],
      ['tensor of bf16 bits', (o: torch.TensorOptions) => tensor(Uint16Array.of(0x3f80, 0xc000), [2], o)],
      ['no elements', (o: torch.TensorOptions) => tensor(new Float32Array(0), [0, 3], o)],
    ])('%s are as on the CPU', (_, make) => {
      tidy(() => {
        const made = make(cuda);
        expect(made.device).toBe('cuda:0');
        expect(distance(made, make({}))).toBe(0);
      });
    });

    it('draw random numbers there', () => {
      tidy(() => {
        const n = 200_000;
        const uniform = rand([n], cuda);
        expect(uniform.amin().item()).toBeGreaterThanOrEqual(0);
        expect(uniform.amax().item()).toBeLessThan(1);
        expect(Math.abs(uniform.mean().item() - 0.5)).toBeLessThan(0.005);
        const normal = init.normal_(zeros([n], cuda), 2, 1);
        expect(Math.abs(normal.mean().item() - 1)).toBeLessThan(0.03);
        expect(Math.abs(normal.variance().sqrt().item() - 2)).toBeLessThan(0.03);
        const whole = randint(3, 6, [n], cuda);
        expect([whole.amin().item(), whole.amax().item()]).toEqual([3, 5]);
        const order = torch.randperm(1000, cuda);
        expect(distance(order.sort()[0], torch.arange(1000))).toBe(0);
        const q = init.orthogonal_(zeros([32, 64], cuda));
        expect(distance(q.matmul(q.transpose(0, 1)), torch.eye(32))).toBeLessThan(1e-5);
      });
    });

    it('are copies of JavaScript memory, small and large, that may change at once', () => {
      tidy(() => {
        for (const n of [1000, 5_000_000]) {
          const memory = Float32Array.from({ length: n }, (_, i) => i % 1000);
          const made = tensor(memory, [n], cuda);
          memory.fill(-1);
          expect(distance(made, torch.arange(n).remainder(1000).to('f32'))).toBe(0);
        }
      });
    });

    it('give their single values and their elements back', () => {
      tidy(() => {
        expect(scalar(2.5, cuda).item()).toBe(2.5);
        expect(scalar(0.1, { dtype: 'f64', ...cuda }).item()).toBe(0.1);
        expect(scalar(2 ** 40, { dtype: 'i64', ...cuda }).item()).toBe(2 ** 40);
        expect(scalar(3, { dtype: 'bf16', ...cuda }).item()).toBe(3);
        expect(tensor([1, 2], [2], cuda).gt(0).all().item()).toBe(1);
        expect([...torch.arange(6, undefined, 1, cuda).reshape([2, 3]).transpose(0, 1).toArray()].map(Number)).toEqual([
          0, 3, 1, 4, 2, 5,
        ]);
        expect([...tensor([1.5, -2], [2], { dtype: 'bf16', ...cuda }).toFloat32Array()]).toEqual([1.5, -2]);
      });
    });

    it('carry gradients from one device to the other', () => {
      tidy(() => {
        const x = tensor([1, 2, 3], [3], { requiresGrad: true });
        const y = x.to(cuda).square().sum();
        expect(y.device).toBe('cuda:0');
        y.to({ device: 'cpu' }).backward();
        expect(x.grad!.device).toBe('cpu');
        expect([...x.grad!.toFloat32Array()]).toEqual([2, 4, 6]);
      });
    });

    it('are saved from the device and loaded to it', () => {
      const folder = mkdtempSync(path.join(tmpdir(), 'larr-cuda-'));
      const file = path.join(folder, 'weights.safetensors');
      try {
        tidy(() => {
          const weights = {
            a: randn([7, 5], cuda),
            b: randn([3], { dtype: 'bf16', ...cuda }),
            c: randint(0, 9, [4], cuda),
            d: randn([2, 6], cuda).transpose(0, 1),
          };
          saveSafetensors(file, weights, { from: 'a GPU' });
          const back = loadSafetensors(file, { device: 'cuda' });
          expect(back.metadata).toEqual({ from: 'a GPU' });
          for (const [name, wanted] of Object.entries(weights)) {
            expect(back.tensors[name]!.device).toBe('cuda:0');
            expect(distance(back.tensors[name]!, wanted)).toBe(0);
          }
          expect(distance(loadSafetensors(file).tensors.a!, weights.a)).toBe(0);
        });
      } finally {
        rmSync(folder, { recursive: true });
      }
    });
  });

  describe('autocast on CUDA', () => {
    it('takes products in bf16 and sensitive operators in f32, forward and backward', () => {
      tidy(() => {
        const w = randn([64, 32], cuda).requiresGrad_();
        const x = randn([16, 32], cuda);
        const [product, soft] = autocast(() => {
          const product = x.linear(w);
          return [product, product.logSoftmax(1)] as const;
        });
        expect([product.dtype, soft.dtype]).toEqual(['bf16', 'f32']);
        soft.square().mean().backward();
        const narrow = w.grad!;
        expect(narrow.dtype).toBe('f32');
        w.grad = null;
        x.linear(w).logSoftmax(1).square().mean().backward();
        const difference = narrow.sub(w.grad!).norm().item() / w.grad!.norm().item();
        expect(difference).toBeGreaterThan(0);
        expect(difference).toBeLessThan(0.02);
        expect(x.linear(w).dtype).toBe('f32');
        expect(autocast(() => x.linear(w), { enabled: false }).dtype).toBe('f32');
      });
    });

    it('makes its copies of the weights anew after a step', () => {
      tidy(() => {
        const w = tensor([1], [1, 1], cuda).requiresGrad_();
        const x = torch.ones([1, 1], cuda);
        const optimiser = new AdamW([w], { lr: 0.5, weightDecay: 0 });
        autocast(() => x.linear(w)).backward();
        optimiser.step();
        expect(autocast(() => x.linear(w)).item()).toBe(0.5);
      });
    });
  });

  describe('random numbers on CUDA', () => {
    it('follow from manualSeed', () => {
      tidy(() => {
        manualSeed(7);
        const first = randn([100], cuda);
        manualSeed(7);
        expect(distance(randn([100], cuda), first)).toBe(0);
        manualSeed(8);
        expect(distance(randn([100], cuda), first)).toBeGreaterThan(0.1);
      });
    });

    it('go on from a saved state, those of the CPU too', () => {
      tidy(() => {
        manualSeed(9);
        rand([5], cuda);
        const state = getRngState();
        const draw = () => [randn([10]), randn([10], cuda), torch.ones([50], cuda).dropout(0.5, true)];
        const first = draw();
        const other = draw();
        setRngState(state);
        draw().forEach((again, i) => {
          expect(distance(again, first[i]!)).toBe(0);
        });
        expect(distance(other[1]!, first[1]!)).toBeGreaterThan(0.1);
      });
    });
  });

  describe('optimisers on CUDA, against the CPU', () => {
    const settings = { lr: 0.05, betas: [0.8, 0.95], eps: 1e-6 } as const;

    it.each([
      ['AdamW', 'f32', 1e-6],
      ['AdamW', 'f64', 1e-12],
      ['Adam', 'f32', 1e-6],
      ['Adam', 'f64', 1e-12],
    ] as const)('%s in %s takes the same steps', (name, dtype, tolerance) => {
      tidy(() => {
        const start = [randn([5, 3], { dtype }), randn([7], { dtype })];
        const trained = (['cpu', 'cuda'] as const).map((device) => {
          const parameters = start.map((t) => t.clone().to({ device }).requiresGrad_());
          const optimiser = new { AdamW, Adam }[name](parameters, { ...settings, weightDecay: 0.1 });
          for (let t = 1; t <= 5; t++) {
            for (const p of parameters) p.grad = p.detach().mul(t).sin();
            optimiser.step();
          }
          return [...parameters, ...Object.values(optimiser.stateDict())];
        });
        trained[1]!.forEach((got, i) => {
          expect(got.device).toBe('cuda:0');
          expect(distance(got, trained[0]![i]!)).toBeLessThan(tolerance);
        });
      });
    });

    it.each([
      ['f32', 1, 2e-6],
      ['f32', 5000, 5e-5],
      ['f64', 5000, 1e-11],
    ] as const)('RowwiseAdam in %s updates the rows of %i lookups alike', (dtype, lookups, tolerance) => {
      tidy(() => {
        const start = randn([300, 6], { dtype });
        const indices = Array.from({ length: 4 }, () => randint(0, 200, [lookups]));
        const trained = (['cpu', 'cuda'] as const).map((device) => {
          const table = start.clone().to({ device }).requiresGrad_();
          const optimiser = new RowwiseAdam([table], { ...settings, weightDecay: 0.01 });
          indices.forEach((index, t) => {
            const weight = torch
              .arange(lookups * 6)
              .mul(t + 1)
              .sin()
              .reshape([lookups, 6])
              .to({ dtype, device });
            embedding(table, index.to({ device }), { sparse: true }).mul(weight).sum().backward();
            optimiser.step();
            optimiser.zeroGrad();
          });
          const { '0.mean': mean, '0.square': square } = optimiser.stateDict();
          return [table, mean!, square!];
        });
        trained[1]!.forEach((got, i) => {
          expect(distance(got, trained[0]![i]!)).toBeLessThan(tolerance);
        });
        // rows 200 … 299 were never looked up
        expect(distance(trained[1]![0]!.detach().narrow(0, 200, 100), start.narrow(0, 200, 100))).toBe(0);
      });
    });

    it('RowwiseAdam comes to the same bits each time, whatever rows repeat', () => {
      tidy(() => {
        const start = randn([50, 16], cuda);
        const index = randint(0, 20, [20_000], cuda);
        const weight = randn([20_000, 16], cuda);
        const run = () => {
          const table = start.clone().requiresGrad_();
          const optimiser = new RowwiseAdam([table], settings);
          embedding(table, index, { sparse: true }).mul(weight).sum().backward();
          optimiser.step();
          return table.detach();
        };
        const first = run();
        for (let i = 0; i < 3; i++) expect(distance(run(), first)).toBe(0);
      });
    });

    it.each([false, true])('CompactAdamW comes to the bits of the CPU, composed %s', async (composed) => {
      const { digest } = await import(path.join(import.meta.dirname, '../test/compact-bits.mjs'));
      expect(digest({ device: 'cuda', composed })).toBe(digest());
    });

    it('no step waits for what the device has still to do, nor does a batch brought to it', () => {
      tidy(() => {
        const table = randn([1000, 16], cuda).requiresGrad_();
        const w = randn([16, 16], cuda).requiresGrad_();
        const sparse = new RowwiseAdam([table], settings);
        const dense = new AdamW([w], settings);
        const step = () => {
          const index = tensor(
            Int32Array.from({ length: 512 }, (_, i) => (i * 7) % 1000),
            [512],
            {
              dtype: 'i64',
              ...cuda,
            },
          );
          embedding(table, index, { sparse: true }).linear(w).square().mean().backward();
          sparse.step();
          dense.step();
          sparse.zeroGrad();
          dense.zeroGrad();
        };
        expectNoWait(step);
      });
    });

    it('clipGradNorm scales dense and sparse gradients alike', () => {
      tidy(() => {
        const start = [randn([4, 3]), randn([10, 2])];
        const clipped = (['cpu', 'cuda'] as const).map((device) => {
          const [a, table] = start.map((t) => t.clone().to({ device }).requiresGrad_()) as [Tensor, Tensor];
          a.square().sum().backward();
          embedding(table, tensor([1, 2, 1], [3], { dtype: 'i64', device }), { sparse: true })
            .square()
            .sum()
            .backward();
          return { norm: clipGradNorm([a, table], 0.5), gradients: [a.grad!, table.grad!] };
        });
        expect(Math.abs(clipped[1]!.norm - clipped[0]!.norm)).toBeLessThan(1e-5 * clipped[0]!.norm);
        clipped[1]!.gradients.forEach((got, i) => {
          expect(distance(got, clipped[0]!.gradients[i]!)).toBeLessThan(1e-6);
        });
      });
    });

    it('take their state back', () => {
      tidy(() => {
        const make = () => {
          const p = torch.ones([3], cuda).requiresGrad_();
          return { p, optimiser: new AdamW([p], settings) };
        };
        const [a, b] = [make(), make()];
        const step = ({ p, optimiser }: ReturnType<typeof make>) => {
          p.grad = p.detach().sin();
          optimiser.step();
        };
        step(a);
        noGrad(() => b.p.copy_(a.p));
        // as from a file: on the CPU
        b.optimiser.loadStateDict(
          Object.fromEntries(Object.entries(a.optimiser.stateDict()).map(([k, t]) => [k, t.to({ device: 'cpu' })])),
        );
        step(a);
        step(b);
        expect(distance(b.p, a.p)).toBe(0);
      });
    });
  });

  describe('infoNce on CUDA', () => {
    /** The loss times 3 and the gradients of q, k and scale, for inputs that bf16 holds exactly. */
    const evaluate = (q: Tensor, k: Tensor, device: Device, dtype: DType, groups?: Tensor) => {
      const leaves = [q, k].map((t) => t.to({ dtype, device }).detach().clone().requiresGrad_());
      const scale = scalar(12, { dtype: dtype === 'f64' ? 'f64' : 'f32', device }).requiresGrad_();
      const loss = infoNce(leaves[0]!, leaves[1]!, scale, groups?.to({ device }));
      loss.mul(3).backward();
      return { loss, gradients: [...leaves, scale].map((t) => t.grad!) };
    };
    const rounded = (rows: number, d: number): Tensor =>
      tidy(() => randn([rows, d], { dtype: 'f64' }).normalize().to('bf16').to('f64'));
    const tolerances = {
      f64: { loss: 1e-10, gradient: 1e-10 },
      f32: { loss: 1e-5, gradient: 3e-5 },
      bf16: { loss: 1e-3, gradient: 2e-2 },
    } as const;

    const compare = (
      got: ReturnType<typeof evaluate>,
      wanted: ReturnType<typeof evaluate>,
      dtype: keyof typeof tolerances,
      label: string,
    ) => {
      const { loss, gradient } = tolerances[dtype];
      expect(got.loss.device).toBe('cuda:0');
      const [value, exact] = [got.loss.item(), wanted.loss.item()];
      expect(Math.abs(value - exact) / Math.max(1, exact), `loss, ${label}`).toBeLessThan(loss);
      got.gradients.forEach((one, i) => {
        expect(one.device).toBe('cuda:0');
        expect(one.dtype).toBe(i < 2 || dtype === 'f64' ? dtype : 'f32');
        const exact = wanted.gradients[i]!;
        const error = one.to({ dtype: 'f64', device: 'cpu' }).sub(exact).abs().amax().item();
        const size = Math.max(exact.abs().amax().item(), 1e-3 / exact.shape.reduce((a, b) => a * b, 1));
        expect(error / size, `gradient of ${['q', 'k', 'scale'][i]}, ${label}`).toBeLessThan(gradient);
      });
    };

    it.each([1, 2, 17, 64, 65, 1000, 2400])(
      'of %i rows is that of the CPU in f64, with its gradients, whatever the width, the type and the groups',
      (rows) => {
        for (const d of [8, 16, 33, 128, 200, 256, 300]) {
          tidy(() => {
            const [q, k] = [rounded(rows, d), rounded(rows, d)];
            const few = Math.ceil(rows / 3);
            const i32 = tensor(Int32Array.from({ length: rows }, (_, i) => i % few));
            // Equal in their low halves, and out of order.
            const wide = BigInt64Array.from({ length: rows }, (_, i) => BigInt(few - (i % few)) << 32n);
            const i64 = tensor(wide, [rows], { dtype: 'i64' });
            for (const [name, groups] of Object.entries({ none: undefined, i32, i64 })) {
              const wanted = evaluate(q, k, 'cpu', 'f64', groups);
              for (const dtype of ['f32', 'bf16'] as const) {
                compare(
                  evaluate(q, k, 'cuda', dtype, groups),
                  wanted,
                  dtype,
                  `B = ${rows}, d = ${d}, ${dtype}, groups ${name}`,
                );
              }
            }
          });
        }
      },
      120_000,
    );

    it('in f64 is that of the CPU', () => {
      tidy(() => {
        const [q, k] = [rounded(130, 24), rounded(130, 24)];
        compare(evaluate(q, k, 'cuda', 'f64'), evaluate(q, k, 'cpu', 'f64'), 'f64', 'f64');
      });
    });

    it('takes views that begin and step anywhere, and comes to the same bits each time', () => {
      tidy(() => {
        const [rows, d] = [301, 33];
        for (const dtype of ['f32', 'bf16'] as const) {
          const base = randn([rows + 1, d], cuda)
            .normalize()
            .to(dtype);
          const [q, k] = [
            base.narrow(0, 1, rows),
            base.narrow(0, 0, rows).transpose(0, 1).contiguous().transpose(0, 1),
          ];
          const wanted = infoNce(q.contiguous().clone(), k.contiguous(), 20);
          expect(distance(infoNce(q, k, 20), wanted)).toBe(0);
          const [one, two] = [evaluate(q, k, 'cuda', dtype), evaluate(q, k, 'cuda', dtype)];
          one.gradients.forEach((gradient, i) => {
            expect(distance(gradient, two.gradients[i]!)).toBe(0);
          });
        }
      });
    });

    it('holds no matrix of all pairs', () => {
      const [rows, d] = [65_536, 128]; // the scores alone would take 17 GB
      for (const dtype of ['f32', 'bf16'] as const) {
        const before = cudaMemory();
        tidy(() => {
          const [q, k] = [randn([rows, d], cuda), randn([rows, d], cuda)].map((t) => t.normalize().to(dtype)) as [
            Tensor,
            Tensor,
          ];
          q.requiresGrad_();
          k.requiresGrad_();
          infoNce(q, k, scalar(20, cuda)).backward();
          expect(q.grad!.isfinite().all().item()).toBe(1);
        });
        const most = before.allocated + 16 * rows * d * 4;
        expect(cudaMemory().peak).toBeLessThanOrEqual(Math.max(before.peak, most));
      }
    });

    it('waits for nothing, forward or backward, with a scale and groups that are on the device', () => {
      tidy(() => {
        const [q, k] = [randn([512, 64], cuda).requiresGrad_(), randn([512, 64], cuda).requiresGrad_()];
        const scale = scalar(10, cuda).requiresGrad_();
        const groups = randint(0, 100, [512], cuda);
        const step = () => {
          infoNce(q.normalize(), k.normalize(), scale, groups).backward();
          infoNce(q.normalize(), k.normalize(), 10).backward();
        };
        expectNoWait(step);
      });
    });

    it('gives a scale on the CPU its gradient there', () => {
      tidy(() => {
        const [q, k] = [rounded(40, 16).to('f32'), rounded(40, 16).to('f32')];
        const gradient = (device: Device) => {
          const scale = scalar(20).requiresGrad_();
          infoNce(q.to({ device }), k.to({ device }), scale).backward();
          return scale.grad!;
        };
        expect(gradient('cuda').device).toBe('cpu');
        expect(distance(gradient('cuda'), gradient('cpu'))).toBeLessThan(1e-5);
      });
    });

    it('takes its scale as a number, or from the CPU, and keeps f32 under autocast', () => {
      tidy(() => {
        const [q, k] = [randn([64, 16], cuda).normalize(), randn([64, 16], cuda).normalize()];
        const exact = infoNce(q.to('f64'), k.to('f64'), 20).item();
        expect(Math.abs(infoNce(q, k, 20).item() - exact)).toBeLessThan(2e-5 * exact);
        expect(Math.abs(infoNce(q, k, scalar(20)).item() - exact)).toBeLessThan(2e-5 * exact);
        expect(Math.abs(autocast(() => infoNce(q, k, 20)).item() - exact)).toBeLessThan(2e-5 * exact);
      });
    });

    it('refuses tensors of two devices', () => {
      expect(() => infoNce(randn([4, 2], cuda), randn([4, 2]), 1)).toThrow(/one device/);
      expect(() => infoNce(randn([4, 2], cuda), randn([4, 2], cuda), 1, torch.arange(4))).toThrow(/one device/);
    });
  });

  describe('memory of CUDA', () => {
    it('is free again at the end of a scope', () => {
      const before = cudaMemory().allocated;
      const bytes = tidy(() => {
        randn([1024, 1024], cuda).mul(2).exp();
        return cudaMemory().allocated - before;
      });
      expect(bytes).toBeGreaterThanOrEqual(3 * 4 * 2 ** 20);
      expect(cudaMemory().allocated).toBe(before);
      expect(cudaMemory().reserved).toBeGreaterThanOrEqual(bytes);
    });

    it('stays flat over 2,000 steps of training', () => {
      const table = randn([500, 8], cuda).requiresGrad_();
      const w = randn([1, 16], cuda).requiresGrad_();
      const optimisers = [new RowwiseAdam([table]), new AdamW([w])];
      const step = () =>
        tidy(() => {
          const x = embedding(table, randint(0, 500, [64, 2], cuda), { sparse: true }).flatten(1);
          x.linear(w).square().mean().backward();
          for (const optimiser of optimisers) optimiser.step();
          for (const optimiser of optimisers) optimiser.zeroGrad();
        });
      for (let i = 0; i < 200; i++) step();
      const before = cudaMemory().allocated;
      for (let i = 0; i < 2000; i++) step();
      expect(cudaMemory().allocated).toBe(before);
    });

    it('that runs out is an error after which work goes on', () => {
      const before = cudaMemory().allocated;
      const everything = cudaDevices()[0]!.memory;
      expect(codeOf(() => torch.empty([everything], cuda))).toBe('TENSOR_MEMORY');
      // in the middle of a step, with some taken already
      expect(
        codeOf(() =>
          tidy(() => {
            const some = torch.ones([1 << 20], cuda).requiresGrad_();
            return some
              .unsqueeze(0)
              .expand([1 << 16, 1 << 20])
              .exp()
              .sum();
          }),
        ),
      ).toBe('TENSOR_MEMORY');
      expect(cudaMemory().allocated).toBe(before);
      expect(
        tidy(() =>
          torch
            .ones([1 << 20], cuda)
            .sum()
            .item(),
        ),
      ).toBe(1 << 20);
    });
  });

  describe('devices', () => {
    it('tell their names and memory', () => {
      const devices = cudaDevices();
      expect(devices.length).toBeGreaterThan(0);
      expect(versions().cuda).toMatch(/^\d+\.\d+$/);
      for (const { name, memory } of devices) {
        expect(name.length).toBeGreaterThan(3);
        expect(memory).toBeGreaterThan(1e9);
      }
    });

    it('that are not there are refused', () => {
      expect(codeOf(() => zeros([1], { device: 'cuda:99' }))).toBe('TENSOR_DEVICE');
      expect(codeOf(() => cudaMemory('cpu'))).toBe('TENSOR_DEVICE');
      expect(codeOf(() => zeros([1], { device: 'cuda:x' }))).toBe('TENSOR_ARGUMENT');
      expect(codeOf(() => zeros([1], { device: 'cudax' }))).toBe('TENSOR_ARGUMENT');
    });

    it('cannot be mixed in one operator, which says so', () => {
      tidy(() => {
        const [here, there] = [randn([2, 2]), randn([2, 2], cuda)];
        for (const mixed of [() => here.add(there), () => there.matmul(here), () => there.linear(here)]) {
          expect(codeOf(mixed)).toBe('TENSOR_OPERATOR');
          expect(mixed).toThrow(/device/);
          expect(mixed).toThrow(/shapes \[2, 2\]/);
        }
      });
    });
  });

  it('worker threads train side by side on one device, while this thread works too', async () => {
    interface Found {
      weights: number[];
      error: { name: string; operator: string };
    }
    const workers = [5, 6].map(
      (target) =>
        new Worker(new URL('../test/worker.mjs', import.meta.url), { workerData: { target, steps: 300, ...cuda } }),
    );
    const found = workers.map(
      (worker) =>
        new Promise<Found>((resolve, reject) => {
          worker.once('message', resolve);
          worker.once('error', reject);
        }),
    );
    const ended = workers.map((worker) => new Promise((resolve) => worker.once('exit', resolve)));
    for (let i = 0; i < 50; i++) {
      expect(tidy(() => randn([64, 64], cuda).matmul(torch.ones([64, 1], cuda)).shape)).toEqual([64, 1]);
      await null;
    }
    (await Promise.all(found)).forEach(({ weights, error }, i) => {
      [1, -2, 3, 5 + i].forEach((x, j) => {
        expect(Math.abs(weights[j]! - x)).toBeLessThan(0.1);
      });
      expect(error).toEqual({ name: 'TensorError', operator: 'matmul' });
    });
    expect(await Promise.all(ended)).toEqual([0, 0]);
  });
}
