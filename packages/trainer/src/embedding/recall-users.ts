// Recall for users: whom to ask for, what they like, and whether what they get is as expected.
import { join } from 'node:path';
import { canonicalSql, type Dataset, DuckdbSession, ident, literal, UsageError } from '@larr/core';
import { draws, shuffled } from '../language-model/draws.js';
import { meanOf, type PoiSpace } from './poi-space.js';
import { findable, holdsText, requirePlaces } from './recall.js';

/** Which users recall is for. */
export interface UserChoice {
  /** So many, drawn by the seed among those that fit; all where there are fewer. */
  count: number;
  seed: number;
  /** Only users who neither live in these places nor saw a POI there, in any part of the split. */
  neverIn?: readonly string[] | undefined;
  /** This user alone, by their own id. */
  user?: string | undefined;
}

/** A user, and what their clicks in the train part tell. */
export interface UserTaste {
  /** the user's own id */
  user: string;
  clicks: number;
  /** [dimension], of length 1 */
  taste: Float32Array;
}

/**
 * Users with a click in the train part on a POI that has a text, and the mean vector of the POIs they clicked. Where the schema names places,
 * each POI's vector is taken less the mean of its place: what is left is what they like and not where they are. A POI that is alone in its place, or
 * like all others there, then tells nothing; a user of whom nothing is left is passed over, and the next of the draw comes in their place.
 * With `neverIn`, where a user lives is known if a feature or a scene field reads the schema's `place.user`.
 * @returns how many users fit, how many were passed over in drawing, and those that were drawn
 * @throws UsageError `NO_PLACES`, `UNKNOWN_PLACE`, `UNKNOWN_USER`, `NO_USERS`
 */
export async function tastesOf(
  dataset: Dataset,
  space: PoiSpace,
  { count, seed, neverIn = [], user }: UserChoice,
): Promise<{ fitting: number; tasteless: number; users: UserTaste[] }> {
  const { directory, split } = dataset;
  using db = await DuckdbSession.open();
  const files = (parts: readonly (keyof typeof split.parts)[]) =>
    `read_parquet([${parts.flatMap((part) => split.parts[part].files.map((file) => literal(join(directory, file)))).join(', ')}])`;
  const places = neverIn.length > 0 ? await requirePlaces(dataset, neverIn) : await dataset.poiPlaces();
  const store = `read_parquet(${literal(join(directory, 'store', 'users.parquet'))})`;
  const never: string[] = [];
  if (neverIn.length > 0) {
    const there = places!.flatMap((place, poi) => (place !== null && neverIn.includes(place) ? [poi] : []));
    never.push(
      `user_index NOT IN (SELECT user_index FROM ${files(['train', 'validation', 'test'])} WHERE poi_index IN (${there.join(', ')}))`,
    );
    // the store has the columns of the user table that features and scene fields read, under their own names
    const home = dataset.schema.place?.user;
    const type = home === undefined ? undefined : (await db.columns(`SELECT * FROM ${store}`)).get(home);
    if (home !== undefined && type !== undefined)
      never.push(
        `user_index NOT IN (SELECT user_index FROM ${store} WHERE ${canonicalSql({ sql: ident(home), type })} IN (${neverIn.map(literal).join(', ')}))`,
      );
  }
  const one: string[] = [];
  if (user !== undefined) {
    const [found] = await db.rows<{ user_index: number }>(
      `SELECT user_index::INTEGER AS user_index FROM ${store} WHERE CAST("user" AS VARCHAR) = ${literal(user)}`,
    );
    if (found === undefined) throw new UsageError('UNKNOWN_USER', `the dataset has no user "${user}"`);
    one.push(`user_index = ${found.user_index}`);
  }
  const described = findable(space, null);
  /** The POIs that each user clicked who fulfils the conditions, as often as they did. */
  const clicksWhere = async (conditions: readonly string[]): Promise<Map<number, number[]>> => {
    const rows = await db.rows<{ user_index: number; poi_index: number; times: number }>(
      `SELECT user_index::INTEGER AS user_index, poi_index::INTEGER AS poi_index, count(*)::INTEGER AS times
       FROM ${files(['train'])} WHERE ${['click = 1', ...conditions].join(' AND ')} GROUP BY ALL ORDER BY ALL`,
    );
    const clicked = new Map<number, number[]>();
    for (const { user_index, poi_index, times } of rows) {
      if (!described[poi_index]) continue;
      const own = clicked.get(user_index) ?? [];
      clicked.set(user_index, own);
      for (let i = 0; i < times; i++) own.push(poi_index);
    }
    return clicked;
  };
  const clicked = await clicksWhere([...never, ...one]);
  if (clicked.size === 0) {
    if (never.length > 0 && (await clicksWhere(one)).size > 0)
      throw new UsageError(
        'NO_USERS',
        user === undefined
          ? `every user with a click in the train part lives in ${neverIn.join(' or ')} or saw a POI there: name fewer places`
          : `user "${user}" lives in ${neverIn.join(' or ')} or saw a POI there: leave --never-in out`,
      );
    throw new UsageError(
      'NO_USERS',
      `${user === undefined ? 'no user has a click' : `user "${user}" has no click`} in the train part of "${dataset.splitName}" on a POI with a text: nothing is known of what they like`,
    );
  }
  const fitting = [...clicked.keys()];
  const ofPlace = places === null ? null : placeMeans(space, places);
  const drawn: { index: number; clicks: number; taste: Float32Array }[] = [];
  let tasteless = 0;
  for (const i of shuffled(fitting.length, draws(seed, 'users of recall'))) {
    if (drawn.length === count) break;
    const index = fitting[i]!;
    const pois = clicked.get(index)!;
    const taste = meanOf(space, pois, ofPlace === null ? undefined : (poi) => ofPlace.get(places![poi]!) ?? null);
    if (taste.every((x) => x === 0)) tasteless++;
    else drawn.push({ index, clicks: pois.length, taste });
  }
  if (drawn.length === 0)
    throw new UsageError(
      'NO_USERS',
      `what ${user === undefined ? 'these users' : `user "${user}"`} clicked is nothing but the average of its place, as where a place has one POI: nothing is known of what they like`,
    );
  const ids = await db.rows<{ user_index: number; user: string }>(
    `SELECT user_index::INTEGER AS user_index, CAST("user" AS VARCHAR) AS "user" FROM ${store} WHERE user_index IN (${drawn.map(({ index }) => index).join(', ')})`,
  );
  const idOf = new Map(ids.map((row) => [row.user_index, row.user]));
  return {
    fitting: fitting.length,
    tasteless,
    users: drawn.map(({ index, ...known }) => ({ user: idOf.get(index)!, ...known })),
  };
}

/** The mean vector of each place's POIs; not of length 1. */
function placeMeans({ vectors, dimension }: PoiSpace, places: readonly (string | null)[]): Map<string, Float32Array> {
  const sums = new Map<string, { sum: Float32Array; pois: number }>();
  places.forEach((place, poi) => {
    const own = vectors.subarray(poi * dimension, (poi + 1) * dimension);
    if (place === null || own.every((x) => x === 0)) return;
    const entry = sums.get(place) ?? { sum: new Float32Array(dimension), pois: 0 };
    sums.set(place, entry);
    entry.pois++;
    for (let i = 0; i < dimension; i++) entry.sum[i]! += own[i]!;
  });
  return new Map([...sums].map(([place, { sum, pois }]) => [place, sum.map((x) => x / pois)]));
}

/** A condition that POIs can fulfil: a keyword's text holds one of these, or a column is one of them. */
export interface Expectation {
  column: string;
  values: readonly string[];
}

/**
 * For each expectation which POIs fulfil it, [pois] of 0 and 1. A column is a POI keyword (its text holds one of the values, upper and lower
 * case the same), `place` (the schema's `place.poi`), or one that the dataset keeps of POIs for a server (store/pois.parquet).
 * @throws UsageError `UNKNOWN_COLUMN`; `NONE_FULFILS` where not one POI does, which is a slip of the pen
 */
export async function fulfilling(dataset: Dataset, expectations: readonly Expectation[]): Promise<Uint8Array[]> {
  if (expectations.length === 0) return [];
  using db = await DuckdbSession.open();
  const store = `read_parquet(${literal(join(dataset.directory, 'store', 'pois.parquet'))})`;
  const kept = [...(await db.columns(`SELECT * FROM ${store}`)).keys()].filter(
    (name) => name !== 'poi_index' && !name.startsWith('dense_'),
  );
  const keywords = dataset.manifest.keywords.poi.map(({ name }) => name);
  const out: Uint8Array[] = [];
  for (const { column, values } of expectations) {
    const found = new Uint8Array(dataset.manifest.pois);
    if (keywords.includes(column)) {
      (await dataset.poiTexts()).forEach((texts, poi) => {
        found[poi] = +holdsText(texts, column, values);
      });
    } else if (column === 'place' || kept.includes(column)) {
      const of =
        column === 'place'
          ? await requirePlaces(dataset, values)
          : (
              await db.rows<{ value: string | null }>(
                `SELECT CAST(${ident(column)} AS VARCHAR) AS value FROM ${store} ORDER BY poi_index`,
              )
            ).map(({ value }) => value);
      of.forEach((value, poi) => {
        if (value !== null && values.includes(value)) found[poi] = 1;
      });
    } else {
      throw new UsageError(
        'UNKNOWN_COLUMN',
        `POIs have no keyword and no column "${column}"; they have ${[...keywords, ...kept, 'place'].join(', ')}`,
      );
    }
    if (!found.includes(1))
      throw new UsageError(
        'NONE_FULFILS',
        `of no POI ${column} is, or holds, ${values.map((v) => `"${v}"`).join(' or ')}`,
      );
    out.push(found);
  }
  return out;
}

/** How many of the POIs that were found are as expected. */
export interface Fulfilment {
  /** share of the POIs that can be found: what chance gives */
  chance: number;
  /** of the question's own k; null without one */
  question: number | null;
  /** of the users' k: mean over the users, and its standard error (null with one user) */
  users: { mean: number; error: number | null; least: number } | null;
}

/**
 * @param searched [pois]: 1 for those that can be found (`findable`)
 * @param found the POIs found for each user
 */
export function fulfilment(
  fulfils: Uint8Array,
  searched: Uint8Array,
  question: readonly number[] | null,
  found: readonly (readonly number[])[],
): Fulfilment {
  const count = (pois: readonly number[]) => pois.filter((poi) => fulfils[poi] === 1).length;
  let [all, good] = [0, 0];
  fulfils.forEach((one, poi) => {
    if (searched[poi] === 0) return;
    all++;
    good += one;
  });
  const each = found.map(count);
  const mean = each.reduce((a, b) => a + b, 0) / each.length;
  const squares = each.reduce((sum, x) => sum + (x - mean) ** 2, 0);
  return {
    chance: all === 0 ? 0 : good / all,
    question: question === null ? null : count(question),
    users:
      each.length === 0
        ? null
        : {
            mean,
            error: each.length < 2 ? null : Math.sqrt(squares / (each.length - 1) / each.length),
            least: Math.min(...each),
          },
  };
}

/**
 * What each user is recalled with, [dimension]: the question and, `weight` times as long, their taste; without a question the taste alone.
 * Both have length 1 before they are added.
 */
export function questionsOf(
  question: Float32Array | null,
  users: readonly Pick<UserTaste, 'taste'>[],
  weight: number,
): Float32Array[] {
  return users.map(({ taste }) => (question === null ? taste : question.map((x, i) => x + weight * taste[i]!)));
}
