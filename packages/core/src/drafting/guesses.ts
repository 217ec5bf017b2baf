import { type DuckdbSession, ident, literal } from '../duckdb/session.js';
import { ConfigError, didYouMean } from '../errors.js';
import { timeSql } from '../prepare/sql-values.js';
import type { DatasetSchemaInput } from '../schema/schema.js';
import type { DraftOptions } from './draft-schema.js';
import type { OddTimes } from './odd-times.js';
import { outcomeNamed, saysBefore, saysOnlyOutcome, saysResult } from './outcome-names.js';
import type { ColumnSketch, Sketches, Table } from './sketch.js';

/** Key columns that were found by their values. */
export type Links = Partial<Record<'users' | 'pois', { event: string; own: string }>>;
/** Of each table: its file as the schema names it and as messages do, and its delimiter where it is no comma. */
export type Sources = Partial<Record<Table, DraftSource>>;
export interface DraftSource {
  path: string;
  where: string;
  delimiter?: string;
  /** What is read in place of the file: descriptions that stand in the events. */
  query?: string;
}

/** What is known of the tables, and what has been guessed and said so far. */
export interface Draft {
  options: DraftOptions;
  tables: Sketches;
  sources: Sources;
  links: Links;
  /** Columns of the events that give the label away, and how: what a look at the values found. */
  outcomes: ReadonlyMap<string, string>;
  /** Columns of the events that say the same in every event of a POI, and whether there is a table of POIs beside, which they are not read for. */
  described: { columns: readonly string[]; given: boolean };
  /** Of columns of 0 and 1 of the events, those that are 1 wherever they are and seldom elsewhere. */
  steps: ReadonlyMap<string, readonly string[]>;
  /** What leaves out the few events without a time; null where all have one, or too many have none. */
  timed: TimedEvents | null;
  /** Columns of the events whose values in the test part the train part does not know, and how many of the rows. */
  fleeting: ReadonlyMap<string, number>;
  /** A split by time leaves parts without rows. */
  untimed: string | null;
  /** What the user should look at. */
  remarks: string[];
  /** Comments by the dotted path of their setting. */
  comments: Map<string, string>;
  /** Columns that have found their place, or are left out, as "table.column". */
  used: Set<string>;
}

/** A column's name as it can be pasted into a shell. */
function shellWord(name: string): string {
  return /^[\w@%+=:,./-]+$/.test(name) ? name : `'${name.replaceAll("'", "'\\''")}'`;
}

function take({ used }: Draft, table: Table, name: string): void {
  used.add(`${table}.${name}`);
}

function free({ tables, used }: Draft, table: Table): ColumnSketch[] {
  return tables[table].filter((c) => !used.has(`${table}.${c.name}`));
}

const entities =
  'poi|item|shop|store|restaurant|merchant|product|app|movie|film|place|venue|business|station|hotel|book|song|track|video|game|course|listing|property|article';
const patterns = {
  user: /^(user|uid|customer|member|visitor|account|person|buyer|client|rider|guest|passenger|reader|viewer|listener|player|student|subscriber)([_ -]?(id|key|no|number|uuid|code|hash))?$/i,
  poi: new RegExp(`^(${entities}|iid|sku|wm_poi)([_ -]?(id|key|no|number|uuid|code|hash))?$`, 'i'),
  row: /^(row|event|impression|log|request)?_?(row_?)?id$/i,
  time: /^(time|timestamp|ts|date|datetime|event_?time|created(_at)?|at|when|occurred(_at)?)$/i,
  click: /^(is_?)?(click(ed|s)?|clk|label|target|opened|y|(an)?geklickt|klicks?|cliques?|clicado)$/i,
  order:
    /^(is_?)?(order(ed|s)?|buy|bought|purchase[ds]?|pa(y|id)|conver(sion|ted)|book(ed|ing)?|gekauft|bestellt|gebucht|beworben|achetee?|commandee?|comprado)$/i,
  rating: /^(rating|stars|score)$/i,
  temperature: /temp(erature)?/i,
  latitude: /(^|_)lat(itude)?$/i,
  longitude: /(^|_)(lon|lng|longitude)$/i,
  city: /(^|_)(city|town|municipality)$/i,
  home: /^(home|home_?(city|town)|city|town|lives_in|residence)$/i,
  title: /^(name|title)$/i,
  /** A name of something, "display_name", "nameEn": whose, its values say. */
  named: /(^|[^a-z])(name|title)([^a-z]|$)|[a-z](Name|Title)|^(name|title)[A-Z]/,
  code: /(^|[^a-z])(id|code|key|no|zip|postcode|postal_?code|type|class|category)$|[a-z](Id|Code|Type)$/,
  when: /time|date|_at$|(^|_)(ts|day|when)(_|$)|created|updated/i,
  position:
    /^((list|item|slot|display|screen|feed|page|anzeige)_?)?(position|pos|rank|ranking|rang|posicion)(_?(no|nr|number))?$|^listen_?(platz|position)$|^platzierung$|排序|排名|(曝光|展示)位/i,
  after:
    /dwell|duration|dauer(_|$)|verweil|lese_?zeit|duree|temps_?passe|duracion|tiempo_?en|停留|时长|時長|time_?spent|watch(ed|_?time)|deliver(ed|y_?time)|refund|review|feedback|(^|_)tips?(_|$)|revenue|gmv|checkout|add(ed)?_?to_?cart|^(order|payment|paid|purchase)_?(id|no|number|value|amount|total|price|time|at|status)$/i,
  place: /^(city|town|location|address|district|area)$/i,
  skewed: /price|cost|count|num|amount|distance|sales|fee/i,
};

/** Whether a column is called so, however its words are joined and whatever stands about them: "is_clicked", "Is Clicked?", "isClicked", "cliqué". */
function says(name: string, pattern: RegExp): boolean {
  const joined = name
    .replace(/(\p{Ll})(\p{Lu})/gu, '$1_$2')
    .normalize('NFKD')
    .replace(/\p{M}/gu, '')
    .normalize('NFC')
    .replace(/[^\p{L}\p{N}]+/gu, '_')
    .replace(/^_|_$/g, '');
  return pattern.test(name) || pattern.test(joined);
}

/** The name of each column, as "table.column": its own as far as a name may have its letters, else its number. */
export function nameColumns(tables: Sketches): Map<string, string> {
  const names = new Map<string, string>();
  for (const [table, columns] of Object.entries(tables)) {
    const taken = new Set<string>();
    columns.forEach((column, i) => {
      const own = column.name
        .replace(/[^\p{L}\p{M}\p{N}_-]+/gu, '_')
        .replace(/^[^\p{L}]+|_+$/gu, '')
        .slice(0, longestName);
      const base = own === '' ? `column_${i + 1}` : own;
      let name = base;
      for (let k = 2; taken.has(name.toLowerCase()); k++) name = `${base}_${k}`;
      taken.add(name.toLowerCase());
      names.set(`${table}.${column.name}`, name);
    });
  }
  return names;
}

/** Vocabularies are files of that name. */
const longestName = 60;

/** Gives each name once: of two columns of the same name, in two tables or beside a name of the draft's own, one has its table's before it. */
function naming(names: ReadonlyMap<string, string>): (table: Table | null, wanted: string) => string {
  const taken = new Set<string>();
  return (table, wanted) => {
    const own = table === null ? wanted : names.get(`${table}.${wanted}`)!;
    let name = own;
    if (table !== null && taken.has(name.toLowerCase())) name = `${table.replace(/s$/, '')}_${own}`;
    const base = name;
    for (let i = 2; taken.has(name.toLowerCase()); i++) name = `${base}_${i}`;
    taken.add(name.toLowerCase());
    return name;
  };
}

/** A file as `tables` of the schema names it: a plain path where that says all. */
export function tableSource({ path, delimiter, query }: Omit<DraftSource, 'where'>, key: string | undefined) {
  if (query !== undefined) return { query, ...(key === undefined ? {} : { key }) };
  if (delimiter === undefined && key === undefined) return path;
  return { path, ...(delimiter === undefined ? {} : { delimiter }), ...(key === undefined ? {} : { key }) };
}

/** The events' key columns. @throws ConfigError `KEY_NOT_FOUND`, `KEY_TWICE` */
export function guessKeys(draft: Draft): { user: string; poi: string } {
  const keys = { user: guessKey(draft, 'user'), poi: guessKey(draft, 'poi') };
  if (keys.user === keys.poi)
    throw new ConfigError(
      'KEY_TWICE',
      `${draft.sources.events!.where}: the column "${keys.user}" would be the key of users and of POIs. Say which they are with --user and --poi; there are ${draft.tables.events.map((c) => c.name).join(', ')}.`,
    );
  draft.comments.set(
    'keys',
    'columns of the events, by their names or because their values are those of the other table',
  );
  for (const name of Object.values(keys)) take(draft, 'events', name);
  return keys;
}

/** The column that looks like a key of the events, before anything else is known of the tables; undefined where none does. */
export function likelyKey(
  options: DraftOptions,
  events: readonly ColumnSketch[],
  which: 'user' | 'poi',
): string | undefined {
  // One that is named and not there is told by `guessKeys`.
  const given = options.keys?.[which];
  return events.find((c) => (given === undefined ? says(c.name, patterns[which]) && mayBeKey(c) : c.name === given))
    ?.name;
}

/** A key is a text or a number. */
function mayBeKey({ kind, unwritable }: ColumnSketch): boolean {
  return unwritable === null && kind !== 'list' && kind !== 'time';
}

function guessKey(draft: Draft, which: 'user' | 'poi'): string {
  const { options, tables, sources, links } = draft;
  const events = tables.events.filter(mayBeKey);
  const given = options.keys?.[which];
  if (given !== undefined) {
    if (tables.events.some((c) => c.name === given)) return given;
    throw new ConfigError(
      'KEY_NOT_FOUND',
      `${sources.events!.where} has no column "${given}".${didYouMean(
        given,
        events.map((c) => c.name),
      )}`,
    );
  }
  const found =
    events.find((c) => says(c.name, patterns[which])) ??
    events.find((c) =>
      tables[which === 'user' ? 'users' : 'pois'].some((o) => o.name === c.name && /id$|key$/i.test(c.name)),
    ) ??
    events.find((c) => c.name === links[which === 'user' ? 'users' : 'pois']?.event);
  if (found !== undefined) return found.name;
  throw new ConfigError(
    'KEY_NOT_FOUND',
    `${sources.events!.where}: no column looks like the key of a ${which === 'poi' ? 'POI' : which}. Say which it is with --${which}; there are ${events.map((c) => c.name).join(', ')}.`,
  );
}

/** A table with its key column, as the schema names it; undefined where there is none. @throws ConfigError `KEY_NOT_FOUND` */
export function guessTable(draft: Draft, table: 'users' | 'pois', eventKey: string) {
  const { tables, links } = draft;
  const source = draft.sources[table];
  if (source === undefined) return undefined;
  const pattern = patterns[table === 'users' ? 'user' : 'poi'];
  const own =
    tables[table].find((c) => c.name === eventKey) ??
    tables[table].find((c) => links[table]?.event === eventKey && c.name === links[table].own) ??
    tables[table].find((c) => says(c.name, pattern)) ??
    tables[table].find((c) => /^(id|key)$/i.test(c.name));
  if (own === undefined) {
    throw new ConfigError(
      'KEY_NOT_FOUND',
      `${source.where}: no column looks like the key that the events call "${eventKey}". Name one of ${tables[table].map((c) => c.name).join(', ')} so.`,
    );
  }
  take(draft, table, own.name);
  return tableSource(source, own.name === eventKey ? undefined : own.name);
}

/** The events' time column. */
export function guessTime(draft: Draft): ColumnSketch | undefined {
  const { remarks, comments, timed } = draft;
  if (timed !== null)
    remarks.push(
      `${timed.rows} of ${timed.of} rows have no time in events.${timed.column}${
        timed.first === null
          ? ''
          : `, or what cannot be read as one, first in row ${timed.first.row}: ${JSON.stringify(timed.first.value)}`
      }. tables.events is a query that leaves them out; to keep them, correct the file and name it there.`,
    );
  for (const c of free(draft, 'events')) {
    // Numbers are taken for days, as 20260131, only where they are called so.
    if (c.times === null || (c.kind === 'number' && !says(c.name, patterns.when))) continue;
    take(draft, 'events', c.name);
    remarks.push(oddTimesRemark(draft.sources.events!, c.name, c.times));
  }
  const found =
    free(draft, 'events').find(
      (c) => says(c.name, patterns.time) && (c.kind === 'time' || c.unit !== null) && c.missing === 0,
    ) ??
    free(draft, 'events').find((c) => c.kind === 'time' && c.missing === 0) ??
    free(draft, 'events').find(
      (c) => c.unit !== null && c.missing === 0 && c.distinct > 1 && !says(c.name, patterns.row),
    );
  if (found !== undefined) take(draft, 'events', found.name);
  else {
    const gaps = free(draft, 'events').find(
      (c) => c.kind === 'time' || (c.unit !== null && says(c.name, patterns.time)),
    );
    if (gaps !== undefined) {
      take(draft, 'events', gaps.name);
      remarks.push(gapsRemark(draft.sources.events!, gaps));
    }
    remarks.push('No time column was found: there will be no statistics, no sequences and no split by time.');
  }
  comments.set('time', 'when it happened, by the local clock of the place');

  return found;
}

/** The events that have a time, where a few have none or one that cannot be read. */
export interface TimedEvents {
  column: string;
  query: string;
  /** Of the rows that were looked at, those left out, and the first of their values that is no time; null where nothing stands there. */
  rows: number;
  of: number;
  first: { row: number; value: string } | null;
}

/** A column with more rows without a time than this share of all is left to the user. */
const mostTimeless = 0.01;

/** A query of the events that leaves out those without a time, where no column has a time in all rows, and one has it in nearly all. */
export async function timedQuery(
  db: DuckdbSession,
  events: readonly ColumnSketch[],
  { path, delimiter }: DraftSource,
): Promise<TimedEvents | null> {
  const file = fileRelation(path, delimiter);
  const whole = ({ name, kind, unit, missing }: ColumnSketch) =>
    missing === 0 && (kind === 'time' || (unit !== null && says(name, patterns.time)));
  if (file === null || events.some(whole)) return null;
  const timeless = (c: ColumnSketch) => Math.round(c.missing * c.rows) + (c.times?.unread ?? 0);
  // Numbers are ids, or have their unit said.
  const asTheyAre = ({ name, kind, times }: ColumnSketch) =>
    !says(name, patterns.after) &&
    (kind === 'time' || (times?.formats[0]?.format === null && !/^[\d.]+$/.test(times.formats[0].example)));
  const nearly = events.filter((c) => asTheyAre(c) && timeless(c) <= mostTimeless * c.rows);
  const column = nearly.find((c) => says(c.name, patterns.time)) ?? nearly[0];
  if (column === undefined) return null;
  const name = ident(column.name);
  const type = (await db.columns('SELECT * FROM events')).get(column.name)!;
  const read = timeSql({ sql: name, type });
  const plain = `TRY_CAST(${name} AS TIMESTAMP)`;
  const { differ } = await db.row<{ differ: bigint }>(
    `SELECT count(*) FILTER ((${read} IS NULL) <> (${plain} IS NULL)) AS differ FROM events`,
  );
  const query = `SELECT * FROM ${file} WHERE ${differ === 0n ? plain : read} IS NOT NULL`;
  return { column: column.name, query, rows: timeless(column), of: column.rows, first: column.times?.first ?? null };
}

/** What a column of times with gaps is, and the query without them. */
function gapsRemark({ path, delimiter }: DraftSource, { name, missing, rows }: ColumnSketch): string {
  const file = fileRelation(path, delimiter);
  const query = `SELECT * FROM ${file} WHERE ${ident(name)}::VARCHAR <> ''`;
  return `events.${name} is a time but is missing in ${Math.round(missing * rows)} of ${rows} rows, and a time is needed in every row. Fill them in, or leave these rows out${
    file === null ? '' : `: {"query": ${JSON.stringify(query)}}`
  }; then name it under "time".`;
}

/** What a column of times in odd ways of writing is, and what to do. */
function oddTimesRemark(
  source: DraftSource,
  column: string,
  { formats, unread, first, unknown, cast, ambiguous }: OddTimes,
): string {
  const ways = formats.map(
    ({ format, example, rows }) => `${JSON.stringify(example)} in ${rows} rows${format === null ? '' : ` (${format})`}`,
  );
  const count = formats.length + (unknown > 0 ? 1 : 0);
  const known = formats.flatMap(({ format }) => (format === null ? [] : [format]));
  const name = ident(column);
  const reads = [
    ...(formats.some(({ format }) => format === null)
      ? [cast ? `TRY_CAST(${name} AS TIMESTAMP)` : timeSql({ sql: name, type: 'VARCHAR' })]
      : []),
    ...known.map((format) => `try_strptime(${name}, ${literal(format)})`),
  ];
  const value = reads.length === 1 ? reads[0]! : `coalesce(${reads.join(', ')})`;
  const some = unknown > 0 && unknown <= mostTimeless * formats.reduce((sum, { rows }) => sum + rows, unknown);
  return (
    `events.${column} looks like times in ${count} ${count === 1 ? 'format' : 'formats'}: ${ways.join(', ')}${unknown > 0 ? `, and ${unknown} rows of others` : ''}. ` +
    `${unread} values cannot be read as times as they are, the first in row ${first.row}: ${JSON.stringify(first.value)}. It is left out. ` +
    `Write them as ISO 8601 ("2026-01-31 12:05:00")${known.length === 0 ? '' : `${queryRemedy(source, `${value} AS ${name}`, some ? `${value} IS NOT NULL` : undefined)}${some ? ', which leaves the others out' : ''}, and name it under "time"`}.${
      ambiguous ? ' Whether the day or the month comes first the values do not say: you must.' : ''
    }`
  );
}

/** How to make a table a query that reads a column in another way; nothing where its file cannot stand in one. */
function queryRemedy({ path, delimiter }: DraftSource, replaced: string, kept?: string): string {
  const from = fileRelation(path, delimiter);
  return from === null
    ? ''
    : `, or make the table a query: {"query": ${JSON.stringify(`SELECT * REPLACE (${replaced}) FROM ${from}${kept === undefined ? '' : ` WHERE ${kept}`}`)}}`;
}

/** A file as a query reads it, all text of CSV as it is; null where a query cannot. */
export function fileRelation(path: string, delimiter: string | undefined): string | null {
  const plain = path.toLowerCase().replace(/\.(gz|zst)$/, '');
  if (plain.endsWith('.parquet')) return `read_parquet(${literal(path)})`;
  if (/\.(jsonl|ndjson)$/.test(plain)) return `read_json_auto(${literal(path)}, format = 'newline_delimited')`;
  if (!/\.[ct]sv$/.test(plain)) return null;
  const separator = delimiter ?? (plain.endsWith('.tsv') ? '\t' : ',');
  return `read_csv(${literal(path)}, all_varchar = true, header = true, delim = ${literal(separator)}, quote = '"', escape = '"')`;
}

interface Labels {
  labels: NonNullable<DatasetSchemaInput['labels']>;
  negatives: DatasetSchemaInput['negatives'];
}

/** Whether a column can be a label without a threshold: 0 and 1, or two words. */
function isTwofold(c: ColumnSketch): boolean {
  return c.binary || (c.two !== null && c.kind === 'text');
}

/** A label as the schema names it, with the value that counts where that is not 1, true or yes; of two words that do not say, the rarer. */
function twofoldLabel({ remarks }: Draft, c: ColumnSketch) {
  const { values, positive, plain } = c.two!;
  if (plain) return c.name;
  // The values are the most frequent first.
  const counted = positive ?? values[1];
  const other = values[counted === values[0] ? 1 : 0];
  remarks.push(
    `The label events.${c.name} is 1 where it says ${JSON.stringify(counted)} and 0 where it says ${JSON.stringify(other)}${
      positive === null ? ', for it says that less often. If it is the other way round, turn "positive" round' : ''
    }.`,
  );
  return { column: c.name, positive: counted };
}

/** The column that is named as a label; undefined where none is. @throws ConfigError `LABEL_NOT_FOUND` */
function namedLabel({ tables: { events }, sources }: Draft, name: string | undefined): ColumnSketch | undefined {
  if (name === undefined) return undefined;
  const named = events.find((c) => c.name === name);
  if (named !== undefined && (isTwofold(named) || (named.kind === 'number' && named.missing === 0))) return named;
  const where = sources.events!.where;
  if (named === undefined) {
    const likely = events.filter((c) => isTwofold(c) || outcomeNamed(c.name) !== null || says(c.name, patterns.rating));
    throw new ConfigError(
      'LABEL_NOT_FOUND',
      `${where} has no column "${name}", which is named as a label.${didYouMean(
        name,
        (likely.length > 0 ? likely : events).map((c) => c.name),
      )}`,
    );
  }
  const gaps =
    named.missing > 0 ? `is missing in ${Math.round(named.missing * named.rows)} of ${named.rows} rows` : null;
  const values = named.values.slice(0, 6).map((v) => JSON.stringify(v));
  const holds =
    named.distinct > 1
      ? `holds ${values.join(', ')}${named.distinct > values.length ? ', …' : ''}`
      : `has no two values`;
  const query = queryRemedy(
    sources.events!,
    gaps === null
      ? `(${ident(name)} IN (${literal(named.values[0] ?? '…')}))::INTEGER AS ${ident(name)}`
      : `(coalesce(${ident(name)}::VARCHAR, '') <> '')::INTEGER AS ${ident(name)}`,
  ).replace(/^, or make the table a query: /, '');
  throw new ConfigError(
    'LABEL_NOT_FOUND',
    `${where}: the column "${name}" ${gaps ?? holds}; a label is 0 and 1, or one of two words, or a number, in every row. Draft the schema without naming it; then ${
      gaps === null
        ? `write it under "labels" with the value that counts, {"column": ${JSON.stringify(name)}, "positive": ${values[0] ?? '…'}}, or `
        : ''
    }make the events a query in which it is 0 and 1${query === '' ? '' : ` (as tables.events: ${query})`}${gaps === null ? ' where several values count' : ', and name it under "labels"'}.`,
  );
}

/** What is to be predicted. @throws ConfigError `LABEL_NOT_FOUND`, `LABEL_TWICE` */
export function guessLabels(draft: Draft): Labels {
  const { options, remarks, comments } = draft;
  const { events } = draft.tables;
  const labels: Labels['labels'] = {};
  let negatives: DatasetSchemaInput['negatives'];
  const twofold = (pattern: RegExp) => {
    const called = free(draft, 'events').filter((c) => isTwofold(c) && says(c.name, pattern));
    return called.find((c) => c.binary) ?? called[0];
  };
  if (options.label !== undefined && (options.click ?? options.order) !== undefined)
    throw new ConfigError(
      'LABEL_TWICE',
      'the label is given as "label" and as "click" or "order": give one or the other.',
    );
  if (options.click !== undefined && options.click === options.order)
    throw new ConfigError(
      'LABEL_TWICE',
      `"${options.click}" is given as "click" and as "order": these are two columns.`,
    );
  const alone = options.label !== undefined;
  const named = namedLabel(draft, options.label ?? options.click);
  const ordered = namedLabel(draft, options.order);
  for (const c of [named, ordered]) if (c !== undefined) take(draft, 'events', c.name);
  const byName = { click: named, order: ordered };
  const guessed: string[] = [];
  for (const [label, pattern] of [
    ['click', patterns.click],
    ['order', patterns.order],
  ] as const) {
    if (byName[label] !== undefined || alone) continue;
    byName[label] = twofold(pattern);
    if (byName[label] !== undefined) take(draft, 'events', byName[label].name);
    if (byName[label] !== undefined) guessed.push(`events.${byName[label].name} is taken for the ${label}`);
    const almost = byName[label] === undefined ? free(draft, 'events').find((c) => says(c.name, pattern)) : undefined;
    if (almost !== undefined) almostLabel(draft, labels, label, almost);
  }
  if (!alone && [byName.click, byName.order, labels.click, labels.order].every((found) => found === undefined)) {
    for (const [label, column] of labelsByWords(draft)) {
      byName[label] = column;
      take(draft, 'events', column.name);
      guessed.push(`events.${column.name} is taken for the ${label}`);
    }
  }
  if (guessed.length > 0)
    remarks.push(
      `${guessed.join(', and ')}, by ${guessed.length === 1 ? 'its name' : 'their names'}. If something else is to be predicted, say so with --label, or --click and --order.`,
    );
  const order = byName.order;
  if (order !== undefined && !isTwofold(order)) {
    const atLeast = order.min === 0 ? 1 : Math.ceil(order.min! + 0.75 * (order.max! - order.min!));
    labels.order = { column: order.name, atLeast };
    remarks.push(
      `events.${order.name} runs from ${order.min} to ${order.max}; it is an order from ${atLeast} on ("atLeast"): correct it.`,
    );
  }
  let click = byName.click !== undefined && isTwofold(byName.click) ? byName.click : undefined;
  const steps = (label: ColumnSketch | undefined) =>
    free(draft, 'events').filter((c) => draft.steps.get(label?.name ?? '')?.includes(c.name));
  if (byName.click === undefined && labels.click === undefined && order !== undefined) {
    const [step, ...others] = steps(order);
    if (step !== undefined && others.length === 0) {
      click = step;
      take(draft, 'events', step.name);
      remarks.push(
        `events.${step.name} is 1 wherever events.${order.name} is, and seldom else, so it is taken for the click. If it is known before POIs are ranked, take it out of "labels" and put it under "features".`,
      );
    }
  }
  const rating =
    named !== undefined && !isTwofold(named)
      ? named
      : free(draft, 'events').find((c) => says(c.name, patterns.rating) && c.kind === 'number' && c.missing === 0);
  if (click !== undefined) labels.click = twofoldLabel(draft, click);
  if (order !== undefined && isTwofold(order)) labels.order = twofoldLabel(draft, order);
  comments.set('labels', 'columns of two values, by their names, or because one goes before the other');
  const none = labels.click === undefined && labels.order === undefined;
  if ((none || (named !== undefined && !isTwofold(named))) && rating !== undefined) {
    const atLeast = Math.ceil(rating.min! + 0.75 * (rating.max! - rating.min!));
    labels.click = { column: rating.name, atLeast };
    comments.set(
      'labels',
      `no column of 0 and 1 is called click or order; ratings run from ${rating.min} to ${rating.max}: is ${atLeast} a good one?`,
    );
    take(draft, 'events', rating.name);
  } else if (none) {
    negatives = { method: 'unused', perPositive: 2 };
    comments.set('labels', 'none was found: every event is taken for a positive');
    comments.set('negatives', 'for each event, POIs that its user never used, in the same context');
    const candidates = free(draft, 'events').filter((c) => c.binary);
    for (const c of candidates) take(draft, 'events', c.name);
    const always = events.find(
      (c) => (says(c.name, patterns.click) || says(c.name, patterns.order)) && c.distinct === 1 && c.missing === 0,
    );
    if (always !== undefined) take(draft, 'events', always.name);
    remarks.push(
      always === undefined
        ? 'No label was found by its name, so every event counts as a positive, with drawn negatives. If a column says what was clicked, name it with --label.'
        : `events.${always.name} is ${always.values[0]} in every row, so every event counts as a positive, with drawn negatives. If there is a log of what was shown and not clicked, give that.`,
      ...candidates.map(
        (c) =>
          `events.${c.name} holds ${c.two!.plain ? '0 and 1' : c.two!.values.map((v) => JSON.stringify(v)).join(' and ')}: is it the label? It is no feature until you say so, under "features" or with --label ${shellWord(c.name)}.`,
      ),
      ...free(draft, 'events')
        .filter((c) => isTwofold(c) && !looksLikeOutcome(c) && !describesPoi(draft, c))
        .map(
          (c) =>
            `events.${c.name} says ${c.two!.values.map((v) => JSON.stringify(v)).join(' or ')} in every row and is taken for a feature. If it says what came of the event, name it with --label ${shellWord(c.name)}: it would give the label away.`,
        ),
    );
  }
  for (const label of [click, order])
    for (const c of steps(label)) {
      take(draft, 'events', c.name);
      remarks.push(
        `events.${c.name} is 1 wherever the label events.${label!.name} is, and seldom else, so it is left out: what has to happen before the label is not known when POIs are ranked. ` +
          (labels.click === undefined ? `If it is the click, say --click ${c.name}; if` : 'If') +
          ' it is known by then, put it under "features".',
      );
    }
  for (const c of free(draft, 'events')) {
    const shown = c.values.filter((v) => kindsOfEvents.shown.test(v));
    const clicked = c.values.filter((v) => kindsOfEvents.clicked.test(v));
    if (c.kind !== 'text' || c.distinct > 12 || shown.length + clicked.length < 2 || clicked.length === 0) continue;
    take(draft, 'events', c.name);
    const words = (values: string[]) => values.map(literal).join(', ');
    remarks.push(
      `events.${c.name} says what happened (${c.values.join(', ')}), a row for each, and is left out: LARR wants a row for each time a POI was shown, with what followed from it in columns of 0 and 1. ` +
        `Make the table a query that has one, such as (${ident(c.name)} IN (${words(clicked)}))::INTEGER AS click, with the rows of one impression grouped into one by max(), and name it under "labels".`,
    );
  }
  for (const c of free(draft, 'events')) {
    const how = draft.outcomes.get(c.name);
    if (how !== undefined) {
      take(draft, 'events', c.name);
      remarks.push(
        `events.${c.name} ${how}, so it is left out: an outcome is not known when POIs are ranked. If it is known by then, see why it goes with the label without exception.`,
      );
    } else if (looksLikeOutcome(c)) {
      if (saysBefore(c.name)) {
        remarks.push(
          `events.${c.name} is used, for its name says that it is of the time before the event. If what came of the event itself is counted in, take it out: it would give the label away.`,
        );
        continue;
      }
      take(draft, 'events', c.name);
      const counted =
        c.kind === 'text' && c.distinct > 1 && c.missing === 0
          ? ` with the value that counts, {"column": ${JSON.stringify(c.name)}, "positive": ${JSON.stringify(c.values.at(-1))}}, say`
          : '';
      remarks.push(
        `events.${c.name} looks like an outcome and is left out: an outcome as a feature would give the label away. If it is known before POIs are ranked, put it under "features"; if it is what is to be predicted, name it under "labels"${counted}.`,
      );
    } else if (says(c.name, patterns.after) || says(c.name, patterns.rating) || says(c.name, patterns.position)) {
      take(draft, 'events', c.name);
      remarks.push(
        `events.${c.name} is left out: by its name it is known only after POIs were ranked. If it is known before, put it under "features".`,
      );
    }
  }
  return { labels, negatives };
}

/** Whether a column that is no label is named for what came of the event. Texts and codes that only speak of it, as the kind of an order does, are left to their values. */
function looksLikeOutcome(c: ColumnSketch): boolean {
  if (says(c.name, patterns.click) || says(c.name, patterns.order)) return true;
  if (c.kind === 'text' && (saysResult(c.name) || (isTwofold(c) && saysOnlyOutcome(c.name)))) return true;
  if (c.kind !== 'number' && c.kind !== 'boolean' && !c.binary) return false;
  if (!c.binary && says(c.name, patterns.code)) return false;
  return outcomeNamed(c.name) !== null;
}

/** Columns of 0 and 1 that some word of their names makes the click or the order, where no column is called just so, and there is one such alone of its kind. */
function labelsByWords(draft: Draft): ['click' | 'order', ColumnSketch][] {
  const columns = free(draft, 'events').filter(
    (c) => !saysBefore(c.name) && (c.binary || (isTwofold(c) && saysOnlyOutcome(c.name))),
  );
  const of = (kind: string) => columns.filter((c) => outcomeNamed(c.name) === kind);
  const [clicks, orders, others] = [of('click'), of('order'), of('other')];
  const found: ['click' | 'order', ColumnSketch][] = [];
  if (clicks.length === 1) found.push(['click', clicks[0]!]);
  if (orders.length === 1) found.push(['order', orders[0]!]);
  const rated = free(draft, 'events').some((c) => says(c.name, patterns.rating) && c.kind === 'number');
  if (clicks.length + orders.length === 0 && others.length === 1 && !rated) found.push(['click', others[0]!]);
  return found;
}

/** A column that is called as a label and is none as it stands: counts reach 1, or it has to be decided what is meant. */
function almostLabel(draft: Draft, labels: Labels['labels'], label: 'click' | 'order', c: ColumnSketch): void {
  if (c.distinct < 2 && c.missing === 0) return;
  take(draft, 'events', c.name);
  if (c.kind === 'number' && c.missing === 0 && c.min === 0 && c.max! >= 1) {
    labels[label] = { column: c.name, atLeast: 1 };
    draft.remarks.push(
      `events.${c.name} reaches ${c.max}, so it is a label from 1 on ("atLeast"). If it does not count what happened, correct it.`,
    );
    return;
  }
  const values = c.values.slice(0, 6).map((v) => JSON.stringify(v));
  draft.remarks.push(
    c.missing > 0
      ? `events.${c.name} is called as a label but is missing in ${Math.round(c.missing * c.rows)} of ${c.rows} rows (else ${values.join(', ')}), and a label is needed in every row, so it is left out. If missing means that nothing happened${queryRemedy(draft.sources.events!, `coalesce(nullif(${ident(c.name)}::VARCHAR, ''), '0') AS ${ident(c.name)}`).replace(', or make', ', make')}, and name it under "labels".`
      : `events.${c.name} is called as a label but holds ${values.join(', ')}${c.distinct > values.length ? ', …' : ''}, not 0 and 1 (or yes and no), so it is left out. Name it under "labels" with ${c.kind === 'text' ? `the value that counts: {"column": ${JSON.stringify(c.name)}, "positive": ${values[0]}}, say` : `a threshold: {"column": ${JSON.stringify(c.name)}, "atLeast": …}`}.`,
  );
}

/** Words for what happened to a POI in a log with a row for each event. */
const kindsOfEvents = {
  shown: /^(impression|imp|view(ed)?|show(n)?|exposure|expose(d)?|display(ed)?|pv|page_?view|visit|seen)s?$/i,
  clicked:
    /^(click(ed)?|clk|open(ed)?|tap(ped)?|order(ed)?|buy|bought|purchase[d]?|transaction|pay(ment)?|paid|checkout|book(ed|ing)?|conversion)s?$/i,
};

/** Leaves out columns that hold another value in every row, as a row's number is. */
export function setRowNumbersAside(draft: Draft): void {
  const { remarks } = draft;
  const row = free(draft, 'events').find((c) => says(c.name, patterns.row));
  if (row !== undefined) take(draft, 'events', row.name);
  for (const c of free(draft, 'events')) {
    if (!c.unique || !c.personal || (c.kind !== 'text' && !c.whole)) continue;
    take(draft, 'events', c.name);
    remarks.push(
      `events.${c.name} is another one in every row, as a row's number is, and is left out: a value that never comes back tells nothing.${
        c.whole && c.min! >= 0 && c.max! <= Number.MAX_SAFE_INTEGER
          ? ' If results shall name rows by it, put it under keys as "row".'
          : ''
      }`,
    );
  }
}

type Features = NonNullable<DatasetSchemaInput['features']>;
type Keywords = NonNullable<DatasetSchemaInput['keywords']>;

/** What the columns that are left come to. */
export interface Uses {
  categorical: NonNullable<Features['categorical']>;
  dense: NonNullable<Features['dense']>;
  scene: NonNullable<Keywords['scene']>;
  poiWords: { name: string; column: string; maxCharacters?: number }[];
  /** Names of those POI keywords that say which POI it is: its name and its place. */
  titles: string[];
  userWords: NonNullable<Keywords['user']>;
  place: { poi: string; user?: string } | undefined;
}

/** Uses as they are found, and what gives each kind of them its names. */
interface Finds extends Uses {
  names: ReadonlyMap<string, string>;
  called: Record<'feature' | 'dense' | 'scene' | 'user' | 'poi', ReturnType<typeof naming>>;
}

/** Turns every column that is left into an ID feature, a number, words, or a remark. */
export function guessUses(draft: Draft, keys: { user: string; poi: string }, timed: boolean): Uses {
  const names = nameColumns(draft.tables);
  const finds: Finds = {
    categorical: [],
    dense: [],
    scene: [],
    poiWords: [],
    titles: [],
    userWords: [],
    place: undefined,
    names,
    called: {
      feature: naming(names),
      dense: naming(names),
      scene: naming(names),
      user: naming(names),
      poi: naming(names),
    },
  };
  guessScene(finds, keys, timed);
  guessPlace(draft, finds);
  const title = guessTitle(draft, keys.poi);
  for (const table of ['events', 'users', 'pois'] as const) guessColumns(draft, finds, table, title);
  // What says which POI it is comes first: the language model is shown it first.
  finds.poiWords.sort((a, b) => Number(b.column === title?.name) - Number(a.column === title?.name));
  guessBehaviour(draft, finds, timed);
  tellNumberedNames(draft, finds);
  const { categorical, dense, scene, poiWords, titles, userWords, place } = finds;
  return {
    categorical,
    dense,
    scene,
    poiWords,
    titles: poiWords.map((k) => k.name).filter((k) => titles.includes(k)),
    userWords,
    place,
  };
}

function addScene({ scene, called }: Finds, table: Table | null, name: string, value: Uses['scene'][number]['value']) {
  scene.push({ name: called.scene(table, name), value });
}

/** What every event has: who, which POI, and, where there is a time, when. */
function guessScene(finds: Finds, keys: { user: string; poi: string }, timed: boolean): void {
  const { categorical, called } = finds;
  categorical.push(
    { name: called.feature(null, 'user'), value: `events.${keys.user}` },
    { name: called.feature(null, 'poi'), value: `events.${keys.poi}` },
  );
  if (!timed) return;
  categorical.push(
    { name: called.feature(null, 'hour'), value: { derive: 'hour' } },
    { name: called.feature(null, 'weekday'), value: { derive: 'weekday' } },
  );
  addScene(finds, null, 'slot', { derive: 'timeSlot' });
  addScene(finds, null, 'weekday', { derive: 'weekday' });
  called.user(null, 'usual_slot');
}

/** Where it was, how far from the POI and from home, and the columns with the place of a POI and a user. */
function guessPlace(draft: Draft, finds: Finds): void {
  const { events, users, pois } = draft.tables;
  const [from, to] = [guessPoint(draft, 'events'), guessPoint(draft, 'pois')];
  if (from !== undefined && to !== undefined) {
    const value = { derive: 'distanceKm' as const, from, to };
    finds.dense.push({ name: finds.called.dense(null, 'distance'), transform: 'log1p', value });
    addScene(finds, null, 'distance', { derive: 'distanceBand', from, to });
  }
  const here = events.find((c) => says(c.name, patterns.city) && c.kind === 'text');
  const home = users.find((c) => says(c.name, patterns.home) && c.kind === 'text');
  if (here !== undefined && home !== undefined)
    addScene(finds, null, 'travel', { derive: 'travelling', home: `users.${home.name}`, here: `events.${here.name}` });

  const there = pois.find((c) => says(c.name, patterns.city) && c.kind === 'text');
  if (there !== undefined) finds.place = { poi: there.name, ...(home === undefined ? {} : { user: home.name }) };
  draft.comments.set(
    'place',
    'columns with the place of a POI, and of a user; stage 2 draws negatives from the same place',
  );
}

/** A table's columns of coordinates. */
function guessPoint(draft: Draft, table: 'events' | 'pois'): [string, string] | undefined {
  const columns = draft.tables[table];
  const lat = columns.find((c) => says(c.name, patterns.latitude) && c.kind === 'number');
  const lon = columns.find((c) => says(c.name, patterns.longitude) && c.kind === 'number');
  if (lat === undefined || lon === undefined) return undefined;
  take(draft, table, lat.name);
  take(draft, table, lon.name);
  return [`${table}.${lat.name}`, `${table}.${lon.name}`];
}

/** What the columns of a table that are left can be used for. @param title the column with the name of a POI */
function guessColumns(draft: Draft, finds: Finds, table: Table, title: ColumnSketch | undefined): void {
  const commas: ColumnSketch[] = [];
  for (const c of free(draft, table)) {
    const unusable = whyUnusable(table, c);
    if (unusable !== null) draft.remarks.push(unusable);
    else if (c.texts === 'decimal commas') commas.push(c);
    else {
      const idle = whyIdle(draft, table, c);
      if (idle !== null) draft.remarks.push(idle);
      else if (isMeasure(c)) addMeasure(draft, finds, table, c);
      else addValues(draft, finds, table, c, title);
    }
  }
  if (commas.length > 0) draft.remarks.push(decimalCommasRemark(draft, table, commas));
}

/** Why what a column holds can be neither a number nor words; null where it can. */
function whyUnusable(table: Table, c: ColumnSketch): string | null {
  const ref = `${table}.${c.name}`;
  if (c.unwritable !== null)
    return `${ref} is of type ${c.unwritable.length <= 60 ? c.unwritable : `${c.unwritable.slice(0, 60)}…`} and is left out: it is no text, number, time or list of them. Make the table a query that reads what is meant out of it.`;
  if (c.distinct < 2) return `${ref} has ${c.distinct === 0 ? 'no values' : 'a single value'} and is left out.`;
  if (c.kind === 'time' || (c.times !== null && (c.kind === 'text' || says(c.name, patterns.when))))
    return `${ref} is a time${table === 'events' ? ' beside the time column' : ''} and is left out.`;
  if (c.unit !== null && says(c.name, patterns.when))
    return `${ref} looks like a time, counted in ${c.unit} since 1970, and is left out.`;
  if (c.texts === 'addresses of the web')
    return `${ref} holds addresses of the web and is left out: there are no words in them.`;
  return null;
}

/** Why a column of the events tells nothing of the moment that would hold for another; null where it does, and of other tables. */
function whyIdle(draft: Draft, table: Table, c: ColumnSketch): string | null {
  if (table !== 'events') return null;
  const ref = `${table}.${c.name}`;
  if (describesPoi(draft, c))
    return `${ref} is the same in every event of a POI, so it describes the POI and not the moment, and is left out. Put it into the table of POIs${draft.tables.pois.some((o) => o.name === c.name) ? ', where there is a column of that name already' : ''}.`;
  const unseen = draft.fleeting.get(c.name);
  if (unseen !== undefined)
    return `${ref} is left out: in ${Math.round(100 * unseen)} % of the test rows its value is one that was not there before, as a session's number is.`;
  if (c.personal && c.kind === 'text' && c.length <= 40)
    return `${ref} has ${c.distinct} different values in ${c.rows} rows and is left out: values that hardly ever come back tell nothing.`;
  return null;
}

/** Whether a column's numbers are amounts and no codes. */
function isMeasure(c: ColumnSketch): boolean {
  const coded = c.kind === 'number' && c.whole && says(c.name, patterns.code) && !c.personal;
  return c.kind === 'number' && c.unit === null && !coded && (c.distinct > 50 || says(c.name, patterns.temperature));
}

function addMeasure({ comments }: Draft, finds: Finds, table: Table, c: ColumnSketch): void {
  const ref = `${table}.${c.name}`;
  const skewed = says(c.name, patterns.skewed) && c.min! >= 0;
  finds.dense.push({
    name: finds.called.dense(table, c.name),
    value: ref,
    ...(skewed ? { transform: 'log1p' as const } : {}),
  });
  if (table !== 'events' || !says(c.name, patterns.temperature)) return;
  const unit = c.max! > 60 ? ('fahrenheit' as const) : ('celsius' as const);
  addScene(finds, table, c.name, { derive: 'temperatureWords', of: ref, unit });
  comments.set('keywords.scene', `${c.name} reaches ${c.max}: taken for degrees ${unit}`);
}

/** A column whose values stand for something: an ID feature, words, or both. */
function addValues(
  { remarks }: Draft,
  { categorical, scene, poiWords, titles, userWords, called }: Finds,
  table: Table,
  c: ColumnSketch,
  title: ColumnSketch | undefined,
): void {
  const ref = `${table}.${c.name}`;
  // Free text would be a value of its own in nearly every row.
  const freeText =
    c.kind === 'text' && (c.length > 40 || (table !== 'events' && (c.personal || c.name === title?.name)));
  if (!freeText && c.distinct <= 100_000) categorical.push({ name: called.feature(table, c.name), value: ref });
  if (c.kind === 'number' || c.kind === 'boolean') return;
  if (table === 'events') {
    if (c.distinct <= 1000) scene.push({ name: called.scene(table, c.name), value: ref });
    else if (freeText)
      remarks.push(
        `${ref} is free text of the event and is left out; put it into words of a POI or user if it describes one.`,
      );
  } else if (table === 'users') userWords.push({ name: called.user(table, c.name), column: c.name });
  else {
    const name = called.poi(table, c.name);
    poiWords.push({ name, column: c.name, ...(c.length > 200 ? { maxCharacters: 400 } : {}) });
    if (c.name === title?.name || says(c.name, patterns.place)) titles.push(name);
  }
}

/** Words for what a user did: which kind of POI, and when. */
function guessBehaviour({ tables }: Draft, { poiWords, titles, userWords, called }: Finds, timed: boolean): void {
  const kind = tables.pois.find(
    (c) => poiWords.some((k) => k.column === c.name && !titles.includes(k.name)) && !c.personal && c.distinct <= 1000,
  );
  if (kind !== undefined)
    userWords.push({ name: called.user(null, 'taste'), behaviour: { top: 4, of: `pois.${kind.name}` } });
  if (timed) userWords.push({ name: 'usual_slot', behaviour: { top: 1, of: 'scene.slot' } });
}

/** Says which columns that are used got a number for a name. */
function tellNumberedNames({ remarks }: Draft, finds: Finds): void {
  const { names, categorical, dense, scene, poiWords, userWords } = finds;
  const numbered = [...names].filter(([, name]) => /^column_\d+(_\d+)?$/.test(name));
  const unnamed = numbered.filter(
    ([ref]) =>
      JSON.stringify([categorical, dense, scene, poiWords, userWords]).includes(ref.slice(ref.indexOf('.') + 1)) &&
      !/\p{L}/u.test(ref.slice(ref.indexOf('.') + 1)),
  );
  if (unnamed.length > 0)
    remarks.push(
      `Names begin with a letter. ${unnamed.map(([ref, name]) => `"${name}" is ${ref}`).join(', ')}; give them names of your own.`,
    );
}

/** What columns of numbers with decimal commas are, and one query that reads them all. */
function decimalCommasRemark(draft: Draft, table: Table, columns: readonly ColumnSketch[]): string {
  const source = draft.sources[table]!;
  const values = columns.map(({ name }) => `replace(replace(${ident(name)}, '.', ''), ',', '.') AS ${ident(name)}`);
  const remedy = source.query === undefined ? queryRemedy(source, values.join(', ')) : '';
  const [hold, are, them] = columns.length === 1 ? ['holds', 'is', 'it'] : ['hold', 'are', 'them'];
  return `${columns.map((c) => `${table}.${c.name}`).join(', ')} ${hold} numbers with decimal commas, such as ${JSON.stringify(columns[0]!.values[0])}, and ${are} left out: numbers are read with a point. Write them so${remedy}; then put ${them} under "dense", or coordinates under "distanceKm".`;
}

/** Whether a column of the events says something of the POI and is none of the moment: where it was is both. */
function describesPoi({ described }: Draft, { name }: ColumnSketch): boolean {
  return described.columns.includes(name);
}

/** Columns of the events that may be a description of a key: what is neither label nor time nor place. */
export function mayDescribe({ name, kind, binary, unit, times }: ColumnSketch): boolean {
  const place = [patterns.latitude, patterns.longitude, patterns.city, patterns.place].some((p) => says(name, p));
  return kind !== 'time' && !binary && unit === null && times === null && !place && !says(name, patterns.rating);
}

/** The column with the name of a POI: by its name, "shop_name" of a shop, or by its values, short texts that hardly ever come back. */
function guessTitle(draft: Draft, key: string): ColumnSketch | undefined {
  const texts = free(draft, 'pois').filter((c) => c.kind === 'text' && c.texts === null && c.distinct > 1);
  const stem = key.replace(/[_ -]?(id|key|no|number|uuid|code|hash)$/i, '').replace(/[^\p{L}\p{N}]/gu, '');
  const ofEntity = new RegExp(`^(${entities}${stem === '' ? '' : `|${stem}`})[_ -]?(name|title)$`, 'iu');
  const owned = (c: ColumnSketch) => c.personal || c.unique;
  const byName =
    texts.find((c) => says(c.name, patterns.title)) ??
    texts.find((c) => says(c.name, ofEntity)) ??
    texts.find((c) => says(c.name, patterns.named) && owned(c));
  if (byName !== undefined) return byName;
  const byValues = texts.find(
    (c) => owned(c) && c.length >= 2 && c.length <= 40 && !says(c.name, patterns.place) && !says(c.name, patterns.code),
  );
  if (byValues !== undefined)
    draft.remarks.push(
      `pois.${byValues.name} is taken for the POI's name, for its texts are short and nearly all different. If it is not, change "cptInput" and "poiBusiness" under "texts".`,
    );
  return byValues;
}
