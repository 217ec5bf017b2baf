/** Seconds of a day. */
export const DAY = 86_400;

/** Distances between ticks on an axis of days: never less than one, or a day would be named twice. */
export const DAY_STEPS: readonly number[] = [1, 2, 3, 5, 7, 14, 28, 61, 91, 182, 365, 730, 1825].map(
  (days) => days * DAY,
);

/**
 * What an axis of x shows: what is wanted of it (all, or what somebody drew a frame around), and one step on both sides of a value that stands
 * alone, which would have no scale.
 * @param step how far apart values usually are
 */
export function xRange(values: ArrayLike<number>, low: number, high: number, step: number): [number, number] {
  return values.length === 1 ? [values[0]! - step, values[0]! + step] : [low, high];
}
