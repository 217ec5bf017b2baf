import { useRef, useState } from 'react';
import type { CatalogueEntry, CatalogueSceneReply, RankedPoi } from '../api/types';
import { percent } from '../design/format';
import { nameOf } from './catalogue';
import { agreement, moves } from './moves';
import { MoveMark, underName } from './Ranking';
import { useReorder } from './use-reorder';

export interface Side {
  /** what is different about it, in a few words */
  says: string;
  catalogue: CatalogueSceneReply;
  entries: ReadonlyMap<string, CatalogueEntry>;
  ranked: readonly RankedPoi[];
  waiting: boolean;
}

/** Height of a row; the lines between the lists go by it. */
const ROW = 56;
const GAP = 72;

/** Two rankings of the same POIs side by side, with a line from each POI's place in one to its place in the other. */
export function Comparison({ a, b, shown, by }: { a: Side; b: Side; shown: number; by: 'pCtr' | 'pCtcvr' }) {
  const [held, setHeld] = useState<string | null>(null);
  const [over, setOver] = useState<string | null>(null);
  const idsA = a.ranked.map(({ poi }) => poi);
  const idsB = b.ranked.map(({ poi }) => poi);
  const toB = moves(idsA, idsB);
  const toA = moves(idsB, idsA);
  const tau = agreement(idsA, idsB);
  const moved = idsB.slice(0, shown).filter((id) => toB.get(id)?.up !== 0 || toB.get(id)?.from === null).length;
  const marked = over ?? held;
  const column = (side: Side, label: 'A' | 'B', ids: readonly string[], change: ReturnType<typeof moves>) => (
    <Column
      side={side}
      label={label}
      ids={ids.slice(0, shown)}
      moves={change}
      against={label === 'A' ? 'B' : 'A'}
      by={by}
      marked={marked}
      held={held}
      onOver={setOver}
      onHold={(id) => setHeld(held === id ? null : id)}
    />
  );
  const rows = Math.min(shown, Math.max(idsA.length, idsB.length));
  return (
    <section className="comparison" aria-label="Comparison of A and B">
      <p className="comparison-sum" role="status">
        <strong>{moved}</strong> of the first {rows} stand elsewhere in B
        {tau !== null && (
          <>
            {' '}
            · agreement of the whole order <strong>{tau.toFixed(2)}</strong>
            <span className="quiet"> (1 the same, −1 reversed)</span>
          </>
        )}
      </p>
      <div className="columns">
        {column(a, 'A', idsA, toA)}
        <svg
          className="slopes"
          viewBox={`0 0 ${GAP} ${rows * ROW}`}
          width={GAP}
          height={rows * ROW}
          preserveAspectRatio="none"
          aria-hidden="true"
        >
          {idsA.map((id, i) => {
            const j = toB.get(id)?.to;
            if (j === undefined || (i >= rows && j > rows)) return null;
            const y = (rank: number): number => rank * ROW + ROW / 2;
            const [from, to] = [y(Math.min(i, rows)), y(Math.min(j - 1, rows))];
            const kind = j - 1 < i ? 'up' : j - 1 > i ? 'down' : 'same';
            return (
              <path
                key={id}
                className={`slope ${kind} ${marked === null ? '' : marked === id ? 'marked' : 'faded'}`}
                d={`M0 ${from}C${GAP / 2} ${from} ${GAP / 2} ${to} ${GAP} ${to}`}
              />
            );
          })}
        </svg>
        {column(b, 'B', idsB, toB)}
      </div>
    </section>
  );
}

interface ColumnProps {
  side: Side;
  label: 'A' | 'B';
  ids: readonly string[];
  moves: ReturnType<typeof moves>;
  against: string;
  by: 'pCtr' | 'pCtcvr';
  marked: string | null;
  held: string | null;
  onOver: (id: string | null) => void;
  onHold: (id: string) => void;
}

function Column({ side, label, ids, moves: change, against, by, marked, held, onOver, onHold }: ColumnProps) {
  const list = useRef<HTMLOListElement>(null);
  useReorder(list, ids);
  const rows = new Map(side.ranked.map((row) => [row.poi, row]));
  const most = Math.max(...side.ranked.map((row) => row[by] ?? 0), 1e-9);
  return (
    <div className={`column side-${label.toLowerCase()}`} aria-busy={side.waiting}>
      <h2 className="column-head">
        <span className={`letter ${label.toLowerCase()}`}>{label}</span>
        <span className="column-says">{side.says}</span>
      </h2>
      <ol ref={list} className="compact" onPointerLeave={() => onOver(null)}>
        {ids.map((id) => {
          const row = rows.get(id)!;
          const entry = side.entries.get(id);
          const p = row[by] ?? row.pCtr;
          return (
            <li key={id} data-id={id} className={marked === id ? 'marked' : ''} onPointerEnter={() => onOver(id)}>
              <span className="poi-rank">
                <span className="only-heard">Rank </span>
                {row.rank}
              </span>
              <span className="compact-what">
                <button
                  type="button"
                  aria-pressed={held === id}
                  onClick={() => onHold(id)}
                  onFocus={() => onOver(id)}
                  onBlur={() => onOver(null)}
                >
                  {entry === undefined ? id : nameOf(entry, side.catalogue)}
                </button>
                <span className="poi-under">{underName(entry, side.catalogue)}</span>
              </span>
              {label === 'B' && <MoveMark move={change.get(id)} against={against} />}
              <span className="chance sorts">
                <span className="chance-number">{percent(p)}</span>
                <span className="bar" aria-hidden="true">
                  <span style={{ width: `${(p / most) * 100}%` }} />
                </span>
              </span>
            </li>
          );
        })}
      </ol>
    </div>
  );
}
