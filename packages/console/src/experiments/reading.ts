import type { ReportReply } from '../api/types';

type Figures = ReportReply['days'][number]['figures'];
export type Comparison = Figures['comparisons'][number];
export type Effect = NonNullable<Comparison['effect']>;

export const METRICS: Record<string, { title: string; long: string }> = {
  ctr: { title: 'CTR', long: 'clicks per impression' },
  cvr: { title: 'CVR', long: 'orders per click' },
  ctcvr: { title: 'CTCVR', long: 'orders per impression' },
  gmv: { title: 'GMV', long: 'value of orders per user' },
};

/** A comparison's effect as it is looked at: with the variance that the pre-period explains taken away, where that is wanted and known. */
export function effectOf(comparison: Comparison | undefined, adjusted: boolean): Effect | null {
  if (comparison === undefined) return null;
  return (adjusted ? comparison.cuped : null) ?? comparison.effect;
}

/** Lift of a treatment over the days, with the interval that may be looked at every day. */
export function liftByDay(
  days: ReportReply['days'],
  treatment: string,
  metric: string,
  adjusted: boolean,
): { x: number[]; lift: (number | null)[]; low: (number | null)[]; high: (number | null)[] } {
  const effects = days.map(({ figures }) =>
    effectOf(
      figures.comparisons.find((one) => one.treatment === treatment && one.metric === metric),
      adjusted,
    ),
  );
  return {
    x: days.map(({ day }) => Date.parse(`${day}T00:00:00Z`) / 1000),
    lift: effects.map((effect) => effect?.lift ?? null),
    low: effects.map((effect) => effect?.sequential.lift?.[0] ?? null),
    high: effects.map((effect) => effect?.sequential.lift?.[1] ?? null),
  };
}

type Verdict = ReportReply['verdicts'][number];

/** What an experiment has found, in a sentence. */
export function spokenVerdict({ treatment, metric, outcome, since }: Verdict, control: string): string {
  const name = METRICS[metric]?.title ?? metric;
  switch (outcome) {
    case 'better':
      return `${treatment} is better than ${control} in ${name}${since === null ? '' : `, since ${since}`}.`;
    case 'worse':
      return `${treatment} is worse than ${control} in ${name}${since === null ? '' : `, since ${since}`}.`;
    case 'broken':
      return `${treatment} can't be judged: users were not split as planned.`;
    case 'open':
      return `${treatment} against ${control} is still open in ${name}.`;
  }
}

/** p as it is written: 0.031, < 0.001. */
export const pValue = (p: number | null): string => (p === null ? '–' : p < 0.001 ? '< 0.001' : p.toFixed(3));

/** The scale of a row of intervals: symmetric about 0, a little wider than the widest. */
export function liftScale(effects: readonly (Effect | null)[]): number {
  const ends = effects.flatMap((effect) => [
    effect?.lift ?? 0,
    ...(effect?.sequential.lift ?? []),
    ...(effect?.fixed.lift ?? []),
  ]);
  const most = Math.max(...ends.map(Math.abs).filter(Number.isFinite), 0.01);
  return Math.min(most * 1.1, 2);
}
