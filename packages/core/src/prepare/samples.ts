import type { DuckdbSession } from '../duckdb/session.js';
import { type FeatureLayout, featureLayout } from '../features/layout.js';
import type { DatasetSchema, SplitSpec } from '../schema/schema.js';
import { DerivedColumns, writeCodeTexts } from './derived-columns.js';
import { uniformSql } from './sql-values.js';
import { allEvents, computeStatistics, type DaySpan, type EventSource } from './statistics.js';
import type { LoadedTables } from './tables.js';

/** One categorical column of `wide`: `v<i>`, a text or a code with its texts in table `ct<i>`. */
export interface WideCategorical {
  kind: 'text' | 'code';
}

/** What `buildSamples` made: table `wide` with one row per sample, before any vocabulary. */
export interface WideSamples {
  layout: FeatureLayout;
  categorical: WideCategorical[];
  /** Scene texts by code, per field; column `s<i>` of `wide`, texts in table `st<i>`. */
  scene: string[][];
  /** Per split: the columns of `wide` that hold its dense values (features, then statistics) and its sequences. */
  history: { dense: string[]; sequences: string[] }[];
}

/**
 * Builds `wide`: keys, labels, `v<i>` categorical values, `d<i>` dense values (transformed), `s<i>` scene codes, `q<i>`
 * sequences, and `part<k>` for the k-th split: 0 train, 1 validation, 2 test, 3 left out (thinned negatives).
 *
 * Under a split by time everything before a row is known when the row happens. Under the others the test rows lie among the
 * train rows: there statistics and sequences come from the train part's events alone (`d<i>_<k>`, `q<i>_<k>`), or train rows
 * would hold labels of test rows and a cold POI's rows the labels of that POI.
 */
export async function buildSamples(
  db: DuckdbSession,
  schema: DatasetSchema,
  tables: LoadedTables,
  options: {
    seed: number;
    eventsAtOnce?: number;
    /** Told the share of rows that have been joined with their features, 0 at first. */
    onRows?: (share: number) => void;
  },
): Promise<WideSamples> {
  const { seed, eventsAtOnce = 6_000_000, onRows = () => {} } = options;
  const layout = featureLayout(schema);
  const lastDay = schema.time === undefined ? 0 : (await db.row<{ d: number }>('SELECT max(day) AS d FROM ev')).d;
  const splits = Object.entries(schema.splits).map(([name, split]) => ({
    kind: split.kind,
    part: partSql(name, split, seed, lastDay),
  }));
  const derived = new DerivedColumns(db, tables);
  const select: string[] = ['ev.row_id', 'ev.user_index', 'ev.poi_index', 'ev.click', 'ev.ord'];
  if (schema.time !== undefined) select.push('ev.t');

  const categorical = [];
  for (const [i, f] of layout.categorical.entries()) {
    const column = await derived.categorical(f.value, f.missing);
    select.push(`${column.sql} AS v${i}`);
    categorical.push(column);
  }
  for (const [i, f] of layout.dense.entries()) {
    const x = await derived.dense(f.value, f.missing);
    // Not greatest(0, x), which skips NULL: what is missing must stay missing.
    select.push(
      `(${f.transform === 'log1p' ? `ln(1 + CASE WHEN ${x} > 0 THEN ${x} WHEN ${x} IS NOT NULL THEN 0 END)` : x})::FLOAT AS d${i}`,
    );
  }
  const scene = [];
  for (const [i, k] of schema.keywords.scene.entries()) {
    const column = await derived.scene(k.value, new Set([...schema.missing, ...(k.missing ?? [])]));
    select.push(`${column.sql} AS s${i}`);
    scene.push(column);
  }
  const historyJoins: ((days: DaySpan | null) => string)[] = [];
  /** Adds the statistics and sequences over some events. @returns their columns */
  const addHistory = async (source: EventSource) => {
    const { joins, values } = await computeStatistics(db, layout.statistics, source);
    historyJoins.push(joins);
    const statistics = layout.statistics.map((f, i) => {
      const column = `d${layout.dense.length + i}${source.suffix}`;
      select.push(`(${values.get(f.name)})::FLOAT AS ${column}`);
      return column;
    });
    const sequences: string[] = [];
    for (const [i, f] of schema.features.sequences.entries()) {
      const table = `sequence${i}${source.suffix}`;
      await buildSequences(db, table, f.length, f.on, source);
      historyJoins.push(() => `ASOF LEFT JOIN ${table} ON ev.user_index = ${table}.user_index AND ev.t > ${table}.t`);
      sequences.push(`q${i}${source.suffix}`);
      select.push(`list_resize(coalesce(${table}.pois, []::INTEGER[]), ${f.length}, 0) AS q${i}${source.suffix}`);
    }
    return { dense: [...layout.dense.map((_, i) => `d${i}`), ...statistics], sequences };
  };
  const whole = await addHistory(allEvents);
  const history: WideSamples['history'] = [];
  const hasHistory = layout.statistics.length > 0 || schema.features.sequences.length > 0;
  for (const [i, { kind, part }] of splits.entries())
    history.push(kind === 'time' || !hasHistory ? whole : await addHistory(trainEvents(part, `_${i}`)));
  for (const [i, split] of splits.entries()) {
    let { part } = split;
    if (schema.negatives?.method === 'downsample') {
      part = `CASE WHEN ev.click = 0 AND coalesce(ev.ord, 0) = 0 AND (${part}) = 0 AND ${uniformSql(seed, 'thin', 'ev.row_id')} >= ${share(schema.negatives.keep)} THEN 3 ELSE (${part}) END`;
    }
    select.push(`(${part})::UTINYINT AS part${i}`);
  }

  const spans = schema.time === undefined ? [null] : await daySpans(db, eventsAtOnce);
  onRows(0);
  for (const [i, days] of spans.entries()) {
    const rows = days === null ? 'ev' : `(SELECT * FROM ev WHERE day BETWEEN ${days.first} AND ${days.last}) ev`;
    await db.run(`${i === 0 ? 'CREATE TABLE wide AS' : 'INSERT INTO wide'} SELECT ${select.join(',\n')}
      FROM ${rows} JOIN us ON us.user_index = ev.user_index JOIN po ON po.poi_index = ev.poi_index
      ${derived.joins.join('\n')}
      ${historyJoins.map((joins) => joins(days)).join('\n')}`);
    onRows((i + 1) / spans.length);
  }

  for (const [i, column] of categorical.entries()) {
    if (column.kind === 'code') await writeCodeTexts(db, `ct${i}`, column.texts);
  }
  for (const [i, column] of scene.entries()) await writeCodeTexts(db, `st${i}`, column.texts);
  return {
    layout,
    categorical: categorical.map((column) => ({ kind: column.kind === 'code' ? 'code' : 'text' })),
    scene: scene.map((column) => column.texts),
    history,
  };
}

/**
 * Spans of days with about `rows` events each. All at once, the statistics that rows are joined with may be as many as the rows and
 * outgrow the memory; DuckDB then writes the rows, wide as they are by then, to disk and reads them back.
 */
async function daySpans(db: DuckdbSession, rows: number): Promise<DaySpan[]> {
  const spans: (DaySpan & { rows: number })[] = [];
  for (const { day, n } of await db.rows<{ day: number; n: bigint }>(
    'SELECT day, count(*) AS n FROM ev GROUP BY 1 ORDER BY 1',
  )) {
    const span = spans.at(-1);
    if (span === undefined || span.rows + Number(n) > rows) spans.push({ first: day, last: day, rows: Number(n) });
    else {
      span.last = day;
      span.rows += Number(n);
    }
  }
  return spans;
}

/** The events of a split's train part, thinned negatives among them. */
function trainEvents(part: string, suffix: string): EventSource {
  return {
    sql: `(SELECT user_index, poi_index, day, t, row_id, seen, click * seen AS click, ord * seen AS ord FROM (
      SELECT ev.*, ((${part}) = 0)::INTEGER AS seen FROM ev JOIN us USING (user_index) JOIN po USING (poi_index)))`,
    suffix,
  };
}

/** For each user and moment of a click (or order): the last `length` POIs up to and including it, newest first, as poi_index + 1. */
async function buildSequences(
  db: DuckdbSession,
  table: string,
  length: number,
  on: 'click' | 'order',
  source: EventSource,
): Promise<void> {
  await db.run(`CREATE TABLE ${table} AS SELECT user_index, t, list_reverse(pois) AS pois FROM (
      SELECT user_index, t,
        list(poi_index + 1) OVER (PARTITION BY user_index ORDER BY t, row_id ROWS BETWEEN ${length - 1} PRECEDING AND CURRENT ROW) AS pois,
        row_number() OVER (PARTITION BY user_index, t ORDER BY row_id DESC) AS r
      FROM ${source.sql} WHERE ${on === 'order' ? 'ord' : 'click'} = 1) WHERE r = 1`);
}

/** Part of a row under a split. Random and cold splits hash the row, POI or user: adding rows moves none of the others. */
function partSql(name: string, split: SplitSpec, seed: number, lastDay: number): string {
  if (split.kind === 'time') {
    const test = lastDay - split.testDays;
    return `CASE WHEN ev.day > ${test} THEN 2 WHEN ev.day > ${test - split.validationDays} THEN 1 ELSE 0 END`;
  }
  const key = split.kind === 'random' ? 'ev.row_id' : split.kind === 'cold-poi' ? 'po.poi' : 'us.user';
  const u = uniformSql(seed, `split ${name}`, key);
  const total = split.ratios[0] + split.ratios[1] + split.ratios[2];
  return `CASE WHEN ${u} < ${share(split.ratios[0] / total)} THEN 0 WHEN ${u} < ${share((split.ratios[0] + split.ratios[1]) / total)} THEN 1 ELSE 2 END`;
}

/** A share of the range of `uniformSql`. */
function share(x: number): string {
  const value = x >= 1 ? 2n ** 64n - 1n : BigInt(Math.round(x * 2 ** 53)) * 2n ** 11n;
  return `${value}::UBIGINT`;
}
