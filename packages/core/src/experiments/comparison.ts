import { normalQuantile, normalTwoSided } from './distributions.js';
import type { Estimate } from './metrics.js';

export type Interval = [low: number, high: number];

/** What is known of a treatment's effect on a metric. Intervals are null where the arms have too few users for one. */
export interface Effect {
  /** treatment − control, in the metric's unit */
  difference: number;
  /** treatment / control − 1 */
  lift: number;
  /** For one look at the planned end: wrong more often than stated when looked at again and again. */
  fixed: { difference: Interval | null; lift: Interval | null; p: number | null };
  /** Holds at every look, however many. */
  sequential: { difference: Interval | null; lift: Interval | null; p: number | null };
}

/**
 * Compares two arms at level α.
 *
 * Fixed: the normal test of the difference, p = P(|Z| > |d| / √V), V the sum of both variances. The lift's interval is Fieller's (E. C.
 * Fieller, "Some Problems in Interval Estimation", JRSS B 16, 1954): all ρ that d(ρ) = R_t − ρ R_c does not reject. It leaves 0 out exactly when
 * the difference's does.
 *
 * Sequential: the mixture sequential probability ratio test with a normal mixture N(0, τ²) over the *relative* lift (Robbins 1970; Johari, Koomen,
 * Pekelis and Walsh, "Always Valid Inference", Operations Research 70, 2022, section 4), with the variance estimated as data come (asymptotic
 * confidence sequences: Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas, Annals of Statistics 52, 2024). With v = V / R_c² and z² = d² / V,
 *   Λ = √(v / (v + τ²)) · exp(z² τ² / (2 (v + τ²))),   p = min(1, 1/Λ),
 * rejects once Λ ≥ 1/α, and the interval is d ± √V · `boundary`. It is on the relative scale because there the variance falls as data come, for sums
 * per user that grow from day to day too; their standardised differences at two days correlate by √(v_later / v_earlier), as the test supposes
 * (checked by simulation with returning users).
 * @param tau standard deviation τ of the mixture, fixed before the first look: the lift at which the test is to be the quickest
 */
export function compareArms(control: Estimate, treatment: Estimate, alpha: number, tau: number): Effect {
  const difference = treatment.value - control.value;
  const lift = treatment.value / control.value - 1;
  const nothing = { difference: null, lift: null, p: null };
  const variance = control.variance + treatment.variance;
  if (!(variance > 0) || !Number.isFinite(difference)) return { difference, lift, fixed: nothing, sequential: nothing };
  const z = difference / Math.sqrt(variance);
  const within = (width: number) => {
    const half = width * Math.sqrt(variance);
    return {
      difference: [difference - half, difference + half] as Interval,
      lift: fieller(control, treatment, width),
    };
  };
  const relative = variance / control.value ** 2;
  const fixed = { ...within(normalQuantile(1 - alpha / 2)), p: normalTwoSided(z) };
  if (!Number.isFinite(relative)) return { difference, lift, fixed, sequential: nothing };
  return {
    difference,
    lift,
    fixed,
    sequential: { ...within(boundary(relative, alpha, tau)), p: alwaysValidP(z, relative, tau) },
  };
}

/** Always-valid p of one look: 1/Λ, at most 1. The smallest of all looks so far is one too. */
export function alwaysValidP(z: number, relativeVariance: number, tau: number): number {
  const share = relativeVariance / (relativeVariance + tau * tau);
  return Math.min(1, Math.exp((-(z * z) / 2) * (1 - share)) / Math.sqrt(share));
}

/** How many standard errors wide the always-valid interval is to either side: Λ = 1/α solved for z. */
export function boundary(relativeVariance: number, alpha: number, tau: number): number {
  const ratio = relativeVariance / (tau * tau);
  return Math.sqrt(2 * (1 + ratio) * (Math.log(1 / alpha) + 0.5 * Math.log(1 + 1 / ratio)));
}

/** Fieller's interval of treatment / control − 1, `width` standard errors to either side; null where it has no two ends. */
function fieller(control: Estimate, treatment: Estimate, width: number): Interval | null {
  const w = width * width;
  const a = control.value ** 2 - w * control.variance;
  const b = control.value * treatment.value;
  const c = treatment.value ** 2 - w * treatment.variance;
  const inside = b * b - a * c;
  if (!(a > 0) || inside < 0) return null;
  const root = Math.sqrt(inside);
  return [(b - root) / a - 1, (b + root) / a - 1];
}

/**
 * The mixture's τ for a smallest lift m worth finding. A fixed test finds m with power .8 when its standard error is m / 2.8; there the interval is
 * tightest for τ² = (m / 2.8)² (ln ln(1/α²) + ln(1/α²) + 1) (Waudby-Smith et al., appendix B.2): 1.06 m at α = .05.
 */
export function mixtureDeviation(smallestLift: number, alpha: number): number {
  const twice = -2 * Math.log(alpha);
  const planned = smallestLift / (normalQuantile(1 - alpha / 2) + normalQuantile(0.8));
  return planned * Math.sqrt(twice + Math.log(twice) + 1);
}

/**
 * Users of the control that a test for one look at the end needs: n = (z_{1−α/2} + z_{power})² · CV² · (1 + (1 + lift)² / q) / lift², with q the
 * treatment's users per user of the control and CV² = n · Var(R) / R², the squared coefficient of variation of a user's linearised metric, which the
 * treatment is taken to leave as it is.
 */
export function usersPerArm(plan: {
  lift: number;
  /** CV²: from a report, (standard error / value)² of the control times its users */
  variation: number;
  alpha?: number;
  power?: number;
  ratio?: number;
}): number {
  const { lift, variation, alpha = 0.05, power = 0.8, ratio = 1 } = plan;
  const width = normalQuantile(1 - alpha / 2) + normalQuantile(power);
  return Math.ceil((width ** 2 * variation * (1 + (1 + lift) ** 2 / ratio)) / lift ** 2);
}
