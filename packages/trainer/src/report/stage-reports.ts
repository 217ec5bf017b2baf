// Reports of the language model's stages: pretraining, finetuning, embedding.
import { join } from 'node:path';
import { writeFileAtomic } from '@larr/core';
import type { FinetuneResult } from '../embedding/finetune.js';
import type { Gate, Verdict } from '../embedding/gate.js';
import type { PairKind } from '../embedding/pairs.js';
import type { EmbeddingQuality } from '../embedding/quality.js';
import type { EmbedResult } from '../embedding/vectors.js';
import type { PretrainResult } from '../pretraining/pretrain.js';
import { escapeText, lineChart, type Series } from './charts.js';
import { type Card, cardRow, htmlPage, htmlTable, runSection, section } from './page.js';
import type { RunRecord } from './run-record.js';
import { metricLines, smooth } from './training-sections.js';

interface PretrainLine {
  step: number;
  loss?: number;
  learningRate?: number;
  gradientNorm?: number;
  domainPerplexity?: number | null;
  generalPerplexity?: number | null;
}

/** Writes report.html of a stage-1 directory: held-out perplexity, loss, rate and gradient over the steps. */
export async function writePretrainReport(directory: string, result: PretrainResult, record: RunRecord): Promise<void> {
  const lines = await metricLines<PretrainLine>(directory);
  const curve = (name: string, colour: number, key: keyof PretrainLine): Series =>
    series(name, colour, lines, (l) => l[key]);
  const { perplexity } = result;
  const perplexityCard = (title: string, value: number | null): Card =>
    value === null
      ? { title, figure: '–', note: 'no such text was held out' }
      : { title, figure: figure(value), note: `${Math.log(value).toFixed(3)} nats a token` };
  const body = [
    cardRow([
      perplexityCard('Perplexity of POI texts', perplexity.domain),
      perplexityCard('Perplexity of general text', perplexity.general),
      speedCard(result),
    ]),
    section(
      'Training',
      charts([
        lineChart(smooth([curve('loss', 0, 'loss')]), { title: 'Loss', x: 'step', y: 'nats a token' }),
        lineChart([curve('POI texts', 1, 'domainPerplexity'), curve('general text', 2, 'generalPerplexity')], {
          title: 'Held-out perplexity',
          x: 'step',
          y: 'perplexity',
          markers: true,
        }),
        lineChart([curve('rate', 3, 'learningRate')], { title: 'Learning rate', x: 'step', y: 'rate' }),
        lineChart(smooth([curve('norm', 4, 'gradientNorm')]), { title: 'Gradient norm', x: 'step', y: 'norm' }),
      ]) +
        '<p class="quiet">Perplexity is of documents that no step learnt from. The loss is the mean of the steps since the point before, over both kinds of text; a POI’s name and location are read, not learnt.</p>',
    ),
    result.truncatedDocuments > 0
      ? `<p class="quiet">${result.truncatedDocuments.toLocaleString('en')} POI texts were longer than the context and were cut.</p>`
      : '',
    runSection(record),
  ];
  await write(directory, 'stage 1: pretraining', record, body);
}

interface FinetuneLine {
  step: number;
  pair?: PairKind;
  loss?: number;
  level?: Partial<Record<PairKind, number>>;
  temperature?: number;
  learningRate?: number;
  gradientNorm?: number;
  quality?: EmbeddingQuality;
}

const KINDS: Record<PairKind, string> = {
  poiPoi: 'POI–POI',
  userPoi: 'user–POI',
  userUser: 'user–user',
  dish: 'dish–description',
};

const TONES = { passed: 'good', failed: 'bad', 'not judged': 'open' } as const satisfies Record<Verdict, Card['tone']>;

/** Writes report.html of a stage-2 directory: the gate, retrieval before and after, losses of each kind of pair. */
export async function writeFinetuneReport(directory: string, result: FinetuneResult, record: RunRecord): Promise<void> {
  const lines = await metricLines<FinetuneLine>(directory);
  const kinds = (Object.keys(KINDS) as PairKind[]).filter((kind) =>
    lines.some((line) => line.level?.[kind] !== undefined),
  );
  const { before, after, gate } = result;
  const recall = (quality: EmbeddingQuality | undefined) => quality?.poiPoi?.recallAt10;
  const over = (name: string, colour: number, of: (quality: EmbeddingQuality) => number | null | undefined): Series => {
    const measured = [
      { step: 0, quality: before },
      ...lines.flatMap(({ step, quality }) => (quality ? [{ step, quality }] : [])),
      { step: result.steps, quality: after },
    ];
    return series(name, colour, measured, ({ quality }) => of(quality));
  };
  const body = [
    cardRow([
      { title: 'Gate', figure: gate.verdict, note: escapeText(gate.reason), tone: TONES[gate.verdict] },
      {
        title: 'POI–POI recall@10',
        figure: after.poiPoi === null ? '–' : after.poiPoi.recallAt10.toFixed(3),
        note:
          after.poiPoi === null
            ? 'no held-out POIs have both texts'
            : `${recall(before)?.toFixed(3) ?? '–'} before, chance ${(10 / after.poiPoi.candidates).toFixed(3)}`,
      },
      speedCard(result),
    ]),
    result.alarms.length > 0
      ? section('Alarms', result.alarms.map((alarm) => `<p class="alarm">${escapeText(alarm)}</p>`).join(''))
      : '',
    section('Gate', gateTable(gate)),
    section('Retrieval on held-out texts', qualityTable(before, after)),
    section(
      'Training',
      charts([
        lineChart(
          kinds.map((kind, i) => series(KINDS[kind], i, lines, (line) => line.level?.[kind])),
          { title: 'Loss as a share of ln B (1 is chance)', x: 'step', y: 'loss / ln B' },
        ),
        lineChart(
          smooth(kinds.map((kind, i) => series(KINDS[kind], i, lines, (l) => (l.pair === kind ? l.loss : null)))),
          { title: 'Loss', x: 'step', y: 'nats' },
        ),
        lineChart(
          [
            over('POI–POI recall@10', 0, recall),
            over('user–user recall@10', 1, (quality) => quality.userUser?.recallAt10),
            over('AUC within a city, by behaviour', 2, (quality) => quality.withinCity.behaviour?.auc),
            over("AUC within a city, by the user's text", 3, (quality) => quality.withinCity.text?.auc),
          ],
          { title: 'Held-out retrieval', x: 'step', y: 'share', markers: true },
        ),
        lineChart([series('τ', 3, lines, (line) => line.temperature)], { title: 'Temperature', x: 'step', y: 'τ' }),
      ]),
    ),
    result.truncatedTexts > 0
      ? `<p class="quiet">${result.truncatedTexts.toLocaleString('en')} texts were longer than the context and were cut.</p>`
      : '',
    runSection(record),
  ];
  await write(directory, 'stage 2: finetuning', record, body);
}

function gateTable({ checks }: Gate): string {
  const names: Record<Gate['checks'][number]['name'], string> = {
    poiPoiRecallAt10: 'POI–POI recall@10',
    withinCityAuc: 'user–POI AUC within a city, by behaviour',
    probe: 'R² of a probe of the true attributes',
  };
  const number = (value: number | null) => (value === null ? '<td class="none">–</td>' : value.toFixed(3));
  return (
    htmlTable(
      ['check', 'verdict', 'value', 'standard error', 'wanted', 'why'],
      checks.map(({ name, verdict, value, error, threshold, reason }) => [
        names[name],
        `<td class="${TONES[verdict]}">${verdict}</td>`,
        number(value),
        error > 0 ? error.toFixed(3) : '<td class="none">–</td>',
        number(threshold),
        `<td class="words">${escapeText(reason)}</td>`,
      ]),
    ) +
    '<p class="quiet">A check passes that reaches what is wanted within one standard error. One without enough data is not judged: neither a pass nor a failure.</p>'
  );
}

const RETRIEVED: [name: string, of: (quality: EmbeddingQuality) => EmbeddingQuality['poiPoi']][] = [
  ['POI–POI', ({ poiPoi }) => poiPoi],
  ['user–user', ({ userUser }) => userUser],
  ['user–POI', ({ userPoi }) => userPoi],
  ['dish–description', ({ dish }) => dish],
];

function qualityTable(before: EmbeddingQuality, after: EmbeddingQuality): string {
  const rows: [string, (quality: EmbeddingQuality) => number | null | undefined][] = [
    ...RETRIEVED.flatMap(([name, of]): typeof rows => [
      [`${name} recall@1`, (quality) => of(quality)?.recallAt1],
      [`${name} recall@10`, (quality) => of(quality)?.recallAt10],
      [`${name} mean reciprocal rank`, (quality) => of(quality)?.mrr],
    ]),
    ['user–POI AUC within a city, by behaviour', (quality) => quality.withinCity.behaviour?.auc],
    ["user–POI AUC within a city, by the user's text", (quality) => quality.withinCity.text?.auc],
    ['R² of a probe of the true attributes', (quality) => quality.probe],
  ];
  const cell = (value: number | null | undefined) => (value == null ? '<td class="none">–</td>' : value.toFixed(3));
  const candidates = [
    ...(after.poiPoi ? [`${after.poiPoi.candidates.toLocaleString('en')} POIs`] : []),
    ...(after.userUser ? [`${after.userUser.candidates.toLocaleString('en')} users`] : []),
    ...(after.dish ? [`${after.dish.candidates.toLocaleString('en')} dishes`] : []),
    `${(after.withinCity.text?.choices ?? 0).toLocaleString('en')} later choices`,
  ];
  return `${htmlTable(
    ['', 'stage 1, whitened', 'stage 2'],
    rows.map(([name, of]) => [name, cell(of(before)), cell(of(after))]),
  )}<p class="quiet">On ${candidates.join(', ')} that no pair of stage 2 held.</p>`;
}

/** Writes report.html of a vectors directory: what was embedded, and how alike the texts of each scene field came out. */
export async function writeEmbedReport(
  directory: string,
  result: EmbedResult,
  likeness: { field: string; texts: number; cosine: number | null }[],
  record: RunRecord,
): Promise<void> {
  const { scene, pois, users } = result;
  const files = { 'scene keywords': scene, POIs: pois, ...(users && { users }) };
  const body = [
    cardRow([
      ...Object.entries(files).map(
        ([name, { vectors, computed }]): Card => ({
          title: `Vectors of ${name}`,
          figure: vectors.toLocaleString('en'),
          note:
            computed === vectors ? 'all computed in this run' : `${computed.toLocaleString('en')} computed in this run`,
        }),
      ),
      speedCard(result),
    ]),
    section(
      'Scene fields',
      likeness.length === 0
        ? ''
        : htmlTable(
            ['field', 'texts', 'mean cosine between them'],
            likeness.map(({ field, texts, cosine }) => [
              escapeText(field),
              texts.toLocaleString('en'),
              cosine === null ? '<td class="none">–</td>' : cosine.toFixed(3),
            ]),
          ) +
            '<p class="quiet">Near 1, a field’s texts are hardly told apart; stage 3 standardises vectors field by field before it reads them.</p>',
    ),
    result.truncatedTexts > 0
      ? `<p class="quiet">${result.truncatedTexts.toLocaleString('en')} texts were longer than the context and were cut.</p>`
      : '',
    runSection(record),
  ];
  await write(directory, 'vectors of texts', record, body);
}

function speedCard(result: { tokens: number; tokensPerSecond: number; seconds?: number }): Card {
  const { tokens, tokensPerSecond, seconds } = result;
  return {
    title: 'Tokens',
    figure: tokens >= 1e6 ? `${(tokens / 1e6).toFixed(2)} M` : tokens.toLocaleString('en'),
    note: `${tokensPerSecond.toLocaleString('en')} tokens/s${seconds === undefined ? '' : ` · ${seconds.toFixed(1)} s`}`,
  };
}

async function write(directory: string, eyebrow: string, record: RunRecord, body: string[]): Promise<void> {
  const { dataset, seed } = record;
  const lead = `split <b>${escapeText(dataset.split)}</b> · seed ${escapeText(String(seed))}`;
  await writeFileAtomic(join(directory, 'report.html'), htmlPage({ eyebrow, title: dataset.name, lead, body }));
}

function series<Line extends { step: number }>(
  name: string,
  colour: number,
  lines: readonly Line[],
  of: (line: Line) => unknown,
): Series {
  const points = lines.flatMap((line) => {
    const value = of(line);
    return typeof value === 'number' ? [{ x: line.step, y: value }] : [];
  });
  return { name, colour, points };
}

function charts(each: string[]): string {
  return `<div class="charts">${each.join('')}</div>`;
}

function figure(value: number): string {
  return value >= 1000 ? Math.round(value).toLocaleString('en') : value.toPrecision(4);
}
