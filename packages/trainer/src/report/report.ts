import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type CalibrationBin, writeFileAtomic } from '@larr/core';
import type { CompareFigures, CompareModel, CompareResult } from '../experiments/compare.js';
import type { Slice, SliceAuc } from '../training/evaluate.js';
import type { TrainResult } from '../training/train.js';
import { dotPlot, escapeText, lineChart, type Series } from './charts.js';
import { stylesheet } from './stylesheet.js';

interface MetricLine {
  event: 'train' | 'validation';
  epoch: number;
  step: number;
  loss?: number;
  ctrAuc?: number;
  ctcvrAuc?: number | null;
}

const COLUMNS: { key: keyof CompareFigures; title: string; digits: number; lower?: true }[] = [
  { key: 'ctrAuc', title: 'CTR AUC', digits: 4 },
  { key: 'ctcvrAuc', title: 'CTCVR AUC', digits: 4 },
  { key: 'ctrGauc', title: 'CTR GAUC', digits: 4 },
  { key: 'ctcvrGauc', title: 'CTCVR GAUC', digits: 4 },
  { key: 'ctrLogloss', title: 'CTR log loss', digits: 4, lower: true },
  { key: 'seconds', title: 'seconds', digits: 1, lower: true },
];

/** At most so many texts per scene field are listed; the rest is named as a count. */
const SLICES_PER_FIELD = 12;

/**
 * Writes one HTML page that needs nothing else: style and charts are inline, nothing is fetched, no script runs.
 *
 * @param directoryOf where the run of a model and seed is, for its metrics.jsonl
 */
export async function writeReport(
  path: string,
  comparison: CompareResult,
  results: TrainResult[],
  directoryOf: (model: string, seed: number) => string,
): Promise<void> {
  const logs = new Map<TrainResult, MetricLine[]>();
  for (const result of results) logs.set(result, await metricLines(directoryOf(result.model, result.seed)));
  await writeFileAtomic(path, page(comparison, results, logs));
}

function page(comparison: CompareResult, results: TrainResult[], logs: Map<TrainResult, MetricLine[]>): string {
  const { dataset, split, seeds, models } = comparison;
  const colourOf = new Map(models.map(({ name }, i) => [name, i % 8]));
  const first = results.filter((result) => result.seed === seeds[0]);
  const body = [
    '<header><p class="eyebrow">LARR · comparison of models</p>',
    `<h1>${escapeText(dataset)}</h1>`,
    `<p class="lead">split <b>${escapeText(split)}</b> · ${seeds.length} ${seeds.length === 1 ? 'seed' : 'seeds'} (${seeds.join(', ')}) · test rows never used for a choice</p></header>`,
    cards(comparison),
    section('Results', summaryTable(comparison) + aucPlots(comparison, colourOf)),
    comparison.differences.length > 0 ? section('Differences between models', differenceTable(comparison)) : '',
    section('Training', trainingCharts(results, logs, colourOf)),
    section('Calibration', calibrationCharts(first, colourOf)),
    section('Slices of the test part', sliceTables(first, seeds[0]!)),
    section('Configuration', configuration(first)),
  ];
  return (
    '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">' +
    `<title>LARR · ${escapeText(dataset)}</title><style>${stylesheet}</style></head><body><main>${body.join('')}</main></body></html>\n`
  );
}

function section(title: string, body: string): string {
  return `<section><h2>${escapeText(title)}</h2>${body}</section>`;
}

function bestOf(models: CompareModel[], key: keyof CompareFigures, lower = false): number | null {
  const values = models.flatMap((model) => (model[key] === null ? [] : [model[key]]));
  if (values.length < 2) return null;
  return lower ? Math.min(...values) : Math.max(...values);
}

/** The winner of each AUC, its lead over the next, and the ceiling. */
function cards({ models, oracle }: CompareResult): string {
  const out = (['ctrAuc', 'ctcvrAuc'] as const).flatMap((key) => {
    const ranked = models.filter((model) => model[key] !== null).sort((a, b) => b[key]! - a[key]!);
    const winner = ranked[0];
    if (!winner) return [];
    const title = key === 'ctrAuc' ? 'CTR AUC' : 'CTCVR AUC';
    const next = ranked[1];
    const lead = next ? `${signed(winner[key]! - next[key]!)} over ${escapeText(next.name)}` : 'only model';
    const ceiling = oracle?.[key] ? ` · ceiling ${oracle[key].toFixed(4)}` : '';
    return [
      `<div class="card"><p class="card-title">Best ${title}</p><p class="big">${winner[key]!.toFixed(4)}</p><p class="quiet"><b>${escapeText(winner.name)}</b> ${lead}${ceiling}</p></div>`,
    ];
  });
  return `<div class="cards">${out.join('')}</div>`;
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

function trainingCharts(
  results: TrainResult[],
  logs: Map<TrainResult, MetricLine[]>,
  colourOf: Map<string, number>,
): string {
  const curves = (event: MetricLine['event'], x: 'step' | 'epoch', y: 'loss' | 'ctrAuc' | 'ctcvrAuc'): Series[] =>
    results.map((result) => ({
      name: result.model,
      colour: colourOf.get(result.model)!,
      points: logs.get(result)!.flatMap((line) => {
        const value = line[y];
        return line.event === event && typeof value === 'number' ? [{ x: line[x], y: value }] : [];
      }),
    }));
  const charts = [lineChart(smooth(curves('train', 'step', 'loss')), { title: 'Training loss', x: 'step', y: 'loss' })];
  if (results.some((result) => result.epochs > 1)) {
    charts.push(
      lineChart(curves('validation', 'epoch', 'ctrAuc'), {
        title: 'Validation CTR AUC',
        x: 'epoch',
        y: 'AUC',
        markers: true,
        wholeX: true,
      }),
    );
  }
  return `<div class="charts">${charts.join('')}</div><p class="quiet">One line per model and seed. Losses of models that also align scene and target include that term, so compare shapes, not heights.</p>`;
}

/** At most 200 points per line, each the mean of its neighbours: a chart is 500 pixels wide. */
function smooth(series: Series[]): Series[] {
  return series.map((s) => {
    const group = Math.ceil(s.points.length / 200);
    if (group <= 1) return s;
    const points = [];
    for (let i = 0; i < s.points.length; i += group) {
      const part = s.points.slice(i, i + group);
      points.push({
        x: part.reduce((sum, p) => sum + p.x, 0) / part.length,
        y: part.reduce((sum, p) => sum + p.y, 0) / part.length,
      });
    }
    return { ...s, points };
  });
}

function calibrationCharts(results: TrainResult[], colourOf: Map<string, number>): string {
  const chart = (key: 'ctr' | 'ctcvr', title: string) => {
    const series = results.flatMap((result) => {
      const calibration = result.calibration[key];
      if (!calibration) return [];
      const points = calibration.bins
        .filter((bin: CalibrationBin) => bin.rows >= 30)
        .map((bin: CalibrationBin) => ({ x: bin.predicted, y: bin.observed }));
      return [{ name: result.model, colour: colourOf.get(result.model)!, points }];
    });
    return series.length === 0
      ? ''
      : lineChart(series, { title, x: 'predicted', y: 'observed', diagonal: true, markers: true });
  };
  const table = results
    .map(({ model, calibration }) => {
      const cell = (c: { ece: number; ratio: number } | null) =>
        c
          ? `<td>${c.ece.toFixed(4)}</td><td>${c.ratio.toFixed(3)}</td>`
          : '<td class="none">–</td><td class="none">–</td>';
      return `<tr><th scope="row">${escapeText(model)}</th>${cell(calibration.ctr)}${cell(calibration.ctcvr)}</tr>`;
    })
    .join('');
  return (
    `<div class="charts">${chart('ctr', 'CTR: predicted against observed')}${chart('ctcvr', 'CTCVR: predicted against observed')}</div>` +
    '<div class="scroll"><table><thead><tr><th>model</th><th>CTR ECE</th><th>CTR predicted / observed</th><th>CTCVR ECE</th><th>CTCVR predicted / observed</th></tr></thead>' +
    `<tbody>${table}</tbody></table></div><p class="quiet">Test part, first seed; bins of at least 30 rows. ECE: mean distance between predicted and observed, weighted by rows.</p>`
  );
}

function sliceTables(results: TrainResult[], seed: number): string {
  const all = results[0]?.slices ?? [];
  if (all.length === 0) return '<p class="quiet">The test part has no cold rows and no scene keywords.</p>';
  const keyOf = (slice: Slice) => `${slice.kind}\u0000${slice.field}\u0000${slice.value}`;
  const lookup = results.map((result) => new Map(result.slices.map((slice) => [keyOf(slice), slice])));
  const line = (slice: Slice, name: string) => {
    const aucs = lookup.map((slices) => slices.get(keyOf(slice))?.ctrAuc ?? null);
    const best = Math.max(...aucs.flatMap((a) => (a ? [a.auc] : [])));
    const cells = aucs.map((a) => (a ? aucCell(a, results.length > 1 && a.auc === best) : '<td class="none">–</td>'));
    return `<tr><th scope="row">${name}</th><td>${slice.rows.toLocaleString('en')}</td><td>${((100 * slice.clicks) / slice.rows).toFixed(1)} %</td>${cells.join('')}</tr>`;
  };
  const head = `<thead><tr><th>slice</th><th>rows</th><th>CTR</th>${results.map((r) => `<th>${escapeText(r.model)}</th>`).join('')}</tr></thead>`;
  const cold = all
    .filter((slice) => slice.kind !== 'scene')
    .map((slice) => line(slice, slice.kind === 'cold-poi' ? 'POIs unseen in training' : 'users unseen in training'));
  const fields = [...new Set(all.flatMap((slice) => (slice.field === null ? [] : [slice.field])))];
  const scenes = fields.flatMap((field) => {
    const own = all.filter((slice) => slice.field === field).sort((a, b) => b.rows - a.rows);
    const shown = own
      .slice(0, SLICES_PER_FIELD)
      .map((slice) => line(slice, slice.value ? escapeText(slice.value) : '<i>missing</i>'));
    const rest = own.length - shown.length;
    return [
      `<tr class="group"><th colspan="${3 + results.length}">${escapeText(field)}${rest > 0 ? ` <small>(${rest} smaller ones left out)</small>` : ''}</th></tr>`,
      ...shown,
    ];
  });
  return `<div class="scroll"><table class="slices">${head}<tbody>${[...cold, ...scenes].join('')}</tbody></table></div><p class="quiet">CTR AUC, seed ${seed}; the small figure is half the 95 % interval (DeLong). The best of each row is marked, however small the lead.</p>`;
}

function aucCell(a: SliceAuc, best: boolean): string {
  return `<td${best ? ' class="best"' : ''}>${a.auc.toFixed(4)}<small>± ${((a.high - a.low) / 2).toFixed(4)}</small></td>`;
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

async function metricLines(directory: string): Promise<MetricLine[]> {
  const text = await readFile(join(directory, 'metrics.jsonl'), 'utf8');
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as MetricLine);
}
