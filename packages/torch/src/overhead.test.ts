import { expect, it } from 'vitest';
import { measureOverhead } from '../bench/overhead.mjs';

it('a small operator costs at most 3 µs, from JavaScript and back', { retry: 2 }, () => {
  // The least of several rounds: other work on the machine only ever adds.
  const microseconds = measureOverhead({ rounds: 15, calls: 20_000 });
  process.stderr.write(`x.add(y) on 4 elements: ${microseconds.toFixed(2)} µs\n`);
  expect(microseconds).toBeLessThan(3);
});
