import { writeFileAtomic } from '@larr/core';
import { settingAt } from '../experiments/settings.js';
import type { TunedModel, TuneResult, TuneTrial } from '../experiments/tune.js';
import type { TrainConfig } from '../training/config.js';
import { escapeText, lineChart, scatterChart } from './charts.js';
import { signed } from './experiment-sections.js';
import { cardRow, htmlPage, htmlTable, runSection, section } from './page.js';
import type { RunRecord } from './run-record.js';

/** Trials that the table shows; the rest are in tune.json. */
const SHOWN = 12;

/** Writes the report of a search: what it found, how it got there, and what each setting did. */
export async function writeTuneReport(
  path: string,
  result: TuneResult,
  configs: Record<string, TrainConfig>,
  record: RunRecord,
): Promise<void> {
  const { dataset, split, seed, budget, models } = result;
  const body = [
    cardRow(
      models.map(({ name, best, gain, trials }) => ({
        title: `${name}, best validation score`,
        figure: lastScore(trials.find(({ index }) => index === best)!).toFixed(4),
        note:
          best === 0
            ? 'what is configured: nothing drawn was better'
            : `${signed(gain)} over what is configured · trial ${best}`,
      })),
    ),
    section(
      'The way there',
      `<div class="charts">${progressChart(models)}</div><p class="quiet">The best score so far among trials that learnt from all rows, by seconds of training. Scores are of the validation part, on which the choice was made: they flatter a little. No file of the test part was opened.</p>`,
    ),
    ...models.map((model, i) => section(model.name, tunedModel(model, configs[model.name]!, i))),
    section(
      'How to use it',
      `<p><code>--config ${escapeText(result.config)}</code> with <code>larr train</code>, <code>larr compare</code>, <code>larr ablate</code> and <code>larr sweep</code>: each model takes its own best settings.</p>`,
    ),
    runSection(record),
  ];
  const each = 'trials' in budget ? `${budget.trials} trials` : `${budget.minutes} minutes`;
  const lead = `${escapeText(dataset)} · split <b>${escapeText(split)}</b> · ${each} for each model · seed ${seed}`;
  await writeFileAtomic(
    path,
    htmlPage({ eyebrow: 'search of settings', title: models.map(({ name }) => name).join(', '), lead, body }),
  );
}

const whole = ({ steps }: TuneTrial) => steps.find(({ share }) => share === 1) ?? null;
const lastScore = ({ steps }: TuneTrial): number => steps.at(-1)!.score ?? Number.NEGATIVE_INFINITY;

function progressChart(models: TunedModel[]): string {
  const series = models.map(({ name, trials }, colour) => {
    // In the order of training: trial 0, then share by share.
    const order = [
      ...trials.filter(({ index }) => index === 0).flatMap(({ steps }) => steps),
      ...[...new Set(trials.flatMap(({ steps }) => steps.map(({ share }) => share)))]
        .sort((a, b) => a - b)
        .flatMap((share) =>
          trials.flatMap(({ index, steps }) => (index === 0 ? [] : steps.filter((step) => step.share === share))),
        ),
    ];
    let seconds = 0;
    let best: number | null = null;
    const points = order.flatMap(({ share, score, seconds: own }) => {
      const before = best;
      seconds += own;
      if (share === 1 && score !== null) best = Math.max(best ?? score, score);
      if (best === null) return [];
      // a step: what was found holds from the moment on
      return [...(before === null ? [] : [{ x: seconds, y: before }]), { x: seconds, y: best }];
    });
    return { name, colour: colour % 8, points };
  });
  return lineChart(series, { title: 'Best score so far', x: 'seconds of training', y: 'validation score' });
}

function tunedModel({ name, trials, best, space }: TunedModel, configured: TrainConfig, colour: number): string {
  const settings = Object.keys(space);
  const of = (trial: TuneTrial, setting: string) =>
    trial.index === 0 ? settingAt(configured, setting) : trial.settings[setting];
  const shown = (value: unknown) =>
    typeof value === 'number' ? String(Number(value.toPrecision(3))) : JSON.stringify(value);
  const chosen = trials.find(({ index }) => index === best)!;
  const found = htmlTable(
    ['setting', 'best', 'configured', 'searched'],
    settings.map((setting) => {
      const dimension = space[setting]!;
      const range =
        'choices' in dimension
          ? dimension.choices.map((choice) => JSON.stringify(choice)).join(' · ')
          : `${shown(dimension.min)} … ${shown(dimension.max)}${dimension.log ? ', log' : ''}`;
      return [
        `<code>${escapeText(setting)}</code>`,
        `<td class="best">${escapeText(shown(of(chosen, setting)))}</td>`,
        escapeText(shown(settingAt(configured, setting))),
        escapeText(range),
      ];
    }),
  );
  const scored = trials.filter((trial) => lastScore(trial) > Number.NEGATIVE_INFINITY);
  const charts = settings.map((setting) =>
    scatterChart(
      scored.map((trial) => {
        const value = of(trial, setting);
        return {
          x: typeof value === 'number' ? value : JSON.stringify(value),
          y: lastScore(trial),
          weight: trial.steps.at(-1)!.share,
          marked: trial.index === best,
        };
      }),
      { title: setting, y: 'score', colour: colour % 8 },
    ),
  );
  const ranked = [...trials].sort(
    (a, b) =>
      (whole(b)?.share ?? b.steps.at(-1)!.share) - (whole(a)?.share ?? a.steps.at(-1)!.share) ||
      lastScore(b) - lastScore(a),
  );
  const score = (value: number | null | undefined) =>
    value === undefined ? '' : value === null ? '<td class="bad">not finite</td>' : value.toFixed(4);
  const shares = [...new Set(trials.flatMap(({ steps }) => steps.map(({ share }) => share)))].sort((a, b) => a - b);
  const table = htmlTable(
    [
      'trial',
      ...shares.map((share) => (share === 1 ? 'all rows' : `${Math.round(100 * share)} % of the rows`)),
      ...settings,
    ],
    ranked
      .slice(0, SHOWN)
      .map((trial) => [
        `${trial.index}${trial.index === 0 ? ' <small>configured</small>' : trial.index === best ? ' <small>best</small>' : ''}`,
        ...shares.map((share) => score(trial.steps.find((step) => step.share === share)?.score)),
        ...settings.map((setting) => escapeText(shown(of(trial, setting)))),
      ]),
  );
  const left = ranked.length - SHOWN;
  return (
    `${found}<div class="small">${charts.join('')}</div><p class="quiet">Each point is a trial of ${escapeText(name)} at its last share of the rows: fainter where it had less of them; the ring is the best.</p>` +
    `<details><summary><b>trials</b></summary><div class="inside">${table}</div>${left > 0 ? `<p class="quiet">${left} more in tune.json</p>` : ''}</details>`
  );
}
