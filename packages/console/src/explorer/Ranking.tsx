import { useRef, useState } from 'react';
import type { CatalogueEntry, CatalogueSceneReply, RankedPoi } from '../api/types';
import { number, percent } from '../design/format';
import { AttentionMark } from './Attention';
import { nameOf } from './catalogue';
import type { Move } from './moves';
import { useReorder } from './use-reorder';
import { spoken } from './view';

/** Which of a POI's texts stand where in a row. */
export interface RowLayout {
  /** one line of longer text: a menu, an introduction */
  line: string | null;
  /** short texts, each a mark of its own: a price */
  marks: string[];
}

const MARK_LENGTH = 34;

/** The first keyword with long texts is the line; those with short texts are marks. */
export function rowLayout(entries: Iterable<CatalogueEntry>, catalogue: CatalogueSceneReply): RowLayout {
  const { keywords, name, place } = catalogue.poi;
  const lengths = new Map<string, { total: number; count: number }>();
  for (const { texts } of entries) {
    for (const [keyword, text] of Object.entries(texts)) {
      const { total, count } = lengths.get(keyword) ?? { total: 0, count: 0 };
      lengths.set(keyword, { total: total + text.length, count: count + 1 });
    }
  }
  const others = keywords.filter((keyword) => keyword !== name && keyword !== place && lengths.has(keyword));
  const short = (keyword: string): boolean => {
    const { total, count } = lengths.get(keyword)!;
    return total / count <= MARK_LENGTH;
  };
  return { line: others.find((keyword) => !short(keyword)) ?? null, marks: others.filter(short).slice(0, 2) };
}

/** What stands under a POI's name: where it is, else the columns that say most. */
export function underName(entry: CatalogueEntry | undefined, catalogue: CatalogueSceneReply): string {
  if (entry === undefined) return 'not in the catalogue';
  const place = catalogue.poi.place === null ? undefined : entry.texts[catalogue.poi.place];
  if (place !== undefined) return place;
  return Object.entries(entry.columns)
    .filter(
      ([column]) => ![catalogue.position?.columns.latitude, catalogue.position?.columns.longitude].includes(column),
    )
    .map(([column, value]) => (typeof value === 'number' ? `${column} ${number(value)}` : String(value)))
    .slice(0, 4)
    .join(' · ');
}

/** ▲ 3, ▼ 2, new: with words for those who hear it. */
export function MoveMark({ move, against }: { move: Move | undefined; against: string }) {
  if (move === undefined || (move.from !== null && move.up === 0)) return <span className="move" aria-hidden="true" />;
  if (move.from === null) {
    return (
      <span className="move new">
        new<span className="only-heard"> against {against}</span>
      </span>
    );
  }
  const up = move.up > 0;
  return (
    <span className={up ? 'move up' : 'move down'} title={`rank ${move.from} in ${against}`}>
      <span aria-hidden="true">{up ? '▲' : '▼'}</span>
      <span className="only-heard">{up ? 'up' : 'down'} </span>
      {Math.abs(move.up)}
      <span className="only-heard"> against {against}</span>
    </span>
  );
}

interface RankingProps {
  catalogue: CatalogueSceneReply;
  entries: ReadonlyMap<string, CatalogueEntry>;
  ranked: readonly RankedPoi[];
  layout: RowLayout;
  moves: ReadonlyMap<string, Move>;
  by: 'pCtr' | 'pCtcvr';
}

/** The ranked POIs, best first, each of which can be opened. */
export function Ranking({ catalogue, entries, ranked, layout, moves, by }: RankingProps) {
  const list = useRef<HTMLOListElement>(null);
  const [open, setOpen] = useState<string | null>(null);
  useReorder(
    list,
    ranked.map(({ poi }) => poi),
  );
  const orders = ranked.some(({ pCtcvr }) => pCtcvr !== null);
  const mostCtr = Math.max(...ranked.map(({ pCtr }) => pCtr), 1e-9);
  const mostCtcvr = Math.max(...ranked.map(({ pCtcvr }) => pCtcvr ?? 0), 1e-9);
  const mostAttention = Math.max(...ranked.flatMap(({ attention }) => Object.values(attention ?? {})), 1e-9);
  const explained = ranked.some(({ attention }) => attention !== undefined);
  return (
    <>
      <div className={`ranking-head ${explained ? 'explained' : ''}`} aria-hidden="true">
        <span />
        <span>POI</span>
        <span className={by === 'pCtr' ? 'sorts' : ''}>Click</span>
        {orders && <span className={by === 'pCtcvr' ? 'sorts' : ''}>Order</span>}
        {explained && <span>Attention</span>}
        <span />
      </div>
      <ol className="ranking" ref={list}>
        {ranked.map((row) => {
          const entry = entries.get(row.poi);
          const opened = open === row.poi;
          const title = entry === undefined ? row.poi : nameOf(entry, catalogue);
          return (
            <li key={row.poi} data-id={row.poi} className={opened ? 'poi open' : 'poi'}>
              <div className={`poi-row ${explained ? 'explained' : ''} ${orders ? 'orders' : ''}`}>
                <span className="poi-rank">
                  <span className="only-heard">Rank </span>
                  {row.rank}
                  <MoveMark move={moves.get(row.poi)} against="the ranking before" />
                </span>
                <div className="poi-what">
                  <h3 className="poi-name">
                    <button
                      type="button"
                      aria-expanded={opened}
                      aria-controls={`poi-${row.poi}`}
                      onClick={() => setOpen(opened ? null : row.poi)}
                    >
                      {title}
                    </button>
                    {layout.marks.map((keyword) =>
                      entry?.texts[keyword] === undefined ? null : (
                        <span key={keyword} className="badge">
                          <span className="only-heard">{spoken(keyword)}: </span>
                          {entry.texts[keyword]}
                        </span>
                      ),
                    )}
                  </h3>
                  <p className="poi-under">{underName(entry, catalogue)}</p>
                  {layout.line !== null && (
                    <p className="poi-line">
                      <span className="only-heard">{spoken(layout.line)}: </span>
                      {entry?.texts[layout.line] ?? ' '}
                    </p>
                  )}
                </div>
                <Chance label="Click" p={row.pCtr} most={mostCtr} sorts={by === 'pCtr'} />
                {orders && (
                  <Chance label="Click and order" p={row.pCtcvr ?? 0} most={mostCtcvr} sorts={by === 'pCtcvr'} />
                )}
                {explained && (
                  <AttentionMark attention={row.attention ?? {}} keywords={catalogue.keywords} most={mostAttention} />
                )}
                <svg className="poi-more" viewBox="0 0 16 16" width="16" height="16" aria-hidden="true">
                  <path d="m4 6 4 4 4-4" />
                </svg>
              </div>
              <div id={`poi-${row.poi}`} className="poi-details" hidden={!opened}>
                {opened && <Details row={row} entry={entry} catalogue={catalogue} />}
              </div>
            </li>
          );
        })}
      </ol>
    </>
  );
}

function Chance({ label, p, most, sorts }: { label: string; p: number; most: number; sorts: boolean }) {
  return (
    <span className={sorts ? 'chance sorts' : 'chance'}>
      <span className="chance-label">{label}</span>
      <span className="chance-number">{percent(p)}</span>
      <span className="bar" aria-hidden="true">
        <span style={{ width: `${(p / most) * 100}%` }} />
      </span>
    </span>
  );
}

function Details({
  row,
  entry,
  catalogue,
}: {
  row: RankedPoi;
  entry: CatalogueEntry | undefined;
  catalogue: CatalogueSceneReply;
}) {
  const attention = Object.entries(row.attention ?? {}).sort(([, a], [, b]) => b - a);
  const most = Math.max(...attention.map(([, share]) => share), 1e-9);
  return (
    <>
      <dl className="facts">
        {Object.entries(entry?.texts ?? {})
          .filter(([keyword]) => keyword !== catalogue.poi.name)
          .map(([keyword, text]) => (
            <div key={keyword}>
              <dt>{spoken(keyword)}</dt>
              <dd>{text}</dd>
            </div>
          ))}
        <div>
          <dt>Columns</dt>
          <dd className="row">
            {Object.entries(entry?.columns ?? {}).map(([column, value]) => (
              <span key={column} className="badge">
                {spoken(column)} {typeof value === 'number' ? number(value) : String(value)}
              </span>
            ))}
            <span className="badge">id {row.poi}</span>
          </dd>
        </div>
      </dl>
      {attention.length > 0 && (
        <div>
          <h4>Attention for this POI</h4>
          <ul className="shares">
            {attention.map(([field, share]) => (
              <li key={field}>
                <span>{spoken(field)}</span>
                <span className="bar" aria-hidden="true">
                  <span style={{ width: `${(share / most) * 100}%` }} />
                </span>
                <span>{percent(share)}</span>
              </li>
            ))}
          </ul>
        </div>
      )}
    </>
  );
}
