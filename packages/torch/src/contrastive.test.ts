import { describe, expect, it } from 'vitest';
import { autocast, infoNce, noGrad, randn, scalar, type Tensor, tensor, tidy } from './index.js';

/** The loss of docs/method.md, section 3, term by term. */
function termByTerm(
  q: Float64Array,
  k: Float64Array,
  rows: number,
  d: number,
  scale: number,
  groups?: number[],
): number {
  const score = (i: number, j: number) => {
    let dot = 0;
    for (let c = 0; c < d; c++) dot += q[i * d + c]! * k[j * d + c]!;
    return scale * dot;
  };
  const allowed = (i: number, j: number) => i === j || !groups || groups[i] !== groups[j];
  let loss = 0;
  for (let i = 0; i < rows; i++) {
    let row = 0;
    let column = 0;
    for (let j = 0; j < rows; j++) {
      if (!allowed(i, j)) continue;
      row += Math.exp(score(i, j) - score(i, i));
      column += Math.exp(score(j, i) - score(i, i));
    }
    loss += (Math.log(row) + Math.log(column)) / 2;
  }
  return loss / rows;
}

const unitRows = (rows: number, d: number): Tensor => tidy(() => randn([rows, d], { dtype: 'f64' }).normalize());

describe('infoNce', () => {
  it.each([1, 2, 17, 65])('equals the formula for %i rows, with and without groups', (rows) => {
    tidy(() => {
      const d = 16;
      const [q, k] = [unitRows(rows, d), unitRows(rows, d)];
      const values = [q.toArray() as Float64Array, k.toArray() as Float64Array] as const;
      for (const groups of [
        undefined,
        Array.from({ length: rows }, (_, i) => i % 5),
        Array(rows).fill(3) as number[],
      ]) {
        for (const scale of [1, 20, 100]) {
          const wanted = termByTerm(...values, rows, d, scale, groups);
          const given = groups && tensor(groups, [rows], { dtype: 'i32' });
          expect(Math.abs(infoNce(q, k, scale, given).item() - wanted)).toBeLessThan(1e-12 * Math.max(1, wanted));
          expect(Math.abs(infoNce(q.to('f32'), k.to('f32'), scalar(scale), given).item() - wanted)).toBeLessThan(
            2e-5 * Math.max(1, wanted),
          );
        }
      }
    });
  });

  it('is nothing when each row has only its own group left out of it', () => {
    const q = unitRows(4, 8);
    expect(infoNce(q, q, 10, tensor([1, 1, 1, 1], [4], { dtype: 'i32' })).item()).toBeCloseTo(0, 12);
  });

  it('accumulates in f32 under autocast and for bf16', () => {
    tidy(() => {
      const [q, k] = [unitRows(64, 32).to('bf16'), unitRows(64, 32).to('bf16')];
      const exact = infoNce(q.to('f64'), k.to('f64'), 20).item();
      expect(infoNce(q, k, 20).dtype).toBe('f32');
      expect(Math.abs(infoNce(q, k, 20).item() - exact)).toBeLessThan(1e-5 * exact);
      expect(Math.abs(autocast(() => infoNce(q.to('f32'), k.to('f32'), 20)).item() - exact)).toBeLessThan(1e-5 * exact);
    });
  });

  it.each([
    { dtype: 'f32', tolerance: 1e-5 },
    { dtype: 'bf16', tolerance: 1e-2 },
  ] as const)('has the gradients of the formula in $dtype', ({ dtype, tolerance }) => {
    const [rows, d] = [130, 24];
    tidy(() => {
      const groups = tensor(
        BigInt64Array.from({ length: rows }, (_, i) => BigInt(i % 40) * 10_000_000_000n),
        [rows],
        { dtype: 'i64' },
      );
      const start = [unitRows(rows, d).to(dtype), unitRows(rows, d).to(dtype), scalar(12)] as const;
      const gradients = (as: 'f64' | typeof dtype) => {
        const [q, k] = [
          start[0].to(as).detach().clone().requiresGrad_(),
          start[1].to(as).detach().clone().requiresGrad_(),
        ];
        const scale = start[2].clone().requiresGrad_();
        infoNce(q, k, scale, groups).mul(3).backward();
        return [q.grad!, k.grad!, scale.grad!];
      };
      const exact = gradients('f64');
      const fused = gradients(dtype);
      exact.forEach((wanted, i) => {
        const error = fused[i]!.to('f64').sub(wanted.to('f64')).abs().amax().item();
        expect(error).toBeLessThan(tolerance * wanted.abs().amax().item());
      });
      expect(fused.map((gradient) => gradient.dtype)).toEqual([dtype, dtype, 'f32']);
    });
  });

  it('holds no matrix of all pairs', () => {
    tidy(() => {
      const rows = 20_000; // the scores alone would take 1.6 GB
      const q = unitRows(rows, 8).to('f32').requiresGrad_();
      const before = process.memoryUsage().rss;
      infoNce(q, unitRows(rows, 8).to('f32'), 10).backward();
      expect(q.grad!.isfinite().all().item()).toBe(1);
      expect(process.memoryUsage().rss - before).toBeLessThan(200e6);
    });
  });

  it('refuses what has no such loss', () => {
    noGrad(() => {
      expect(() => infoNce(randn([2, 3]), randn([2, 4]), 1)).toThrow(/one shape \[B, d\]/);
      expect(() => infoNce(randn([0, 3]), randn([0, 3]), 1)).toThrow(/no rows/);
      expect(() => infoNce(randn([2, 3]), randn([2, 3]), 1, tensor([1], [1], { dtype: 'i32' }))).toThrow(
        /groups must be \[2\]/,
      );
      expect(() => infoNce(randn([2, 3]), randn([2, 3]), randn([2]))).toThrow(/scale must be one number/);
    });
  });
});
