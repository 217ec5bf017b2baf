import { writeFileAtomic } from '@larr/core';
import type { CandidateRun } from '../experiments/runs.js';
import type { SweepPoint, SweepResult } from '../experiments/sweep.js';
import { escapeText, sweepChart } from './charts.js';
import { leadOf, probability, type Row, runSections, signed, summaryTable } from './experiment-sections.js';
import { cardRow, htmlPage, htmlTable, runSection, section } from './page.js';
import type { RunRecord } from './run-record.js';

/** Writes the report of a sweep: curves with error bars, and each value against the configured one. */
export async function writeSweepReport(
  path: string,
  result: SweepResult,
  runs: readonly CandidateRun[],
  record: RunRecord,
): Promise<void> {
  const { dataset, split, seeds, model, param, oracle } = result;
  const points = [...result.points].sort((a, b) => a.value - b.value);
  const colourOf = new Map(points.map(({ name }, i) => [name, i % 8]));
  const short = new Map(points.map(({ name, value }) => [name, `${param} = ${value}`]));
  const body = [
    cards(result, points),
    section('Curves', `${curves(result, points)}<p class="quiet">${escapeText(result.seedsVary.note)}</p>`),
    section(
      'Results',
      summaryTable(
        points.map((point): Row => ({ model: point, name: valueName(result, point.value) })),
        oracle,
      ) + differences(result, points),
    ),
    ...(await runSections({
      runs: runs.map((run) => ({ ...run, name: short.get(run.name)! })),
      seeds,
      colourOf: new Map([...colourOf].map(([name, colour]) => [short.get(name)!, colour])),
      firstSeed: true,
    })),
    runSection(record),
  ];
  const title = `${param} of ${model}`;
  const lead = `${escapeText(dataset)} · ${leadOf(split, seeds)}`;
  await writeFileAtomic(path, htmlPage({ eyebrow: 'sweep', title, lead, body }));
}

function valueName({ configured, best }: SweepResult, value: number): string {
  const notes = [...(value === configured ? ['configured'] : []), ...(value === best ? ['best validation'] : [])];
  return `${value}${notes.length > 0 ? ` <small>${notes.join(', ')}</small>` : ''}`;
}

function cards({ best, configured, param }: SweepResult, points: SweepPoint[]): string {
  const chosen = points.find(({ value }) => value === best)!;
  const std = chosen.validation.std;
  const range = (key: 'ctrAuc' | 'ctcvrAuc') => {
    const values = points.flatMap((point) => (point[key] === null ? [] : [point[key]]));
    return values.length === 0 ? null : Math.max(...values) - Math.min(...values);
  };
  const ctr = range('ctrAuc')!;
  const ctcvr = range('ctcvrAuc');
  return cardRow([
    {
      title: 'Best by validation',
      figure: String(best),
      note: `${escapeText(param)}; score ${chosen.validation.score.toFixed(4)}${std === null ? '' : ` ± ${std.toFixed(4)}`} · configured: ${configured}`,
    },
    {
      title: 'Test CTR AUC there',
      figure: chosen.ctrAuc.toFixed(4),
      note: chosen.std.ctrAuc === null ? 'one seed' : `± ${chosen.std.ctrAuc.toFixed(4)} over seeds`,
    },
    {
      title: 'From the worst value to the best',
      figure: ctr.toFixed(4),
      note: `CTR AUC${ctcvr === null ? '' : ` · ${ctcvr.toFixed(4)} CTCVR AUC`}, test part`,
    },
  ]);
}

function curves({ configured, best, param }: SweepResult, points: SweepPoint[]): string {
  const chart = (key: 'ctrAuc' | 'ctcvrAuc', title: string, colour: number) =>
    points.some((point) => point[key] === null)
      ? ''
      : sweepChart(
          points.map((point) => ({
            label: String(point.value),
            mean: point[key]!,
            spread: point.std[key],
            points: point.perSeed.map((seed) => seed[key]!),
            marked: point.value === configured,
          })),
          { title, x: param, y: 'AUC', colour, caption: CAPTION },
        );
  const validation = sweepChart(
    points.map((point) => ({
      label: String(point.value),
      mean: point.validation.score,
      spread: point.validation.std,
      points: [],
      marked: point.value === best,
    })),
    {
      title: 'Validation: mean of the AUCs',
      x: param,
      y: 'score',
      colour: 2,
      caption: 'What a choice goes by; the ring is the best.',
    },
  );
  return `<div class="charts">${chart('ctrAuc', 'CTR AUC, test part', 0)}${chart('ctcvrAuc', 'CTCVR AUC, test part', 1)}${validation}</div>`;
}

const CAPTION =
  'Mean over the seeds, bars of one standard deviation, small points the seeds; the ring is the configured value.';

function differences({ configured }: SweepResult, points: SweepPoint[]): string {
  const rows = points.flatMap(({ value, against }) => {
    if (against === null) return [];
    const cells = (test: NonNullable<SweepPoint['against']>['ctrAuc']) => {
      if (test === null) return ['<td class="none">–</td>', '<td class="none">–</td>'];
      const clear = test.p < 0.05 ? (test.difference > 0 ? ' class="up"' : ' class="down"') : '';
      return [`<td${clear}>${signed(test.difference)}</td>`, probability(test.p)];
    };
    return [[String(value), ...cells(against.ctrAuc), ...cells(against.ctcvrAuc)]];
  });
  if (rows.every((row) => row.slice(1).every((cell) => cell.includes('none')))) return '';
  const table = htmlTable([`against ${configured}`, 'CTR AUC', 'p', 'CTCVR AUC', 'p'], rows);
  return `<div class="inside">${table}</div><p class="quiet">Paired t-test over the seeds against the configured value, two-sided, each alone. Coloured where p &lt; 0.05.</p>`;
}
