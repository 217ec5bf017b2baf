import { isAbsolute, resolve } from 'node:path';
import { DuckdbSession } from '../duckdb/session.js';
import { likelyDelimiter, openSource } from '../prepare/sources.js';
import type { DatasetSchemaInput } from '../schema/schema.js';
import { parseSchema } from '../schema/validate.js';
import { commentedJson } from './commented-json.js';
import {
  type Draft,
  guessKeys,
  guessLabels,
  guessTable,
  guessTime,
  guessUses,
  isTitle,
  type Links,
  type Sources,
  setRowNumbersAside,
  tableSource,
} from './guesses.js';
import { linkByValues, type Sketches, sketchTable } from './sketch.js';

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

/**
 * Writes a schema by looking at the tables: keys, time and labels by name and values, few-valued columns as ID features,
 * numbers as dense features, words as keywords. It is a beginning that `prepare` accepts, to be read and changed.
 * @throws ConfigError `LABEL_NOT_FOUND`, `KEY_NOT_FOUND` where no column looks like a key (name it with `keys`); DataError as `prepare` does
 */
export async function draftSchema(options: DraftOptions): Promise<SchemaDraft> {
  const sketches = { events: [], users: [], pois: [] } as Sketches;
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
  return compose({ options, tables: sketches, sources, links, remarks: [], comments: new Map(), used: new Set() });
}

/** The whole schema, guess by guess: what one of them has taken is not free for the next. */
function compose(draft: Draft): SchemaDraft {
  const { options, tables, sources, remarks, comments } = draft;
  const keys = guessKeys(draft);
  const userSource = guessTable(draft, 'users', keys.user);
  const poiSource = guessTable(draft, 'pois', keys.poi);
  const timeColumn = guessTime(draft);
  const { labels, negatives } = guessLabels(draft);
  setRowNumbersAside(draft);
  const { categorical, dense, scene, poiWords, userWords, place } = guessUses(draft, keys, timeColumn !== undefined);
  const titles = poiWords.filter(isTitle);
  const others = poiWords.filter((k) => !isTitle(k));
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
