import { expect, it } from 'vitest';
// @ts-expect-error a bench is plain JavaScript, run as it is
import { run } from '../bench/encoder.mjs';

it('the bench of the encoder measures both sides, whose answers are the same, with their memory', async () => {
  const found = [];
  for await (const row of run({ sizes: [1024], rounds: 1 })) found.push(row);
  expect(found.map((row) => row.case)).toEqual([
    { rows: 1024, dtype: 'f32' },
    { rows: 1024, dtype: 'bf16' },
  ]);
  for (const { ours, peerValue, ratio, memory } of found) {
    expect(ours).toBeGreaterThan(1000);
    expect(peerValue).toBeGreaterThan(100);
    expect(ratio).toBeCloseTo(ours / peerValue);
    // so few rows may find room that is there already
    expect(memory.ours).toBeGreaterThanOrEqual(0);
    expect(memory.peer).toBeGreaterThanOrEqual(0);
  }
}, 120_000);
