import { describe, expect, it } from 'vitest';
import { AdamW, embedding, init, memoryStats, RowwiseAdam, randint, randn, tidy, zeros } from './index.js';

/** A net of an embedding table and two layers, with both optimisers, as a ranking model has them. */
function net() {
  const table = init.normal_(zeros([500, 8]), 0.1).requiresGrad_();
  const w1 = init.xavierUniform_(zeros([32, 16])).requiresGrad_();
  const b1 = zeros([32]).requiresGrad_();
  const w2 = init.xavierUniform_(zeros([1, 32])).requiresGrad_();
  const dense = new AdamW([w1, b1, w2], { lr: 1e-3 });
  const sparse = new RowwiseAdam([table], { lr: 1e-3 });
  return () => {
    const x = embedding(table, randint(0, 500, [64, 2]), { sparse: true }).flatten(1);
    const loss = x
      .linear(w1, b1)
      .relu()
      .linear(w2)
      .squeeze(-1)
      .binaryCrossEntropyWithLogits(randn([64]).gt(0).to('f32'));
    dense.zeroGrad();
    sparse.zeroGrad();
    loss.backward();
    dense.step();
    sparse.step();
    return loss.item();
  };
}

const MB = 1 << 20;

/** Tensors and bytes gained over the steps, after as many to warm up as `warm`. */
function growth(step: () => void, warm: number, steps: number): { tensors: number; bytes: number; rss: number } {
  for (let i = 0; i < warm; i++) step();
  const before = { ...memoryStats(), rss: process.memoryUsage.rss() };
  for (let i = 0; i < steps; i++) step();
  const after = memoryStats();
  return {
    tensors: after.tensors - before.tensors,
    bytes: after.bytes - before.bytes,
    rss: process.memoryUsage.rss() - before.rss,
  };
}

describe('memory while training', () => {
  it('stays flat over 10,000 steps in one synchronous loop', () => {
    const step = net();
    const gained = growth(() => tidy(step), 1000, 10_000);
    expect(gained.tensors).toBe(0);
    expect(gained.bytes).toBe(0);
    expect(Math.abs(gained.rss)).toBeLessThan(50 * MB);
  });

  it('shows a scope that was forgotten', () => {
    const gained = growth(net(), 10, 100);
    expect(gained.tensors).toBeGreaterThan(100);
    expect(gained.bytes).toBeGreaterThan(0);
  });

  it('of large tensors is reused: a second step takes no new pages', () => {
    const step = () => tidy(() => randn([1024, 1024]).mul(2).sum().item());
    const gained = growth(step, 20, 200);
    expect(Math.abs(gained.rss)).toBeLessThan(50 * MB);
  });
});
