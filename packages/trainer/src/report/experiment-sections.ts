// Sections that reports of several candidates over several seeds have in common.
import type { Difference } from '../experiments/compare.js';
import type { OracleMetrics } from '../experiments/oracle.js';
import type { CandidateRun, CompareFigures, CompareModel } from '../experiments/runs.js';
import type { TrainResult } from '../training/train.js';
import { attentionSection } from './attention-section.js';
import { dotPlot, escapeText } from './charts.js';
import { section } from './page.js';
import { calibrationCharts, type MetricLine, metricLines, sliceTables, trainingCharts } from './training-sections.js';

export const COLUMNS: { key: keyof CompareFigures; title: string; digits: number; lower?: true }[] = [
  { key: 'ctrAuc', title: 'CTR AUC', digits: 4 },
  { key: 'ctcvrAuc', title: 'CTCVR AUC', digits: 4 },
  { key: 'ctrGauc', title: 'CTR GAUC', digits: 4 },
  { key: 'ctcvrGauc', title: 'CTCVR GAUC', digits: 4 },
  { key: 'ctrLogloss', title: 'CTR log loss', digits: 4, lower: true },
  { key: 'seconds', title: 'seconds', digits: 1, lower: true },
];

export const metricTitle = (metric: 'ctrAuc' | 'ctcvrAuc'): string => (metric === 'ctrAuc' ? 'CTR AUC' : 'CTCVR AUC');

/** The runs' results under the names of their candidates. */
export function namedResults(runs: readonly CandidateRun[]): TrainResult[] {
  return runs.map(({ name, result }) => ({ ...result, model: name }));
}

export interface Row {
  model: CompareModel;
  /** what the row is called, as HTML */
  name: string;
  /** heads the rows from here on */
  group?: string | undefined;
  /** out of the running for the best of a column */
  apart?: boolean | undefined;
}

/**
 * Means over the seeds ± standard deviations, the best of each column marked, the oracle below.
 * @param without columns that are left out
 */
export function summaryTable(
  rows: Row[],
  oracle: OracleMetrics | null,
  without: readonly (keyof CompareFigures)[] = [],
): string {
  const columns = COLUMNS.filter(({ key }) => !without.includes(key) && rows.some(({ model }) => model[key] !== null));
  const running = rows.flatMap(({ model, apart }) => (apart ? [] : [model]));
  const lines = rows.map(({ model, name, group }) => {
    const cells = columns.map(({ key, digits, lower }) => {
      const value = model[key];
      if (value === null) return '<td class="none">–</td>';
      const best = running.includes(model) && value === bestOf(running, key, lower);
      const std = model.std[key];
      const spread = std === null ? '' : `<small>± ${std.toFixed(digits)}</small>`;
      return `<td${best ? ' class="best"' : ''}>${value.toFixed(digits)}${spread}</td>`;
    });
    const head =
      group === undefined ? '' : `<tr class="group"><th colspan="${columns.length + 1}">${escapeText(group)}</th></tr>`;
    return `${head}<tr><th scope="row">${name}</th>${cells.join('')}</tr>`;
  });
  if (oracle) {
    const cells = columns.map(({ key, digits }) => {
      const value = key === 'seconds' ? null : oracle[key];
      return value === null ? '<td class="none">–</td>' : `<td>${value.toFixed(digits)}</td>`;
    });
    lines.push(`<tr class="ceiling"><th scope="row">oracle <small>ceiling</small></th>${cells.join('')}</tr>`);
  }
  const note =
    'Mean over the seeds ± standard deviation; the best mean of each column is marked.' +
    (oracle
      ? ' The oracle scores rows by the true probabilities of the simulator: no model can be expected to pass it.'
      : '');
  const head = columns.map(({ title }) => `<th>${title}</th>`).join('');
  return `<div class="scroll"><table class="summary"><thead><tr><th>model</th>${head}</tr></thead><tbody>${lines.join('')}</tbody></table></div><p class="quiet">${note}</p>`;
}

function bestOf(models: CompareModel[], key: keyof CompareFigures, lower = false): number | null {
  const values = models.flatMap((model) => (model[key] === null ? [] : [model[key]]));
  if (values.length < 2) return null;
  return lower ? Math.min(...values) : Math.max(...values);
}

/** Every seed's AUC by model, CTR and CTCVR. */
export function aucPlots(
  models: CompareModel[],
  oracle: OracleMetrics | null,
  colourOf: ReadonlyMap<string, number>,
): string {
  const plots = (['ctrAuc', 'ctcvrAuc'] as const).flatMap((key) => {
    const rows = models.flatMap((model) =>
      model[key] === null
        ? []
        : [
            {
              name: model.name,
              colour: colourOf.get(model.name)!,
              mean: model[key],
              spread: model.std[key],
              points: model.perSeed.flatMap((seed) => (seed[key] === null ? [] : [seed[key]])),
            },
          ],
    );
    if (rows.length === 0) return [];
    const name = metricTitle(key);
    return [dotPlot(rows, { title: `${name} by model and seed`, x: name, ceiling: oracle?.[key] ?? null })];
  });
  return `<div class="charts">${plots.join('')}</div>`;
}

export function differenceTable(differences: Difference[]): string {
  const rows = differences.map(({ a, b, metric, difference, t, p }) => {
    const clear = p < 0.05 ? (difference > 0 ? ' class="up"' : ' class="down"') : '';
    return (
      `<tr><th scope="row">${escapeText(a)} − ${escapeText(b)}</th><td>${metricTitle(metric)}</td><td${clear}>${signed(difference)}</td>` +
      `<td>${t === null ? '–' : t.toFixed(2)}</td><td>${probability(p)}</td></tr>`
    );
  });
  return (
    '<div class="scroll"><table><thead><tr><th>models</th><th>metric</th><th>difference</th><th>t</th><th>p</th></tr></thead>' +
    `<tbody>${rows.join('')}</tbody></table></div><p class="quiet">Paired t-test over the seeds, two-sided; p is of each difference alone, not corrected for their number. Coloured where p &lt; 0.05.</p>`
  );
}

export interface RunSections {
  runs: readonly CandidateRun[];
  seeds: readonly number[];
  colourOf: ReadonlyMap<string, number>;
  /** whose curves are drawn; all where left out */
  drawn?: ((name: string) => boolean) | undefined;
  /** whose slices and attention are shown; all where left out */
  sliced?: ((name: string) => boolean) | undefined;
  /** curves of the first seed alone, where many candidates would fill the chart */
  firstSeed?: boolean;
}

/** Training curves, calibration, slices, attention, and what the models are. */
export async function runSections({
  runs,
  seeds,
  colourOf,
  drawn = () => true,
  sliced = () => true,
  firstSeed = false,
}: RunSections): Promise<string[]> {
  const colours = new Map(colourOf);
  const logs = new Map<TrainResult, MetricLine[]>();
  const results = namedResults(runs);
  for (const [i, result] of results.entries()) logs.set(result, await metricLines(runs[i]!.directory));
  const first = results.filter((result) => result.seed === seeds[0]);
  const curves = (firstSeed ? first : results).filter(({ model }) => drawn(model));
  return [
    section('Training', trainingCharts(curves, logs, colours)),
    section(
      'Calibration',
      calibrationCharts(
        first.filter(({ model }) => drawn(model)),
        colours,
        'Test part, first seed',
      ),
    ),
    section(
      'Slices of the test part',
      sliceTables(
        first.filter(({ model }) => sliced(model)),
        seeds[0]!,
      ),
    ),
    section(
      'What the aggregation token looks at',
      attentionSection(
        first.filter(({ model }) => sliced(model)),
        colours,
      ),
    ),
    section('Models', configurations(first)),
  ];
}

function configurations(results: TrainResult[]): string {
  return results
    .map(
      (result) =>
        `<details><summary><b>${escapeText(result.model)}</b> <span class="quiet">${result.parameters.toLocaleString('en')} parameters · ${Math.round(result.samplesPerSecond).toLocaleString('en')} samples/s · ${result.epochs} ${result.epochs === 1 ? 'epoch' : 'epochs'} (best ${result.bestEpoch}) · schema ${escapeText(result.schemaDigest.slice(0, 12))}</span></summary><pre>${escapeText(JSON.stringify(result.config, null, 2))}</pre></details>`,
    )
    .join('');
}

export function signed(value: number, digits = 4): string {
  return `${value < 0 ? '−' : '+'}${Math.abs(value).toFixed(digits)}`;
}

export function probability(p: number): string {
  return p < 0.0001 ? '< 0.0001' : p.toFixed(4);
}

/** The first line of a report: what was trained on, and with how many seeds. */
export function leadOf(split: string, seeds: readonly number[]): string {
  return `split <b>${escapeText(split)}</b> · ${seeds.length} ${seeds.length === 1 ? 'seed' : 'seeds'} (${seeds.join(', ')}) of stage 3 · test rows never used for a choice`;
}
