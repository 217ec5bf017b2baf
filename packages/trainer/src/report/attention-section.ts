// What the aggregation token looks at: scene fields by their share of its attention.

import type { AttentionGroup, AttentionShare, AttentionSummary } from '../training/scene-attention.js';
import type { TrainResult } from '../training/train.js';
import { escapeText, rowChart } from './charts.js';
import { htmlTable } from './page.js';

type Attending = TrainResult & { attention: AttentionSummary };

/** The token's own share, as a row beside the fields. */
const OWN = 'the token itself';

/**
 * For each model with an aggregation token a chart of its attention per scene field, one of what is different for users away from home, and
 * every head in a table. Nothing where there is none.
 */
export function attentionSection(results: readonly TrainResult[], colourOf: ReadonlyMap<string, number>): string {
  const attending = results.filter((result): result is Attending => !!result.attention);
  if (attending.length === 0) return '';
  const charts = attending.flatMap((result) =>
    attentionCharts(result, colourOf.get(result.model)!, attending.length > 1),
  );
  const { rows, of, groups } = attending[0]!.attention;
  const absent = groups[0]!.fields.flatMap(({ field, mean }) => (mean === null ? [escapeText(field)] : []));
  const sample =
    rows < of ? `${rows.toLocaleString('en')} of ${of.toLocaleString('en')} test rows, evenly spaced` : 'All test rows';
  const heads = attending.map(
    (result) =>
      `<details><summary><b>${attending.length > 1 ? `${escapeText(result.model)}, ` : ''}by head</b></summary><div class="inside">${headTable(result.attention)}</div></details>`,
  );
  return (
    `<div class="charts">${charts.join('')}</div>` +
    `<p class="quiet">${sample}. Mean share of the aggregation token's attention over the rows that have the keyword, mean over the heads; the bar is ± one standard deviation between rows. The upright line is the share of each if all had the same. What a field gets tells where the model looks, not how much it gains by it.${absent.length === 0 ? '' : ` No row that was looked at has ${absent.join(', ')}.`}</p>` +
    heads.join('')
  );
}

const percent = (share: number): number => 100 * share;
const said = (share: number): string => `${percent(share).toFixed(1)} %`;

/** Fields and the token itself, the most looked at first. */
function ordered(group: AttentionGroup): { name: string; share: AttentionShare & { mean: number } }[] {
  return [...group.fields.map(({ field, ...share }) => ({ name: field, share })), { name: OWN, share: group.own }]
    .filter((one): one is { name: string; share: AttentionShare & { mean: number } } => one.share.mean !== null)
    .sort((a, b) => b.share.mean - a.share.mean);
}

function shareOf(group: AttentionGroup, name: string): AttentionShare {
  return name === OWN ? group.own : group.fields.find(({ field }) => field === name)!;
}

function attentionCharts({ model, attention }: Attending, colour: number, several: boolean): string[] {
  const title = (text: string) => (several ? `${model}: ${text}` : `${text[0]!.toUpperCase()}${text.slice(1)}`);
  const group = (kind: AttentionGroup['kind']) => attention.groups.find((one) => one.kind === kind && one.rows > 0);
  const all = group('all');
  if (all === undefined) return [];
  const rows = ordered(all);
  const zero = percent(all.even!);
  const charts = [
    rowChart(
      rows.map(({ name, share: { mean, std } }) => ({
        name,
        colour,
        value: percent(mean),
        low: std === null ? undefined : Math.max(0, percent(mean - std)),
        high: std === null ? undefined : percent(mean + std),
        note: std === null ? said(mean) : `${said(mean)} ± ${percent(std).toFixed(1)}`,
      })),
      { title: title('attention per scene field'), x: '% of the attention', zero },
    ),
  ];
  const [home, away] = [group('home'), group('travelling')];
  if (home === undefined || away === undefined) return charts;
  const both = rows.flatMap(({ name }) => {
    const [there, here] = [shareOf(away, name).mean, shareOf(home, name).mean];
    return there === null || here === null ? [] : [{ name, there, here }];
  });
  charts.push(
    rowChart(
      both.map(({ name, there, here }) => ({
        name,
        colour,
        value: percent(there),
        from: percent(here),
        note: `${percent(here).toFixed(1)} → ${said(there)}`,
      })),
      {
        title: title('from users at home to users away from home'),
        x: '% of the attention',
        zero,
        caption: `The dot is of ${away.rows.toLocaleString('en')} rows away from home; its line begins at the share of the ${home.rows.toLocaleString('en')} at home.`,
      },
    ),
  );
  return charts;
}

/** The deeper the colour, the more a head looks there: half covered where any looks most. */
function headTable({ heads, groups }: AttentionSummary): string {
  const shares = ordered(groups.find(({ kind }) => kind === 'all')!);
  const most = Math.max(...shares.flatMap(({ share }) => share.byHead!));
  const rows = shares.map(({ name, share: { mean, byHead } }) => [
    escapeText(name),
    ...byHead!.map(
      (share) => `<td class="heat" style="--share:${((50 * share) / most).toFixed(0)}%">${said(share)}</td>`,
    ),
    said(mean),
  ]);
  return htmlTable(['field', ...Array.from({ length: heads }, (_, h) => `head ${h + 1}`), 'mean'], rows);
}
