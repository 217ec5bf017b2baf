import { isAbsolute, resolve } from 'node:path';
import { DuckdbSession, ident } from '../duckdb/session.js';
import { LarrError } from '../errors.js';
import { explainPreparation, type PreparationReport } from '../prepare/explain.js';
import { LabelLeak } from '../prepare/outcomes.js';
import { likelyDelimiter, openSource } from '../prepare/sources.js';
import type { DatasetSchemaInput } from '../schema/schema.js';
import { parseSchema } from '../schema/validate.js';
import { commentedJson } from './commented-json.js';
import {
  type Draft,
  fileRelation,
  guessKeys,
  guessLabels,
  guessTable,
  guessTime,
  guessUses,
  type Links,
  likelyKey,
  mayDescribe,
  type Sources,
  setRowNumbersAside,
  tableSource,
  timedQuery,
} from './guesses.js';
import { followsKey, linkByValues, type Sketches, sketchTable, stepsTo } from './sketch.js';

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
  /** The events' columns that say what was clicked and what was ordered, where they cannot be guessed; in place of `label`. */
  click?: string;
  order?: string;
}

export interface SchemaDraft {
  schema: DatasetSchemaInput;
  /** The schema as JSON with `//` comments that say what was guessed and why. */
  text: string;
  /** What the user should look at. */
  remarks: string[];
}

/** Events that a draft is tried on, first few and then many: all of them in most logs. */
const triedOn = [200_000, 2_000_000] as const;

/**
 * Writes a schema by looking at the tables: keys, time and labels by names and values, few-valued columns as ID features,
 * numbers as dense features, words as keywords. It is tried by a preparation that writes nothing, so that `prepare` accepts it, or its remarks say what
 * has to be decided first.
 * @throws ConfigError `LABEL_NOT_FOUND`, `LABEL_TWICE`, `KEY_NOT_FOUND` where no column looks like a key (name it with `keys`); DataError as `prepare` does
 */
export async function draftSchema(options: DraftOptions): Promise<SchemaDraft> {
  const { baseDirectory } = options;
  const tables = { events: [], users: [], pois: [] } as Sketches;
  const sources: Sources = {};
  using db = await DuckdbSession.open();
  for (const table of ['events', 'users', 'pois'] as const) {
    const file = options[table];
    if (file === undefined) continue;
    // The whole path: messages must name a file that can be found from wherever the reader stands.
    const remote = /^[a-z][a-z0-9+]+:\/\//i.test(file) || isAbsolute(file);
    const path = remote ? file : resolve(baseDirectory, file);
    let opened = await openSource(db, path, table, baseDirectory);
    const delimiter = likelyDelimiter(opened);
    if (delimiter !== null) opened = await openSource(db, { path, delimiter }, table, baseDirectory);
    sources[table] = delimiter === null ? { path: file, where: path } : { path: file, where: path, delimiter };
    tables[table] = await sketchTable(db, table, opened);
  }
  const timed = await timedQuery(db, tables.events, sources.events!);
  if (timed !== null) {
    sources.events = { ...sources.events!, query: timed.query };
    tables.events = await sketchTable(
      db,
      'events',
      await openSource(db, { query: timed.query }, 'events', baseDirectory),
    );
  }
  const links: Links = {};
  for (const table of ['users', 'pois'] as const) {
    const link = await linkByValues(db, tables, table);
    if (link !== null) links[table] = link;
  }
  const steps = await stepsTo(db, tables.events);
  const described = await describePois(db, { options, tables, sources, links });

  const outcomes = new Map<string, string>();
  const fleeting = new Map<string, number>();
  let untimed: string | null = null;
  for (;;) {
    const draft = compose({
      options,
      tables,
      sources,
      links,
      described,
      steps,
      timed,
      outcomes,
      fleeting,
      untimed,
      remarks: [],
      comments: new Map(),
      used: new Set(),
    });
    const { refusal, report } = await tried(draft.schema, baseDirectory, tables.events[0]!.rows < triedOn[0]);
    const strange = report === null ? [] : fleetingColumns(draft.schema, report).filter(([c]) => !fleeting.has(c));
    if (refusal instanceof LabelLeak && refusal.columns.some(({ column }) => !outcomes.has(column))) {
      for (const { column, how } of refusal.columns) outcomes.set(column, how);
    } else if (refusal?.code === 'SPLIT_EMPTY' && untimed === null && draft.schema.time !== undefined) {
      untimed = refusal.message;
    } else if (strange.length > 0) {
      for (const [column, unseen] of strange) fleeting.set(column, unseen);
    } else return finished(draft, refusal);
  }
}

/**
 * Finds columns of the events that say the same in every event of a POI. Without a table of POIs, a query makes one of them. There is no such thing for
 * users: what stays the same in a user's few events is as likely the one day or place that they are of.
 */
async function describePois(
  db: DuckdbSession,
  { options, tables, sources, links }: Pick<Draft, 'options' | 'tables' | 'sources' | 'links'>,
): Promise<Draft['described']> {
  const given = options.pois !== undefined;
  const key = likelyKey(options, tables.events, 'poi') ?? links.pois?.event;
  if (key === undefined) return { columns: [], given: true };
  const user = likelyKey(options, tables.events, 'user') ?? links.users?.event;
  const others = tables.events.filter(
    (c) => mayDescribe(c) && ![options.label, options.click, options.order, key, user].includes(c.name),
  );
  const columns = await followsKey(db, others, key);
  const { path, delimiter, where } = sources.events!;
  const file = fileRelation(path, delimiter);
  if (columns.length === 0 || given || file === null) return { columns, given: true };
  // Equal in every row, so the least is each of them.
  const own = columns.map((c) => `min(${ident(c)}) AS ${ident(c)}`).join(', ');
  const query = `SELECT ${ident(key)}, ${own} FROM ${file} GROUP BY 1 ORDER BY 1`;
  sources.pois = { path, where, query };
  tables.pois = await sketchTable(db, 'pois', await openSource(db, { query }, 'pois', options.baseDirectory));
  return { columns, given: false };
}

/** What comes of a preparation that writes nothing: why it refuses the schema and its tables, or its report, as far as the events that it is tried on go. */
async function tried(
  schema: DatasetSchemaInput,
  baseDirectory: string,
  few: boolean,
): Promise<{ refusal: LarrError; report: null } | { refusal: null; report: PreparationReport }> {
  const parsed = parseSchema(schema, 'the drafted schema');
  for (const firstEvents of few ? triedOn.slice(1) : triedOn) {
    try {
      const report = await explainPreparation({ schema: parsed, baseDirectory }, firstEvents);
      if (firstEvents === triedOn.at(-1)) return { refusal: null, report };
    } catch (error) {
      // A full disk is no property of the tables.
      if (!(error instanceof LarrError) || error.code === 'SYSTEM') throw error;
      // The first of many events may well be of one day, or one class.
      if (error instanceof LabelLeak || firstEvents === triedOn.at(-1)) return { refusal: error, report: null };
    }
  }
  throw new Error('no number of events was tried');
}

/** Columns of the events that are ID features and whose values hardly ever come back after the train part, with the share of the test rows. */
function fleetingColumns(schema: DatasetSchemaInput, report: PreparationReport): [column: string, unseen: number][] {
  const columns = new Map(schema.features!.categorical!.map((f) => [f.name, f.value]));
  return report.splits[0]!.categorical.flatMap(({ name, unseen }): [string, number][] => {
    const value = columns.get(name);
    const plain = typeof value === 'string' && value.startsWith('events.') && name !== 'user' && name !== 'poi';
    return plain && unseen > mostUnseen ? [[value.slice('events.'.length), unseen]] : [];
  });
}

const mostUnseen = 0.9;

interface Composed {
  schema: DatasetSchemaInput;
  remarks: string[];
  comments: Map<string, string>;
}

/** The text of a schema, with what is to be decided at its head. */
function finished({ schema, remarks, comments }: Composed, refusal: LarrError | null): SchemaDraft {
  const said =
    refusal === null
      ? remarks
      : [`"prepare" refuses these tables as they are (${refusal.code}): ${refusal.message}`, ...remarks];
  const head = [
    'Drafted by "larr init" from the first rows of the tables. Read it, change it (docs/data.md), then see what it does:',
    '  larr prepare --schema <this file> --check',
    ...said.map((remark) => `Look here: ${remark}`),
  ];
  return {
    schema,
    text: commentedJson(
      schema,
      comments,
      head.flatMap((line) => line.split('\n')),
    ),
    remarks: said,
  };
}

/** The whole schema, guess by guess: what one of them has taken is not free for the next. */
function compose(draft: Draft): Composed {
  const { options, tables, sources, remarks, comments, described } = draft;
  const keys = guessKeys(draft);
  const userSource = guessTable(draft, 'users', keys.user);
  const poiSource = guessTable(draft, 'pois', keys.poi);
  const timeColumn = guessTime(draft);
  const { labels, negatives } = guessLabels(draft);
  setRowNumbersAside(draft);
  if (!described.given) {
    for (const name of described.columns) draft.used.add(`events.${name}`);
    const [is, it] = described.columns.length === 1 ? ['is', 'it'] : ['are', 'them'];
    remarks.push(
      `${described.columns.map((c) => `events.${c}`).join(', ')} ${is} the same in every event of a POI, so tables.pois is a query that reads ${it} from the events, once for each POI.`,
    );
  }
  const { categorical, dense, scene, poiWords, titles, userWords, place } = guessUses(
    draft,
    keys,
    timeColumn !== undefined,
  );
  if (timeColumn !== undefined && timeColumn.unit !== null)
    remarks.push(
      `events.${timeColumn.name} counts from 1970, which is mostly done by UTC, and is taken for the local clock of the place: hours and mealtimes are off by the time zone then. A query as tables.events can add it.`,
    );
  const others = poiWords.map((k) => k.name).filter((k) => !titles.includes(k));
  if (poiWords.length === 0)
    remarks.push(
      'No words were found that describe POIs; the language model has nothing to learn from. Give a POIs table with names and descriptions.',
    );
  else if (titles.length === 0)
    remarks.push(
      `No column of the POIs is called name or title, or as a place is, so "cptInput" and "poiBusiness" under "texts" are empty. Move the keyword with the POIs' name there, from "cptTarget" and "poiBasic"; there are ${poiWords.map((k) => (k.name === k.column ? k.name : `${k.name} (${k.column})`)).join(', ')}.`,
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
  const byTime = timeColumn !== undefined && draft.untimed === null;
  if (draft.untimed !== null)
    remarks.push(
      `The split is random, though there is a time, because a split by days does not work: ${draft.untimed}`,
    );
  comments.set('splits', byTime ? 'the last day is the test, the day before validation' : 'shares of the rows');

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
      cptInput: titles,
      cptTarget: others,
      poiBusiness: titles,
      poiBasic: others,
      userProfile: profile,
      userBehaviour: behaviour,
    },
    splits: byTime ? { time: { kind: 'time' } } : { random: { kind: 'random' } },
  };
  return { schema, remarks, comments };
}
