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
    user: tensor(new Int32Array(B), [B], { dtype: 'i32' }),
    poi: tensor(new Int32Array(B), [B], { dtype: 'i32' }),
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

const D = 5;
const K = 3;
/** Extra negatives that hit the row's own pair: they are none. */
const OWN = new Set([1, 4, 5, 6, 20]);

interface Case {
  tau: number;
  rows: 'all' | 'clicked';
  mask: boolean;
  extra: boolean;
}

/** Equations 24 and 25 with extra negatives in the sums of scene → target, in float64, pair by pair. */
function reference(zs: number[], zt: number[], zx: number[], { tau, rows, mask, extra }: Case): number {
  const chosen = pairs.map((_, i) => i).filter((i) => rows === 'all' || clicks[i] === 1);
  const unit = (z: number[], i: number) => {
    const row = z.slice(i * D, (i + 1) * D);
    const norm = Math.hypot(...row);
    return row.map((x) => x / norm);
  };
  const sim = (a: number[], b: number[]) => a.reduce((sum, x, k) => sum + x * b[k]!, 0) / tau;
  const f = (i: number, j: number) => sim(unit(zs, i), unit(zt, j));
  const negatives = (i: number) => chosen.filter((j) => j !== i && !(mask && pairs[i] === pairs[j]));
  let loss = 0;
  for (const i of chosen) {
    let toTarget = Math.exp(f(i, i));
    let toScene = Math.exp(f(i, i));
    for (const j of negatives(i)) {
      toTarget += Math.exp(f(i, j));
      toScene += Math.exp(f(j, i));
    }
    for (let k = 0; extra && k < K; k++)
      if (!OWN.has(i * K + k)) toTarget += Math.exp(sim(unit(zs, i), unit(zx, i * K + k)));
    loss += (Math.log(toTarget) + Math.log(toScene)) / 2 - f(i, i);
  }
  return loss / chosen.length;
}

const cases: Case[] = (['all', 'clicked'] as const).flatMap((rows) =>
  [true, false].flatMap((mask) =>
    [false, true].flatMap((extra) => [0.1, 0.35].map((tau) => ({ rows, mask, extra, tau }))),
  ),
);

test.each(cases)('L_al and its gradients equal equations 24 and 25 in float64: %o', (options) => {
  const { rows, mask, extra, tau } = options;
  manualSeed(6);
  tidy(() => {
    const leaf = (shape: number[]) => randn(shape).requiresGrad_();
    const [scene, target, further] = [leaf([B, D]), leaf([B, D]), leaf([B, K, D])];
    const own = tensor(
      Uint8Array.from({ length: B * K }, (_, i) => (OWN.has(i) ? 1 : 0)),
      [B, K],
      { dtype: 'bool' },
    );
    const config = { lambda: 1, temperature: tau, rows, maskDuplicates: mask, extraNegatives: extra ? K : 0 };
    const alignment = { scene, target, extra: extra ? { target: further, own } : null };
    const loss = alignmentLoss(alignment, batch(), config);
    loss.backward();
    const inputs = [scene, target, further].map((t) => Array.from(t.toFloat32Array()));
    const value = (zs = inputs[0]!, zt = inputs[1]!, zx = inputs[2]!) => reference(zs, zt, zx, options);
    expect(Math.abs(loss.item() - value())).toBeLessThan(2e-5);
    const moved = (which: number, at: number, by: number) =>
      value(
        ...(inputs.map((x, i) => x.map((v, j) => (i === which && j === at ? v + by : v))) as [
          number[],
          number[],
          number[],
        ]),
      );
    [scene, target, ...(extra ? [further] : [])].forEach((t, which) => {
      const got = t.grad!.toFloat32Array();
      got.forEach((g, at) => {
        const slope = (moved(which, at, 1e-5) - moved(which, at, -1e-5)) / 2e-5;
        expect(Math.abs(g - slope), `input ${which}, element ${at}`).toBeLessThan(2e-4);
      });
    });
  });
});

test('a batch with a single clicked row aligns nothing instead of failing', () => {
  tidy(() => {
    const one = batch();
    one.click = tensor(
      Float32Array.from({ length: B }, (_, i) => (i === 3 ? 1 : 0)),
      [B],
    );
    const scene = randn([B, 4], { requiresGrad: true });
    const loss = alignmentLoss({ scene, target: randn([B, 4]), extra: null }, one, {
      lambda: 1,
      temperature: 0.1,
      rows: 'clicked',
      maskDuplicates: true,
      extraNegatives: 0,
    });
    expect(loss.item()).toBe(0);
  });
});
