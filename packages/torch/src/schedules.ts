/** A learning-rate schedule: the factor on the base rate at a step (from 0). */
export type Schedule = (step: number) => number;

/** Always 1. */
export function constant(): Schedule {
  return () => 1;
}

/** Rises linearly over `warmup` steps to 1 and then falls to `minRatio` at `total`, along a curve from 1 to 0. */
function warmup(
  { warmup, total, minRatio = 0 }: { warmup: number; total: number; minRatio?: number },
  curve: (progress: number) => number,
): Schedule {
  return (step) => {
    if (step < warmup) return (step + 1) / warmup;
    const progress = Math.min(1, (step - warmup) / Math.max(1, total - warmup));
    return minRatio + (1 - minRatio) * curve(progress);
  };
}

/** Linear warm-up, then half a cosine down to minRatio (Loshchilov and Hutter 2017, one cycle). */
export function warmupCosine(options: { warmup: number; total: number; minRatio?: number }): Schedule {
  return warmup(options, (progress) => 0.5 * (1 + Math.cos(Math.PI * progress)));
}

/** Linear warm-up, then linear down to minRatio. */
export function warmupLinear(options: { warmup: number; total: number; minRatio?: number }): Schedule {
  return warmup(options, (progress) => 1 - progress);
}
