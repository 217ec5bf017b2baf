import { join } from 'node:path';
import { writeFileAtomic } from '@larr/core';
import type { RankingMetrics } from '../training/evaluate.js';
import type { TrainResult } from '../training/train.js';
import { attentionSection } from './attention-section.js';
import { escapeText } from './charts.js';
import { type Card, cardRow, htmlPage, htmlTable, runSection, section } from './page.js';
import type { RunRecord } from './run-record.js';
import { calibrationCharts, type MetricLine, metricLines, sliceTables, trainingCharts } from './training-sections.js';

const FIGURES: [keyof RankingMetrics, string][] = [
  ['ctrAuc', 'CTR AUC'],
  ['ctcvrAuc', 'CTCVR AUC'],
  ['ctrGauc', 'CTR GAUC'],
  ['ctcvrGauc', 'CTCVR GAUC'],
  ['ctrLogloss', 'CTR log loss'],
  ['ctcvrLogloss', 'CTCVR log loss'],
];

/** Writes report.html of one model's run directory: its figures, curves, calibration, slices, and how it came about. */
export async function writeTrainReport(directory: string, result: TrainResult, record: RunRecord): Promise<void> {
  const colours = new Map([[result.model, 0]]);
  const logs = new Map([[result, await metricLines<MetricLine>(directory)]]);
  const body = [
    cardRow(cards(result)),
    section('Figures', figures(result)),
    section('Training', trainingCharts([result], logs, colours)),
    section('Calibration', calibrationCharts([result], colours, 'Test part')),
    section('What the aggregation token looks at', attentionSection([result], colours)),
    section('Slices of the test part', sliceTables([result], result.seed)),
    runSection(record),
  ];
  const lead = `${escapeText(result.dataset)} · split <b>${escapeText(result.split)}</b> · seed ${result.seed} · test rows never used for a choice`;
  const page = htmlPage({ eyebrow: 'stage 3: one model', title: result.model, lead, body });
  await writeFileAtomic(join(directory, 'report.html'), page);
}

function cards({
  metrics,
  calibration,
  samplesPerSecond,
  seconds,
  epochs,
  bestEpoch,
  parameters,
}: TrainResult): Card[] {
  const { ctr } = calibration;
  return [
    { title: 'CTR AUC', figure: metrics.ctrAuc.toFixed(4), note: `log loss ${metrics.ctrLogloss.toFixed(4)}` },
    ...(metrics.ctcvrAuc === null
      ? []
      : [
          {
            title: 'CTCVR AUC',
            figure: metrics.ctcvrAuc.toFixed(4),
            note: `log loss ${metrics.ctcvrLogloss!.toFixed(4)}`,
          },
        ]),
    {
      title: 'CTR calibration error',
      figure: ctr.ece.toFixed(4),
      note: `predicted / observed ${ctr.ratio.toFixed(3)}`,
    },
    {
      title: 'Training',
      figure: `${seconds < 100 ? seconds.toFixed(1) : Math.round(seconds).toLocaleString('en')} s`,
      note: `${Math.round(samplesPerSecond).toLocaleString('en')} samples/s · ${epochs} ${epochs === 1 ? 'epoch' : 'epochs'}, best ${bestEpoch} · ${parameters.toLocaleString('en')} parameters`,
    },
  ];
}

function figures({ metrics, validation }: TrainResult): string {
  const cell = (value: number | null) => (value === null ? '<td class="none">–</td>' : value.toFixed(4));
  const rows = FIGURES.filter(([key]) => metrics[key] !== null || validation[key] !== null).map(([key, title]) => [
    title,
    cell(metrics[key]),
    cell(validation[key]),
  ]);
  return `${htmlTable(['', 'test', 'validation'], rows)}<p class="quiet">Of the best epoch by validation AUC; the test part was scored once, after it.</p>`;
}
