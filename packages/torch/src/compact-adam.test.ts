import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';
import {
  AdamW,
  CompactAdamW,
  clipGradNorm,
  full,
  getNumThreads,
  joinHalves,
  manualSeed,
  noGrad,
  randn,
  setNumThreads,
  splitHalves,
  type Tensor,
  tensor,
  tidy,
} from './index.js';

const threads = getNumThreads();
afterAll(() => setNumThreads(threads));

/** f32 numbers by their bits. */
const ofBits = (bits: Uint32Array) => tensor(new Float32Array(bits.buffer), [bits.length]);
const bitsOf = (x: Tensor) => new Uint32Array((x.toArray() as Float32Array).buffer.slice(0));
const mean = (x: Tensor) => x.to('f32').mean().item();

/** A parameter of CompactAdamW, and its lower half. */
function halved(x: Tensor): { params: [Tensor]; lows: [Tensor] } {
  const [high, low] = splitHalves(x);
  return { params: [high.requiresGrad_()], lows: [low] };
}

describe('an f32 number in two halves', () => {
  const named: [string, number][] = [
    ['0', 0x00000000],
    ['-0', 0x80000000],
    ['1', 0x3f800000],
    ['a tie over an even bf16', 0x3f808000],
    ['just below it', 0x3f807fff],
    ['just above it', 0x3f808001],
    ['a tie over an odd bf16', 0x3f818000],
    ['a negative tie', 0xbf808000],
    ['a tie that carries into the exponent', 0x3fff8000],
    ['the largest number below it', 0x3fff7fff],
    ['the least denormal', 0x00000001],
    ['a denormal tie', 0x00008000],
    ['a denormal that becomes normal', 0x007fffff],
    ['the largest that stays finite', 0x7f7f7fff],
    ['the least that becomes infinite', 0x7f7f8000],
    ['the largest', 0x7f7fffff],
    ['the most negative', 0xff7fffff],
    ['infinity', 0x7f800000],
    ['-infinity', 0xff800000],
  ];

  it('comes back to the same bits', () => {
    tidy(() => {
      const bits = Uint32Array.from(named, ([, b]) => b);
      const [high, low] = splitHalves(ofBits(bits));
      expect([high.dtype, low.dtype]).toEqual(['bf16', 'i16']);
      const back = bitsOf(joinHalves(high, low));
      named.forEach(([name, b], i) => {
        expect(back[i], name).toBe(b);
      });
      // Every upper half with every kind of lower half, and with odd ones.
      const lower = [0, 1, 0x1234, 0x7fff, 0x8000, 0x8001, 0xbeef, 0xffff];
      const all = new Uint32Array(65536 * lower.length).map((_, i) => ((i >>> 3) << 16) | lower[i & 7]!);
      const finite = all.filter((b) => (b & 0x7fffffff) <= 0x7f800000);
      const again = bitsOf(joinHalves(...splitHalves(ofBits(finite))));
      expect(Buffer.compare(Buffer.from(again.buffer), Buffer.from(finite.buffer))).toBe(0);
    });
  });

  it('has the nearest bf16 in its upper half, and of two the farther from zero', () => {
    tidy(() => {
      const bits = Uint32Array.from({ length: 50_000 }, (_, i) => Math.imul(i, 0x9e3779b1) >>> 0);
      const known = bits.filter((b) => (b & 0x7fffffff) < 0x7f800000 && (b & 0xffff) !== 0x8000);
      const x = ofBits(known);
      expect(splitHalves(x)[0].toArray()).toEqual(x.to('bf16').toArray());
      const ties = ofBits(Uint32Array.of(0x3f808000, 0x3f818000, 0xbf808000, 0x3fff8000));
      expect([...splitHalves(ties)[0].toArray()]).toEqual([0x3f81, 0x3f82, 0xbf81, 0x4000]);
    });
  });

  it('stays a NaN', () => {
    tidy(() => {
      const [high, low] = splitHalves(ofBits(Uint32Array.of(0x7fc00000, 0x7fffffff, 0xffffffff, 0x7f800001)));
      expect([...high.toFloat32Array()]).toEqual([Number.NaN, Number.NaN, Number.NaN, Number.NaN]);
      expect([...joinHalves(high, low).toFloat32Array()]).toEqual([Number.NaN, Number.NaN, Number.NaN, Number.NaN]);
    });
  });

  it('is refused with operands of other types', () => {
    tidy(() => {
      const x = randn([2, 3]);
      expect(() => splitHalves(x.to('bf16'))).toThrow(/f32/);
      expect(() => joinHalves(x, x)).toThrow(/bf16/);
    });
  });
});

describe('CompactAdamW', () => {
  it('leaves the same bits on every instruction set, any number of threads, and from LibTorch’s operators', async () => {
    const script = fileURLToPath(new URL('../test/compact-bits.mjs', import.meta.url));
    const { digest } = (await import(script)) as { digest(options?: { composed?: boolean; threads?: number }): string };
    const wanted = digest();
    expect(digest({ threads: 3 })).toBe(wanted);
    expect(digest({ composed: true })).toBe(wanted);
    for (const isa of ['avx512', 'avx2', 'scalar']) {
      try {
        const env = { ...process.env, LARR_ISA: isa };
        const got = execFileSync(process.execPath, [script], {
          encoding: 'utf8',
          env,
          stdio: ['ignore', 'pipe', 'pipe'],
        });
        expect(got, isa).toBe(wanted);
      } catch (error) {
        if (!/LARR_ISA=\w+ is not available here/.test((error as { stderr?: string }).stderr ?? '')) throw error;
      }
    }
  }, 30_000);

  it('takes AdamW’s steps: in the mean of many weights, and each to within what bf16 moments vary by', () => {
    tidy(() => {
      manualSeed(1);
      const start = randn([64, 64]);
      const plain = start.clone().requiresGrad_();
      const { params, lows } = halved(start);
      const settings = { lr: 0.01, betas: [0.9, 0.98] as const, weightDecay: 0.1 };
      const one = new AdamW([plain], settings);
      const other = new CompactAdamW([{ params, lows }], settings);
      const drift = randn([64, 64]);
      for (let t = 0; t < 60; t++) {
        const gradient = drift.add(randn([64, 64])).to('bf16');
        plain.grad = gradient.to('f32');
        params[0].grad = gradient;
        one.step();
        other.step();
      }
      const master = joinHalves(params[0].detach(), lows[0]);
      const moved = plain.detach().sub(start);
      const off = master.sub(plain.detach());
      expect(off.abs().mean().item() / moved.abs().mean().item()).toBeLessThan(0.01);
      expect(Math.abs(mean(off.mul(moved.div(moved.abs())))) / moved.abs().mean().item()).toBeLessThan(1e-3);
      // What products take is the master, rounded.
      expect(params[0].detach().toFloat32Array()).toEqual(splitHalves(master)[0].toFloat32Array());
      one.dispose();
      other.dispose();
    });
  });

  it('keeps updates that are below a bf16’s half step, and means of squares that rounding would hold still', () => {
    tidy(() => {
      const { params, lows } = halved(full([4096], 1));
      using optimiser = new CompactAdamW([{ params, lows, weightDecay: 0 }], { lr: 1e-5, betas: [0.9, 0.999] });
      for (let t = 0; t < 300; t++) {
        params[0].grad = full([4096], t < 100 ? 1 : 3, { dtype: 'bf16' });
        optimiser.step();
      }
      const { '0.square': square } = optimiser.stateDict();
      const expected = 9 - 9 * 0.999 ** 200 + (1 - 0.999 ** 100) * 0.999 ** 200;
      expect(mean(square!) / expected).toBeCloseTo(1, 2);
      // Three hundred steps of 1e-5 and below, where the next bf16 below 1 is 0.996.
      const master = joinHalves(params[0].detach(), lows[0]);
      expect(1 - mean(master)).toBeGreaterThan(0.002);
      expect(1 - mean(master)).toBeLessThan(0.005);
    });
  });

  it('adds gradients up without a loss in the mean', () => {
    tidy(() => {
      const { params, lows } = halved(randn([4096]));
      using optimiser = new CompactAdamW([{ params, lows }]);
      const piece = (value: number) =>
        params[0]
          .mul(full([4096], value, { dtype: 'bf16' }))
          .sum()
          .backward();
      piece(1);
      expect(params[0].grad!.toFloat32Array()).toEqual(new Float32Array(4096).fill(1));
      for (let i = 0; i < 200; i++) piece(2 ** -9); // half a step of bf16 at 1: the nearest is 1 again
      expect(mean(params[0].grad!)).toBeCloseTo(1 + 200 / 512, 2);
      optimiser.zeroGrad();
      expect(params[0].grad).toBeNull();
    });
  });

  it('leaves autograd’s own sums to a parameter that it has let go of', () => {
    tidy(() => {
      const { params, lows } = halved(randn([64]));
      new CompactAdamW([{ params, lows }]).dispose();
      const piece = (value: number) =>
        params[0]
          .mul(full([64], value, { dtype: 'bf16' }))
          .sum()
          .backward();
      piece(1);
      for (let i = 0; i < 20; i++) piece(2 ** -9);
      expect(mean(params[0].grad!)).toBe(1);
    });
  });

  it('goes on from a saved state to the same bits', () => {
    tidy(() => {
      manualSeed(2);
      const start = randn([33, 5]);
      const gradients = Array.from({ length: 12 }, () => randn([33, 5]).to('bf16'));
      const make = (x: Tensor) => {
        const parts = halved(x);
        return { ...parts, optimiser: new CompactAdamW([{ ...parts, weightDecay: 0.1 }], { lr: 0.01, seed: 9 }) };
      };
      const steps = ({ params, optimiser }: ReturnType<typeof make>, some: Tensor[]) => {
        for (const gradient of some) {
          params[0].grad = gradient;
          optimiser.step();
        }
      };
      const [whole, first, second] = [make(start), make(start), make(randn([33, 5]))];
      steps(whole, gradients);
      steps(first, gradients.slice(0, 5));
      noGrad(() => second.params[0].copy_(first.params[0]));
      second.optimiser.loadStateDict(first.optimiser.stateDict());
      steps(second, gradients.slice(5));
      expect(second.params[0].detach().toArray()).toEqual(whole.params[0].detach().toArray());
      for (const [name, t] of Object.entries(second.optimiser.stateDict()))
        expect(t.toArray(), name).toEqual(whole.optimiser.stateDict()[name]!.toArray());
      for (const { optimiser } of [whole, first, second]) optimiser.dispose();
      expect(() => whole.optimiser.step()).toThrow(expect.objectContaining({ code: 'TENSOR_DISPOSED' }));
    });
  });

  it('refuses parameters that are not in halves', () => {
    tidy(() => {
      const [high, low] = splitHalves(randn([4, 4]));
      const parameter = randn([4, 4]).requiresGrad_();
      expect(() => new CompactAdamW([{ params: [parameter], lows: [low] }])).toThrow(/bf16 and contiguous.*f32/s);
      high.requiresGrad_();
      expect(() => new CompactAdamW([{ params: [high], lows: [] }])).toThrow(/1 parameters, but 0/);
      expect(() => new CompactAdamW([{ params: [high], lows: [low.narrow(0, 0, 2)] }])).toThrow(/i16 \[4, 4\]/);
      expect(() => new CompactAdamW([{ params: [high], lows: [low] }], { lr: -1 })).toThrow(/lr/);
    });
  });
});

it('the norm of bf16 gradients is one of f32, beside f32 gradients too', () => {
  tidy(() => {
    manualSeed(3);
    const [a, b] = [randn([500, 7]).to('bf16').requiresGrad_(), randn([300]).requiresGrad_()];
    a.grad = randn([500, 7]).to('bf16');
    b.grad = randn([300]);
    const exact = Math.sqrt([...a.grad!.toFloat32Array(), ...b.grad!.toFloat32Array()].reduce((s, x) => s + x * x, 0));
    const of = (some: Tensor[], most: number) => clipGradNorm(some, most);
    expect(of([a, b], 1e9) / exact).toBeCloseTo(1, 6);
    expect(of([a, b], exact / 2) / exact).toBeCloseTo(1, 6);
    expect(of([a, b], 1e9) / exact).toBeCloseTo(0.5, 3);
    const alone = Math.sqrt(a.grad!.toFloat32Array().reduce((s, x) => s + x * x, 0));
    expect(of([a], 1e9) / alone).toBeCloseTo(1, 6);
  });
});
