import { type Command, InvalidArgumentError } from 'commander';
import type { AbTestResult } from '../../abtest/replay.js';
import { liftInterval, pText, signedPercent, TITLES } from '../../abtest/report.js';
import { action, type OptionsOf, wholeNumber, withOptions } from '../command-context.js';
import { textTable } from '../text-table.js';

interface AbTestCommandOptions extends OptionsOf<'seed' | 'threads'> {
  data: string;
  a: string;
  b: string;
  days: number;
  visits?: number;
  candidates: number;
  by?: 'pCtr' | 'pCtcvr';
  preDays: number;
  alpha: number;
  out?: string;
}

function level(text: string): number {
  const value = Number(text);
  if (!(value > 0 && value <= 0.2)) throw new InvalidArgumentError('It must be a number above 0 and up to 0.2.');
  return value;
}

function probability(text: string): 'pCtr' | 'pCtcvr' {
  if (text !== 'pCtr' && text !== 'pCtcvr') throw new InvalidArgumentError('It must be pCtr or pCtcvr.');
  return text;
}

/** The table of the paper's online test (section 4.6), with intervals, and what the simulator knows beside it. */
export function abTestTable({ arms, rows, settings, usersNeeded, seconds }: AbTestResult): string {
  const figure = (value: number | null) => (value === null ? '–' : value.toFixed(4));
  const table = textTable(
    ['metric', 'a', 'b', 'lift', `${100 * (1 - settings.alpha)} % interval`, 'p', 'always valid', 'true lift'],
    rows.map((row) => [
      TITLES[row.metric],
      figure(row.a),
      figure(row.b),
      row.lift === null ? '–' : signedPercent(row.lift),
      liftInterval(row.interval),
      pText(row.p),
      liftInterval(row.alwaysValid),
      signedPercent(row.truth),
    ]),
  );
  const adjusted = rows.flatMap(({ metric, cuped }) =>
    cuped === null || (metric !== 'ctr' && metric !== 'gmv')
      ? []
      : [
          `with the log's last ${settings.prePeriodDays} days (CUPED), ${TITLES[metric]}: ${signedPercent(cuped.lift)}, ${liftInterval(cuped.interval)}, p ${pText(cuped.p)}; ${(100 * cuped.varianceReduction).toFixed(0)} % of the variance gone`,
        ],
  );
  const users = (arm: 'a' | 'b') => `${arm}: ${arms[arm].model.name}, ${arms[arm].users.toLocaleString('en')} users`;
  return [
    `${users('a')}; ${users('b')}; ${settings.days} days after the log, ${settings.visits.toLocaleString('en')} visits a day`,
    table,
    ...adjusted,
    `a CTR lift of ${signedPercent(settings.smallestLift.ctr, 1)} needs ${usersNeeded.toLocaleString('en')} users of the control (one look, power .8); ${seconds.toFixed(0)} s`,
  ].join('\n');
}

export function registerAbtest(program: Command): void {
  withOptions(
    program
      .command('abtest')
      .description('replay the built-in world, on the days after its log, through two bundles, and tell the lifts'),
    'seed',
    'threads',
  )
    .requiredOption('--data <dir>', 'what `larr world` wrote, with its controls')
    .requiredOption('--a <bundle>', 'bundle of the control')
    .requiredOption('--b <bundle>', 'bundle of the treatment')
    .option('--days <n>', 'days after the log', wholeNumber(1), 7)
    .option('--visits <n>', 'visits a day (as many as the log has)', wholeNumber(1))
    .option('--candidates <n>', 'POIs that are ranked for each visit', wholeNumber(12), 50)
    .option('--by <probability>', "which probability ranks: pCtr or pCtcvr (the server's default)", probability)
    .option('--pre-days <n>', 'last days of the log that reduce the variance (CUPED); 0: none', wholeNumber(0), 14)
    .option('--alpha <level>', 'chance of a false finding that is accepted', level, 0.05)
    .option('--out <dir>', 'directory for result.json and report.html; without it, only what is printed')
    .action(
      action<AbTestCommandOptions, AbTestResult>(
        async (options, context) => {
          const { abTest } = await import('../../abtest/run.js');
          return abTest({
            data: options.data,
            a: options.a,
            b: options.b,
            days: options.days,
            visits: options.visits,
            candidates: options.candidates,
            by: options.by,
            alpha: options.alpha,
            smallestLift: { ctr: 0.02, cvr: 0.05, ctcvr: 0.05, gmv: 0.05 },
            prePeriodDays: options.preDays,
            seed: options.seed,
            threads: options.threads,
            out: options.out,
            signal: context.signal,
            onProgress: (stage, done, total) =>
              context.progress(stage === 'log' ? 'the log again' : 'visits', done, total),
          });
        },
        (result) => abTestTable(result),
      ),
    );
}
