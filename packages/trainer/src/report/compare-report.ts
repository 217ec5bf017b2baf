import { writeFileAtomic } from '@larr/core';
import type { CompareFigures, CompareModel, CompareResult } from '../experiments/compare.js';
import type { TrainResult } from '../training/train.js';
import { dotPlot, escapeText } from './charts.js';
import { type Card, cardRow, htmlPage, runSection, section } from './page.js';
import type { RunRecord } from './run-record.js';
import { calibrationCharts, type MetricLine, metricLines, sliceTables, trainingCharts } from './training-sections.js';

const COLUMNS: { key: keyof CompareFigures; title: string; digits: number; lower?: true }[] = [
  { key: 'ctrAuc', title: 'CTR AUC', digits: 4 },
  { key: 'ctcvrAuc', title: 'CTCVR AUC', digits: 4 },
  { key: 'ctrGauc', title: 'CTR GAUC', digits: 4 },
  { key: 'ctcvrGauc', title: 'CTCVR GAUC', digits: 4 },
  { key: 'ctrLogloss', title: 'CTR log loss', digits: 4, lower: true },
  { key: 'seconds', title: 'seconds', digits: 1, lower: true },
];

/**
 * Writes the report of a comparison.
 *
 * @param directoryOf where the run of a model and seed is, for its metrics.jsonl
 */
export async function writeCompareReport(
  path: string,
  comparison: CompareResult,
  results: TrainResult[],
  directoryOf: (model: string, seed: number) => string,
  record: RunRecord,
): Promise<void> {
  const logs = new Map<TrainResult, MetricLine[]>();
  for (const result of results) logs.set(result, await metricLines(directoryOf(result.model, result.seed)));
  const { dataset, split, seeds, models } = comparison;
  const colourOf = new Map(models.map(({ name }, i) => [name, i % 8]));
  const first = results.filter((result) => result.seed === seeds[0]);
  const body = [
    cards(comparison),
    section(
      'Results',
      summaryTable(comparison) +
        aucPlots(comparison, colourOf) +
        `<p class="quiet">${escapeText(comparison.seedsVary.note)}</p>`,
    ),
    comparison.differences.length > 0 ? section('Differences between models', differenceTable(comparison)) : '',
    section('Training', trainingCharts(results, logs, colourOf)),
    section('Calibration', calibrationCharts(first, colourOf, 'Test part, first seed')),
    section('Slices of the test part', sliceTables(first, seeds[0]!)),
    section('Models', configuration(first)),
    runSection(record),
  ];
  const lead = `split <b>${escapeText(split)}</b> · ${seeds.length} ${seeds.length === 1 ? 'seed' : 'seeds'} (${seeds.join(', ')}) of stage 3 · test rows never used for a choice`;
  await writeFileAtomic(path, htmlPage({ eyebrow: 'comparison of models', title: dataset, lead, body }));
}

function bestOf(models: CompareModel[], key: keyof CompareFigures, lower = false): number | null {
  const values = models.flatMap((model) => (model[key] === null ? [] : [model[key]]));
  if (values.length < 2) return null;
  return lower ? Math.min(...values) : Math.max(...values);
}

/** The winner of each AUC, its lead over the next, and the ceiling. */
function cards({ models, oracle }: CompareResult): string {
  return cardRow(
    (['ctrAuc', 'ctcvrAuc'] as const).flatMap((key): Card[] => {
      const ranked = models.filter((model) => model[key] !== null).sort((a, b) => b[key]! - a[key]!);
      const winner = ranked[0];
      if (!winner) return [];
      const title = `Best ${key === 'ctrAuc' ? 'CTR AUC' : 'CTCVR AUC'}`;
      const next = ranked[1];
      const lead = next ? `${signed(winner[key]! - next[key]!)} over ${escapeText(next.name)}` : 'only model';
      const ceiling = oracle?.[key] ? ` · ceiling ${oracle[key].toFixed(4)}` : '';
      const note = `<b>${escapeText(winner.name)}</b> ${lead}${ceiling}`;
      return [{ title, figure: winner[key]!.toFixed(4), note }];
    }),
  );
}

function summaryTable({ models, oracle }: CompareResult): string {
  const columns = COLUMNS.filter(({ key }) => models.some((model) => model[key] !== null));
  const head = columns.map(({ title }) => `<th>${title}</th>`).join('');
  const rows = models.map((model) => {
    const cells = columns.map(({ key, digits, lower }) => {
      const value = model[key];
      if (value === null) return '<td class="none">–</td>';
      const best = value === bestOf(models, key, lower);
      const std = model.std[key];
      const spread = std === null ? '' : `<small>± ${std.toFixed(digits)}</small>`;
      return `<td${best ? ' class="best"' : ''}>${value.toFixed(digits)}${spread}</td>`;
    });
    return `<tr><th scope="row">${escapeText(model.name)}</th>${cells.join('')}</tr>`;
  });
  if (oracle) {
    const cells = columns.map(({ key, digits }) => {
      const value = key === 'seconds' ? null : oracle[key];
      return value === null ? '<td class="none">–</td>' : `<td>${value.toFixed(digits)}</td>`;
    });
    rows.push(`<tr class="ceiling"><th scope="row">oracle <small>ceiling</small></th>${cells.join('')}</tr>`);
  }
  const note =
    'Mean over the seeds ± standard deviation; the best mean of each column is marked.' +
    (oracle
      ? ' The oracle scores rows by the true probabilities of the simulator: no model can be expected to pass it.'
      : '');
  return `<div class="scroll"><table class="summary"><thead><tr><th>model</th>${head}</tr></thead><tbody>${rows.join('')}</tbody></table></div><p class="quiet">${note}</p>`;
}

function aucPlots({ models, oracle }: CompareResult, colourOf: Map<string, number>): string {
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
    const name = key === 'ctrAuc' ? 'CTR AUC' : 'CTCVR AUC';
    return [dotPlot(rows, { title: `${name} by model and seed`, x: name, ceiling: oracle?.[key] ?? null })];
  });
  return `<div class="charts">${plots.join('')}</div>`;
}

function differenceTable({ differences }: CompareResult): string {
  const rows = differences.map(({ a, b, metric, difference, t, p }) => {
    const name = metric === 'ctrAuc' ? 'CTR AUC' : 'CTCVR AUC';
    const clear = p < 0.05 ? (difference > 0 ? ' class="up"' : ' class="down"') : '';
    return (
      `<tr><th scope="row">${escapeText(a)} − ${escapeText(b)}</th><td>${name}</td><td${clear}>${signed(difference)}</td>` +
      `<td>${t === null ? '–' : t.toFixed(2)}</td><td>${p < 0.0001 ? '< 0.0001' : p.toFixed(4)}</td></tr>`
    );
  });
  return (
    '<div class="scroll"><table><thead><tr><th>models</th><th>metric</th><th>difference</th><th>t</th><th>p</th></tr></thead>' +
    `<tbody>${rows.join('')}</tbody></table></div><p class="quiet">Paired t-test over the seeds, two-sided; p is of each difference alone, not corrected for their number. Coloured where p &lt; 0.05.</p>`
  );
}

function configuration(results: TrainResult[]): string {
  return results
    .map(
      (result) =>
        `<details><summary><b>${escapeText(result.model)}</b> <span class="quiet">${result.parameters.toLocaleString('en')} parameters · ${Math.round(result.samplesPerSecond).toLocaleString('en')} samples/s · ${result.epochs} ${result.epochs === 1 ? 'epoch' : 'epochs'} (best ${result.bestEpoch}) · schema ${escapeText(result.schemaDigest.slice(0, 12))}</span></summary><pre>${escapeText(JSON.stringify(result.config, null, 2))}</pre></details>`,
    )
    .join('');
}

function signed(value: number): string {
  return `${value < 0 ? '−' : '+'}${Math.abs(value).toFixed(4)}`;
}
