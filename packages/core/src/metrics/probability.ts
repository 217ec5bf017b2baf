import type { Numbers } from './ranking.js';

/**
 * Mean negative log likelihood of binary labels; probabilities are clipped to [eps, 1 − eps] (default the float64
 * machine epsilon, as scikit-learn's `log_loss` does).
 * @returns NaN for no rows
 */
export function logLoss(labels: Numbers, probabilities: Numbers, eps = Number.EPSILON): number {
  if (labels.length !== probabilities.length)
    throw new RangeError(`arrays of different lengths: ${labels.length} and ${probabilities.length}`);
  let sum = 0;
  for (let i = 0; i < labels.length; i++) {
    const p = Math.min(1 - eps, Math.max(eps, probabilities[i]!));
    sum -= labels[i]! > 0.5 ? Math.log(p) : Math.log1p(-p);
  }
  return labels.length === 0 ? Number.NaN : sum / labels.length;
}

export interface CalibrationBin {
  low: number;
  high: number;
  rows: number;
  /** Mean predicted probability in the bin. */
  predicted: number;
  /** Share of positives in the bin. */
  observed: number;
}

export interface Calibration {
  /** Expected calibration error: row-weighted mean of |predicted − observed| over the bins. */
  ece: number;
  /** Sum of predictions over the number of positives: 1 is unbiased. NaN without positives. */
  ratio: number;
  /** Equal-width bins over [0, 1]; empty ones are left out. */
  bins: CalibrationBin[];
}

/** Calibration in equal-width bins (default 10), as scikit-learn's `calibration_curve(strategy="uniform")` draws it. */
export function calibration(labels: Numbers, probabilities: Numbers, bins = 10): Calibration {
  if (labels.length !== probabilities.length)
    throw new RangeError(`arrays of different lengths: ${labels.length} and ${probabilities.length}`);
  const rows = new Float64Array(bins);
  const predicted = new Float64Array(bins);
  const observed = new Float64Array(bins);
  for (let i = 0; i < labels.length; i++) {
    const p = probabilities[i]!;
    // A value on an edge belongs to the lower bin, as numpy's searchsorted on the inner edges has it.
    const b = Math.min(bins - 1, Math.max(0, Math.ceil(p * bins) - 1));
    rows[b]!++;
    predicted[b]! += p;
    if (labels[i]! > 0.5) observed[b]!++;
  }
  let error = 0;
  let total = 0;
  let positives = 0;
  const out: CalibrationBin[] = [];
  for (let b = 0; b < bins; b++) {
    total += predicted[b]!;
    positives += observed[b]!;
    if (rows[b] === 0) continue;
    error += Math.abs(predicted[b]! - observed[b]!);
    out.push({
      low: b / bins,
      high: (b + 1) / bins,
      rows: rows[b]!,
      predicted: predicted[b]! / rows[b]!,
      observed: observed[b]! / rows[b]!,
    });
  }
  return {
    ece: labels.length === 0 ? Number.NaN : error / labels.length,
    ratio: positives === 0 ? Number.NaN : total / positives,
    bins: out,
  };
}
