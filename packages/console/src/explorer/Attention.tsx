import type { MomentReply, RankedPoi } from '../api/types';
import { percent } from '../design/format';
import { spoken } from './view';

/** Mean attention per keyword over ranked POIs; keywords that no POI has are left out. */
export function meanAttention(ranked: readonly RankedPoi[]): Map<string, number> {
  const sums = new Map<string, number>();
  let rows = 0;
  for (const { attention } of ranked) {
    if (attention === undefined) continue;
    rows++;
    for (const [field, share] of Object.entries(attention)) sums.set(field, (sums.get(field) ?? 0) + share);
  }
  return new Map([...sums].map(([field, sum]) => [field, sum / rows]));
}

interface ReadingProps {
  moment: MomentReply | null;
  ranked: readonly RankedPoi[];
  /** where two scenes stand side by side */
  label?: string;
  /** keywords that are shown; all of them by default */
  only?: ReadonlySet<string>;
}

/** Keywords that have a text, or attention all the same. */
export function presentKeywords(moment: MomentReply, ranked: readonly RankedPoi[]): string[] {
  const attention = meanAttention(ranked);
  return moment.keywords.filter(({ field, text }) => text !== null || attention.has(field)).map(({ field }) => field);
}

/** The scene as the model reads it: each keyword's text, and how much of its attention it gets. */
export function Reading({ moment, ranked, label, only }: ReadingProps) {
  const attention = meanAttention(ranked);
  const most = Math.max(...attention.values(), 1e-9);
  const explained = attention.size > 0;
  const keywords = (moment?.keywords ?? []).filter(({ field }) => only?.has(field) ?? true);
  return (
    <section
      className="reading"
      aria-label={label === undefined ? 'What the model reads' : `What the model reads in ${label}`}
    >
      <ul className="keywords">
        {keywords.map(({ field, text, known }) => {
          const share = attention.get(field);
          // Keywords of both scene and POI (a distance) have no text of their own here, and attention all the same.
          const varies = text === null && share !== undefined;
          return (
            <li key={field} className={text === null && !varies ? 'keyword absent' : 'keyword'}>
              <span className="keyword-field">{spoken(field)}</span>
              <span className="keyword-text" title={text ?? undefined}>
                <span>{varies ? 'by POI' : (text ?? 'not given')}</span>
                {!known && (
                  <span className="badge warn" title="No embedding of this text: it counts as missing">
                    unknown
                  </span>
                )}
              </span>
              {explained && (
                <span className="keyword-share">
                  <span className="bar" aria-hidden="true">
                    <span style={{ width: `${((share ?? 0) / most) * 100}%` }} />
                  </span>
                  <span className="keyword-percent">
                    <span className="only-heard">attention </span>
                    {share === undefined ? '–' : percent(share)}
                  </span>
                </span>
              )}
            </li>
          );
        })}
      </ul>
    </section>
  );
}

/** Attention of one POI as a row of small columns, in the order of the keywords; said in full where the row is opened. */
export function AttentionMark({
  attention,
  keywords,
  most,
}: {
  attention: Record<string, number>;
  keywords: readonly string[];
  most: number;
}) {
  const width = 5;
  const height = 22;
  return (
    <svg
      className="attention-mark"
      viewBox={`0 0 ${keywords.length * (width + 2)} ${height}`}
      width={keywords.length * (width + 2)}
      height={height}
      aria-hidden="true"
    >
      {keywords.map((field, i) => {
        const share = attention[field] ?? 0;
        const tall = Math.max(share === 0 ? 1 : 2, (share / most) * height);
        return (
          <rect
            key={field}
            x={i * (width + 2)}
            y={height - tall}
            width={width}
            height={tall}
            rx="1"
            className={share === 0 ? 'none' : ''}
          >
            <title>{`${spoken(field)} ${percent(share)}`}</title>
          </rect>
        );
      })}
    </svg>
  );
}
