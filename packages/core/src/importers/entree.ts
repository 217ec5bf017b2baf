import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { DatasetManifest } from '../dataset/manifest.js';
import { DataError } from '../errors.js';
import type { DatasetSchema } from '../schema/schema.js';
import { defineSchema } from '../schema/validate.js';
import { badField, readDelimited, readLines } from './delimited.js';
import { checkOutput, type ImportedColumn, type ImportOptions, importTables } from './import-tables.js';

/** Letters of an entry point: the city it lies in, and its file. */
const cities: Record<string, { city: string; file: string }> = {
  A: { city: 'Atlanta', file: 'atlanta.txt' },
  B: { city: 'Boston', file: 'boston.txt' },
  C: { city: 'Chicago', file: 'chicago.txt' },
  D: { city: 'Los Angeles', file: 'los_angeles.txt' },
  E: { city: 'New Orleans', file: 'new_orleans.txt' },
  F: { city: 'New York', file: 'new_york.txt' },
  G: { city: 'San Francisco', file: 'san_francisco.txt' },
  H: { city: 'Washington DC', file: 'washington_dc.txt' },
};

/** Letters of a step: what was asked for at a restaurant, in the words of a scene. */
const operations: Record<string, string> = {
  L: 'asked to browse on',
  M: 'asked for somewhere cheaper',
  N: 'asked for somewhere nicer',
  O: 'asked for somewhere closer',
  P: 'asked for more traditional cuisine',
  Q: 'asked for more creative cuisine',
  R: 'asked for somewhere more lively',
  S: 'asked for somewhere quieter',
  T: 'asked for another cuisine',
};

/** Feature texts that name a cuisine or what is sold; the rest says how a place is. */
const cuisines = new Set(
  "Afghanistan|African|American (Contemporary)|American (New)|American (Regional)|American (Traditional)|American|Argentinean|Armenian|Asian|Austrian|Bakeries|Bar-B-Q|Belgian|Brasserie|Brazilian|Burmese|Burritos|Cafe/Espresso Bars|Cafeterias|Cajun|Californian|Cambodian|Canadian|Caribbean|Caviar|Chinese|Coffee Houses|Coffee Shops|Coffee and Dessert|Coffeehouses|Continental|Creole|Cuban|Czech|Deli|Dim Sum|Diners|Down-Home|Down-Home Creole|Eastern European|Eclectic|Egyptian|English|Ethiopian|Fast Food|Filipino|Fondue|Fountain and Ice Cream|Franco-Russian|Frankfurters|French (New)|French|French Bistro|French Classic|French Contemporary|French Nouvelle|French-Japanese|Game|German|Greek|Grills|Guatemalan|Hamburgers & Beer|Hamburgers|Haute Creole|Haute New Orleans|Health Food|Hot Dogs|Hungarian|Indian|Indonesian|International|Irish|Italian (North & South)|Italian (North|Italian (Northern)|Italian (Southern)|Italian|Italian Nuova Cucina|Jamaican|Japanese|Jewish|Korean|Kosher|Latin|Lebanese|Lithuanian|Malaysian|Mediterranean|Mexican|Middle Eastern|Moroccan|Nicaraguan|Noodle Houses|Noodle Shops|Omelettes|Other Quick Food|Oyster Bars|Pacific New Wave|Pacific Rim|Pancakes|Pastries|Pastry Shops|Persian|Peruvian|Pizza|Pizzerias|Po' Boys|Polish|Polynesian|Portuguese|Puerto Rican|Romanian|Roumanian|Russian|Salvadoran|Scandinavian|Scottish|Seafood|Soul Food|Soulfood|South American|Southeast Asian|Southern|Southern Comfort|Southwestern|Spanish|Steakhouses|Sushi|Swiss|Swiss-French|Tacos|Tapas|Tex Mex|Tex-Mex|Thai|Tibetan|Tunisian|Turkish|Ukrainian|Ukranian|Vegetarian|Venezuelan|Vietnamese|Yogurt Bar|Yugoslavian".split(
    '|',
  ),
);
const price = /^(below|over)? ?\$\d+(-\$\d+)?$/;
const quality = /^(Poor|Fair|Good|Excellent|Extraordinary|Near-perfect) (Food|Decor|Service)$/;

interface Restaurant {
  name: string;
  cuisine: string[];
  price: string | null;
  food: string | null;
  decor: string | null;
  service: string | null;
  /** Everything else that is said of it: "Romantic", "Weekend Brunch". */
  about: string[];
}

/** Names of the sessions' columns, for messages. */
const timePattern = /^(\d{2})\/([A-Z][a-z]{2})\/(\d{4}):(\d{2}:\d{2}:\d{2})$/;
const months = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];

/**
 * Entree: sessions with a recommender of Chicago restaurants, 1996 to 1999 (Burke, 2002), from `data/*.txt` and
 * `session/session.*` as published.
 *
 * Labels are proxies (docs/data.md). A restaurant seen in a session, which are those it was at and its end point, is one
 * impression; it counts as clicked where the user asked for "one like this, but …" or ended there, and as ordered (chosen)
 * where the session ended there. The asking host stands for the user.
 * @throws DataError `FILE_MISSING`, `SHORT_ROW`, `LONG_ROW`, `BAD_VALUE`, `BAD_ENCODING`, `TABLE_EMPTY`
 */
export async function importEntree(options: ImportOptions): Promise<DatasetManifest> {
  await checkOutput(options);
  const data = join(options.input, 'data');
  const features = await readFeatures(join(data, 'features.txt'));
  const restaurants: Record<string, Restaurant[]> = {};
  for (const [letter, { file }] of Object.entries(cities))
    restaurants[letter] = await readRestaurants(join(data, file), features);
  const events = await readSessions(join(options.input, 'session'), restaurants);
  const chicago = restaurants.C!;
  const column = (
    type: ImportedColumn['type'],
    of: (r: Restaurant, i: number) => ImportedColumn['values'][number],
  ) => ({
    type,
    values: chicago.map(of),
  });
  const pois = {
    restaurant: column('BIGINT', (_, i) => i),
    name: column('VARCHAR', (r) => r.name),
    cuisine: column('VARCHAR[]', (r) => (r.cuisine.length > 0 ? r.cuisine : null)),
    price: column('VARCHAR', (r) => r.price),
    food: column('VARCHAR', (r) => r.food),
    decor: column('VARCHAR', (r) => r.decor),
    service: column('VARCHAR', (r) => r.service),
    about: column('VARCHAR[]', (r) => (r.about.length > 0 ? r.about : null)),
  };
  return importTables(options, { events, pois }, entreeSchema());
}

async function readFeatures(file: string): Promise<Map<string, string>> {
  const table = await readDelimited(file, {
    columns: ['feature', 'text'],
    delimiter: '\t',
    header: false,
    quoted: false,
  });
  table.check('feature', (id) => /^\d{3}$/.test(id), 'a feature number of three digits');
  return new Map(table.rows.map(([id, text]) => [id!, text!.trim()]));
}

/** Restaurants of a city by their number, which is their line. */
async function readRestaurants(file: string, features: ReadonlyMap<string, string>): Promise<Restaurant[]> {
  const table = await readDelimited(file, {
    columns: ['restaurant', 'name', 'features'],
    delimiter: '\t',
    header: false,
    quoted: false,
  });
  return table.rows.map(([id, name, list], row) => {
    const line = table.lines[row]!;
    if (!/^\d+$/.test(id!) || Number(id) !== row)
      throw badField(file, line, 1, 'restaurant', id!, `the restaurant number ${row} that belongs here`);
    const restaurant: Restaurant = {
      name: name!.trim(),
      cuisine: [],
      price: null,
      food: null,
      decor: null,
      service: null,
      about: [],
    };
    for (const code of list!.trim().split(/ +/)) {
      const text = features.get(code);
      if (text === undefined) throw badField(file, line, 3, 'features', code, 'a feature of features.txt');
      const said = quality.exec(text);
      if (said !== null) restaurant[said[2]!.toLowerCase() as 'food' | 'decor' | 'service'] = text;
      else if (price.test(text)) restaurant.price = text;
      else if (cuisines.has(text)) restaurant.cuisine.push(text);
      // Single letters and abbreviations of the source that say nothing.
      else if (text.length > 3 && !restaurant.about.includes(text)) restaurant.about.push(text);
    }
    return restaurant;
  });
}

async function readSessions(
  directory: string,
  restaurants: Record<string, Restaurant[]>,
): Promise<Record<string, ImportedColumn>> {
  const names = await readdir(directory).catch((cause) => {
    throw new DataError(
      'FILE_MISSING',
      `${directory} cannot be read. Give the directory that holds "data" and "session" as published.`,
      { file: directory, cause },
    );
  });
  // "1996-Q3" sorts by time.
  const files = names.filter((name) => /^session\.\d{4}-Q\d$/.test(name)).sort();
  if (files.length === 0) {
    throw new DataError('FILE_MISSING', `${directory} has no files session.<year>-Q<quarter>.`, { file: directory });
  }
  const text: ImportedColumn['type'] = 'VARCHAR';
  const columns = {
    session: { type: 'BIGINT' as const, values: [] as number[] },
    time: { type: 'TIMESTAMP' as const, values: [] as string[] },
    user: { type: text, values: [] as string[] },
    restaurant: { type: 'BIGINT' as const, values: [] as number[] },
    step: { type: 'BIGINT' as const, values: [] as number[] },
    asked: { type: text, values: [] as (string | null)[] },
    entry_city: { type: text, values: [] as (string | null)[] },
    entry_name: { type: text, values: [] as (string | null)[] },
    entry_cuisine: { type: text, values: [] as (string | null)[] },
    entry_price: { type: text, values: [] as (string | null)[] },
    click: { type: 'UTINYINT' as const, values: [] as number[] },
    chosen: { type: 'UTINYINT' as const, values: [] as number[] },
  };
  let session = 0;
  for (const name of files) {
    const file = join(directory, name);
    for (const { text, line } of await readLines(file)) {
      const fields = text.split('\t');
      if (fields.length < 4) {
        const missing = ['date', 'IP', 'entry point', 'end point'][fields.length]!;
        throw new DataError(
          'SHORT_ROW',
          `${file}, line ${line}: ${fields.length} columns, and a session has at least 4; the first one missing is "${missing}". The file is cut off or changed; fetch it again.`,
          { file, row: line, field: missing },
        );
      }
      const time = readTime(file, line, fields[0]!);
      const user = fields[1]!.trim();
      if (user === '') throw badField(file, line, 2, 'IP', fields[1]!, 'a host');
      const entry = readEntry(file, line, fields[2]!, restaurants);
      const last = fields.length - 1;
      const end = fields[last]!.trim();
      const known = (id: string) => /^\d+$/.test(id) && Number(id) < restaurants.C!.length;
      if (end !== '-1' && !known(end))
        throw badField(file, line, last + 1, 'end point', end, 'a restaurant of chicago.txt or -1');

      const seen = new Map<number, { step: number; asked: string | null; click: 0 | 1 }>();
      let asked: string | null = null;
      for (let i = 3; i < last; i++) {
        const [, id, operation] = /^\s*(\d+)([A-Z])\s*$/.exec(fields[i]!) ?? [];
        if (id === undefined || !known(id) || operations[operation!] === undefined) {
          throw badField(
            file,
            line,
            i + 1,
            'rated restaurant',
            fields[i]!,
            'a restaurant of chicago.txt with a letter from L to T',
          );
        }
        const at = Number(id);
        if (!seen.has(at)) seen.set(at, { step: seen.size + 1, asked, click: 0 });
        if (operation !== 'L') seen.get(at)!.click = 1;
        asked = operations[operation!]!;
      }
      const chosen = end === '-1' ? null : Number(end);
      if (chosen !== null) {
        if (!seen.has(chosen)) seen.set(chosen, { step: seen.size + 1, asked, click: 1 });
        seen.get(chosen)!.click = 1;
      }
      for (const [restaurant, impression] of seen) {
        columns.session.values.push(session);
        columns.time.values.push(time);
        columns.user.values.push(user);
        columns.restaurant.values.push(restaurant);
        columns.step.values.push(impression.step);
        columns.asked.values.push(impression.asked);
        columns.entry_city.values.push(entry?.city ?? null);
        columns.entry_name.values.push(entry?.restaurant.name ?? null);
        columns.entry_cuisine.values.push(entry?.restaurant.cuisine.join(', ') || null);
        columns.entry_price.values.push(entry?.restaurant.price ?? null);
        columns.click.values.push(impression.click);
        columns.chosen.values.push(restaurant === chosen ? 1 : 0);
      }
      session++;
    }
  }
  return columns;
}

/** `28/Sep/1998:10:46:40` as ISO 8601. */
function readTime(file: string, line: number, field: string): string {
  const [, day, month, year, clock] = timePattern.exec(field.trim()) ?? [];
  const number = months.indexOf(month ?? '') + 1;
  const iso = `${year}-${String(number).padStart(2, '0')}-${day}T${clock}`;
  const time = new Date(`${iso}Z`);
  if (number === 0 || Number.isNaN(time.getTime()) || !time.toISOString().startsWith(iso))
    throw badField(file, line, 1, 'date', field, 'a time such as 28/Sep/1998:10:46:40');
  return iso;
}

/** The restaurant that a session starts from, in any city; null where the user filled in a form instead. */
function readEntry(
  file: string,
  line: number,
  field: string,
  restaurants: Record<string, Restaurant[]>,
): { city: string; restaurant: Restaurant } | null {
  if (field.trim() === '0') return null;
  const [, id, letter] = /^\s*(\d+)([A-H])\s*$/.exec(field) ?? [];
  const restaurant = restaurants[letter ?? '']?.[Number(id)];
  if (restaurant === undefined)
    throw badField(file, line, 3, 'entry point', field, 'a restaurant of a city with its letter from A to H, or 0');
  return { city: cities[letter!]!.city, restaurant };
}

/** The schema of the imported tables. */
export function entreeSchema(): DatasetSchema {
  return defineSchema({
    name: 'entree',
    description: 'Browsing a recommender of Chicago restaurants; labels are proxies (docs/data.md).',
    tables: { events: 'tables/events.parquet', pois: { path: 'tables/pois.parquet', key: 'restaurant' } },
    keys: { user: 'user', poi: 'restaurant' },
    time: 'time',
    labels: { click: 'click', order: 'chosen' },
    features: {
      categorical: [
        { name: 'user', value: 'events.user', minCount: 2 },
        { name: 'restaurant', value: 'events.restaurant' },
        { name: 'cuisine', value: 'pois.cuisine' },
        { name: 'price', value: 'pois.price' },
        { name: 'food', value: 'pois.food' },
        { name: 'decor', value: 'pois.decor' },
        { name: 'service', value: 'pois.service' },
        { name: 'asked', value: 'events.asked' },
        { name: 'entry_city', value: 'events.entry_city' },
        { name: 'entry_cuisine', value: 'events.entry_cuisine' },
        { name: 'entry_price', value: 'events.entry_price' },
        { name: 'hour', value: { derive: 'hour' } },
        { name: 'weekday', value: { derive: 'weekday' } },
        { name: 'month', value: { derive: 'month' } },
      ],
      cross: [
        { name: 'asked_price', of: ['asked', 'price'] },
        { name: 'asked_restaurant', of: ['asked', 'restaurant'] },
      ],
      dense: [{ name: 'step', value: 'events.step', transform: 'log1p' }],
      statistics: [
        { of: 'poi', measures: ['impressions', 'ctr', 'cvr'], windows: [28, 'all'] },
        { of: 'user', measures: ['impressions', 'ctr', 'cvr'], windows: ['all'] },
      ],
    },
    keywords: {
      poi: [
        { name: 'name', column: 'name' },
        { name: 'cuisine', column: 'cuisine' },
        { name: 'price', column: 'price' },
        { name: 'food', column: 'food' },
        { name: 'decor', column: 'decor' },
        { name: 'service', column: 'service' },
        { name: 'about', column: 'about' },
      ],
      user: [
        { name: 'cuisines', behaviour: { top: 4, of: 'pois.cuisine' } },
        { name: 'about', behaviour: { top: 6, of: 'pois.about' } },
        { name: 'price', behaviour: { top: 2, of: 'pois.price' } },
        { name: 'asked', behaviour: { top: 2, of: 'scene.asked' } },
        { name: 'slot', behaviour: { top: 1, of: 'scene.slot' } },
      ],
      scene: [
        { name: 'asked', value: 'events.asked' },
        { name: 'slot', value: { derive: 'timeSlot' } },
        { name: 'weekday', value: { derive: 'weekday' } },
        { name: 'season', value: { derive: 'season' } },
        { name: 'like_in', value: { derive: 'text', of: 'events.entry_city', template: 'like one in {}' } },
        { name: 'like_cuisine', value: { derive: 'text', of: 'events.entry_cuisine', template: 'like {}' } },
        { name: 'like_price', value: { derive: 'text', of: 'events.entry_price', template: 'at {}' } },
      ],
    },
    texts: {
      cptInput: ['name', 'price'],
      cptTarget: ['cuisine', 'food', 'decor', 'service', 'about'],
      poiBusiness: ['name', 'cuisine', 'price'],
      poiBasic: ['food', 'decor', 'service', 'about'],
      userProfile: ['slot', 'asked', 'price'],
      userBehaviour: ['cuisines', 'about'],
    },
    splits: {
      time: { kind: 'time', testDays: 60, validationDays: 60 },
      'cold-poi': { kind: 'cold-poi', ratios: [7, 1, 2] },
    },
  });
}
