import { isAbsolute, resolve } from 'node:path';
import { DuckdbSession, ident, literal } from '../duckdb/session.js';
import { ConfigError, DataError, didYouMean } from '../errors.js';
import { likelyDelimiter, type OpenSource, openSource, reading } from '../prepare/sources.js';
import { timeSql } from '../prepare/sql-values.js';
import type { DatasetSchemaInput } from '../schema/schema.js';
import { parseSchema } from '../schema/validate.js';
import { commentedJson } from './commented-json.js';

export interface DraftOptions {
  /** Name of the dataset; default "data". */
  name?: string;
  /** Files as the schema will name them. */
  events: string;
  users?: string;
  pois?: string;
  /** Directory that relative paths start from: where the schema file will lie. */
  baseDirectory: string;
  /** The events' key columns, where they cannot be guessed. */
  keys?: { user?: string; poi?: string };
  /** What the schema file names as its JSON Schema, for editors. */
  jsonSchema?: string;
  /** The events' column that says what is to be predicted, where it cannot be guessed: 0 and 1, or a number to be cut by a threshold. */
  label?: string;
}

export interface SchemaDraft {
  schema: DatasetSchemaInput;
  /** The schema as JSON with `//` comments that say what was guessed and why. */
  text: string;
  /** What the user should look at. */
  remarks: string[];
}

/** A column as its first rows show it. */
interface ColumnSketch {
  name: string;
  kind: 'number' | 'text' | 'time' | 'list' | 'boolean';
  /** Different values among the rows looked at. */
  distinct: number;
  missing: number;
  min: number | null;
  max: number | null;
  length: number;
  /** Its values are 0 and 1 (or true and false) and both occur. */
  binary: boolean;
  /** The table has about as many values as rows: each says which row it is, and little else. */
  personal: boolean;
  /** Which of the words for nothing it holds, as they are written. */
  nothings: string[];
  /** Its values are whole numbers. */
  whole: boolean;
  /** No value occurs twice, and none is missing. */
  unique: boolean;
  /** Unit of numbers that look like times. */
  unit: 's' | 'ms' | 'us' | null;
}

type Table = 'events' | 'users' | 'pois';
/** Key columns that were found by their values. */
type Links = Partial<Record<'users' | 'pois', { event: string; own: string }>>;
/** Of each table: its file as the schema names it and as messages do, and its delimiter where it is no comma. */
type Sources = Partial<Record<Table, { path: string; where: string; delimiter?: string }>>;

/** Words that people and programs write where there is nothing, in lower case. */
const nothings = ['n/a', 'na', 'nan', 'null', 'none', 'nil', 'unknown', 'undefined', '-', '--', '?', '\\n'];

/** Rows that are looked at. */
const lookedAt = 200_000;

const patterns = {
  user: /^(user|uid|customer|member|visitor|account|person|buyer|client|rider|guest|passenger|reader|viewer|listener|player|student|subscriber)(_?(id|key|no|number))?$/i,
  poi: /^(poi|item|iid|shop|store|restaurant|merchant|product|app|movie|film|place|venue|business|sku|wm_poi|station|hotel|book|song|track|video|game|course|listing|property|article)(_?(id|key|no|number))?$/i,
  row: /^(row|event|impression|log|request)?_?(row_?)?id$/i,
  time: /^(time|timestamp|ts|date|datetime|event_?time|created(_at)?|at|when|occurred(_at)?)$/i,
  click: /^(is_?)?(click(ed|s)?|clk|label|target|opened|y)$/i,
  order: /^(is_?)?(order(ed|s)?|buy|bought|purchase[ds]?|pa(y|id)|conver(sion|ted)|book(ed|ing)?)$/i,
  rating: /^(rating|stars|score)$/i,
  temperature: /temp(erature)?/i,
  latitude: /(^|_)lat(itude)?$/i,
  longitude: /(^|_)(lon|lng|longitude)$/i,
  city: /(^|_)(city|town|municipality)$/i,
  home: /^(home|home_?(city|town)|city|town|lives_in|residence)$/i,
  title: /^(name|title)$/i,
  place: /^(city|town|location|address|district|area)$/i,
  skewed: /price|cost|count|num|amount|distance|sales|fee/i,
};

/**
 * Writes a schema by looking at the tables: keys, time and labels by name and values, few-valued columns as ID features,
 * numbers as dense features, words as keywords. It is a beginning that `prepare` accepts, to be read and changed.
 * @throws ConfigError `LABEL_NOT_FOUND`, `KEY_NOT_FOUND` where no column looks like a key (name it with `keys`); DataError as `prepare` does
 */
export async function draftSchema(options: DraftOptions): Promise<SchemaDraft> {
  const sketches = { events: [], users: [], pois: [] } as Record<Table, ColumnSketch[]>;
  const sources: Sources = {};
  using db = await DuckdbSession.open();
  for (const table of ['events', 'users', 'pois'] as const) {
    const file = options[table];
    if (file === undefined) continue;
    // The whole path: messages must name a file that can be found from wherever the reader stands.
    const remote = /^[a-z][a-z0-9+]+:\/\//i.test(file) || isAbsolute(file);
    const path = remote ? file : resolve(options.baseDirectory, file);
    let opened = await openSource(db, path, table, options.baseDirectory);
    const delimiter = likelyDelimiter(opened);
    if (delimiter !== null) opened = await openSource(db, { path, delimiter }, table, options.baseDirectory);
    sources[table] = delimiter === null ? { path: file, where: path } : { path: file, where: path, delimiter };
    sketches[table] = await sketchTable(db, table, opened);
  }
  const links: Links = {};
  for (const table of ['users', 'pois'] as const) {
    const link = await linkByValues(db, sketches, table);
    if (link !== null) links[table] = link;
  }
  return compose(options, sketches, sources, links);
}

/**
 * The column of the events whose values are those of a unique column of another table: its key, whatever the two are called. Of
 * several, the one that meets most of the table (an hour meets the first two dozen of numbered users).
 */
async function linkByValues(
  db: DuckdbSession,
  sketches: Record<Table, ColumnSketch[]>,
  table: 'users' | 'pois',
): Promise<{ event: string; own: string } | null> {
  let best: { event: string; own: string; met: number } | null = null;
  for (const own of sketches[table].filter((c) => c.unique && c.kind !== 'time' && c.kind !== 'list')) {
    for (const event of sketches.events.filter((c) => c.distinct > 1 && !c.binary && c.kind !== 'list')) {
      const { met, distinct } = await db.row<{ met: number; distinct: number }>(
        `SELECT count(*)::INTEGER AS distinct, count(*) FILTER (v IN (SELECT ${ident(own.name)}::VARCHAR FROM ${table}))::INTEGER AS met
         FROM (SELECT DISTINCT ${ident(event.name)}::VARCHAR AS v FROM events WHERE ${ident(event.name)}::VARCHAR <> '')`,
      );
      if (met >= 0.8 * distinct && met > (best?.met ?? 1)) best = { event: event.name, own: own.name, met };
    }
  }
  return best;
}

async function sketchTable(db: DuckdbSession, table: Table, source: OpenSource): Promise<ColumnSketch[]> {
  await reading(db, source, () => db.run(`CREATE TABLE ${table} AS SELECT * FROM ${source.sql} LIMIT ${lookedAt}`));
  const { n } = await db.row<{ n: bigint }>(`SELECT count(*) AS n FROM ${table}`);
  if (n === 0n)
    throw new DataError('TABLE_EMPTY', `${source.where} has no rows, so there is nothing to draft a schema from.`, {
      file: source.where,
    });
  const sketches: ColumnSketch[] = [];
  for (const [name, type] of await db.columns(`SELECT * FROM ${table}`)) {
    const c = ident(name);
    const whole = type.endsWith('[]') ? `array_to_string(${c}, ', ')` : `${c}::VARCHAR`;
    const nothing = `lower(trim(${whole})) IN (${nothings.map(literal).join(', ')})`;
    const text = `CASE WHEN ${nothing} THEN NULL ELSE ${whole} END`;
    const readTime = `CASE WHEN ${nothing} THEN NULL ELSE ${type.endsWith('[]') ? 'NULL' : timeSql({ sql: c, type })} END`;
    const found = await db.row<Record<string, number | null> & { nothings: { items: string[] } | null }>(
      `SELECT count(DISTINCT nullif(text, ''))::INTEGER AS "distinct", count(*) FILTER (text IS NULL OR text = '')::DOUBLE / count(*) AS missing,
       min(TRY_CAST(text AS DOUBLE)) AS min, max(TRY_CAST(text AS DOUBLE)) AS max, avg(length(text)) AS length,
       count(*) FILTER (text <> '' AND TRY_CAST(text AS DOUBLE) IS NULL)::INTEGER AS words,
       count(*) FILTER (TRY_CAST(text AS DOUBLE) <> trunc(TRY_CAST(text AS DOUBLE)))::INTEGER AS fractions,
       count(*) FILTER (lower(text) NOT IN ('0', '1', 'true', 'false'))::INTEGER AS other,
       count(*) FILTER (text <> '' AND time IS NULL)::INTEGER AS timeless,
       list(DISTINCT whole ORDER BY whole) FILTER (text IS NULL AND whole IS NOT NULL) AS nothings
       FROM (SELECT ${whole} AS whole, ${text} AS text, ${readTime} AS time FROM ${table})`,
    );
    const distinct = found.distinct!;
    const numeric = distinct > 0 && found.words === 0;
    const kind: ColumnSketch['kind'] = type.endsWith('[]')
      ? 'list'
      : type === 'BOOLEAN'
        ? 'boolean'
        : /^(TIMESTAMP|DATE)/.test(type) || (distinct > 0 && !numeric && found.timeless === 0)
          ? 'time'
          : numeric
            ? 'number'
            : 'text';
    const [min, max] = numeric ? [found.min!, found.max!] : [null, null];
    // Seconds, milliseconds or microseconds between 1990 and 2100.
    const unit =
      min === null || max === null
        ? null
        : min > 6e8 && max < 4.2e9
          ? 's'
          : min > 6e11 && max < 4.2e12
            ? 'ms'
            : min > 6e14 && max < 4.2e15
              ? 'us'
              : null;
    const binary = found.other === 0 && found.missing === 0 && distinct === 2;
    const unique = found.missing === 0 && BigInt(distinct) === n;
    const personal = n >= 20n && distinct * 2 > Number(n);
    sketches.push({
      name,
      unique,
      whole: numeric && found.fractions === 0,
      personal,
      nothings: found.nothings?.items ?? [],
      kind,
      distinct,
      missing: found.missing!,
      min,
      max,
      length: found.length ?? 0,
      binary,
      unit,
    });
  }
  return sketches;
}

/** Gives names that a schema may have, each once: of a column's own name what is in ASCII, or else "value". */
interface Naming {
  (wanted: string): string;
  /** Given name → the column's own, where letters of it were lost. */
  readonly strange: Map<string, string>;
}

function naming(): Naming {
  const names = new Set<string>();
  const strange = new Map<string, string>();
  const give = (wanted: string) => {
    const base = wanted.replace(/[^A-Za-z0-9_-]+/g, '_').replace(/^[^A-Za-z]+/, '') || 'value';
    let name = base;
    for (let i = 2; names.has(name); i++) name = `${base}_${i}`;
    names.add(name);
    if (/[^\p{ASCII}]/u.test(wanted)) strange.set(name, wanted);
    return name;
  };
  return Object.assign(give, { strange });
}

/** A file as `tables` of the schema names it: a plain path where that says all. */
function tableSource({ path, delimiter }: { path: string; delimiter?: string }, key: string | undefined) {
  if (delimiter === undefined && key === undefined) return path;
  return { path, ...(delimiter === undefined ? {} : { delimiter }), ...(key === undefined ? {} : { key }) };
}

function compose(
  options: DraftOptions,
  tables: Record<Table, ColumnSketch[]>,
  sources: Sources,
  links: Links,
): SchemaDraft {
  const { events, users, pois } = tables;
  const remarks: string[] = [];
  const comments = new Map<string, string>();
  const used = new Set<string>();
  const take = (table: Table, name: string) => used.add(`${table}.${name}`);
  const free = (table: Table) => tables[table].filter((c) => !used.has(`${table}.${c.name}`));
  const called = naming();

  const key = (which: 'user' | 'poi'): string => {
    const given = options.keys?.[which];
    if (given !== undefined) {
      if (events.some((c) => c.name === given)) return given;
      throw new ConfigError(
        'KEY_NOT_FOUND',
        `${sources.events!.where} has no column "${given}".${didYouMean(
          given,
          events.map((c) => c.name),
        )}`,
      );
    }
    const found =
      events.find((c) => patterns[which].test(c.name)) ??
      events.find((c) =>
        tables[which === 'user' ? 'users' : 'pois'].some((o) => o.name === c.name && /id$|key$/i.test(c.name)),
      ) ??
      events.find((c) => c.name === links[which === 'user' ? 'users' : 'pois']?.event);
    if (found !== undefined) return found.name;
    throw new ConfigError(
      'KEY_NOT_FOUND',
      `${sources.events!.where}: no column looks like the key of a ${which}. Say which it is with --${which}; there are ${events.map((c) => c.name).join(', ')}.`,
    );
  };
  const keys = { user: key('user'), poi: key('poi') };
  comments.set('keys', 'columns of the events, by their names or because their values are those of the other table');
  for (const name of Object.values(keys)) take('events', name);
  const source = (table: 'users' | 'pois', eventKey: string) => {
    const source = sources[table];
    if (source === undefined) return undefined;
    const pattern = patterns[table === 'users' ? 'user' : 'poi'];
    const own =
      tables[table].find((c) => c.name === eventKey) ??
      tables[table].find((c) => links[table]?.event === eventKey && c.name === links[table].own) ??
      tables[table].find((c) => pattern.test(c.name)) ??
      tables[table].find((c) => /^(id|key)$/i.test(c.name));
    if (own === undefined) {
      throw new ConfigError(
        'KEY_NOT_FOUND',
        `${source.where}: no column looks like the key that the events call "${eventKey}". Name one of ${tables[table].map((c) => c.name).join(', ')} so.`,
      );
    }
    take(table, own.name);
    return tableSource(source, own.name === eventKey ? undefined : own.name);
  };
  const userSource = source('users', keys.user);
  const poiSource = source('pois', keys.poi);

  const timeColumn =
    free('events').find(
      (c) => patterns.time.test(c.name) && (c.kind === 'time' || c.unit !== null) && c.missing === 0,
    ) ??
    free('events').find((c) => c.kind === 'time' && c.missing === 0) ??
    free('events').find((c) => c.unit !== null && c.missing === 0 && c.distinct > 1 && !patterns.row.test(c.name));
  if (timeColumn !== undefined) take('events', timeColumn.name);
  else remarks.push('No time column was found: there will be no statistics, no sequences and no split by time.');
  comments.set('time', 'when it happened, by the local clock of the place');

  const labels: NonNullable<DatasetSchemaInput['labels']> = {};
  let negatives: DatasetSchemaInput['negatives'];
  const binary = (pattern: RegExp) => free('events').find((c) => c.binary && pattern.test(c.name));
  const named = options.label === undefined ? undefined : events.find((c) => c.name === options.label);
  if (
    options.label !== undefined &&
    (named === undefined || !(named.binary || (named.kind === 'number' && named.missing === 0)))
  ) {
    const usable = events.filter((c) => c.binary || (c.kind === 'number' && c.missing === 0)).map((c) => c.name);
    throw new ConfigError(
      'LABEL_NOT_FOUND',
      `${sources.events!.where}: "${options.label}" is no label: a column of 0 and 1, or of numbers in every row, is needed.${didYouMean(options.label, usable)}`,
    );
  }
  const click = named?.binary ? named : named === undefined ? binary(patterns.click) : undefined;
  const order = named === undefined ? binary(patterns.order) : undefined;
  const rating =
    named !== undefined
      ? named
      : free('events').find((c) => patterns.rating.test(c.name) && c.kind === 'number' && c.missing === 0);
  if (click !== undefined) labels.click = click.name;
  if (order !== undefined) labels.order = order.name;
  comments.set('labels', 'columns of 0 and 1, by their names');
  if (click === undefined && order === undefined && rating !== undefined) {
    const atLeast = Math.ceil(rating.min! + 0.75 * (rating.max! - rating.min!));
    labels.click = { column: rating.name, atLeast };
    comments.set(
      'labels',
      `no column of 0 and 1 is called click or order; ratings run from ${rating.min} to ${rating.max}: is ${atLeast} a good one?`,
    );
    take('events', rating.name);
  } else if (click === undefined && order === undefined) {
    negatives = { method: 'unused', perPositive: 2 };
    comments.set('labels', 'none was found: every event is taken for a positive');
    comments.set('negatives', 'for each event, POIs that its user never used, in the same context');
    const candidates = free('events').filter((c) => c.binary);
    for (const c of candidates) take('events', c.name);
    remarks.push(
      'No label was found by its name, so every event counts as a positive, with drawn negatives. If a column says what was clicked, name it with --label.',
      ...candidates.map(
        (c) =>
          `events.${c.name} holds 0 and 1: is it the label? It is no feature until you say so, under "features" or with --label ${c.name}.`,
      ),
    );
  }
  for (const c of [click, order]) if (c !== undefined) take('events', c.name);
  for (const c of free('events')) {
    if (!c.binary || !/click|order|purchase|conver/i.test(c.name)) continue;
    take('events', c.name);
    remarks.push(
      `events.${c.name} looks like an outcome and is left out: an outcome as a feature would give the label away.`,
    );
  }
  const row = free('events').find((c) => patterns.row.test(c.name));
  if (row !== undefined) take('events', row.name);
  for (const c of free('events')) {
    if (!c.unique || !c.personal || (c.kind !== 'text' && !c.whole)) continue;
    take('events', c.name);
    remarks.push(
      `events.${c.name} is another one in every row, as a row's number is, and is left out: a value that never comes back tells nothing.${
        c.whole && c.min! >= 0 ? ' If results shall name rows by it, put it under keys as "row".' : ''
      }`,
    );
  }

  const categorical: NonNullable<NonNullable<DatasetSchemaInput['features']>['categorical']> = [];
  const dense: NonNullable<NonNullable<DatasetSchemaInput['features']>['dense']> = [];
  const scene: NonNullable<NonNullable<DatasetSchemaInput['keywords']>['scene']> = [];
  const poiWords: { name: string; column: string; maxCharacters?: number }[] = [];
  const userWords: NonNullable<NonNullable<DatasetSchemaInput['keywords']>['user']> = [];
  const [sceneCalled, userCalled, poiCalled] = [naming(), naming(), naming()];
  const addScene = (name: string, value: (typeof scene)[number]['value']) =>
    scene.push({ name: sceneCalled(name), value });
  categorical.push(
    { name: called('user'), value: `events.${keys.user}` },
    { name: called('poi'), value: `events.${keys.poi}` },
  );
  if (timeColumn !== undefined) {
    categorical.push(
      { name: called('hour'), value: { derive: 'hour' } },
      { name: called('weekday'), value: { derive: 'weekday' } },
    );
    addScene('slot', { derive: 'timeSlot' });
    addScene('weekday', { derive: 'weekday' });
  }

  const point = (table: 'events' | 'pois'): [string, string] | undefined => {
    const lat = tables[table].find((c) => patterns.latitude.test(c.name) && c.kind === 'number');
    const lon = tables[table].find((c) => patterns.longitude.test(c.name) && c.kind === 'number');
    if (lat === undefined || lon === undefined) return undefined;
    take(table, lat.name);
    take(table, lon.name);
    return [`${table}.${lat.name}`, `${table}.${lon.name}`];
  };
  const [from, to] = [point('events'), point('pois')];
  if (from !== undefined && to !== undefined) {
    dense.push({ name: called('distance'), transform: 'log1p', value: { derive: 'distanceKm', from, to } });
    addScene('distance', { derive: 'distanceBand', from, to });
  }
  const here = events.find((c) => patterns.city.test(c.name) && c.kind === 'text');
  const home = users.find((c) => patterns.home.test(c.name) && c.kind === 'text');
  if (here !== undefined && home !== undefined)
    addScene('travel', { derive: 'travelling', home: `users.${home.name}`, here: `events.${here.name}` });

  const there = pois.find((c) => patterns.city.test(c.name) && c.kind === 'text');
  const place =
    there === undefined ? undefined : { poi: there.name, ...(home === undefined ? {} : { user: home.name }) };
  comments.set('place', 'columns with the place of a POI, and of a user; stage 2 draws negatives from the same place');

  for (const table of ['events', 'users', 'pois'] as const) {
    for (const c of free(table)) {
      const ref = `${table}.${c.name}`;
      if (c.distinct < 2) {
        remarks.push(`${ref} has ${c.distinct === 0 ? 'no values' : 'a single value'} and is left out.`);
        continue;
      }
      if (c.kind === 'time') {
        remarks.push(`${ref} is a time beside the time column and is left out.`);
        continue;
      }
      if (c.kind === 'number' && c.unit === null && (c.distinct > 50 || patterns.temperature.test(c.name))) {
        const skewed = patterns.skewed.test(c.name) && c.min! >= 0;
        dense.push({ name: called(c.name), value: ref, ...(skewed ? { transform: 'log1p' as const } : {}) });
        if (table === 'events' && patterns.temperature.test(c.name)) {
          const unit = c.max! > 60 ? ('fahrenheit' as const) : ('celsius' as const);
          addScene(c.name, { derive: 'temperatureWords', of: ref, unit });
          comments.set('keywords.scene', `${c.name} reaches ${c.max}: taken for degrees ${unit}`);
        }
        continue;
      }
      // Free text would be a value of its own in nearly every row.
      const free =
        c.kind === 'text' && (c.length > 40 || patterns.title.test(c.name) || (table !== 'events' && c.personal));
      if (!free && c.distinct <= 100_000) categorical.push({ name: called(c.name), value: ref });
      if (c.kind === 'number' || c.kind === 'boolean') continue;
      if (table === 'events') {
        if (c.distinct <= 1000) addScene(c.name, ref);
        else if (free)
          remarks.push(
            `${ref} is free text of the event and is left out; put it into words of a POI or user if it describes one.`,
          );
      } else if (table === 'users') userWords.push({ name: userCalled(c.name), column: c.name });
      else
        poiWords.push({
          name: poiCalled(c.name),
          column: c.name,
          ...(c.length > 200 ? { maxCharacters: 400 } : {}),
        });
    }
  }
  const titles = poiWords.filter((k) => patterns.title.test(k.column) || patterns.place.test(k.column));
  const others = poiWords.filter((k) => !titles.includes(k));
  const kind = pois.find((c) => others.some((k) => k.column === c.name) && c.distinct <= 1000);
  if (kind !== undefined) userWords.push({ name: userCalled('taste'), behaviour: { top: 4, of: `pois.${kind.name}` } });
  if (timeColumn !== undefined)
    userWords.push({ name: userCalled('usual_slot'), behaviour: { top: 1, of: 'scene.slot' } });
  if (poiWords.length === 0)
    remarks.push(
      'No words were found that describe POIs; the language model has nothing to learn from. Give a POIs table with names and descriptions.',
    );
  else if (titles.length === 0)
    remarks.push(
      `No column of the POIs is called name or title, or as a place is, so "cptInput" and "poiBusiness" under "texts" are empty. Move the keyword with the POIs' name there, from "cptTarget" and "poiBasic"; there are ${poiWords.map((k) => (k.name === k.column ? k.name : `${k.name} (${k.column})`)).join(', ')}.`,
    );
  for (const [what, { strange }] of [
    ['features', called],
    ['scene keywords', sceneCalled],
    ['POI keywords', poiCalled],
    ['user keywords', userCalled],
  ] as const)
    if (strange.size > 0)
      remarks.push(
        `Names have the letters A to Z only. Of the ${what}, ${[...strange].map(([name, own]) => `"${name}" is "${own}"`).join(', ')}; give them names of your own.`,
      );
  const profile = userWords.filter((k) => k.behaviour === undefined).map((k) => k.name);
  const behaviour = userWords.filter((k) => k.behaviour !== undefined).map((k) => k.name);

  const withOrders = labels.click !== undefined && labels.order !== undefined;
  const measures = ['impressions', 'ctr', ...(withOrders ? ['cvr'] : [])] as ('impressions' | 'ctr' | 'cvr')[];
  const statistics =
    timeColumn === undefined || negatives !== undefined
      ? undefined
      : [
          { of: 'poi' as const, measures, windows: [7, 28] },
          { of: 'user' as const, measures, windows: [28] },
        ];
  const missing = [...new Set(Object.values(tables).flatMap((columns) => columns.flatMap((c) => c.nothings)))].sort();
  comments.set('missing', 'words that stand where there is nothing');
  comments.set('features', 'few-valued columns as ID features, the rest of the numbers as dense ones');
  comments.set('features.statistics', 'trailing windows in days that end before the day of the event');
  comments.set('keywords', 'words for the language model; each is wrapped in special tokens of its own');
  comments.set('texts', 'which keywords play which part in stages 1 and 2 (docs/data.md)');
  comments.set(
    'splits',
    timeColumn === undefined ? 'shares of the rows' : 'the last day is the test, the day before validation',
  );

  const schema: DatasetSchemaInput = {
    ...(options.jsonSchema === undefined ? {} : { $schema: options.jsonSchema }),
    name: options.name ?? 'data',
    tables: {
      events: tableSource(sources.events!, undefined),
      ...(userSource === undefined ? {} : { users: userSource }),
      ...(poiSource === undefined ? {} : { pois: poiSource }),
    },
    keys,
    ...(timeColumn === undefined
      ? {}
      : { time: timeColumn.unit === null ? timeColumn.name : { column: timeColumn.name, unit: timeColumn.unit } }),
    labels,
    ...(place === undefined ? {} : { place }),
    ...(missing.length === 0 ? {} : { missing }),
    ...(negatives === undefined ? {} : { negatives }),
    features: {
      categorical,
      dense,
      ...(statistics === undefined ? {} : { statistics }),
    },
    keywords: { poi: poiWords, user: userWords, scene },
    texts: {
      cptInput: titles.map((k) => k.name),
      cptTarget: others.map((k) => k.name),
      poiBusiness: titles.map((k) => k.name),
      poiBasic: others.map((k) => k.name),
      userProfile: profile,
      userBehaviour: behaviour,
    },
    splits: timeColumn === undefined ? { random: { kind: 'random' } } : { time: { kind: 'time' } },
  };
  // What is written is what prepare will read.
  parseSchema(schema, 'the drafted schema');
  const head = [
    'Drafted by "larr init" from the first rows of the tables. Read it, change it (docs/data.md), then see what it does:',
    '  larr prepare --schema <this file> --check',
    ...remarks.map((remark) => `Look here: ${remark}`),
  ];
  return { schema, text: commentedJson(schema, comments, head), remarks };
}
