import { writeFileAtomic } from '@larr/core';
import type { CompareResult } from '../experiments/compare.js';
import type { CandidateRun } from '../experiments/runs.js';
import { escapeText } from './charts.js';
import {
  aucPlots,
  differenceTable,
  leadOf,
  metricTitle,
  runSections,
  signed,
  summaryTable,
} from './experiment-sections.js';
import { type Card, cardRow, htmlPage, runSection, section } from './page.js';
import type { RunRecord } from './run-record.js';

/** Writes the report of a comparison. */
export async function writeCompareReport(
  path: string,
  comparison: CompareResult,
  runs: readonly CandidateRun[],
  record: RunRecord,
): Promise<void> {
  const { dataset, split, seeds, models, oracle } = comparison;
  const colourOf = new Map(models.map(({ name }, i) => [name, i % 8]));
  const body = [
    cards(comparison),
    section(
      'Results',
      summaryTable(
        models.map((model) => ({ model, name: escapeText(model.name) })),
        oracle,
      ) +
        aucPlots(models, oracle, colourOf) +
        `<p class="quiet">${escapeText(comparison.seedsVary.note)}</p>`,
    ),
    comparison.differences.length > 0
      ? section('Differences between models', differenceTable(comparison.differences))
      : '',
    ...(await runSections({ runs, seeds, colourOf })),
    runSection(record),
  ];
  const page = htmlPage({ eyebrow: 'comparison of models', title: dataset, lead: leadOf(split, seeds), body });
  await writeFileAtomic(path, page);
}

/** The winner of each AUC, its lead over the next, and the ceiling. */
function cards({ models, oracle }: CompareResult): string {
  return cardRow(
    (['ctrAuc', 'ctcvrAuc'] as const).flatMap((key): Card[] => {
      const ranked = models.filter((model) => model[key] !== null).sort((a, b) => b[key]! - a[key]!);
      const winner = ranked[0];
      if (!winner) return [];
      const next = ranked[1];
      const lead = next ? `${signed(winner[key]! - next[key]!)} over ${escapeText(next.name)}` : 'only model';
      const ceiling = oracle?.[key] ? ` · ceiling ${oracle[key].toFixed(4)}` : '';
      const note = `<b>${escapeText(winner.name)}</b> ${lead}${ceiling}`;
      return [{ title: `Best ${metricTitle(key)}`, figure: winner[key]!.toFixed(4), note }];
    }),
  );
}
