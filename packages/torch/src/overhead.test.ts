import { expect, it } from 'vitest';
import { measureOverhead } from '../bench/overhead.mjs';

it('a small operator costs at most 3 µs, from JavaScript and back', { retry: 2 }, () => {
  // The least of many short rounds: other work on the machine only ever adds, and leaves some of them alone.
  measureOverhead({ rounds: 1, calls: 50_000 });
  const microseconds = measureOverhead({ rounds: 300, calls: 2000 });
  process.stderr.write(`x.add(y) on 4 elements: ${microseconds.toFixed(2)} µs\n`);
  expect(microseconds).toBeLessThan(3);
});
