import { ConfigError, didYouMean } from '../errors.js';
import type { DatasetSchemaInput } from '../schema/schema.js';
import type { DraftOptions } from './draft-schema.js';
import type { ColumnSketch, Sketches, Table } from './sketch.js';

/** Key columns that were found by their values. */
export type Links = Partial<Record<'users' | 'pois', { event: string; own: string }>>;
/** Of each table: its file as the schema names it and as messages do, and its delimiter where it is no comma. */
export type Sources = Partial<Record<Table, { path: string; where: string; delimiter?: string }>>;

/** What is known of the tables, and what has been guessed and said so far. */
export interface Draft {
  options: DraftOptions;
  tables: Sketches;
  sources: Sources;
  links: Links;
  /** What the user should look at. */
  remarks: string[];
  /** Comments by the dotted path of their setting. */
  comments: Map<string, string>;
  /** Columns that have found their place, or are left out, as "table.column". */
  used: Set<string>;
}

function take({ used }: Draft, table: Table, name: string): void {
  used.add(`${table}.${name}`);
}

function free({ tables, used }: Draft, table: Table): ColumnSketch[] {
  return tables[table].filter((c) => !used.has(`${table}.${c.name}`));
}

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
export function tableSource({ path, delimiter }: { path: string; delimiter?: string }, key: string | undefined) {
  if (delimiter === undefined && key === undefined) return path;
  return { path, ...(delimiter === undefined ? {} : { delimiter }), ...(key === undefined ? {} : { key }) };
}

/** The events' key columns. @throws ConfigError `KEY_NOT_FOUND` */
export function guessKeys(draft: Draft): { user: string; poi: string } {
  const keys = { user: guessKey(draft, 'user'), poi: guessKey(draft, 'poi') };
  draft.comments.set(
    'keys',
    'columns of the events, by their names or because their values are those of the other table',
  );
  for (const name of Object.values(keys)) take(draft, 'events', name);
  return keys;
}

function guessKey(draft: Draft, which: 'user' | 'poi'): string {
  const { options, tables, sources, links } = draft;
  const { events } = tables;
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
    tables[table].find((c) => pattern.test(c.name)) ??
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
  const { remarks, comments } = draft;
  const found =
    free(draft, 'events').find(
      (c) => patterns.time.test(c.name) && (c.kind === 'time' || c.unit !== null) && c.missing === 0,
    ) ??
    free(draft, 'events').find((c) => c.kind === 'time' && c.missing === 0) ??
    free(draft, 'events').find(
      (c) => c.unit !== null && c.missing === 0 && c.distinct > 1 && !patterns.row.test(c.name),
    );
  if (found !== undefined) take(draft, 'events', found.name);
  else remarks.push('No time column was found: there will be no statistics, no sequences and no split by time.');
  comments.set('time', 'when it happened, by the local clock of the place');

  return found;
}

interface Labels {
  labels: NonNullable<DatasetSchemaInput['labels']>;
  negatives: DatasetSchemaInput['negatives'];
}

/** What is to be predicted. @throws ConfigError `LABEL_NOT_FOUND` */
export function guessLabels(draft: Draft): Labels {
  const { options, sources, remarks, comments } = draft;
  const { events } = draft.tables;
  const labels: Labels['labels'] = {};
  let negatives: DatasetSchemaInput['negatives'];
  const binary = (pattern: RegExp) => free(draft, 'events').find((c) => c.binary && pattern.test(c.name));
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
      : free(draft, 'events').find((c) => patterns.rating.test(c.name) && c.kind === 'number' && c.missing === 0);
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
    take(draft, 'events', rating.name);
  } else if (click === undefined && order === undefined) {
    negatives = { method: 'unused', perPositive: 2 };
    comments.set('labels', 'none was found: every event is taken for a positive');
    comments.set('negatives', 'for each event, POIs that its user never used, in the same context');
    const candidates = free(draft, 'events').filter((c) => c.binary);
    for (const c of candidates) take(draft, 'events', c.name);
    remarks.push(
      'No label was found by its name, so every event counts as a positive, with drawn negatives. If a column says what was clicked, name it with --label.',
      ...candidates.map(
        (c) =>
          `events.${c.name} holds 0 and 1: is it the label? It is no feature until you say so, under "features" or with --label ${c.name}.`,
      ),
    );
  }
  for (const c of [click, order]) if (c !== undefined) take(draft, 'events', c.name);
  for (const c of free(draft, 'events')) {
    if (!c.binary || !/click|order|purchase|conver/i.test(c.name)) continue;
    take(draft, 'events', c.name);
    remarks.push(
      `events.${c.name} looks like an outcome and is left out: an outcome as a feature would give the label away.`,
    );
  }
  return { labels, negatives };
}

/** Leaves out columns that hold another value in every row, as a row's number is. */
export function setRowNumbersAside(draft: Draft): void {
  const { remarks } = draft;
  const row = free(draft, 'events').find((c) => patterns.row.test(c.name));
  if (row !== undefined) take(draft, 'events', row.name);
  for (const c of free(draft, 'events')) {
    if (!c.unique || !c.personal || (c.kind !== 'text' && !c.whole)) continue;
    take(draft, 'events', c.name);
    remarks.push(
      `events.${c.name} is another one in every row, as a row's number is, and is left out: a value that never comes back tells nothing.${
        c.whole && c.min! >= 0 ? ' If results shall name rows by it, put it under keys as "row".' : ''
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
  userWords: NonNullable<Keywords['user']>;
  place: { poi: string; user?: string } | undefined;
}

/** Turns every column that is left into an ID feature, a number, words, or a remark. */
export function guessUses(draft: Draft, keys: { user: string; poi: string }, timed: boolean): Uses {
  const { tables, remarks, comments } = draft;
  const { events, users, pois } = tables;
  const categorical: Uses['categorical'] = [];
  const dense: Uses['dense'] = [];
  const scene: Uses['scene'] = [];
  const poiWords: Uses['poiWords'] = [];
  const userWords: Uses['userWords'] = [];
  const [called, sceneCalled, userCalled, poiCalled] = [naming(), naming(), naming(), naming()];
  const addScene = (name: string, value: (typeof scene)[number]['value']) =>
    scene.push({ name: sceneCalled(name), value });
  categorical.push(
    { name: called('user'), value: `events.${keys.user}` },
    { name: called('poi'), value: `events.${keys.poi}` },
  );
  if (timed) {
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
    take(draft, table, lat.name);
    take(draft, table, lon.name);
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
    for (const c of free(draft, table)) {
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
      const freeText =
        c.kind === 'text' && (c.length > 40 || patterns.title.test(c.name) || (table !== 'events' && c.personal));
      if (!freeText && c.distinct <= 100_000) categorical.push({ name: called(c.name), value: ref });
      if (c.kind === 'number' || c.kind === 'boolean') continue;
      if (table === 'events') {
        if (c.distinct <= 1000) addScene(c.name, ref);
        else if (freeText)
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
  const kind = pois.find((c) => poiWords.some((k) => k.column === c.name && !isTitle(k)) && c.distinct <= 1000);
  if (kind !== undefined) userWords.push({ name: userCalled('taste'), behaviour: { top: 4, of: `pois.${kind.name}` } });
  if (timed) userWords.push({ name: userCalled('usual_slot'), behaviour: { top: 1, of: 'scene.slot' } });
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
  return { categorical, dense, scene, poiWords, userWords, place };
}

/** Whether a POI's keyword says which one it is: its name or its place. */
export function isTitle({ column }: { column: string }): boolean {
  return patterns.title.test(column) || patterns.place.test(column);
}
