import { join } from 'node:path';
import { DataError, type Dataset, type KeywordText } from '@larr/core';
import { draws, shuffled } from '../language-model/draws.js';
import { requireRoomForTexts } from '../language-model/heap-room.js';
import { pickKeywords, readCorpusLines } from '../pretraining/documents.js';
import type { TextEmbedder } from './text-embedder.js';
import { unnamedDescription } from './unnamed-description.js';

export type PairKind = 'userUser' | 'poiPoi' | 'userPoi' | 'dish';

/** A batch of pairs (a_i, b_i) as token ids; rows of equal `groups` are not each other's negatives. */
export interface PairBatch {
  a: Int32Array[];
  b: Int32Array[];
  groups: Int32Array;
}

/** Every text that stage 2 reads, as token ids; null where an item lacks one of the keywords' sides. */
export interface StageTexts {
  poi: {
    business: (Int32Array | null)[];
    basic: (Int32Array | null)[];
    all: (Int32Array | null)[];
    placeless: (Int32Array | null)[];
  };
  user: {
    profile: (Int32Array | null)[];
    behaviour: (Int32Array | null)[];
    all: (Int32Array | null)[];
    placeless: (Int32Array | null)[];
  };
  dishes: { dish: Int32Array; description: Int32Array; group: number }[];
  /** Texts longer than the context, which were cut. */
  truncated: number;
}

/** Keywords that say where a POI is or a user lives: those that read the schema's `place`, and those whose name sounds like it. */
export function placeKeywords(manifest: Dataset['manifest']): { poi: Set<string>; user: Set<string> } {
  const tell = (keywords: Dataset['manifest']['keywords']['poi']) =>
    keywords
      .filter(
        ({ name, place }) => place || /(^|_)(home|city|place|location|district|address|country|region)/i.test(name),
      )
      .map(({ name }) => name);
  return { poi: new Set(tell(manifest.keywords.poi)), user: new Set(tell(manifest.keywords.user)) };
}

/** Encodes the texts of all POIs, users and dish pairs. Comprehensive texts are profile ⊕ behaviour and business ⊕ basic ⊕ the rest. */
export async function stageTexts(
  dataset: Dataset,
  directory: string,
  tokens: TextEmbedder['tokens'],
): Promise<StageTexts> {
  const { texts, keywords } = dataset.manifest;
  const place = placeKeywords(dataset.manifest);
  let truncated = 0;
  const encode = (chosen: readonly KeywordText[]): Int32Array | null => {
    if (chosen.length === 0) return null;
    const text = tokens(chosen);
    if (text.truncated) truncated++;
    return text.ids;
  };
  await requireRoomForTexts('finetune', dataset, ['pois', 'users']);
  const poiTexts = await dataset.poiTexts();
  const userTexts = await dataset.userTexts();
  const poiOrder = keywords.poi.map(({ name }) => name);
  const userOrder = [...new Set([...texts.userProfile, ...texts.userBehaviour])];
  const without = (names: readonly string[], hidden: Set<string>) => names.filter((name) => !hidden.has(name));
  const column = (all: readonly KeywordText[][], names: readonly string[]) =>
    all.map((own) => encode(pickKeywords(own, names)));
  const path = join(directory, 'corpus', 'dishes.jsonl');
  const groups = new Map<string, number>();
  const dishes = (await readCorpusLines(path)).map((line, i) => {
    const { dish, description } = line;
    if (typeof dish !== 'string' || typeof description !== 'string') {
      throw new DataError('BAD_CORPUS', `${path}, line ${i + 1}: "dish" and "description" must be texts.`);
    }
    if (!groups.has(dish)) groups.set(dish, groups.size);
    return {
      dish: tokens(` ${dish}`).ids,
      description: tokens(` ${unnamedDescription(description, dish)}`).ids,
      group: groups.get(dish)!,
    };
  });
  return {
    poi: {
      business: column(poiTexts, texts.poiBusiness),
      basic: column(poiTexts, texts.poiBasic),
      all: column(poiTexts, poiOrder),
      placeless: column(poiTexts, without(poiOrder, place.poi)),
    },
    user: {
      profile: column(userTexts, texts.userProfile),
      behaviour: column(userTexts, texts.userBehaviour),
      all: column(userTexts, userOrder),
      placeless: column(userTexts, without(userOrder, place.user)),
    },
    dishes,
    truncated,
  };
}

/** Draws batches of one kind: which, the seed and the batch's number decide, so that a resumed run draws the same. */
export type PairSource = (batch: number) => PairBatch;

/** Pairs (a_i, b_i) of the same item, `size` a batch, every item once an epoch. */
export function itemPairs(
  items: readonly { a: Int32Array; b: Int32Array; group: number }[],
  size: number,
  seed: number,
  stream: string,
): PairSource {
  const batch = Math.min(size, items.length);
  const orders = new Map<number, Int32Array>();
  const orderOf = (epoch: number): Int32Array => {
    if (!orders.has(epoch)) {
      orders.clear();
      orders.set(epoch, shuffled(items.length, draws(seed, stream, epoch)));
    }
    return orders.get(epoch)!;
  };
  const perEpoch = Math.floor(items.length / batch);
  return (number) => {
    const order = orderOf(Math.floor(number / perEpoch));
    const start = (number % perEpoch) * batch;
    const rows = Array.from(order.subarray(start, start + batch), (i) => items[i]!);
    return {
      a: rows.map(({ a }) => a),
      b: rows.map(({ b }) => b),
      groups: Int32Array.from(rows, ({ group }) => group),
    };
  };
}

export interface UserPoiOptions {
  size: number;
  seed: number;
  hidePlaceShare: number;
  sameCityShare: number;
  /** Draw only rows that are no false negatives of each other. */
  avoidFalseNegatives: boolean;
}

/**
 * User–POI pairs (eq. 17–20). A user has many POIs and a POI many users, which no group ids can tell: instead a row joins
 * the batch only if its user and POI are new there, and neither has a known pair with any row's partner. So no row is
 * another's false negative. A batch of one place comes from a place that has two pairs; where no two of them go together,
 * from everywhere.
 * @returns null where there are not two pairs that go into one batch: one alone has nothing to be told from
 */
export function userPoiPairs(
  texts: StageTexts,
  pairs: { user: Int32Array; poi: Int32Array },
  usable: (pair: number) => boolean,
  city: Int32Array | null,
  options: UserPoiOptions,
): PairSource | null {
  const { size, seed, hidePlaceShare, sameCityShare, avoidFalseNegatives } = options;
  const rows = Int32Array.from(pairs.user.keys()).filter(
    (i) => usable(i) && texts.user.placeless[pairs.user[i]!] && texts.poi.placeless[pairs.poi[i]!],
  );
  const takenBy = poisOfUsers(pairs);
  const byCity = new Map<number, number[]>();
  for (const i of rows) {
    const where = city?.[pairs.poi[i]!] ?? -1;
    if (where < 0) continue;
    if (!byCity.has(where)) byCity.set(where, []);
    byCity.get(where)!.push(i);
  }
  const inCities = [...byCity.values()].filter((own) => own.length > 1).flat();
  /** Up to `size` rows of a pool that are no false negatives of each other. */
  const drawn = (pool: ArrayLike<number>, next: () => number): { users: number[]; pois: number[] } => {
    const users: number[] = [];
    const pois: number[] = [];
    const ownUsers = new Set<number>();
    const ownPois = new Set<number>();
    /** Every POI that a user of the batch has taken. */
    const taken = new Set<number>();
    for (let tries = 0; users.length < size && tries < 20 * size; tries++) {
      const pair = pool[Math.floor(next() * pool.length)]!;
      const user = pairs.user[pair]!;
      const poi = pairs.poi[pair]!;
      if (avoidFalseNegatives) {
        if (ownUsers.has(user) || ownPois.has(poi) || taken.has(poi)) continue;
        const own = takenBy(user);
        if (own.some((one) => ownPois.has(one))) continue;
        ownUsers.add(user);
        ownPois.add(poi);
        for (const one of own) taken.add(one);
      }
      users.push(user);
      pois.push(poi);
    }
    return { users, pois };
  };
  if (rows.length < 2 || drawn(rows, draws(seed, 'user–POI pairs that go together')).users.length < 2) return null;
  return (number) => {
    const next = draws(seed, 'user–POI', number);
    const hidden = next() < hidePlaceShare;
    const sameCity = next() < sameCityShare && inCities.length > 0;
    const pool = sameCity ? byCity.get(city![pairs.poi[inCities[Math.floor(next() * inCities.length)]!]!]!)! : rows;
    let { users, pois } = drawn(pool, next);
    if (users.length < 2) ({ users, pois } = drawn(rows, next));
    const [a, b] = hidden ? [texts.user.placeless, texts.poi.placeless] : [texts.user.all, texts.poi.all];
    return {
      a: users.map((user) => a[user]!),
      b: pois.map((poi) => b[poi]!),
      groups: Int32Array.from(users, (_, i) => i),
    };
  };
}

/** The POIs of each user's pairs: two arrays for all of them, since a set for each user is gigabytes where users are millions. */
function poisOfUsers({ user, poi }: { user: Int32Array; poi: Int32Array }): (user: number) => Int32Array {
  const users = user.reduce((most, one) => Math.max(most, one + 1), 0);
  const starts = new Int32Array(users + 1);
  for (const one of user) starts[one + 1]!++;
  for (let i = 0; i < users; i++) starts[i + 1]! += starts[i]!;
  const filled = starts.slice(0, users);
  const pois = new Int32Array(poi.length);
  for (let i = 0; i < poi.length; i++) pois[filled[user[i]!]!++] = poi[i]!;
  return (of) => pois.subarray(starts[of]!, starts[of + 1]!);
}
