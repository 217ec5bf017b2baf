import { type DuckdbSession, ident, literal } from '../duckdb/session.js';
import type { StatisticLayout } from '../features/layout.js';

/** Days of the log, both inclusive. */
export interface DaySpan {
  first: number;
  last: number;
}

/** How `wide` gets its statistics: one join per kind of key and window end. */
export interface StatisticJoins {
  /** @param days the only days that rows are joined for, so that what is joined is no more than theirs; null = all */
  joins: (days: DaySpan | null) => string;
  /** SQL of each statistic's dense value (transformed), in the layout's order. */
  values: Map<string, string>;
}

/** Which events statistics and sequences are computed over: those with `seen`; the others are rows that have them all the same. */
export interface EventSource {
  /** Relation with user_index, poi_index, day, t, row_id, seen (0 or 1), and click and ord, which are 0 where not seen. */
  sql: string;
  /** Ends the names of the tables that are made. */
  suffix: string;
}

/** Every event is seen. */
export const allEvents: EventSource = {
  sql: '(SELECT user_index, poi_index, day, t, row_id, 1 AS seen, click, ord FROM ev)',
  suffix: '',
};

const dayMicroseconds = 86_400_000_000n;

/**
 * Trailing statistics of users, POIs and pairs. Every window ends strictly before the event's day (default) or before the
 * event, so no row sees its own outcome, its day's, or anything later: `RANGE … AND 1 PRECEDING` on whole days or microseconds.
 *
 * With day windows the log is first added up per key and day, so the work after that does not grow with the impressions.
 * A key also gets one row at the end of the data, which is its state as of export (`stateColumns`).
 */
export async function computeStatistics(
  db: DuckdbSession,
  statistics: readonly StatisticLayout[],
  source: EventSource = allEvents,
): Promise<StatisticJoins> {
  const joins: { table: string; on: string[] }[] = [];
  const values = new Map<string, string>();
  const groups = new Map<string, StatisticLayout[]>();
  for (const s of statistics) {
    const group = `${s.of}/${s.ending}`;
    groups.set(group, [...(groups.get(group) ?? []), s]);
  }
  for (const [group, members] of groups) {
    const { of, ending } = members[0]!;
    const table = `stat_${group.replace(/\W/g, '_')}${source.suffix}`;
    const keys = of === 'user' ? ['user_index'] : of === 'poi' ? ['poi_index'] : ['user_index', 'poi_index'];
    const byDay = ending === 'day';
    const unit = byDay ? 'day' : 'tick';
    // The sentinel row comes one unit after the last event.
    if (byDay) {
      await db.run(
        `CREATE TABLE counts AS SELECT ${keys.join(', ')}, day, NULL::BIGINT AS row_id, sum(seen) AS i, sum(click) AS c, sum(ord) AS o FROM ${source.sql} GROUP BY ALL`,
      );
    } else {
      await db.run(
        `CREATE TABLE counts AS SELECT ${keys.join(', ')}, epoch_us(t) AS tick, day, row_id, seen AS i, click AS c, ord AS o FROM ${source.sql}`,
      );
    }
    await db.run(`CREATE TABLE counts_end AS SELECT * FROM counts UNION ALL BY NAME
      SELECT DISTINCT ${keys.join(', ')}, ${byDay ? '' : '(SELECT max(tick) + 1 FROM counts) AS tick,'} (SELECT max(day) FROM counts) + ${byDay ? 1 : 0} AS day,
        -1::BIGINT AS row_id, 0 AS i, 0 AS c, 0 AS o FROM counts`);
    // The prior of smoothed rates: everything before, over all keys, under the same rule.
    await db.run(`CREATE TABLE prior AS SELECT ${unit},
        sum(sum(i)) OVER w AS pi, sum(sum(c)) OVER w AS pc, sum(sum(o)) OVER w AS po
      FROM counts_end GROUP BY ${unit} WINDOW w AS (ORDER BY ${unit} RANGE BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)`);
    const frame = (window: number | null) => {
      const from = window === null ? 'UNBOUNDED' : byDay ? window : BigInt(window) * dayMicroseconds;
      return `(PARTITION BY ${keys.join(', ')} ORDER BY ${unit} RANGE BETWEEN ${from} PRECEDING AND 1 PRECEDING)`;
    };
    const windows = [...new Set(members.map((m) => m.window))];
    const windowName = (window: number | null) => (window === null ? 'w_all' : `w_${window}`);
    const sql = members.map((m) => `${statisticSql(m, windowName(m.window))} AS ${ident(`dense_${m.name}`)}`);
    await db.run(`CREATE TABLE ${table} AS SELECT ${keys.map((k) => `counts_end.${k}`).join(', ')}, counts_end.day, row_id, ${sql.join(', ')}
      FROM counts_end JOIN prior USING (${unit})
      WINDOW ${windows.map((w) => `${windowName(w)} AS ${frame(w)}`).join(', ')}`);
    await db.run('DROP TABLE counts; DROP TABLE counts_end; DROP TABLE prior');
    const on = byDay
      ? [...keys.map((k) => `${table}.${k} = ev.${k}`), `${table}.day = ev.day`, `${table}.row_id IS NULL`]
      : [`${table}.row_id = ev.row_id`];
    joins.push({ table, on });
    for (const m of members) values.set(m.name, `${table}.${ident(`dense_${m.name}`)}`);
  }
  const span = (table: string, days: DaySpan | null) =>
    days === null ? [] : [`${table}.day BETWEEN ${days.first} AND ${days.last}`];
  return {
    joins: (days) =>
      joins.map(({ table, on }) => `LEFT JOIN ${table} ON ${[...on, ...span(table, days)].join(' AND ')}`).join('\n'),
    values,
  };
}

/** SQL over the store tables: the state of every key of a kind at the end of the data. */
export function stateColumns(
  statistics: readonly StatisticLayout[],
  of: StatisticLayout['of'],
): { tables: string[]; columns: string[] } {
  const tables = new Set<string>();
  const columns: string[] = [];
  for (const s of statistics) {
    if (s.of !== of) continue;
    const table = `stat_${`${s.of}/${s.ending}`.replace(/\W/g, '_')}`;
    tables.add(table);
    columns.push(`${table}.${ident(`dense_${s.name}`)}`);
  }
  return { tables: [...tables], columns };
}

/** What a key without any history would have at the end of the data: no counts, the prior rate, nothing for "days since". */
export async function absentValues(
  db: DuckdbSession,
  statistics: readonly StatisticLayout[],
): Promise<Map<string, number>> {
  const { i, c, o } = await db.row<{ i: bigint; c: bigint; o: bigint | null }>(
    'SELECT count(*) AS i, sum(click)::BIGINT AS c, sum(ord)::BIGINT AS o FROM ev',
  );
  const absent = new Map<string, number>();
  for (const { name, measure } of statistics) {
    if (measure === 'ctr') absent.set(name, Number(c) / Number(i));
    else if (measure === 'cvr') absent.set(name, c === 0n ? 0 : Number(o ?? 0n) / Number(c));
    else if (!measure.startsWith('daysSince')) absent.set(name, 0);
  }
  return absent;
}

function statisticSql({ measure, smoothing: k }: StatisticLayout, window: string): string {
  const sum = (x: string) => `coalesce(sum(${x}) OVER ${window}, 0)`;
  const last = (x: string) => `ln(1 + day - max(CASE WHEN ${x} > 0 THEN day END) OVER ${window})`;
  switch (measure) {
    case 'impressions':
      return `ln(1 + ${sum('i')})`;
    case 'clicks':
      return `ln(1 + ${sum('c')})`;
    case 'orders':
      return `ln(1 + ${sum('o')})`;
    case 'ctr':
      return `(${sum('c')} + ${k} * pc / nullif(pi, 0)) / (${sum('i')} + ${k})`;
    case 'cvr':
      return `(${sum('o')} + ${k} * po / nullif(pc, 0)) / (${sum('c')} + ${k})`;
    case 'daysSinceImpression':
      return last('i');
    case 'daysSinceClick':
      return last('c');
    case 'daysSinceOrder':
      return last('o');
    default:
      throw new RangeError(`unknown measure ${literal(measure)}`);
  }
}
