// What users took later, for judging vectors: held-out POIs that they clicked or ordered in the validation part.
import { join } from 'node:path';
import { type Dataset, DuckdbSession, literal } from '@larr/core';
import { draws, shuffled } from '../language-model/draws.js';

/** One user's choices among the POIs of one place. Rows of `choosers` and of `choicePois`. */
export interface Choice {
  user: number;
  /** Taken, each once. */
  positives: number[];
  /** Not known to be taken. */
  negatives: number[];
}

/** A user who is asked, and what is known of the time before: the train part. */
export interface Chooser {
  /** User number. */
  user: number;
  /** POIs clicked in the train part and how often, the most often first. */
  clicked: { poi: number; times: number }[];
  /** Rows of `choicePois` taken in either part: no candidates of this user beside the one that is looked up. */
  taken: Set<number>;
}

export interface LaterChoices {
  choices: Choice[];
  choosers: Chooser[];
  /** The held-out POIs, by number. */
  choicePois: number[];
}

/** At most so many users are asked for their later choices. */
const CHOOSING_USERS = 2000;
/** Of each, at most so many clicked POIs make the behaviour vector. */
const CLICKED_POIS = 100;

/**
 * What users clicked or ordered in the validation part among held-out POIs, each POI once a user whether it was clicked or ordered,
 * and however often. Users' texts and behaviour are of the train part, the test part is not opened. POIs that the user has a known pair
 * with (an order in the train part) do not count: the user's text names their dishes. A choice's negatives are the
 * other held-out POIs of its place that the user neither clicked nor ordered in either part.
 * @param city place number of each POI, −1 unknown; null where places are not known: all are one place
 * @param askable users that have a text
 */
export async function laterChoices(
  dataset: Dataset,
  {
    heldOut,
    city,
    pairs,
    askable,
    seed,
  }: {
    heldOut: Uint8Array;
    city: Int32Array | null;
    pairs: { user: Int32Array; poi: Int32Array };
    askable: (user: number) => boolean;
    seed: number;
  },
): Promise<LaterChoices> {
  const ordered = byUser(Array.from(pairs.user, (user, i) => ({ user, poi: pairs.poi[i]! })));
  const later = byUser(await taken(dataset, 'validation', null));
  const choicePois = [...heldOut.keys()].filter((poi) => heldOut[poi]);
  const rowOf = new Map(choicePois.map((poi, row) => [poi, row]));
  const isNew = (user: number) => (poi: number) => heldOut[poi] === 1 && !ordered.get(user)?.has(poi);
  const users = [...later.keys()]
    .filter((user) => askable(user) && [...later.get(user)!].some(isNew(user)))
    .sort((a, b) => a - b);
  const asked = Array.from(
    shuffled(users.length, draws(seed, 'choosing users')).subarray(0, CHOOSING_USERS),
    (i) => users[i]!,
  );
  const before = await taken(dataset, 'train', asked);
  const history = new Map<number, { poi: number; times: number }[]>(asked.map((user) => [user, []]));
  for (const { user, poi, times } of before) history.get(user)!.push({ poi, times });
  const choices: Choice[] = [];
  const choosers = asked.map((user, row): Chooser => {
    const clicked = history
      .get(user)!
      .sort((a, b) => b.times - a.times || a.poi - b.poi)
      .slice(0, CLICKED_POIS);
    const known = new Set([
      ...(ordered.get(user) ?? []),
      ...history.get(user)!.map(({ poi }) => poi),
      ...later.get(user)!,
    ]);
    const byPlace = new Map<number, number[]>();
    for (const poi of [...later.get(user)!].filter(isNew(user))) {
      const where = city?.[poi] ?? -1;
      byPlace.set(where, [...(byPlace.get(where) ?? []), poi]);
    }
    for (const [where, positives] of byPlace) {
      const negatives = choicePois.filter((poi) => (city?.[poi] ?? -1) === where && !known.has(poi));
      if (negatives.length === 0) continue;
      const rows = (pois: number[]) => pois.map((poi) => rowOf.get(poi)!);
      choices.push({ user: row, positives: rows(positives), negatives: rows(negatives) });
    }
    return { user, clicked, taken: new Set([...known].flatMap((poi) => rowOf.get(poi) ?? [])) };
  });
  return { choices, choosers, choicePois };
}

/** Pairs of a user and a POI that was clicked or ordered in a part, and how often. */
async function taken(
  { directory, split, manifest }: Dataset,
  part: 'train' | 'validation',
  users: readonly number[] | null,
): Promise<{ user: number; poi: number; times: number }[]> {
  if (users?.length === 0) return [];
  using db = await DuckdbSession.open({ threads: 2 });
  const files = split.parts[part].files.map((file) => literal(join(directory, file))).join(', ');
  const rows = await db.rows<{ user_index: number; poi_index: number; times: number }>(
    `SELECT user_index, poi_index, count(*)::INTEGER AS times FROM read_parquet([${files}])
     WHERE (click = 1${manifest.orders ? ' OR "order" = 1' : ''})${users === null ? '' : ` AND user_index IN (${users.join(', ')})`}
     GROUP BY ALL ORDER BY ALL`,
  );
  return rows.map(({ user_index: user, poi_index: poi, times }) => ({ user, poi, times }));
}

function byUser(rows: readonly { user: number; poi: number }[]): Map<number, Set<number>> {
  const out = new Map<number, Set<number>>();
  for (const { user, poi } of rows) {
    if (!out.has(user)) out.set(user, new Set());
    out.get(user)!.add(poi);
  }
  return out;
}
