import { type Clock, RECENT, SlotRing } from './recent.js';

const BINS = 10;
/** Fewer scores than this say nothing about a distribution. */
const ENOUGH = 500;

/**
 * How far the scores served in the last five minutes are from those that the trainer gave the bundle's test rows: the population stability index
 *
 *     PSI = Σ_b (a_b − e_b) · ln(a_b / e_b)
 *
 * over ten bins b whose bounds are the deciles of the reference; e_b is the reference's share of bin b and a_b the served scores', each with half a
 * count added so that no bin is empty. 0 where the two agree; by custom below 0.1 is small and above 0.25 large. Served candidates are chosen
 * otherwise than what a log shows, so a level of its own is usual: a change is what tells.
 */
export class ScoreDrift {
  /** inner bounds, increasing: a score is in the bin of as many bounds as are at most it */
  readonly #bounds: Float64Array;
  readonly #expected: Float64Array;
  readonly #counts: Uint32Array;
  readonly #ring: SlotRing;

  /** @param reference scores of the reference; at least one */
  constructor(reference: Float32Array, clock: Clock = () => performance.now()) {
    const sorted = Float32Array.from(reference).sort();
    const deciles = Array.from({ length: BINS - 1 }, (_, i) => sorted[Math.floor(((i + 1) * sorted.length) / BINS)]!);
    // Many equal scores make equal deciles: their bins are one.
    this.#bounds = Float64Array.from(new Set(deciles));
    const counts = new Uint32Array(this.#bounds.length + 1);
    for (const score of sorted) counts[this.#binOf(score)]!++;
    this.#expected = shares(counts);
    const bins = counts.length;
    this.#counts = new Uint32Array(RECENT.slots * bins);
    this.#ring = new SlotRing(clock, (slot) => this.#counts.fill(0, slot * bins, (slot + 1) * bins));
  }

  observe(scores: ArrayLike<number>): void {
    const first = this.#ring.now() * this.#expected.length;
    for (let i = 0; i < scores.length; i++) this.#counts[first + this.#binOf(scores[i]!)]!++;
  }

  /** The index, and of how many scores; null of fewer than 500. */
  now(): { psi: number | null; scores: number } {
    this.#ring.now();
    const bins = this.#expected.length;
    const counts = new Uint32Array(bins);
    this.#counts.forEach((count, i) => {
      counts[i % bins]! += count;
    });
    const scores = counts.reduce((sum, count) => sum + count, 0);
    if (scores < ENOUGH) return { psi: null, scores };
    const actual = shares(counts);
    const psi = actual.reduce((sum, a, b) => sum + (a - this.#expected[b]!) * Math.log(a / this.#expected[b]!), 0);
    return { psi, scores };
  }

  #binOf(score: number): number {
    let bin = 0;
    while (bin < this.#bounds.length && score >= this.#bounds[bin]!) bin++;
    return bin;
  }
}

function shares(counts: Uint32Array): Float64Array {
  const total = counts.reduce((sum, count) => sum + count, 0) + 0.5 * counts.length;
  return Float64Array.from(counts, (count) => (count + 0.5) / total);
}
