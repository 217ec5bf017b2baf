import { expect, test } from 'vitest';
// @ts-expect-error a bench is plain JavaScript, run as it is
import { run } from '../bench/loader.mjs';

test('the bench of the loader reads a dataset as prepare writes them, and measures both ways over the same rows', async () => {
  const found = [];
  for await (const row of run({ rows: 130_000, rounds: 1 })) found.push(row);
  expect(found).toEqual([
    {
      bench: 'loader',
      case: { columns: 25 },
      ours: expect.any(Number),
      peer: 'duckdb-columns',
      peerValue: expect.any(Number),
      unit: 'samples/s',
      ratio: expect.any(Number),
      memory: { ours: expect.any(Number), peer: expect.any(Number) },
    },
  ]);
  expect(found[0]!.ours).toBeGreaterThan(10_000);
  expect(found[0]!.ratio).toBeCloseTo(found[0]!.ours / found[0]!.peerValue);
  // 130,000 rows of 25 columns lie in neither side's way without some room
  for (const bytes of Object.values(found[0]!.memory)) expect(bytes).toBeGreaterThan(1e6);
});
