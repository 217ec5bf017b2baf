import { escapeText } from './charts.js';
import type { RunRecord } from './run-record.js';
import { stylesheet } from './stylesheet.js';

export interface Page {
  /** What kind of report this is. */
  eyebrow: string;
  title: string;
  /** One line under the title, as HTML. */
  lead: string;
  /** Sections and whatever stands before them, as HTML; empty ones are left out. */
  body: string[];
}

/** One HTML document that needs nothing else: style and charts are inline, nothing is fetched, no script runs. */
export function htmlPage({ eyebrow, title, lead, body }: Page): string {
  return (
    '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">' +
    `<title>LARR · ${escapeText(title)}</title><style>${stylesheet}</style></head><body><main>` +
    `<header><p class="eyebrow">LARR · ${escapeText(eyebrow)}</p><h1>${escapeText(title)}</h1><p class="lead">${lead}</p></header>` +
    `${body.join('')}</main></body></html>\n`
  );
}

export function section(title: string, body: string): string {
  return body === '' ? '' : `<section><h2>${escapeText(title)}</h2>${body}</section>`;
}

export interface Card {
  title: string;
  figure: string;
  /** As HTML. */
  note: string;
  /** Colours the figure: what is well, what is not, what nobody knows. */
  tone?: 'good' | 'bad' | 'open';
}

export function cardRow(cards: Card[]): string {
  const each = cards.map(
    ({ title, figure, note, tone }) =>
      `<div class="card"><p class="card-title">${escapeText(title)}</p><p class="big${tone ? ` ${tone}` : ''}">${escapeText(figure)}</p><p class="quiet">${note}</p></div>`,
  );
  return `<div class="cards">${each.join('')}</div>`;
}

/** A table; cells are HTML, the first of each row is its name. */
export function htmlTable(head: string[], rows: string[][]): string {
  const cells = (row: string[]) =>
    row.map((cell, i) =>
      i === 0 ? `<th scope="row">${cell}</th>` : cell.startsWith('<td') ? cell : `<td>${cell}</td>`,
    );
  const words = (i: number) => (rows[0]?.[i]?.startsWith('<td class="words"') ? ' class="words"' : '');
  return (
    `<div class="scroll"><table><thead><tr>${head.map((cell, i) => `<th${words(i)}>${escapeText(cell)}</th>`).join('')}</tr></thead>` +
    `<tbody>${rows.map((row) => `<tr>${cells(row).join('')}</tr>`).join('')}</tbody></table></div>`
  );
}

/** How a run came about: the last section of every report. */
export function runSection(record: RunRecord): string {
  const { dataset, versions, sittings } = record;
  const short = (digest: string) => `<code>${escapeText(digest.slice(0, 12))}</code>`;
  const commit =
    versions.commit === null ? '' : ` · commit ${short(versions.commit)}${versions.modified ? ' with changes' : ''}`;
  const cuda = versions.cuda === null ? '' : ` · CUDA ${escapeText(versions.cuda)}`;
  const seeds = typeof record.seed === 'number' ? String(record.seed) : record.seed.join(', ');
  const rows: [string, string][] = [
    ['command', `<code>${escapeText(record.command.join(' ') || 'from a program')}</code>`],
    ['seed', escapeText(seeds)],
    [
      'device',
      `${escapeText(record.device)} · ${record.threads} ${record.threads === 1 ? 'thread' : 'threads'}` +
        (record.processes === undefined ? '' : ` in each of ${record.processes} processes`),
    ],
    [
      'versions',
      `larr ${escapeText(versions.larr)}${commit} · Node ${escapeText(versions.node)} · LibTorch ${escapeText(versions.libtorch)}${cuda}`,
    ],
    [
      'dataset',
      `${escapeText(dataset.name)}, split ${escapeText(dataset.split)} · content ${short(dataset.contentDigest)} · schema ${short(dataset.schemaDigest)}`,
    ],
    ...Object.entries(record.inputs).map(([name, { path, sha256 }]): [string, string] => [
      escapeText(name),
      `<code>${escapeText(path)}</code> · sha256 ${short(sha256)}`,
    ]),
    ...sittings.map(({ startedAt, endedAt, outcome, error }, i): [string, string] => [
      sittings.length === 1 ? 'time' : `sitting ${i + 1}`,
      `${moment(startedAt)} – ${endedAt === null ? '?' : moment(endedAt)}${outcome === 'finished' ? '' : ` · ${outcome === 'running' ? 'killed' : outcome}`}${error === null ? '' : `: ${escapeText(error)}`}`,
    ]),
  ];
  const facts = rows.map(([name, value]) => `<tr><th scope="row">${name}</th><td>${value}</td></tr>`).join('');
  return section(
    'Run',
    `<div class="scroll"><table class="facts"><tbody>${facts}</tbody></table></div>` +
      `<details><summary><b>configuration</b></summary><pre>${escapeText(JSON.stringify(record.config, null, 2))}</pre></details>`,
  );
}

function moment(iso: string): string {
  return escapeText(iso.replace('T', ' ').replace(/\.\d+Z$/, ' UTC'));
}
