export interface PairedTest {
  /** mean of the differences a − b */
  difference: number;
  /** its 95 % interval, difference ± t₀.₉₇₅ s_d / √n */
  low: number;
  high: number;
  /** null where all differences are equal */
  t: number | null;
  p: number;
}

/**
 * Student's t-test for paired differences: does model a beat model b over the same seeds?
 * t = mean(d) / (s_d / √n) with n − 1 degrees of freedom, two-sided p. It supposes that differences are about normal, which a few
 * seeds cannot show; a sign test of five pairs cannot fall below p = .0625, so it would say nothing here.
 *
 * @returns null for fewer than two pairs; p is 0 (or 1) where all differences are equal (or all zero)
 */
export function pairedTest(a: number[], b: number[]): PairedTest | null {
  const n = a.length;
  if (n < 2 || b.length !== n) return null;
  const differences = a.map((value, i) => value - b[i]!);
  const difference = mean(differences);
  const error = standardDeviation(differences) / Math.sqrt(n);
  if (error === 0) return { difference, low: difference, high: difference, t: null, p: difference === 0 ? 1 : 0 };
  const t = difference / error;
  const half = studentQuantile(0.05, n - 1) * error;
  return { difference, low: difference - half, high: difference + half, t, p: studentTail(t, n - 1) };
}

/**
 * Holm's correction (1979): p-values of several tests, raised so that the chance of any false one among them stays at the level that a
 * single one is held to. In the order given.
 */
export function holm(ps: readonly number[]): number[] {
  const order = ps.map((_, i) => i).sort((i, j) => ps[i]! - ps[j]!);
  const out = new Array<number>(ps.length);
  let least = 0;
  order.forEach((i, rank) => {
    least = Math.min(1, Math.max(least, ps[i]! * (ps.length - rank)));
    out[i] = least;
  });
  return out;
}

export function mean(values: number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** Sample standard deviation (n − 1); 0 for one value. */
export function standardDeviation(values: number[]): number {
  if (values.length < 2) return 0;
  const centre = mean(values);
  return Math.sqrt(values.reduce((sum, value) => sum + (value - centre) ** 2, 0) / (values.length - 1));
}

const quantiles = new Map<string, number>();

/** The t > 0 with P(|T| > t) = p, by bisection; every law is asked once. */
function studentQuantile(p: number, freedom: number): number {
  const key = `${p} ${freedom}`;
  let quantile = quantiles.get(key);
  if (quantile === undefined) {
    quantile = bisectTail(p, freedom);
    quantiles.set(key, quantile);
  }
  return quantile;
}

function bisectTail(p: number, freedom: number): number {
  let [low, high] = [0, 1];
  while (studentTail(high, freedom) > p) high *= 2;
  for (let i = 0; i < 100; i++) {
    const middle = (low + high) / 2;
    if (studentTail(middle, freedom) > p) low = middle;
    else high = middle;
  }
  return high;
}

/** P(|T| > |t|) = I_{ν/(ν+t²)}(ν/2, 1/2). */
function studentTail(t: number, freedom: number): number {
  return incompleteBeta(freedom / (freedom + t * t), freedom / 2, 0.5);
}

/** Regularised incomplete beta function, by Lentz's continued fraction (Numerical Recipes, section 6.4). */
function incompleteBeta(x: number, a: number, b: number): number {
  if (x <= 0) return 0;
  if (x >= 1) return 1;
  if (x > (a + 1) / (a + b + 2)) return 1 - incompleteBeta(1 - x, b, a);
  const front = Math.exp(logGamma(a + b) - logGamma(a) - logGamma(b) + a * Math.log(x) + b * Math.log(1 - x)) / a;
  const tiny = 1e-300;
  let f = 1;
  let c = 1;
  let d = 0;
  for (let i = 0; i <= 300; i++) {
    const m = Math.floor(i / 2);
    let numerator: number;
    if (i === 0) numerator = 1;
    else if (i % 2 === 0) numerator = (m * (b - m) * x) / ((a + 2 * m - 1) * (a + 2 * m));
    else numerator = -((a + m) * (a + b + m) * x) / ((a + 2 * m) * (a + 2 * m + 1));
    d = 1 + numerator * d;
    d = 1 / (Math.abs(d) < tiny ? tiny : d);
    c = 1 + numerator / c;
    if (Math.abs(c) < tiny) c = tiny;
    f *= c * d;
    if (Math.abs(1 - c * d) < 1e-12) break;
  }
  return front * (f - 1);
}

/** ln Γ(x) for x > 0, by Lanczos' approximation (g = 7). */
function logGamma(x: number): number {
  const c = [
    0.99999999999980993, 676.5203681218851, -1259.1392167224028, 771.32342877765313, -176.61502916214059,
    12.507343278686905, -0.13857109526572012, 9.9843695780195716e-6, 1.5056327351493116e-7,
  ];
  if (x < 0.5) return Math.log(Math.PI / Math.sin(Math.PI * x)) - logGamma(1 - x);
  const y = x - 1;
  const sum = c.slice(1).reduce((total, value, i) => total + value / (y + i + 1), c[0]!);
  const t = y + 7.5;
  return 0.5 * Math.log(2 * Math.PI) + (y + 0.5) * Math.log(t) - t + Math.log(sum);
}
