import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { armOf, isHeldOut, SLOTS, slotOf, unitHash } from './assignment.js';
import { chiSquareTail } from './distributions.js';

/** p of the hypothesis that the counts come from these shares. */
function goodness(counts: ArrayLike<number>, shares: readonly number[]): number {
  let n = 0;
  for (let i = 0; i < counts.length; i++) n += counts[i]!;
  const square = shares.reduce((sum, share, i) => sum + (counts[i]! - n * share) ** 2 / (n * share), 0);
  return chiSquareTail(square, shares.length - 1);
}

const USERS = 1_000_000;

describe('assignment', () => {
  it('spreads a million ids over arms and slots as the weights say, and independently of each other', () => {
    const weights = [1, 1, 2].map((weight) => ({ weight }));
    const arms = new Float64Array(3);
    const slots = new Float64Array(100);
    const together = new Float64Array(9);
    const otherArms = [{ weight: 0.2 }, { weight: 0.3 }, { weight: 0.5 }];
    for (let u = 0; u < USERS; u++) {
      const user = `user-${u}`;
      const arm = armOf('spread', weights, user);
      arms[arm]!++;
      if (u % 4 !== 0) continue;
      slots[Math.floor(slotOf('first', user) / (SLOTS / 100))]!++;
      together[arm * 3 + armOf('another salt', otherArms, user)]!++;
    }
    const shares = [0.25, 0.25, 0.5];
    expect(goodness(arms, shares)).toBeGreaterThan(1e-4);
    expect(goodness(slots, Array(100).fill(0.01))).toBeGreaterThan(1e-4);
    expect(
      goodness(
        together,
        shares.flatMap((a) => [0.2, 0.3, 0.5].map((b) => a * b)),
      ),
    ).toBeGreaterThan(1e-4);
  }, 60_000);

  it('one layer tells nothing of another, nor the slot of the arm or the holdout', () => {
    const layers = new Float64Array(16);
    const slotArm = new Float64Array(8);
    const held = new Float64Array(4);
    for (let u = 0; u < 200_000; u++) {
      const user = String(u);
      const quarter = (layer: string) => Math.floor((4 * slotOf(layer, user)) / SLOTS);
      const first = quarter('first');
      const arm = armOf('x', [{ weight: 1 }, { weight: 1 }], user);
      layers[first * 4 + quarter('second')]!++;
      slotArm[first * 2 + arm]!++;
      if (isHeldOut(0.1, user)) held[first]!++;
    }
    expect(goodness(layers, Array(16).fill(1 / 16))).toBeGreaterThan(1e-4);
    expect(goodness(slotArm, Array(8).fill(1 / 8))).toBeGreaterThan(1e-4);
    expect(goodness(held, Array(4).fill(1 / 4))).toBeGreaterThan(1e-4);
    expect(Math.abs(held.reduce((a, b) => a + b) / 200_000 - 0.1)).toBeLessThan(0.003);
  }, 30_000);

  it('is the same in another process, and in another year', () => {
    const code =
      "import { armOf, slotOf, unitHash } from '@larr/core'; console.log(JSON.stringify([unitHash('a', 'b'), slotOf('food', '许三多'), armOf('s', [{weight: 1}, {weight: 1}], 'u17')]))";
    const answer = execFileSync(process.execPath, ['--input-type=module', '-e', code], {
      cwd: fileURLToPath(new URL('../../../server', import.meta.url)),
      encoding: 'utf8',
    });
    const here = [unitHash('a', 'b'), slotOf('food', '许三多'), armOf('s', [{ weight: 1 }, { weight: 1 }], 'u17')];
    expect(JSON.parse(answer)).toEqual(here);
    // by Python's hashlib; the first is sha256("1:a1:b")[:6] / 2^48: a change here would reshuffle every running experiment
    expect(here).toEqual([0.9797038125681112, 9515, 0]);
  });

  it('keeps the parts of its input apart', () => {
    expect(unitHash('ab', 'c')).not.toBe(unitHash('a', 'bc'));
    expect(unitHash('1:a', '')).not.toBe(unitHash('1', 'a'));
  });

  it('a raised holdout keeps those whom it held', () => {
    for (let u = 0; u < 5000; u++) if (isHeldOut(0.05, `${u}`)) expect(isHeldOut(0.2, `${u}`)).toBe(true);
    expect(isHeldOut(0, 'anyone')).toBe(false);
    expect(isHeldOut(1, 'anyone')).toBe(true);
  });
});
