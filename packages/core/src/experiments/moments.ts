/** What is counted for each user, in this order. */
export const QUANTITIES = ['impressions', 'clicks', 'orders', 'gmv'] as const;
export type Quantity = (typeof QUANTITIES)[number];

/** Length of a user's vector: the quantities since the exposure, then the same of the pre-period. */
export const USER_VALUES = 2 * QUANTITIES.length;

/**
 * What all statistics of an arm are computed from: how many users it has, the sums of their values, and the sums of all products of two
 * of them. Users can be added, and changed, one at a time; nothing of a single user is kept.
 */
export interface Moments {
  users: number;
  /** [USER_VALUES] */
  readonly sum: Float64Array;
  /** [USER_VALUES, USER_VALUES], symmetric; only the upper triangle is kept up */
  readonly product: Float64Array;
}

export function emptyMoments(): Moments {
  return { users: 0, sum: new Float64Array(USER_VALUES), product: new Float64Array(USER_VALUES * USER_VALUES) };
}

/** Adds (or, with `sign` −1, takes away) the values of one user, which start at `at`; the number of users is the caller's to keep. */
export function addValues(moments: Moments, values: Float64Array, at: number, sign: 1 | -1): void {
  const { sum, product } = moments;
  for (let i = 0; i < USER_VALUES; i++) {
    const value = values[at + i]!;
    if (value === 0) continue;
    const signed = sign * value;
    sum[i]! += signed;
    for (let j = i; j < USER_VALUES; j++) product[i * USER_VALUES + j]! += signed * values[at + j]!;
  }
}

export function copyMoments({ users, sum, product }: Moments): Moments {
  return { users, sum: sum.slice(), product: product.slice() };
}

/** Mean over the users of value `i`. */
export function meanOf(moments: Moments, i: number): number {
  return moments.sum[i]! / moments.users;
}

/** Covariance over the users of values `i` and `j` (divided by users − 1). */
export function covarianceOf(moments: Moments, i: number, j: number): number {
  const { users, sum, product } = moments;
  const together = product[Math.min(i, j) * USER_VALUES + Math.max(i, j)]!;
  return (together - (sum[i]! * sum[j]!) / users) / (users - 1);
}

/** Covariance of two linear combinations of a user's values, given as [value, weight] pairs. */
export function combinedCovariance(
  moments: Moments,
  a: readonly (readonly [number, number])[],
  b: readonly (readonly [number, number])[],
): number {
  let sum = 0;
  for (const [i, wi] of a) for (const [j, wj] of b) sum += wi * wj * covarianceOf(moments, i, j);
  return sum;
}
