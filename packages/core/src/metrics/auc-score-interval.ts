/**
 * Interval of an AUC that needs no spread among the rows, so that it says something of a single positive and of classes that are wholly
 * apart, where DeLong's has no width: the values θ with |auc − θ| ≤ z √V(θ), as Wilson's interval of a share is made, V being
 * Hanley and McNeil's variance with both classes' counts taken for their mean in it (Newcombe 2006, "Confidence intervals for an effect
 * size measure based on the Mann-Whitney statistic", part 2, method 5). Of one positive and one negative it is Wilson's of one trial.
 * @param auc in [0, 1]
 * @param positives at least 1, as `negatives`
 * @param z normal quantile of the wanted level, above 0
 * @returns bounds in [0, 1], the AUC between them; equal never
 */
export function aucScoreInterval(
  auc: number,
  positives: number,
  negatives: number,
  z: number,
): { low: number; high: number } {
  const others = (positives + negatives) / 2 - 1;
  const distance = (theta: number): number => {
    const variance =
      ((theta * (1 - theta)) / positives / negatives) *
      (1 + (others * (1 - theta)) / (2 - theta) + (others * theta) / (1 + theta));
    return Math.abs(auc - theta) - z * Math.sqrt(variance);
  };
  return { low: bound(distance, auc, 0), high: bound(distance, auc, 1) };
}

/** Where `distance` rises through 0 between the AUC, at which it is at most 0, and an end of the scale, at which it is at least 0. */
function bound(distance: (theta: number) => number, auc: number, end: 0 | 1): number {
  if (auc === end) return end;
  let [inside, outside] = [auc, end as number];
  // At an AUC of 0 or 1 the variance there is 0 too: the root next to it, not that one, is wanted.
  for (let step = 0; step < 60; step++) {
    const middle = (inside + outside) / 2;
    if (distance(middle) > 0) outside = middle;
    else inside = middle;
  }
  return outside;
}
