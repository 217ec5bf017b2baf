import { Worker } from 'node:worker_threads';
import { describe, expect, it } from 'vitest';
import { memoryStats, ones, randn, tidy } from './index.js';

interface Found {
  weights: number[];
  tensors: number;
  isTensor: boolean;
  error: { name: string; operator: string };
}

const start = (data: Record<string, unknown>) =>
  new Worker(new URL('../test/worker.mjs', import.meta.url), { workerData: data });
const message = <T>(worker: Worker) =>
  new Promise<T>((resolve, reject) => {
    worker.once('message', resolve);
    worker.once('error', reject);
  });

describe('worker threads', () => {
  it('train side by side, each with its own tensors, while this thread works too', async () => {
    const here = memoryStats().tensors;
    const workers = [5, 6, 7].map((target) => start({ target, steps: 300 }));
    const exits = workers.map((worker) => new Promise((resolve) => worker.once('exit', resolve)));
    const results = workers.map((worker) => message<Found>(worker));
    for (let i = 0; i < 50; i++) {
      expect(tidy(() => randn([64, 64]).matmul(ones([64, 1])).shape)).toEqual([64, 1]);
      await null;
    }
    const found = await Promise.all(results);
    found.forEach(({ weights, tensors, isTensor, error }, i) => {
      [1, -2, 3, 5 + i].forEach((x, j) => {
        expect(Math.abs(weights[j]! - x)).toBeLessThan(0.1);
      });
      expect(tensors).toBe(3); // w, wanted, and the one kept
      expect(isTensor).toBe(true);
      expect(error).toEqual({ name: 'TensorError', operator: 'matmul' });
    });
    expect(await Promise.all(exits)).toEqual([0, 0, 0]);
    expect(memoryStats().tensors).toBe(here);
  });

  it('can be terminated in the middle of a step', async () => {
    for (let i = 0; i < 3; i++) {
      const worker = start({ target: 1, forever: true });
      await message(worker);
      await new Promise((resolve) => setTimeout(resolve, 20));
      expect(await worker.terminate()).toBe(1);
    }
    expect(ones([2]).sum().item()).toBe(2);
  });
});
