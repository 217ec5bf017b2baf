#!/usr/bin/env node
// What a small operator costs: x.add(y) on 4 elements without gradients, tensors disposed of by tidy. Prints µs a call.
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { randn, tidy } from '../dist/index.js';

/**
 * µs a call: the least of the rounds.
 * @param {{ rounds: number, calls: number }} size
 */
export function measureOverhead({ rounds, calls }) {
  const x = randn([4]);
  const y = randn([4]);
  const inner = 50; // operators a scope, as a small training step has
  let best = Number.POSITIVE_INFINITY;
  for (let round = 0; round < rounds; round++) {
    const start = process.hrtime.bigint();
    for (let i = 0; i < calls / inner; i++) {
      tidy(() => {
        for (let j = 0; j < inner; j++) x.add(y);
      });
    }
    best = Math.min(best, Number(process.hrtime.bigint() - start) / calls / 1000);
  }
  return best;
}

if (process.argv[1] && path.resolve(process.argv[1]) === fileURLToPath(import.meta.url)) {
  measureOverhead({ rounds: 1, calls: 50_000 });
  const value = measureOverhead({ rounds: 500, calls: 2000 });
  process.stdout.write(
    `${JSON.stringify({ bench: 'overhead', case: { operator: 'add', elements: 4 }, ours: value, unit: 'µs' })}\n`,
  );
}
