import { writeFileAtomic } from '@larr/core';
import type { AblateDifference, AblateModel, AblateResult, Headroom, Spread } from '../experiments/ablate.js';
import { PAPER, WHOLE } from '../experiments/ablate.js';
import type { CandidateRun } from '../experiments/runs.js';
import { escapeText, rowChart } from './charts.js';
import {
  leadOf,
  metricTitle,
  probability,
  type Row,
  runSections,
  signed,
  summaryTable,
} from './experiment-sections.js';
import { type Card, cardRow, htmlPage, htmlTable, runSection, section } from './page.js';
import type { RunRecord } from './run-record.js';

/** What a row is, in a few words. */
const SAID: Record<string, string> = {
  'larr-ple': 'no language model',
  'larr-no-cpt': 'stage 1 skipped',
  'larr-no-ft': 'stage 2 skipped',
  'larr-no-al': 'no encoder, no alignment',
  larr: 'complete',
  'ple-scene-ids': 'the scene as ids, no language model',
  'larr-lambda0': 'encoder kept, λ = 0',
  'larr-random-table': 'random vectors',
  'larr-shuffled-table': 'vectors of other texts',
  'ple-true-attributes': 'told the attributes',
  'ple-true-taste': 'told attributes and tastes',
};

const GROUPS = { ablation: 'Ablations', control: 'Controls', bound: 'Upper bounds from the simulator' };
const SLICES = {
  'cold-poi': 'POIs unseen in training',
  'cold-user': 'users unseen in training',
  travelling: 'users away from home',
};

/** Writes the report of an ablation: the table, what each difference is worth, and how much of the meaning there is was taken. */
export async function writeAblateReport(
  path: string,
  result: AblateResult,
  runs: readonly CandidateRun[],
  record: RunRecord,
): Promise<void> {
  const { dataset, split, seeds, models, oracle, differences, headroom } = result;
  const colour = { ablation: 5, control: 4, bound: 6 };
  const colourOf = new Map(models.map(({ name, role }) => [name, name === WHOLE ? 0 : colour[role]]));
  const distinct = new Map(models.map(({ name }, i) => [name, i % 8]));
  const body = [
    cards(result),
    section('Results', `${resultsTable(models, oracle)}<p class="quiet">${escapeText(result.seedsVary.note)}</p>`),
    section('What each part is worth', differenceCharts(differences, colourOf) + differenceTables(differences)),
    section('Share of the semantic headroom', headroom === null ? '' : headroomCharts(headroom, result, colourOf)),
    section('Cold starts and travellers', sliceTable(models)),
    ...(await runSections({
      runs,
      seeds,
      colourOf: distinct,
      drawn: (name) => models.find((model) => model.name === name)!.role !== 'bound',
      // A page is not wide enough for all: those that tell what is of the scene and what of its meaning.
      sliced: (name) => ['larr-ple', WHOLE, 'ple-scene-ids', 'larr-shuffled-table'].includes(name),
      firstSeed: true,
    })),
    runSection(record),
  ];
  const page = htmlPage({ eyebrow: 'ablation', title: dataset, lead: leadOf(split, seeds), body });
  await writeFileAtomic(path, page);
}

function named({ name }: { name: string }): string {
  return `${escapeText(name)}${SAID[name] ? `<small class="under">${SAID[name]}</small>` : ''}`;
}

function resultsTable(models: AblateModel[], oracle: AblateResult['oracle']): string {
  const rows = (['ablation', 'control', 'bound'] as const).flatMap((role) =>
    models
      .filter((model) => model.role === role)
      .map(
        (model, i): Row => ({
          model,
          name: named(model),
          group: i === 0 ? GROUPS[role] : undefined,
          apart: role === 'bound',
        }),
      ),
  );
  return summaryTable(rows, oracle, ['seconds']);
}

function cards({ differences, headroom, models }: AblateResult): string {
  const whole = models.find(({ name }) => name === WHOLE)!;
  const out: Card[] = [{ title: 'LARR, CTR AUC', figure: whole.ctrAuc.toFixed(4), note: spread(whole.std.ctrAuc) }];
  const against = (model: string, title: string) => {
    const found = differences.find((d) => d.model === model && d.metric === 'ctrAuc' && d.slice === 'all');
    if (!found) return;
    const gain = -found.difference;
    const clear = found.p < 0.05;
    out.push({
      title,
      figure: signed(gain),
      note: `CTR AUC, p ${probability(found.p)}${clear ? '' : ': not clear'}`,
      tone: clear ? (gain > 0 ? 'good' : 'bad') : 'open',
    });
  };
  against('larr-ple', 'over its base');
  against('larr-shuffled-table', 'of which is meaning: over shuffled vectors');
  const share = headroom?.find((h) => h.model === WHOLE && h.metric === 'ctrAuc' && h.slice === 'all');
  if (share) {
    out.push({
      title: 'share of the semantic headroom',
      figure: percent(share.share),
      note: `CTR; ${share.std === null ? '' : `± ${percent(share.std)} over seeds; `}${share.base.toFixed(4)} → ${share.bound.toFixed(4)}`,
    });
  }
  return cardRow(out);
}

const spread = (std: number | null): string => (std === null ? 'one seed' : `± ${std.toFixed(4)} over seeds`);
const percent = (share: number): string => `${share < 0 ? '−' : ''}${Math.abs(100 * share).toFixed(0)} %`;

function differenceCharts(differences: AblateDifference[], colourOf: ReadonlyMap<string, number>): string {
  const charts = (['ctrAuc', 'ctcvrAuc'] as const).flatMap((metric) => {
    const rows = differences.filter((d) => d.metric === metric && d.slice === 'all' && !d.model.startsWith('ple-true'));
    if (rows.length === 0) return [];
    return [
      rowChart(
        rows.map(({ model, difference, low, high, p }) => ({
          name: model,
          colour: colourOf.get(model)!,
          value: difference,
          low,
          high,
          note: `${signed(difference)}  p ${p < 0.001 ? '< .001' : p.toFixed(3).replace(/^0/, '')}`,
        })),
        { title: `${metricTitle(metric)}: what is lost against LARR`, x: `difference to LARR`, zero: 0 },
      ),
    ];
  });
  if (charts.length === 0) return '<p class="quiet">One seed: there is no test of a difference. Take five or more.</p>';
  return `<div class="charts">${charts.join('')}</div><p class="quiet">Mean of the paired differences over the seeds with its 95 % interval (Student). To the left of the line: worse without the part.</p>`;
}

function differenceTables(differences: AblateDifference[]): string {
  const table = (slice: 'all' | 'cold-poi') => {
    const own = differences.filter((d) => d.slice === slice && !d.model.startsWith('ple-true'));
    const metrics = (['ctrAuc', 'ctcvrAuc'] as const).filter((metric) => own.some((d) => d.metric === metric));
    const withPaper = slice === 'all';
    const rows = [...new Set(own.map(({ model }) => model))].map((model) => [
      named({ name: model }),
      ...metrics.flatMap((metric) => {
        const found = own.find((d) => d.model === model && d.metric === metric);
        return found === undefined
          ? Array<string>(withPaper ? 4 : 3).fill('<td class="none">–</td>')
          : [...differenceCells(found), ...(withPaper ? [paperCell(found)] : [])];
      }),
    ]);
    const heads = metrics.flatMap((metric) => [metricTitle(metric), 'p', 'Holm', ...(withPaper ? ['paper'] : [])]);
    return rows.length === 0 ? '' : htmlTable(['against LARR', ...heads], rows);
  };
  const all = table('all');
  if (all === '') return '';
  const cold = table('cold-poi');
  const paper = `The paper's own figures are of a private log (LARR ${PAPER[WHOLE]!.ctrAuc.toFixed(4)} and ${PAPER[WHOLE]!.ctcvrAuc.toFixed(4)}): their signs are what to hold against; green where a clear difference here has the same, red where the other.`;
  return (
    `${all}<p class="quiet">Mean difference ± half its 95 % interval; paired t-test over the seeds, two-sided, p alone and corrected for the number of models (Holm). ${paper}</p>` +
    (cold === ''
      ? ''
      : `<details><summary><b>the same on POIs unseen in training</b></summary><div class="inside">${cold}</div></details>`)
  );
}

function differenceCells({ difference, high, p, pHolm }: AblateDifference): string[] {
  const clear = p < 0.05 ? (difference > 0 ? ' class="up"' : ' class="down"') : '';
  const half = `<small>± ${(high - difference).toFixed(4)}</small>`;
  return [`<td${clear}>${signed(difference)}${half}</td>`, probability(p), probability(pHolm)];
}

function paperCell({ paper, p, difference }: AblateDifference): string {
  if (paper === null) return '<td class="none">–</td>';
  const tone = p >= 0.05 ? 'open' : Math.sign(paper) === Math.sign(difference) ? 'good' : 'bad';
  return `<td class="${tone}">${signed(paper)}</td>`;
}

function headroomCharts(
  headroom: Headroom[],
  { models, oracle }: AblateResult,
  colourOf: ReadonlyMap<string, number>,
): string {
  const places = [...new Set(headroom.map(({ slice }) => slice))];
  const titled = { all: 'all test rows', ...SLICES };
  const charts = places.flatMap((slice) => {
    const own = headroom.filter((h) => h.metric === 'ctrAuc' && h.slice === slice);
    if (own.length === 0) return [];
    const { base } = own[0]!;
    const aucOf = (model: AblateModel) =>
      slice === 'all' ? model.ctrAuc : (model.slices.find(({ kind }) => kind === slice)?.ctrAuc?.mean ?? null);
    const rows = models.flatMap((model) => {
      const auc = model.name === 'larr-ple' ? null : aucOf(model);
      if (auc === null) return [];
      const share = own.find((h) => h.model === model.name);
      const note = share ? `${auc.toFixed(4)}  ${percent(share.share)}` : auc.toFixed(4);
      return [{ name: model.name, colour: colourOf.get(model.name)!, value: auc, from: base, note }];
    });
    const caption =
      slice === 'all' && oracle
        ? `The oracle, which knows the true probabilities, has ${oracle.ctrAuc.toFixed(4)}.`
        : '';
    return [rowChart(rows, { title: `CTR AUC, ${titled[slice]}: from the base`, x: 'CTR AUC', zero: base, caption })];
  });
  const rows = headroom
    .filter(({ model }) => model === WHOLE || model === 'larr-shuffled-table')
    .map(({ model, metric, slice, base, bound, share, std }) => [
      escapeText(model),
      metricTitle(metric),
      titled[slice],
      base.toFixed(4),
      bound.toFixed(4),
      `${percent(share)}${std === null ? '' : `<small>± ${percent(std)}</small>`}`,
    ]);
  return (
    `<div class="charts">${charts.join('')}</div>` +
    htmlTable(['model', 'metric', 'rows', 'base', 'with true attributes', 'share'], rows) +
    '<p class="quiet">What the true attributes of POIs are worth to the base is all that knowing their meaning could bring (the thin line in each chart is the base). The share is (model − base) / (base with true attributes − base), of the means over the seeds; its spread is over single seeds. A control that has a share too has it by other means than meaning.</p>'
  );
}

function sliceTable(models: AblateModel[]): string {
  const kinds = models[0]?.slices ?? [];
  if (kinds.every(({ rows }) => rows === 0)) return '';
  const cell = (value: Spread | null | undefined, best: boolean) =>
    value
      ? `<td${best ? ' class="best"' : ''}>${value.mean.toFixed(4)}${value.std === null ? '' : `<small>± ${value.std.toFixed(4)}</small>`}</td>`
      : '<td class="none">–</td>';
  const running = models.filter(({ role }) => role !== 'bound');
  const best = kinds.map(({ kind }) => {
    const means = running.map((m) => m.slices.find((s) => s.kind === kind)?.ctrAuc?.mean ?? Number.NEGATIVE_INFINITY);
    return Math.max(...means);
  });
  const rows = models.map((model) => [
    named(model),
    ...kinds.map(({ kind }, i) => {
      const auc = model.slices.find((slice) => slice.kind === kind)?.ctrAuc;
      return cell(auc, model.role !== 'bound' && auc?.mean === best[i]);
    }),
  ]);
  const counts = [
    '<small>rows</small>',
    ...kinds.map(({ rows: count }) => `<small>${count.toLocaleString('en')}</small>`),
  ];
  return `${htmlTable(['CTR AUC', ...kinds.map(({ kind }) => SLICES[kind])], [counts, ...rows])}<p class="quiet">Mean over the seeds ± standard deviation; none where the rows are of one class. Below, the first seed's slices with the intervals of their rows.</p>`;
}
