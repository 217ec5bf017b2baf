import { readFile } from 'node:fs/promises';
import { beforeAll, describe, expect, test } from 'vitest';
import { auc } from '../metrics/ranking.js';
import { ATTRIBUTES, type AttributeName, attributeIndex, MEALTIMES } from './attributes.js';
import {
  EFFECTS,
  MEAL_FIT,
  type Moment,
  mealtimeOf,
  SCENE_EFFECTS,
  sceneStrength,
  TASTE_ATTRIBUTES,
} from './effects.js';
import { type Population, populate } from './population.js';
import { Random } from './random.js';
import { calibrate, simulate } from './simulate.js';
import { WEATHERS, WETNESS } from './weather.js';

const A = ATTRIBUTES.length;
const SIZE = { pois: 1500, users: 3000, sessions: 70_000, days: 26 };

/** An impression as a regression sees it: what happened, and the truth about who and what. */
interface Impression {
  moment: Moment;
  sensitivity: number;
  novelty: number;
  purpose: number;
  wet: number;
  far: number;
  /** Log price against the person's usual budget. */
  gap: number;
  taste: number;
  z: (name: AttributeName) => number;
  /** Share of the signature dishes that are the present city's own, and the home city's. */
  here: number;
  home: number;
  quality: number;
  rating: number;
  popularity: number;
  place: number;
  known: boolean;
  isNew: boolean;
}

/** A claim of docs/world.md: what enters the click logit, with which coefficient in a world and in one without scene effects. */
interface Claim {
  name: string;
  coefficient: number;
  plain: number;
  x: (of: Impression) => number;
}

const AT = Object.fromEntries(ATTRIBUTES.map((name) => [name, attributeIndex(name)])) as Record<AttributeName, number>;
const WEATHER = /heat|wet|damp|cold|hot|rainy/;
const [HOME, VACATION, WORK, FAMILY] = [0, 1, 2, 3];
const CLAIMS: Claim[] = [
  ...SCENE_EFFECTS.map(({ scene, attribute, effect }) => ({
    name: `${attribute} dishes x ${scene}`,
    coefficient: effect,
    plain: 0,
    x: (i: Impression) => sceneStrength(scene, i.moment) * (WEATHER.test(scene) ? i.sensitivity : 1) * i.z(attribute),
  })),
  {
    name: 'dishes made for this mealtime',
    coefficient: MEAL_FIT.present,
    plain: 0,
    x: (i) => i.z(MEALTIMES[i.moment.mealtime]!),
  },
  {
    name: 'rain x distance',
    coefficient: -EFFECTS.distance * EFFECTS.rainTimesDistance,
    plain: 0,
    x: (i) => i.far * i.wet,
  },
  ...(
    [
      [VACATION, 'vacation'],
      [WORK, 'work'],
      [FAMILY, 'family'],
    ] as const
  ).map(([purpose, name]) => ({
    name: `local dishes x ${name}`,
    coefficient: EFFECTS.local[name],
    plain: EFFECTS.local.home,
    x: (i: Impression) => (i.purpose === purpose ? (0.5 + i.novelty) * i.here : 0),
  })),
  {
    name: 'dishes of home x travelling',
    coefficient: EFFECTS.homesick,
    plain: 0,
    x: (i) => (i.purpose === HOME ? 0 : (1 - i.novelty) * i.home),
  },
  // −c (gap − s)² has the cross term 2 c s gap.
  ...([0, 2, 3] as const).map((meal) => ({
    name: `price x ${MEALTIMES[meal]}`,
    coefficient: 2 * EFFECTS.price * EFFECTS.purse.mealtimes[meal],
    plain: 0,
    x: (i: Impression) => (i.moment.mealtime === meal ? i.gap : 0),
  })),
  {
    name: 'price x free day',
    coefficient: 2 * EFFECTS.price * EFFECTS.purse.free,
    plain: 0,
    x: (i) => (i.moment.weekend ? i.gap : 0),
  },
  {
    name: 'price x vacation',
    coefficient: 2 * EFFECTS.price * EFFECTS.purse.vacation,
    plain: 0,
    x: (i) => (i.purpose === VACATION ? i.gap : 0),
  },
  { name: 'taste x dish', coefficient: 1, plain: 1, x: (i) => i.taste },
  { name: 'distance', coefficient: -EFFECTS.distance, plain: -EFFECTS.distance, x: (i) => i.far },
  { name: 'price away from the budget', coefficient: -EFFECTS.price, plain: -EFFECTS.price, x: (i) => i.gap ** 2 },
  { name: 'quality', coefficient: EFFECTS.quality, plain: EFFECTS.quality, x: (i) => i.quality },
  { name: 'rating', coefficient: EFFECTS.rating, plain: EFFECTS.rating, x: (i) => i.rating },
  { name: 'popularity', coefficient: EFFECTS.popularity, plain: EFFECTS.popularity, x: (i) => i.popularity },
  { name: 'position', coefficient: -EFFECTS.position, plain: -EFFECTS.position, x: (i) => i.place },
  {
    name: 'ordered before',
    coefficient: EFFECTS.habit,
    plain: EFFECTS.habit,
    x: (i) => (i.known ? 1.2 - i.novelty : 0),
  },
  {
    name: 'newly opened x appetite for the new',
    coefficient: EFFECTS.newcomer,
    plain: EFFECTS.newcomer,
    x: (i) => (i.isNew ? 2 * i.novelty - 0.6 : 0),
  },
];
/** What the logit holds besides and no claim is made of: without them the others would take their part. */
const BESIDES: ((of: Impression) => number)[] = [
  (i) => (i.purpose === HOME ? i.here : 0),
  (i) => (i.moment.mealtime === 1 ? i.gap : 0),
];
const named = (name: string): number => CLAIMS.findIndex((claim) => claim.name === name);

/** One row per impression. */
interface Log {
  click: Uint8Array;
  order: Uint8Array;
  ctr: Float64Array;
  ctcvr: Float64Array;
  user: Int32Array;
  poi: Int32Array;
  /** What a scene's words tell: mealtime, how warm, wet or not, as one number. */
  scene: Int16Array;
  /** All clicks and a quarter of the rest: a logistic regression of them has the same slopes, at a third of the cost. */
  some: Rows;
}

/** Rows of a regression: an intercept, then a column for each claim and each of BESIDES. */
interface Rows {
  x: Float64Array[];
  click: number[];
  order: number[];
}

async function makeLog(sceneEffects: boolean): Promise<{ population: Population; log: Log }> {
  const population = populate(SIZE, 11, sceneEffects);
  const { people, restaurants, source, days, cities } = population;
  const intercepts = calibrate(source, SIZE.days);
  const capacity = SIZE.sessions * 12;
  const log: Log = {
    click: new Uint8Array(capacity),
    order: new Uint8Array(capacity),
    ctr: new Float64Array(capacity),
    ctcvr: new Float64Array(capacity),
    user: new Int32Array(capacity),
    poi: new Int32Array(capacity),
    scene: new Int16Array(capacity),
    some: { x: [], click: [], order: [] },
  };
  const random = new Random(1, 0);
  const regressors = [...CLAIMS.map((claim) => claim.x), ...BESIDES];
  const ordered = new Set<number>();
  let rows = 0;
  await simulate(
    source,
    intercepts,
    { days: SIZE.days, sessions: SIZE.sessions, seed: 11, weekend: (day) => days.weekday(day) >= 5 },
    (session, answers) => {
      const user = session.user;
      const moment: Moment = {
        temperature: session.temperature,
        wetness: WETNESS[WEATHERS[session.weather]!],
        mealtime: mealtimeOf(Math.floor(session.secondOfDay / 3600)),
        weekend: days.free(session.day, session.city),
      };
      for (let i = 0; i < session.length; i++) {
        const p = session.poi[i]!;
        log.click[rows] = answers.click[i]!;
        log.order[rows] = answers.order[i]!;
        log.ctr[rows] = answers.ctr[i]!;
        log.ctcvr[rows] = answers.ctcvr[i]!;
        log.user[rows] = user;
        log.poi[rows] = p;
        log.scene[rows++] =
          moment.mealtime * 8 +
          (moment.temperature < 12 ? 0 : moment.temperature < 22 ? 1 : 2) * 2 +
          (moment.wetness >= 0.5 ? 1 : 0);
        if (answers.click[i] === 0 && random.uniform() >= 0.25) continue;
        let taste = 0;
        for (let a = 0; a < TASTE_ATTRIBUTES; a++)
          taste += people.tastes[user * A + a]! * restaurants.attributes[p * A + a]!;
        const opened = restaurants.opensDay[p]!;
        const impression: Impression = {
          moment,
          sensitivity: people.weatherSensitivity[user]!,
          novelty: people.novelty[user]!,
          purpose: session.purpose,
          wet: moment.wetness,
          far: Math.log(1 + session.distance[i]!),
          gap: Math.log(restaurants.price[p]!) - people.logBudget[user]!,
          taste,
          z: (name) => restaurants.attributes[p * A + AT[name]]!,
          here: restaurants.localness[p * cities + session.city]!,
          home: restaurants.localness[p * cities + people.homeCity[user]!]!,
          quality: restaurants.quality[p]!,
          rating: (restaurants.rating[p]! - 4.35) / 0.31,
          popularity: Math.log(restaurants.popularity[p]!),
          place: Math.log(1 + i),
          known: ordered.has(user * SIZE.pois + p),
          isNew: opened > 0 && session.day - opened < 7,
        };
        log.some.x.push(Float64Array.from([1, ...regressors.map((x) => x(impression))]));
        log.some.click.push(answers.click[i]!);
        log.some.order.push(answers.order[i]!);
      }
      for (let i = 0; i < session.length; i++)
        if (answers.order[i] === 1) ordered.add(user * SIZE.pois + session.poi[i]!);
    },
    () => {},
  );
  for (const key of ['click', 'order', 'ctr', 'ctcvr', 'user', 'poi', 'scene'] as const)
    (log[key] as Uint8Array) = (log[key] as Uint8Array).subarray(0, rows);
  return { population, log };
}

/** Logistic regression with an intercept by Newton's method; coefficients and their standard errors. */
function regress(x: readonly Float64Array[], y: ArrayLike<number>): { coefficient: number[]; error: number[] } {
  const k = x[0]!.length;
  const beta = new Float64Array(k);
  let information: Float64Array[] = [];
  for (let step = 0; step < 5; step++) {
    const gradient = new Float64Array(k);
    const lower = new Float64Array(k * k);
    for (const [i, row] of x.entries()) {
      let eta = 0;
      for (let c = 0; c < k; c++) eta += beta[c]! * row[c]!;
      const p = 1 / (1 + Math.exp(-eta));
      const error = y[i]! - p;
      for (let a = 0; a < k; a++) {
        if (row[a] === 0) continue;
        gradient[a]! += error * row[a]!;
        const scaled = p * (1 - p) * row[a]!;
        for (let b = 0, at = a * k; b <= a; b++, at++) lower[at]! += scaled * row[b]!;
      }
    }
    information = Array.from({ length: k }, (_, a) =>
      Float64Array.from({ length: k }, (_, b) => lower[a >= b ? a * k + b : b * k + a]!),
    );
    const move = solve(information, gradient);
    for (let c = 0; c < k; c++) beta[c]! += move[c]!;
  }
  const error = Array.from({ length: k }, (_, c) => {
    const unit = new Float64Array(k);
    unit[c] = 1;
    return Math.sqrt(solve(information, unit)[c]!);
  });
  return { coefficient: [...beta].slice(1), error: error.slice(1) };
}

function solve(matrix: Float64Array[], right: Float64Array): Float64Array {
  const a = matrix.map((line, i) => Float64Array.from([...line, right[i]!]));
  const k = a.length;
  for (let c = 0; c < k; c++) {
    let best = c;
    for (let r = c + 1; r < k; r++) if (Math.abs(a[r]![c]!) > Math.abs(a[best]![c]!)) best = r;
    [a[c], a[best]] = [a[best]!, a[c]!];
    for (let r = 0; r < k; r++) {
      if (r === c) continue;
      const factor = a[r]![c]! / a[c]![c]!;
      for (let j = c; j <= k; j++) a[r]![j]! -= factor * a[c]![j]!;
    }
  }
  return Float64Array.from({ length: k }, (_, r) => a[r]![k]! / a[r]![r]!);
}

test('docs/world.md has every scene effect as it is, and no other', async () => {
  const guide = await readFile(new URL('../../../../docs/world.md', import.meta.url), 'utf8');
  const table = /\| condition \| strength \| weights \|\n.*\n((?:\|.*\n)+)/.exec(guide)![1]!;
  const told = table.split('\n').flatMap((line) => {
    const [, scene, , weights] = line.split('|').map((cell) => cell.trim());
    return (weights ?? '')
      .split(', ')
      .filter(Boolean)
      .map((weight) => `${scene}: ${weight}`);
  });
  const written = (effect: number) => `${effect < 0 ? '−' : '+'}${String(Math.abs(effect)).slice(1)}`;
  expect(told).toEqual(
    SCENE_EFFECTS.map(({ scene, attribute, effect }) => `${scene}: ${attribute} ${written(effect)}`),
  );
});

describe('the log of a world', () => {
  let population: Population;
  let log: Log;
  let plain: Log;
  beforeAll(async () => {
    ({ population, log } = await makeLog(true));
    plain = (await makeLog(false)).log;
  }, 240_000);

  test('has about 8 % clicks, and 20 % orders per click', () => {
    for (const some of [log, plain]) {
      const clicks = some.click.reduce((sum, value) => sum + value, 0);
      const orders = some.order.reduce((sum, value) => sum + value, 0);
      expect(clicks / some.click.length).toBeGreaterThan(0.07);
      expect(clicks / some.click.length).toBeLessThan(0.09);
      expect(orders / clicks).toBeGreaterThan(0.18);
      expect(orders / clicks).toBeLessThan(0.23);
    }
  });

  test('is drawn from the probabilities that the oracle keeps, whose AUC is the stated ceiling', () => {
    const mean = (values: ArrayLike<number>): number =>
      (Array.prototype.reduce.call(values, (a, b) => (a as number) + (b as number), 0) as number) / values.length;
    expect(Math.abs(mean(log.ctr) / mean(log.click) - 1)).toBeLessThan(0.02);
    expect(Math.abs(mean(log.ctcvr) / mean(log.order) - 1)).toBeLessThan(0.05);
    const first = <T extends { subarray(from: number, to: number): T }>(values: T): T => values.subarray(0, 250_000);
    const ceiling = auc(first(log.click), first(log.ctr));
    expect(ceiling).toBeGreaterThan(0.82);
    expect(ceiling).toBeLessThan(0.86);
    expect(auc(first(log.order), first(log.ctcvr))).toBeGreaterThan(0.88);
  });

  test('shows every claimed effect with its sign, and about as strong as it is stated', () => {
    const { coefficient, error } = regress(log.some.x, log.some.click);
    for (const [c, claim] of CLAIMS.entries()) {
      expect(coefficient[c]! / claim.coefficient, `${claim.name}: the sign`).toBeGreaterThan(0);
      expect(Math.abs(coefficient[c]!) / error[c]!, `${claim.name}: z`).toBeGreaterThan(2);
      expect(
        Math.abs(coefficient[c]! - claim.coefficient),
        `${claim.name}: ${coefficient[c]} of ${claim.coefficient}`,
      ).toBeLessThan(4 * error[c]! + 0.1 * Math.abs(claim.coefficient));
    }
  });

  test('without scene effects lacks each of those of the scene, and keeps each of the others', () => {
    const { coefficient, error } = regress(plain.some.x, plain.some.click);
    for (const [c, claim] of CLAIMS.entries()) {
      expect(
        Math.abs(coefficient[c]! - claim.plain),
        `${claim.name}: ${coefficient[c]} of ${claim.plain}`,
      ).toBeLessThan(4 * error[c]! + 0.1 * Math.abs(claim.plain));
      // Were it there, it would be seen.
      if (claim.plain !== claim.coefficient)
        expect(
          Math.abs(coefficient[c]! - claim.coefficient) / error[c]!,
          `${claim.name}: away from ${claim.coefficient}`,
        ).toBeGreaterThan(2);
    }
  });

  test('has orders that follow taste, price, rating, quality, habit, meals and rain x distance among what was clicked', () => {
    const clicked = <T>(values: T[]) => values.filter((_, r) => log.some.click[r] === 1);
    const { coefficient, error } = regress(clicked(log.some.x), clicked(log.some.order));
    const { order } = EFFECTS;
    for (const [name, stated] of [
      ['taste x dish', order.preference],
      ['dishes made for this mealtime', order.preference * MEAL_FIT.present],
      ['price away from the budget', -order.price],
      ['distance', -order.distance],
      ['rain x distance', -order.distance * EFFECTS.rainTimesDistance],
      ['rating', order.rating],
      ['quality', order.quality],
    ] as const) {
      const c = named(name);
      expect(Math.abs(coefficient[c]! - stated), `${name}: ${coefficient[c]} of ${stated}`).toBeLessThan(
        4 * error[c]! + 0.1 * Math.abs(stated),
      );
      expect(Math.abs(coefficient[c]!) / error[c]!, `${name}: z`).toBeGreaterThan(4);
    }
    expect(coefficient[named('ordered before')]! / error[named('ordered before')]!).toBeGreaterThan(4);
  });

  test('lets tastes be told from what people clicked or ordered and in which scenes, by the words of menus alone', () => {
    const { restaurants, people } = population;
    // Words → attributes, learnt on the POIs with an even number and applied to the others only.
    const texts = restaurants.menu.map((menu, p) =>
      menu
        .slice(0, restaurants.signatures[p])
        .map((item) => item.name)
        .join(' '),
    );
    const told = wordsToAttributes(texts, restaurants.attributes, restaurants.count, (p) => p % 2 === 0);
    const byCuisine = cuisineMeans(population, (p) => p % 2 === 0);
    let fromWords = 0;
    let fromCuisine = 0;
    for (let a = 0; a < TASTE_ATTRIBUTES; a++) {
      const odd = [...Array(restaurants.count).keys()].filter((p) => p % 2 === 1);
      fromWords +=
        explained(
          odd,
          (p) => restaurants.attributes[p * A + a]!,
          (p) => told[p * A + a]!,
        ) / TASTE_ATTRIBUTES;
      fromCuisine +=
        explained(
          odd,
          (p) => restaurants.attributes[p * A + a]!,
          (p) => byCuisine[restaurants.cuisine[p]! * A + a]!,
        ) / TASTE_ATTRIBUTES;
    }
    expect(fromWords).toBeGreaterThan(0.7);
    // A fine cuisine does not tell all: dishes of one cuisine differ.
    expect(fromCuisine).toBeLessThan(0.55);

    // Of each person: the words of what was chosen, against the words of what all chose in such a scene.
    const agreement = (chosen: Uint8Array, least: number, sceneTold: boolean): { cosine: number; people: number } => {
      const sums = new Map<number, { n: number; mean: Float64Array }>();
      const sceneOf = (r: number) => (sceneTold ? log.scene[r]! : 0);
      const rows = [...chosen.keys()].filter((r) => chosen[r] === 1 && log.poi[r]! % 2 === 1);
      for (const r of rows) {
        const sum = sums.get(sceneOf(r)) ?? { n: 0, mean: new Float64Array(A) };
        sums.set(sceneOf(r), sum);
        sum.n++;
        for (let a = 0; a < A; a++) sum.mean[a]! += told[log.poi[r]! * A + a]!;
      }
      const leaning = new Float64Array(people.count * A);
      const count = new Float64Array(people.count);
      for (const r of rows) {
        const { n, mean } = sums.get(sceneOf(r))!;
        count[log.user[r]!]!++;
        for (let a = 0; a < TASTE_ATTRIBUTES; a++)
          leaning[log.user[r]! * A + a]! += told[log.poi[r]! * A + a]! - mean[a]! / n;
      }
      let cosine = 0;
      let counted = 0;
      for (let u = 0; u < people.count; u++) {
        if (count[u]! < least) continue;
        let dot = 0;
        let left = 0;
        let right = 0;
        for (let a = 0; a < TASTE_ATTRIBUTES; a++) {
          const x = leaning[u * A + a]!;
          const y = people.tastes[u * A + a]!;
          dot += x * y;
          left += x * x;
          right += y * y;
        }
        cosine += dot / Math.sqrt(left * right);
        counted++;
      }
      return { cosine: cosine / counted, people: counted };
    };
    for (const [chosen, least] of [
      [log.click, 10],
      [log.order, 5],
    ] as const) {
      const told = agreement(chosen, least, true);
      expect(told.people).toBeGreaterThan(200);
      // The cosine between chance vectors of 15 dimensions is 0 on average, with a deviation of .26 / √people.
      expect(told.cosine).toBeGreaterThan(0.25);
      // Whoever orders soup when it rains need not love soup: the scene tells. Orders are too few to show so small a difference.
      if (chosen === log.click) expect(told.cosine).toBeGreaterThan(agreement(chosen, least, false).cosine);
    }
  });
});

/** Share of the variance of `truth` that `guess` explains. */
function explained(rows: number[], truth: (row: number) => number, guess: (row: number) => number): number {
  const mean = rows.reduce((sum, row) => sum + truth(row), 0) / rows.length;
  let residual = 0;
  let total = 0;
  for (const row of rows) {
    residual += (truth(row) - guess(row)) ** 2;
    total += (truth(row) - mean) ** 2;
  }
  return 1 - residual / total;
}

function cuisineMeans(population: Population, known: (p: number) => boolean): Float64Array {
  const { restaurants } = population;
  const sum = new Float64Array(64 * A);
  const count = new Float64Array(64);
  for (let p = 0; p < restaurants.count; p++) {
    if (!known(p)) continue;
    count[restaurants.cuisine[p]!]!++;
    for (let a = 0; a < A; a++) sum[restaurants.cuisine[p]! * A + a]! += restaurants.attributes[p * A + a]!;
  }
  return sum.map((value, i) => value / Math.max(1, count[Math.floor(i / A)]!));
}

/** Ridge regression of the attributes on a bag of words by gradient descent with momentum; predictions for every POI. */
function wordsToAttributes(
  texts: string[],
  attributes: Float32Array,
  count: number,
  known: (p: number) => boolean,
): Float64Array {
  const vocabulary = new Map<string, number>();
  const bags = texts.map((text) => {
    const words = new Set(text.toLowerCase().match(/\p{L}+/gu));
    return [...words].map((word) => {
      if (!vocabulary.has(word)) vocabulary.set(word, vocabulary.size);
      return vocabulary.get(word)!;
    });
  });
  const weights = new Float64Array((vocabulary.size + 1) * A);
  const bias = vocabulary.size * A;
  // Stochastic passes: each POI moves the weights of its own words.
  for (let pass = 0; pass < 60; pass++) {
    const rate = 0.1 / (1 + pass / 10);
    for (let p = 0; p < count; p++) {
      if (!known(p)) continue;
      const bag = bags[p]!;
      for (let a = 0; a < A; a++) {
        let guess = weights[bias + a]!;
        for (const word of bag) guess += weights[word * A + a]!;
        const move = (rate * (attributes[p * A + a]! - guess)) / Math.sqrt(1 + bag.length);
        weights[bias + a]! += 0.1 * move;
        for (const word of bag) weights[word * A + a]! += move;
      }
    }
  }
  const told = new Float64Array(count * A);
  for (let p = 0; p < count; p++)
    for (let a = 0; a < A; a++) {
      told[p * A + a] = weights[bias + a]!;
      for (const word of bags[p]!) told[p * A + a]! += weights[word * A + a]!;
    }
  return told;
}
