import { writeFileAtomic } from '@larr/core';
import { escapeText, lineChart } from '../report/charts.js';
import { type Card, cardRow, htmlPage, htmlTable, runSection, section } from '../report/page.js';
import type { RunRecord } from '../report/run-record.js';
import type { AbTestResult, AbTestRow } from './replay.js';

/** How people call the metrics. */
export const TITLES = {
  ctr: 'CTR',
  cvr: 'CVR (orders per click)',
  ctcvr: 'CTCVR (orders per impression)',
  gmv: 'GMV per user',
} as const;

/** A share with its sign, in percent. */
export function signedPercent(share: number, digits = 2): string {
  return `${share < 0 ? '−' : '+'}${(100 * Math.abs(share)).toFixed(digits)} %`;
}

/** An interval of lifts. */
export function liftInterval(interval: [number, number] | null): string {
  return interval === null ? '–' : `${signedPercent(interval[0])} … ${signedPercent(interval[1])}`;
}

export function pText(p: number | null): string {
  if (p === null) return '–';
  return p < 0.0001 ? '< 0.0001' : p.toFixed(4);
}

/** Writes report.html of an A/B test in the world. */
export async function writeAbTestReport(path: string, result: AbTestResult, record: RunRecord): Promise<void> {
  const { arms, rows, days, settings, expected, sameAtPosition } = result;
  const body = [
    cardRow(rows.filter(({ metric }) => metric === 'ctr' || metric === 'gmv').map(card)),
    section('Result', resultTable(rows) + notes(result)),
    section('Day by day', charts(result)),
    section(
      'What the simulator knows',
      htmlTable(
        ['lists of', 'true CTR', 'true CVR', 'true CTCVR', 'true GMV a visit'],
        (['a', 'b', 'log'] as const).map((of) => [
          of === 'log' ? 'the policy that made the log' : `arm ${of}: ${escapeText(arms[of].model.name)}`,
          expected[of].ctr.toFixed(5),
          expected[of].cvr.toFixed(5),
          expected[of].ctcvr.toFixed(5),
          expected[of].gmv.toFixed(4),
        ]),
      ) +
        `<p class="quiet">Expectations over the same visits, had each been shown every list. At ${(100 * sameAtPosition).toFixed(1)} % of the positions both arms show the same POI.</p>`,
    ),
    section(
      'Sample ratio',
      `<p>${days.at(-1)!.figures.sampleRatio.alarm ? 'The arms have not the users they should have.' : 'The arms have the users they should have.'} Always-valid p ${pText(days.at(-1)!.figures.sampleRatio.p)}.</p>`,
    ),
    runSection(record),
  ];
  const lead =
    `<b>${escapeText(arms.a.model.name)}</b> (a, ${arms.a.users.toLocaleString('en')} users) against <b>${escapeText(arms.b.model.name)}</b> ` +
    `(b, ${arms.b.users.toLocaleString('en')} users) · ${settings.days} days after the log · ${settings.visits.toLocaleString('en')} visits a day · ${settings.candidates} candidates a visit`;
  await writeFileAtomic(
    path,
    htmlPage({
      eyebrow: 'A/B test in the world',
      title: `${arms.b.model.name} against ${arms.a.model.name}`,
      lead,
      body,
    }),
  );
}

function card({ metric, lift, interval, truth }: AbTestRow): Card {
  const clear = interval !== null && (interval[0] > 0 || interval[1] < 0);
  return {
    title: `${TITLES[metric]} lift`,
    figure: lift === null ? '–' : signedPercent(lift),
    note: `${liftInterval(interval)} · truth ${signedPercent(truth)}`,
    tone: !clear ? 'open' : lift! > 0 ? 'good' : 'bad',
  };
}

function resultTable(rows: AbTestRow[]): string {
  const figure = (value: number | null) => (value === null ? '–' : value.toFixed(4));
  return htmlTable(
    [
      'metric',
      'a',
      'b',
      'lift',
      'interval',
      'p',
      'always-valid interval',
      'lift with CUPED',
      'interval with CUPED',
      'variance gone',
      'true lift',
    ],
    rows.map((row) => [
      escapeText(TITLES[row.metric]),
      figure(row.a),
      figure(row.b),
      row.lift === null ? '–' : signedPercent(row.lift),
      liftInterval(row.interval),
      pText(row.p),
      liftInterval(row.alwaysValid),
      row.cuped === null ? '–' : signedPercent(row.cuped.lift),
      liftInterval(row.cuped?.interval ?? null),
      row.cuped === null ? '–' : `${(100 * row.cuped.varianceReduction).toFixed(0)} %`,
      signedPercent(row.truth),
    ]),
  );
}

function notes({ settings: { alpha, smallestLift }, usersNeeded, arms }: AbTestResult): string {
  return (
    `<p class="quiet">Intervals and p at α = ${alpha}: the first interval holds for one look at the end, the always-valid one at every look. ` +
    `GMV is in yuan per user who came. To find a CTR lift of ${signedPercent(smallestLift.ctr, 1)} in one look with power .8, the control needs ` +
    `${usersNeeded.toLocaleString('en')} users; it had ${arms.a.users.toLocaleString('en')}.</p>`
  );
}

function charts({ days, rows }: AbTestResult): string {
  const each = (['ctr', 'gmv'] as const).map((metric) => {
    const at = days.flatMap(({ figures }, i) => {
      const effect = figures.comparisons.find((c) => c.metric === metric)?.effect;
      return effect ? [{ x: i + 1, effect }] : [];
    });
    // Its outline: along the low ends, and back along the high ones.
    const band = (
      name: string,
      colour: number,
      of: (effect: (typeof at)[number]['effect']) => [number, number] | null,
    ) => {
      const ends = at.flatMap(({ x, effect }) => {
        const interval = of(effect);
        return interval === null ? [] : [{ x, interval }];
      });
      const side = (end: 0 | 1) => ends.map(({ x, interval }) => ({ x, y: 100 * interval[end] }));
      return { name, colour, points: [...side(0), ...side(1).reverse()] };
    };
    const truth = rows.find((row) => row.metric === metric)!.truth;
    return lineChart(
      [
        { name: 'lift', colour: 0, points: at.map(({ x, effect }) => ({ x, y: 100 * effect.lift })) },
        band('interval for one look', 2, ({ fixed }) => fixed.lift),
        band('always-valid interval', 4, ({ sequential }) => sequential.lift),
        { name: 'truth', colour: 3, points: at.map(({ x }) => ({ x, y: 100 * truth })) },
      ],
      { title: `${TITLES[metric]}: lift up to each day`, x: 'day', y: 'lift, %', wholeX: true },
    );
  });
  return `<div class="charts">${each.join('')}</div>`;
}
