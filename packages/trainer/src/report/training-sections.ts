// Sections about training runs, for a single one and for several side by side.
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { CalibrationBin } from '@larr/core';
import type { Slice, SliceAuc } from '../training/evaluate.js';
import type { TrainResult } from '../training/train.js';
import { escapeText, lineChart, type Series } from './charts.js';

/** A line of a training run's metrics.jsonl. */
export interface MetricLine {
  event: 'train' | 'validation';
  epoch: number;
  step: number;
  loss?: number;
  ctrAuc?: number;
  ctcvrAuc?: number | null;
}

/** At most so many texts per scene field are listed; the rest is named as a count. */
const SLICES_PER_FIELD = 12;

/** Loss and validation curves. */
export function trainingCharts(
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
    const ctr = curves('validation', 'epoch', 'ctrAuc');
    // A model alone has room for its other task.
    const both = [
      ...ctr.map((s) => ({ ...s, name: 'CTR' })),
      ...curves('validation', 'epoch', 'ctcvrAuc').map((s) => ({ ...s, name: 'CTCVR', colour: 1 })),
    ];
    const alone = results.length === 1;
    charts.push(
      lineChart(alone ? both : ctr, {
        title: alone ? 'Validation AUC' : 'Validation CTR AUC',
        x: 'epoch',
        y: 'AUC',
        markers: true,
        wholeX: true,
      }),
    );
  }
  const note =
    results.length === 1
      ? 'The loss is of the batches since the point before.'
      : 'One line per model and seed. Losses of models that also align scene and target include that term, so compare shapes, not heights.';
  return `<div class="charts">${charts.join('')}</div><p class="quiet">${note}</p>`;
}

/** At most 200 points per line, each the mean of its neighbours: a chart is 500 pixels wide. */
export function smooth(series: Series[]): Series[] {
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

/**
 * Predicted against observed frequencies.
 * @param rows what they are of, in words
 */
export function calibrationCharts(results: TrainResult[], colourOf: Map<string, number>, rows: string): string {
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
    `<tbody>${table}</tbody></table></div><p class="quiet">${escapeText(rows)}; bins of at least 30 rows. ECE: mean distance between predicted and observed, weighted by rows.</p>`
  );
}

const SLICE_NAMES: Record<Exclude<Slice['kind'], 'scene'>, string> = {
  'cold-poi': 'POIs unseen in training',
  'cold-user': 'users unseen in training',
  travelling: 'users away from home',
};

/** Figures of cold rows, of travelling users, and of every scene text; slices without rows are named below. */
export function sliceTables(results: TrainResult[], seed: number): string {
  const all = results[0]?.slices ?? [];
  if (all.length === 0) return '<p class="quiet">The data have no ids of POIs and users, and no scene keywords.</p>';
  const keyOf = (slice: Slice) => `${slice.kind}\u0000${slice.field}\u0000${slice.value}`;
  const lookup = results.map((result) => new Map(result.slices.map((slice) => [keyOf(slice), slice])));
  const line = (slice: Slice, name: string) => {
    const aucs = lookup.map((slices) => slices.get(keyOf(slice))?.ctrAuc ?? null);
    const best = Math.max(...aucs.flatMap((a) => (a ? [a.auc] : [])));
    const cells = aucs.map((a) => (a ? aucCell(a, results.length > 1 && a.auc === best) : '<td class="none">–</td>'));
    return `<tr><th scope="row">${name}</th><td>${slice.rows.toLocaleString('en')}</td><td>${((100 * slice.clicks) / slice.rows).toFixed(1)} %</td>${cells.join('')}</tr>`;
  };
  const head = `<thead><tr><th>slice</th><th>rows</th><th>CTR</th>${results.map((r) => `<th>${escapeText(r.model)}</th>`).join('')}</tr></thead>`;
  const there = all.filter((slice) => slice.rows > 0);
  const first = there.flatMap((slice) => (slice.kind === 'scene' ? [] : [line(slice, SLICE_NAMES[slice.kind])]));
  const fields = [...new Set(there.flatMap((slice) => (slice.field === null ? [] : [slice.field])))];
  const scenes = fields.flatMap((field) => {
    const own = there.filter((slice) => slice.field === field).sort((a, b) => b.rows - a.rows);
    const shown = own
      .slice(0, SLICES_PER_FIELD)
      .map((slice) => line(slice, slice.value ? escapeText(slice.value) : '<i>missing</i>'));
    const rest = own.length - shown.length;
    return [
      `<tr class="group"><th colspan="${3 + results.length}">${escapeText(field)}${rest > 0 ? ` <small>(${rest} smaller ones left out)</small>` : ''}</th></tr>`,
      ...shown,
    ];
  });
  const table =
    first.length + scenes.length === 0
      ? ''
      : `<div class="scroll"><table class="slices">${head}<tbody>${[...first, ...scenes].join('')}</tbody></table></div><p class="quiet">CTR AUC, seed ${seed}; small, its 95 % interval (DeLong; with fewer than 30 rows of a class, Newcombe). The best of each row is marked, however small the lead.</p>`;
  return table + emptySlices(all.filter((slice) => slice.rows === 0));
}

/** Says which slices no test row is in, field by field. */
function emptySlices(empty: Slice[]): string {
  if (empty.length === 0) return '';
  const alone = empty.flatMap((slice) => (slice.kind === 'scene' ? [] : [SLICE_NAMES[slice.kind]]));
  const fields = [...new Set(empty.flatMap((slice) => (slice.field === null ? [] : [slice.field])))].map((field) => {
    const texts = empty.filter((slice) => slice.field === field).map(({ value }) => value!);
    const more = texts.length - SLICES_PER_FIELD;
    return `<b>${escapeText(field)}</b>: ${escapeText(texts.slice(0, SLICES_PER_FIELD).join(', '))}${more > 0 ? ` and ${more} more` : ''}`;
  });
  return `<p class="quiet">Without a row in the test part: ${[...alone, ...fields].join('; ')}.</p>`;
}

function aucCell(a: SliceAuc, best: boolean): string {
  return `<td${best ? ' class="best"' : ''}>${a.auc.toFixed(4)}<small>${a.low.toFixed(3)} … ${a.high.toFixed(3)}</small></td>`;
}

/** The lines of a metrics.jsonl. */
export async function metricLines<Line>(directory: string): Promise<Line[]> {
  const text = await readFile(join(directory, 'metrics.jsonl'), 'utf8');
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Line);
}
