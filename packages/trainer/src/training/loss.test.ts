import { manualSeed, randn, tensor, tidy } from '@larr/torch';
import { expect, test } from 'vitest';
import type { Batch, ModelOutput } from '../models/inputs.js';
import { alignmentLoss, recommendationLoss } from './loss.js';

const B = 12;
const pairs = [0, 1, 2, 0, 3, 4, 1, 5, 0, 6, 7, 8];
const clicks = [1, 0, 1, 0, 0, 1, 1, 0, 1, 0, 0, 1];
const orders = [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];

function batch(): Batch {
  return {
    rows: B,
    ids: tensor(new BigInt64Array(B), [B, 1], { dtype: 'i64' }),
    dense: null,
    scene: null,
    history: null,
    pair: tensor(Int32Array.from(pairs), [B], { dtype: 'i32' }),
    click: tensor(Float32Array.from(clicks), [B]),
    order: tensor(Float32Array.from(orders), [B]),
  };
}

const output = (ctr: number[], cvr: number[] | null): ModelOutput => ({
  ctr: tensor(Float32Array.from(ctr), [B]),
  cvr: cvr && tensor(Float32Array.from(cvr), [B]),
  alignment: null,
});

test('L_rec is the cross-entropy of p_ctr and of the product p_ctr · p_cvr', () => {
  const a = Array.from({ length: B }, (_, i) => Math.sin(i) * 2);
  const b = Array.from({ length: B }, (_, i) => Math.cos(3 * i) * 2);
  const sigma = (x: number) => 1 / (1 + Math.exp(-x));
  const bce = (p: number, y: number) => (y === 1 ? -Math.log(p) : -Math.log(1 - p));
  const expected =
    a.reduce((sum, x, i) => sum + bce(sigma(x), clicks[i]!) + bce(sigma(x) * sigma(b[i]!), orders[i]!), 0) / B;
  const got = tidy(() => recommendationLoss(output(a, b), batch()).item());
  expect(got).toBeCloseTo(expected, 5);
});

test('L_rec stays finite and exact where probabilities round to 0 or 1', () => {
  const far = Array.from({ length: B }, (_, i) => (i % 2 ? 60 : -60));
  const got = tidy(() => recommendationLoss(output(far, far), batch()).item());
  // every wrong row costs its logit, 60; p_ctcvr of −60, −60 is e^−120
  const expected =
    far.reduce((sum, x, i) => {
      const click = clicks[i] === 1 ? Math.max(0, -x) : Math.max(0, x);
      const order = orders[i] === 1 ? 2 * Math.max(0, -x) : x > 0 ? x - Math.log(2) : 0;
      return sum + click + order;
    }, 0) / B;
  expect(got).toBeCloseTo(expected, 3);
});

/** Equations 24 and 25 over the given rows, in plain numbers. */
function reference(zs: Float32Array, zt: Float32Array, d: number, rows: number[], tau: number, mask: boolean): number {
  const unit = (z: Float32Array, i: number) => {
    const row = Array.from(z.subarray(i * d, (i + 1) * d));
    const norm = Math.hypot(...row);
    return row.map((x) => x / norm);
  };
  const s = rows.map((i) => rows.map((j) => unit(zs, i).reduce((sum, x, k) => sum + x * unit(zt, j)[k]!, 0) / tau));
  const allowed = (i: number, j: number) => i === j || !mask || pairs[rows[i]!] !== pairs[rows[j]!];
  let loss = 0;
  rows.forEach((_, i) => {
    let forward = 0;
    let backward = 0;
    rows.forEach((_, j) => {
      if (!allowed(i, j)) return;
      forward += Math.exp(s[i]![j]!);
      backward += Math.exp(s[j]![i]!);
    });
    loss += (Math.log(forward) - s[i]![i]! + Math.log(backward) - s[i]![i]!) / 2;
  });
  return loss / rows.length;
}

for (const rows of ['all', 'clicked'] as const) {
  for (const maskDuplicates of [true, false]) {
    test(`L_al equals equations 24 and 25 over ${rows} rows, duplicates ${maskDuplicates ? 'left out' : 'kept'}`, () => {
      manualSeed(6);
      tidy(() => {
        const zs = randn([B, 5]);
        const zt = randn([B, 5]);
        const config = { lambda: 1, temperature: 0.1, rows, maskDuplicates };
        const chosen = pairs.map((_, i) => i).filter((i) => rows === 'all' || clicks[i] === 1);
        const expected = reference(zs.toFloat32Array(), zt.toFloat32Array(), 5, chosen, 0.1, maskDuplicates);
        expect(alignmentLoss(zs, zt, batch(), config).item()).toBeCloseTo(expected, 4);
      });
    });
  }
}

test('a batch with a single clicked row aligns nothing instead of failing', () => {
  tidy(() => {
    const one = batch();
    one.click = tensor(
      Float32Array.from({ length: B }, (_, i) => (i === 3 ? 1 : 0)),
      [B],
    );
    const zs = randn([B, 4], { requiresGrad: true });
    const loss = alignmentLoss(zs, randn([B, 4]), one, {
      lambda: 1,
      temperature: 0.1,
      rows: 'clicked',
      maskDuplicates: true,
    });
    expect(loss.item()).toBe(0);
  });
});
