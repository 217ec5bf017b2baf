import { compareArms, type Effect, mixtureDeviation } from './comparison.js';
import { type Adjusted, adjusted, type Estimate, estimate, METRICS, type MetricName } from './metrics.js';
import { addValues, copyMoments, emptyMoments, type Moments, QUANTITIES, USER_VALUES } from './moments.js';
import { type SampleRatio, sampleRatio } from './sample-ratio.js';

/** What the analysis needs of an experiment's definition. */
export interface AnalysisPlan {
  arms: readonly { name: string; weight: number }[];
  alpha: number;
  /** relative, per metric */
  smallestLift: Readonly<Record<MetricName, number>>;
}

/**
 * Keeps each arm's moments while users' counts grow from day to day. A user's values are cumulative, so a day changes only those of the users who
 * did something on it.
 */
export class ExperimentTotals {
  readonly arms: Moments[];
  readonly #armOf: Int32Array;
  readonly #values: Float64Array;

  /** @param users how many there can be; they are told by index */
  constructor(arms: number, users: number) {
    this.arms = Array.from({ length: arms }, emptyMoments);
    this.#armOf = new Int32Array(users).fill(-1);
    this.#values = new Float64Array(users * USER_VALUES);
  }

  /** A user's first exposure. @param before what the user did in the pre-period [QUANTITIES.length]; nothing by default */
  expose(user: number, arm: number, before?: ArrayLike<number>): void {
    if (this.#armOf[user]! >= 0) return;
    this.#armOf[user] = arm;
    const at = user * USER_VALUES;
    if (before !== undefined)
      for (let i = 0; i < QUANTITIES.length; i++) this.#values[at + QUANTITIES.length + i] = before[i]!;
    const moments = this.arms[arm]!;
    moments.users++;
    addValues(moments, this.#values, at, 1);
  }

  /** What an exposed user did since the last call. Of users who were not exposed nothing is counted. */
  add(user: number, impressions: number, clicks: number, orders: number, gmv: number): void {
    const arm = this.#armOf[user]!;
    if (arm < 0) return;
    const at = user * USER_VALUES;
    const values = this.#values;
    addValues(this.arms[arm]!, values, at, -1);
    values[at]! += impressions;
    values[at + 1]! += clicks;
    values[at + 2]! += orders;
    values[at + 3]! += gmv;
    addValues(this.arms[arm]!, values, at, 1);
  }

  /** The arms as they stand, to be kept. */
  snapshot(): Moments[] {
    return this.arms.map(copyMoments);
  }
}

export interface ArmFigures {
  arm: string;
  users: number;
  impressions: number;
  clicks: number;
  orders: number;
  gmv: number;
  /** null where there is nothing to divide by */
  metrics: Record<MetricName, { value: number; standardError: number | null } | null>;
}

export interface Comparison {
  metric: MetricName;
  treatment: string;
  /** null where an arm has nothing to divide by */
  effect: Effect | null;
  /** The same with the variance reduced by the pre-period; null without one. */
  cuped: (Effect & { varianceReduction: number }) | null;
}

/** An experiment as it stands after some day, everything up to it together. */
export interface Figures {
  arms: ArmFigures[];
  sampleRatio: SampleRatio;
  /** Each treatment with the control (the first arm), for each metric. */
  comparisons: Comparison[];
}

/** All figures of an experiment from its arms' moments. */
export function figuresOf(arms: readonly Moments[], plan: AnalysisPlan): Figures {
  const estimates = arms.map((moments) => METRICS.map((metric) => estimate(moments, metric)));
  return {
    arms: arms.map((moments, a) => ({
      arm: plan.arms[a]!.name,
      users: moments.users,
      impressions: moments.sum[0]!,
      clicks: moments.sum[1]!,
      orders: moments.sum[2]!,
      gmv: moments.sum[3]!,
      metrics: Object.fromEntries(
        METRICS.map(({ name }, m) => {
          const { value, variance } = estimates[a]![m]!;
          const standardError = variance >= 0 ? Math.sqrt(variance) : null;
          return [name, Number.isFinite(value) ? { value, standardError } : null];
        }),
      ) as ArmFigures['metrics'],
    })),
    sampleRatio: sampleRatio(
      arms.map(({ users }) => users),
      plan.arms.map(({ weight }) => weight),
    ),
    comparisons: METRICS.flatMap((metric, m) => {
      const tau = mixtureDeviation(plan.smallestLift[metric.name], plan.alpha);
      return arms.slice(1).map((moments, t): Comparison => {
        const of = (a: Estimate, b: Estimate): Effect | null =>
          Number.isFinite(a.value) && Number.isFinite(b.value) && a.value !== 0
            ? compareArms(a, b, plan.alpha, tau)
            : null;
        const effect = of(estimates[0]![m]!, estimates[t + 1]![m]!);
        const better: Adjusted | null = effect === null ? null : adjusted(arms[0]!, moments, metric);
        const improved = better === null ? null : of(better.control, better.treatment);
        return {
          metric: metric.name,
          treatment: plan.arms[t + 1]!.name,
          effect,
          cuped: improved === null ? null : { ...improved, varianceReduction: better!.reduction },
        };
      });
    }),
  };
}

export interface Day {
  /** as YYYY-MM-DD */
  day: string;
  figures: Figures;
}

/** Whether the experiment can be decided, by the always-valid test of its primary metric. */
export interface Verdict {
  treatment: string;
  metric: MetricName;
  /** `broken`: the sample-ratio alarm has gone off at some day; nothing is to be concluded. */
  outcome: 'better' | 'worse' | 'open' | 'broken';
  /** the first day on which it was so; null while open */
  since: string | null;
  /** smallest always-valid p of all days so far: the running minimum is one too */
  p: number | null;
}

/** What the days say together. With a pre-period the adjusted comparison decides, from its first day on. */
export function verdicts(days: readonly Day[], plan: AnalysisPlan, primary: MetricName): Verdict[] {
  const broken = days.find(({ figures }) => figures.sampleRatio.alarm)?.day ?? null;
  return plan.arms.slice(1).map(({ name }) => {
    let p: number | null = null;
    let since: string | null = null;
    let outcome: Verdict['outcome'] = 'open';
    for (const { day, figures } of days) {
      const found = figures.comparisons.find((c) => c.metric === primary && c.treatment === name);
      const effect = found?.cuped ?? found?.effect;
      if (!effect || effect.sequential.p === null) continue;
      p = Math.min(p ?? 1, effect.sequential.p);
      if (outcome === 'open' && effect.sequential.p <= plan.alpha) {
        outcome = effect.difference > 0 ? 'better' : 'worse';
        since = day;
      }
    }
    return broken === null
      ? { treatment: name, metric: primary, outcome, since, p }
      : { treatment: name, metric: primary, outcome: 'broken', since: broken, p };
  });
}
