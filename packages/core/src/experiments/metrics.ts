import { combinedCovariance, type Moments, meanOf, QUANTITIES, type Quantity } from './moments.js';

/** A metric of an experiment: a sum over the users divided by another, or by the number of users. */
export interface Metric {
  name: 'ctr' | 'cvr' | 'ctcvr' | 'gmv';
  title: string;
  numerator: Quantity;
  /** null: the users themselves are counted */
  denominator: Quantity | null;
}

/** What is reported of every experiment. The first one named by the definition's `primary` decides; the others are looked at beside it. */
export const METRICS: readonly Metric[] = [
  { name: 'ctr', title: 'CTR (clicks per impression)', numerator: 'clicks', denominator: 'impressions' },
  { name: 'cvr', title: 'CVR (orders per click)', numerator: 'orders', denominator: 'clicks' },
  { name: 'ctcvr', title: 'CTCVR (orders per impression)', numerator: 'orders', denominator: 'impressions' },
  { name: 'gmv', title: 'GMV per user', numerator: 'gmv', denominator: null },
];
export type MetricName = Metric['name'];

/** An arm's estimate of a metric, and the variance of that estimate; both NaN where there is nothing to divide by. */
export interface Estimate {
  value: number;
  variance: number;
}

/**
 * The metric of one arm. R = ȳ / x̄ over users, since users, not impressions, were randomised; its variance by the delta method,
 * Var(R) = (s_yy − 2 R s_xy + R² s_xx) / (x̄² n) (Deng, Knoblich and Lu, "Applying the Delta Method in Metric Analytics", KDD 2018, section 3.1).
 */
export function estimate(moments: Moments, metric: Metric): Estimate {
  const { value, terms } = linearised(moments, metric, 0);
  return { value, variance: combinedCovariance(moments, terms, terms) / moments.users };
}

type Terms = (readonly [number, number])[];

/**
 * A ratio's linearisation z_u = (y_u − R x_u) / x̄ as weights of a user's values: its mean is 0 and its variance over n is that of R.
 * Of a mean over users it is y_u alone.
 * @param offset 0 for the time since exposure, QUANTITIES.length for the pre-period
 */
function linearised(moments: Moments, metric: Metric, offset: number): { value: number; terms: Terms } {
  const y = offset + QUANTITIES.indexOf(metric.numerator);
  if (metric.denominator === null) return { value: meanOf(moments, y), terms: [[y, 1]] };
  const x = offset + QUANTITIES.indexOf(metric.denominator);
  const scale = meanOf(moments, x);
  const value = meanOf(moments, y) / scale;
  return {
    value,
    terms: [
      [y, 1 / scale],
      [x, -value / scale],
    ],
  };
}

/** Two arms' estimates adjusted for what their users did before, and how much of the variance that took away. */
export interface Adjusted {
  control: Estimate;
  treatment: Estimate;
  /** Share of the difference's variance that the adjustment removed, 0 … 1. */
  reduction: number;
}

/**
 * CUPED (Deng, Xu, Kohavi and Walker, "Improving the Sensitivity of Online Controlled Experiments by Utilizing Pre-Experiment Data",
 * WSDM 2013): each arm's estimate less θ times how far its users' pre-period metric lies from both arms' together, with θ =
 * cov(z, z₀) / var(z₀) pooled within the arms. Ratios are linearised (section 4.4 there, and KDD 2018 above), the pre-period's around the
 * ratio of both arms. The pre-period lies before every exposure, so the adjustment is 0 on average and no bias comes in.
 * @returns null where no user did anything in the pre-period
 */
export function adjusted(control: Moments, treatment: Moments, metric: Metric): Adjusted | null {
  const both = pooled(control, treatment);
  const before = linearised(both, metric, QUANTITIES.length);
  if (!Number.isFinite(before.value) || before.terms.some(([, weight]) => !Number.isFinite(weight))) return null;
  const arms = [control, treatment].map((moments) => {
    const now = linearised(moments, metric, 0);
    return {
      moments,
      value: now.value,
      variance: combinedCovariance(moments, now.terms, now.terms),
      covariance: combinedCovariance(moments, now.terms, before.terms),
      beforeVariance: combinedCovariance(moments, before.terms, before.terms),
      beforeMean: before.terms.reduce((sum, [i, weight]) => sum + weight * meanOf(moments, i), 0),
    };
  });
  // Weights of the arms in Var(difference): each one's variance comes divided by its users.
  const shared = arms.reduce((sum, arm) => sum + arm.beforeVariance / arm.moments.users, 0);
  if (!(shared > 0)) return null;
  const theta = arms.reduce((sum, arm) => sum + arm.covariance / arm.moments.users, 0) / shared;
  const centre = before.terms.reduce((sum, [i, weight]) => sum + weight * meanOf(both, i), 0);
  const estimates = arms.map(
    (arm): Estimate => ({
      value: arm.value - theta * (arm.beforeMean - centre),
      variance: (arm.variance - 2 * theta * arm.covariance + theta * theta * arm.beforeVariance) / arm.moments.users,
    }),
  );
  const plain = arms.reduce((sum, arm) => sum + arm.variance / arm.moments.users, 0);
  const left = estimates[0]!.variance + estimates[1]!.variance;
  return { control: estimates[0]!, treatment: estimates[1]!, reduction: plain > 0 ? 1 - left / plain : 0 };
}

function pooled(a: Moments, b: Moments): Moments {
  return {
    users: a.users + b.users,
    sum: a.sum.map((value, i) => value + b.sum[i]!),
    product: a.product.map((value, i) => value + b.product[i]!),
  };
}
