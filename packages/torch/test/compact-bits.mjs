// Steps of CompactAdamW on the instruction set that LARR_ISA names: a digest of every bit that they leave. Run by compact-adam.test.ts.
import { createHash } from 'node:crypto';
import { CompactAdamW, manualSeed, randn, setNumThreads, splitHalves, tidy } from '../dist/index.js';

/** Weights and gradients of every size and sign, an odd number of them; pieces of gradients added up. */
export function digest({ composed = false, threads = 1, device = 'cpu' } = {}) {
  setNumThreads(threads);
  manualSeed(5);
  return tidy(() => {
    const sizes = () => randn([301, 67]).mul(randn([301, 67]).mul(8).exp());
    const [weight, low] = splitHalves(sizes().to({ device }));
    weight.requiresGrad_();
    const optimizer = new CompactAdamW([{ params: [weight], lows: [low] }], {
      lr: 0.01,
      betas: [0.9, 0.98],
      weightDecay: 0.1,
      seed: 7,
      composed,
    });
    for (let step = 0; step < 3; step++) {
      optimizer.zeroGrad();
      for (let piece = 0; piece < 3; piece++)
        weight
          .mul(sizes().to({ dtype: 'bf16', device }))
          .sum()
          .backward();
      optimizer.step();
    }
    const hash = createHash('sha256');
    for (const t of [weight.detach(), ...Object.values(optimizer.stateDict())])
      hash.update(Buffer.from(t.toArray().buffer));
    optimizer.dispose();
    return hash.digest('hex');
  });
}

if (process.argv[1] === new URL(import.meta.url).pathname) process.stdout.write(digest({ threads: 2 }));
