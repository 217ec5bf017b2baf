import { chiSquareTail, logGamma } from './distributions.js';

/** Whether the arms have the users that their weights say. */
export interface SampleRatio {
  /** p of Pearson's chi-square test: for one look */
  chiSquareP: number;
  /** always-valid p: may be looked at every day */
  p: number;
  /** p < ALARM_LEVEL: assignment or logging is broken, and no figure of the experiment can be trusted */
  alarm: boolean;
}

/** A mismatch means broken plumbing, never a finding: it must be as good as certain before it is said. */
export const ALARM_LEVEL = 0.001;
/** Concentration of the Dirichlet prior around the planned shares: shares off by about half a percentage point are found quickest. */
const CONCENTRATION = 10_000;

/**
 * Sample-ratio mismatch, safe to look at as often as one likes: Bayes factor of multinomial counts under Dirichlet(C·weights) against the planned weights,
 * whose reciprocal is an always-valid p (Lindon and Malek, "Anytime-Valid Inference for Multinomial Count Data", NeurIPS 2022, section 3):
 *   BF = [Γ(C) / Γ(C + n)] · Π [Γ(C w_i + n_i) / Γ(C w_i)] / w_i^{n_i}.
 * @param counts users exposed, per arm
 * @param weights planned shares, any scale
 */
export function sampleRatio(counts: readonly number[], weights: readonly number[]): SampleRatio {
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  const n = counts.reduce((sum, count) => sum + count, 0);
  if (n === 0) return { chiSquareP: 1, p: 1, alarm: false };
  let square = 0;
  let logFactor = logGamma(CONCENTRATION) - logGamma(CONCENTRATION + n);
  for (const [i, weight] of weights.entries()) {
    const share = weight / total;
    const count = counts[i]!;
    square += (count - n * share) ** 2 / (n * share);
    logFactor += logGamma(CONCENTRATION * share + count) - logGamma(CONCENTRATION * share) - count * Math.log(share);
  }
  const p = Math.min(1, Math.exp(-logFactor));
  return { chiSquareP: counts.length < 2 ? 1 : chiSquareTail(square, counts.length - 1), p, alarm: p < ALARM_LEVEL };
}
