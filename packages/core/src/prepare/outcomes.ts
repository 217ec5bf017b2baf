// Columns that give a label away: outcomes are not known when POIs are ranked.
import { type DuckdbSession, ident } from '../duckdb/session.js';
import { ConfigError } from '../errors.js';
import { valueInputs } from '../scene/inputs.js';
import type { DatasetSchema, ValueSpec } from '../schema/schema.js';
import { type ColumnSql, numberSql, presentSql } from './sql-values.js';

/**
 * What a column shows, its value, its being there, its side of a threshold, is taken for the label's doing where it goes with one
 * class of the label without exception, in so many rows that labels dealt out at random would do the same less often than once in
 * 10^12 times. That is the square of what chance alone calls for: a column that rightly tells much, but no outcome, has exceptions.
 */
const lnChance = -12 * Math.LN10;
/** Rows with a value, where it is all in one class. */
const leastRows = 20;
/** Rows with a value, and of each class among them, where values tell the classes apart. */
const leastTold = { rows: 50, ofEach: 5 };
/** More different values than this are no words for an outcome. */
const mostWords = 20;
/** Rows that a column is looked at in first: an exception among them is one, and a large log is seldom read to its end. */
const firstRows = 100_000;
/** What has one value wherever the label is 1 is taken for a step on the way there only if few of the other rows have it. */
export const mostOutside = 0.5;

/** How one column stands to one label, in some rows. */
interface Agreement {
  /** Rows with a value where the label is 1, and where it is 0. */
  ones: number;
  zeros: number;
  /** Of these, with another value than 0, false or no. */
  saidOnes: number;
  saidZeros: number;
  /** Whether all values are numbers which one threshold splits as the label does. */
  split: boolean;
  /** Different values; null where there are too many or one of them goes with both classes. */
  words: number | null;
}

/** A column that gives a label away: what reads it, and how it shows the label. */
interface Outcome {
  column: string;
  what: string;
  how: string;
}

/** Features or scene keywords read columns that give a label away; `columns` are all of them. */
export class LabelLeak extends ConfigError {
  readonly columns: readonly Outcome[];
  constructor(where: string, found: readonly [Outcome, ...Outcome[]]) {
    const [{ column, what, how }, ...others] = found;
    const also =
      others.length === 0
        ? ''
        : ` The same holds of ${others.map((o) => `"${o.column}" (the ${o.what}), which ${o.how}`).join('; of ')}.`;
    super(
      'LABEL_LEAK',
      `${where}: the ${what} reads the column "${column}", which ${how}, without exception.${also} An outcome is not known when POIs are ranked, and a model that is shown it learns nothing else. Leave ${others.length === 0 ? 'it' : 'them'} out of features and scene keywords.`,
      { file: where, field: column },
    );
    this.columns = found;
  }
}

/**
 * Refuses features and scene keywords over event columns that give a label away: its copy, its opposite or other words for it; what is
 * there, or is other than 0, only where the label is 1 (or is there only where it is 0); a number that one threshold splits by the label. Missing
 * values are no exceptions.
 * What is only a step on the way to the label, as a click is to an order, has exceptions: it may have been known before, and is told of.
 * @returns warnings of columns of two values that have one of them wherever the label is 1, and seldom elsewhere
 * @throws LabelLeak `LABEL_LEAK`, which names every such column
 */
export async function refuseOutcomes(
  db: DuckdbSession,
  schema: DatasetSchema,
  where: string,
  types: ReadonlyMap<string, string>,
  orders: boolean,
): Promise<string[]> {
  const uses = columnUses(schema);
  const outcomes: Outcome[] = [];
  const steps = new Map<string, string>();
  const only = schema.labels.click === undefined && schema.labels.order !== undefined ? 'order' : 'click';
  for (const [name, label] of [[only, 'click'], ...(orders ? [['order', 'ord']] : [])] as [string, string][]) {
    const { n, ones } = await db.row<{ n: bigint; ones: bigint }>(
      `SELECT count(*) AS n, sum(${label})::BIGINT AS ones FROM ev`,
    );
    const total = { ones: Number(ones), zeros: Number(n - ones) };
    if (total.ones === 0 || total.zeros === 0) continue;
    for (const { column, what, missing } of uses) {
      if (outcomes.some((o) => o.column === column)) continue;
      const of = { sql: ident(`c:${column}`), type: types.get(column)! };
      const look = (rows: string, wordsToo: boolean) => agreement(db, rows, label, of, missing, wordsToo);
      let found = await look(`(FROM ev LIMIT ${firstRows})`, true);
      if (Number(n) > firstRows && isOpen(found)) found = await look('ev', found.words !== null);
      const how = sign(found, total, name);
      if (how !== null) outcomes.push({ column, what, how });
      if (how !== null || steps.has(column)) continue;
      const step = await stepTo(db, label, of, missing, Number(n) > firstRows);
      if (step !== null)
        steps.set(
          column,
          `${where}: the ${what} reads the column "${column}", which is ${JSON.stringify(step.value)} in all ${total.ones} rows whose label "${name}" is 1 and in ${(100 * step.outside).toFixed(1)} % of the others. If that has to happen first, as a click before an order, it is not known when POIs are ranked: leave it out${name === 'order' && only === 'order' ? ', or name it as the label "click"' : ''}.`,
        );
    }
  }
  const [first, ...others] = outcomes;
  if (first !== undefined) throw new LabelLeak(where, [first, ...others]);
  return [...steps.values()];
}

/** The value that a column of two values has wherever the label is 1, and the share of the other rows that have it; null where it is no step on the way. */
async function stepTo(
  db: DuckdbSession,
  label: string,
  column: ColumnSql,
  missing: ReadonlySet<string>,
  many: boolean,
): Promise<{ value: string; outside: number } | null> {
  for (const rows of many ? [`(FROM ev LIMIT ${firstRows})`, 'ev'] : ['ev']) {
    const values = await db.rows<{ v: string | null; ones: bigint; zeros: bigint }>(
      `SELECT v, count(*) FILTER (y = 1) AS ones, count(*) FILTER (y = 0) AS zeros
       FROM (SELECT ${label} AS y, ${presentSql(column, missing)} AS v FROM ${rows}) GROUP BY 1 LIMIT 4`,
    );
    const [value, ...more] = values.filter(({ ones }) => ones > 0n);
    const last = rows === 'ev';
    if (value === undefined && !last) continue;
    if (value?.v == null || more.length > 0 || values.filter(({ v }) => v !== null).length > 2) return null;
    if (!last) continue;
    const zeros = values.reduce((sum, of) => sum + Number(of.zeros), 0);
    const [ones, outside] = [Number(value.ones), Number(value.zeros) / zeros];
    const step = outside < mostOutside && noChance(ones, ones + Number(value.zeros), ones + zeros);
    return step ? { value: value.v, outside } : null;
  }
  return null;
}

/** Whether chance hardly ever has `rows`, of `all`, fall within `size` of these. */
export function noChance(rows: number, size: number, all: number): boolean {
  return rows >= leastRows && lnChoose(size, rows) - lnChoose(all, rows) < lnChance;
}

interface ColumnUse {
  column: string;
  what: string;
  /** What stands for a missing value where this use reads the column. */
  missing: ReadonlySet<string>;
}

/** The event columns that features and scene keywords read, each once for every set of markers that it is read with. */
function columnUses(schema: DatasetSchema): ColumnUse[] {
  const uses = new Map<string, ColumnUse>();
  const collect = (what: string, value: ValueSpec, own: readonly string[] = []) => {
    const missing = new Set([...schema.missing, ...own]);
    for (const ref of valueInputs(value)) {
      if (!ref.startsWith('events.')) continue;
      const column = ref.slice('events.'.length);
      const key = JSON.stringify([column, [...missing].sort()]);
      if (column === schema.keys.user || column === schema.keys.poi || uses.has(key)) continue;
      uses.set(key, { column, what, missing });
    }
  };
  // An ID feature keeps the schema's markers as values, but they say no more for it.
  const { categorical, dense } = schema.features;
  for (const f of [...categorical, ...dense]) collect(`feature "${f.name}"`, f.value, f.missing);
  for (const k of schema.keywords.scene) collect(`scene keyword "${k.name}"`, k.value, k.missing);
  return [...uses.values()];
}

async function agreement(
  db: DuckdbSession,
  rows: string,
  label: string,
  column: ColumnSql,
  missing: ReadonlySet<string>,
  wordsToo: boolean,
): Promise<Agreement> {
  const number = column.type.endsWith('[]') ? 'NULL::DOUBLE' : numberSql(column, missing);
  const values = `(SELECT ${label} AS y, ${presentSql(column, missing)} AS v, ${number} AS x FROM ${rows})`;
  const nothing = `coalesce(x = 0, false) OR lower(v) IN ('false', 'no', 'f', 'n')`;
  const { ones, zeros, saidones, saidzeros, split } = await db.row<{
    ones: bigint;
    zeros: bigint;
    saidones: bigint;
    saidzeros: bigint;
    split: boolean | null;
  }>(`SELECT count(*) FILTER (y = 1) AS ones, count(*) FILTER (y = 0) AS zeros,
      count(*) FILTER (y = 1 AND NOT (${nothing})) AS saidones, count(*) FILTER (y = 0 AND NOT (${nothing})) AS saidzeros,
      bool_and(x IS NOT NULL) AND (min(x) FILTER (y = 1) > max(x) FILTER (y = 0) OR max(x) FILTER (y = 1) < min(x) FILTER (y = 0)) AS split
    FROM ${values} WHERE v IS NOT NULL`);
  const words = wordsToo
    ? await db.row<{ n: bigint; mixed: boolean | null }>(
        `SELECT count(*) AS n, bool_or(mixed) AS mixed FROM (SELECT min(y) <> max(y) AS mixed FROM ${values} WHERE v IS NOT NULL GROUP BY v)`,
      )
    : null;
  return {
    ones: Number(ones),
    zeros: Number(zeros),
    saidOnes: Number(saidones),
    saidZeros: Number(saidzeros),
    split: split === true,
    words: words === null || words.mixed || words.n > BigInt(mostWords) ? null : Number(words.n),
  };
}

/** Whether more rows could still show an outcome. */
function isOpen({ ones, zeros, saidZeros, split, words }: Agreement): boolean {
  return ones === 0 || zeros === 0 || saidZeros === 0 || split || words !== null;
}

/** How the column gives the label away, in words; null where it does not, or where it may be chance. */
function sign(
  { ones, zeros, saidOnes, saidZeros, split, words }: Agreement,
  total: { ones: number; zeros: number },
  label: string,
): string | null {
  const all = total.ones + total.zeros;
  // Of all ways to choose so many rows, those within one class.
  const within = (rows: number, size: number) => noChance(rows, size, all);
  if (words !== null || split) {
    const told =
      ones >= leastTold.ofEach && zeros >= leastTold.ofEach && ones + zeros >= leastTold.rows
        ? -lnChoose(ones + zeros, ones)
        : 0;
    const rows = ones + zeros === all ? `all ${all} rows` : `all of the ${ones + zeros} rows where it is there`;
    // A word goes with one class or the other, a threshold has the ones above or below.
    if (words !== null && told + words * Math.LN2 < lnChance)
      return `is the label "${label}" in other words in ${rows}`;
    if (split && told + Math.LN2 < lnChance) return `one threshold splits exactly as the label "${label}" in ${rows}`;
  }
  if (zeros === 0 && within(ones, total.ones))
    return `is there in ${ones} of ${all} rows, and the label "${label}" is 1 in all of them`;
  if (ones === 0 && within(zeros, total.zeros))
    return `is there in ${zeros} of ${all} rows, and the label "${label}" is 0 in all of them`;
  if (saidZeros === 0 && within(saidOnes, total.ones))
    return `is other than 0 (or false, or no) in ${saidOnes} of ${all} rows, and the label "${label}" is 1 in all of them`;
  return null;
}

/** ln of n over k. */
function lnChoose(n: number, k: number): number {
  return lnFactorial(n) - lnFactorial(k) - lnFactorial(n - k);
}

/** Stirling's series; to 1e-4 from n = 1 on. */
function lnFactorial(n: number): number {
  if (n === 0) return 0;
  return n * Math.log(n) - n + 0.5 * Math.log(2 * Math.PI * n) + 1 / (12 * n) - 1 / (360 * n ** 3);
}
