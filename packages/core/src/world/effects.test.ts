import { beforeAll, describe, expect, test } from 'vitest';
import { auc } from '../metrics/ranking.js';
import { ATTRIBUTES, attributeIndex, MEALTIMES } from './attributes.js';
import { feel, mealtimeOf, TASTE_ATTRIBUTES } from './effects.js';
import { type Population, populate } from './population.js';
import { calibrate, simulate } from './simulate.js';
import { WEATHERS, WETNESS } from './weather.js';

const A = ATTRIBUTES.length;
const SIZE = { pois: 1500, users: 3000, sessions: 40_000, days: 26 };

/** One row per impression: what a regression needs to find the effects in the log. */
interface Log {
  names: string[];
  x: Float64Array[];
  click: Uint8Array;
  order: Uint8Array;
  ctr: Float64Array;
  ctcvr: Float64Array;
  user: Int32Array;
  poi: Int32Array;
  day: Int16Array;
}

const NAMES = [
  'taste x dish',
  'hot dish x heat',
  'rich dish x heat',
  'soup x rain',
  'spicy x damp',
  'mealtime x dish',
  'sweet x afternoon',
  'soup x cold late night',
  'rain x distance',
  'distance',
  'vacation x local speciality',
  'price gap',
  'rating',
  'popularity',
  'position',
  'ordered before',
];
const SCENE_NAMES = NAMES.slice(1, 9).concat('vacation x local speciality');

async function makeLog(sceneEffects: boolean): Promise<{ population: Population; log: Log }> {
  const population = populate(SIZE, 11, sceneEffects);
  const { people, restaurants, source, days, cities } = population;
  const intercepts = calibrate(source, SIZE.days);
  const capacity = SIZE.sessions * 12;
  const log: Log = {
    names: NAMES,
    x: NAMES.map(() => new Float64Array(capacity)),
    click: new Uint8Array(capacity),
    order: new Uint8Array(capacity),
    ctr: new Float64Array(capacity),
    ctcvr: new Float64Array(capacity),
    user: new Int32Array(capacity),
    poi: new Int32Array(capacity),
    day: new Int16Array(capacity),
  };
  const ordered = new Set<number>();
  let rows = 0;
  const at = attributeIndex;
  await simulate(
    source,
    intercepts,
    { days: SIZE.days, sessions: SIZE.sessions, seed: 11, weekend: (day) => days.weekday(day) >= 5 },
    (session, answers) => {
      const wet = WETNESS[WEATHERS[session.weather]!];
      const heat = feel(session.temperature);
      const meal = mealtimeOf(Math.floor(session.secondOfDay / 3600));
      const free = days.free(session.day, session.city);
      const user = session.user;
      for (let i = 0; i < session.length; i++) {
        const p = session.poi[i]!;
        const z = (name: (typeof ATTRIBUTES)[number]): number => restaurants.attributes[p * A + at(name)]!;
        let taste = 0;
        for (let a = 0; a < TASTE_ATTRIBUTES; a++)
          taste += people.tastes[user * A + a]! * restaurants.attributes[p * A + a]!;
        const far = Math.log(1 + session.distance[i]!);
        const purse =
          people.logBudget[user]! +
          [-0.6, -0.1, -0.35, 0.2, 0][meal]! +
          (free ? 0.12 : 0) +
          (session.purpose === 1 ? 0.15 : 0);
        const values = [
          taste,
          z('hot') * heat,
          z('rich') * heat,
          heat < 0.5 ? z('soupy') * wet : 0,
          z('spicy') * wet,
          z(MEALTIMES[meal]!),
          MEALTIMES[meal] === 'afternoon' ? z('sweet') : 0,
          MEALTIMES[meal] === 'late-night' && heat < -0.2 ? z('soupy') : 0,
          far * wet,
          far,
          session.purpose === 1 ? restaurants.localness[p * cities + session.city]! : 0,
          Math.min(4, (Math.log(restaurants.price[p]!) - purse) ** 2),
          (restaurants.rating[p]! - 4.35) / 0.31,
          Math.log(restaurants.popularity[p]!),
          Math.log(1 + i),
          ordered.has(user * SIZE.pois + p) ? 1 : 0,
        ];
        for (const [c, value] of values.entries()) log.x[c]![rows] = value;
        log.click[rows] = answers.click[i]!;
        log.order[rows] = answers.order[i]!;
        log.ctr[rows] = answers.ctr[i]!;
        log.ctcvr[rows] = answers.ctcvr[i]!;
        log.user[rows] = user;
        log.poi[rows] = p;
        log.day[rows++] = session.day;
      }
      for (let i = 0; i < session.length; i++)
        if (answers.order[i] === 1) ordered.add(user * SIZE.pois + session.poi[i]!);
    },
    () => {},
  );
  for (const key of ['click', 'order', 'ctr', 'ctcvr', 'user', 'poi', 'day'] as const)
    (log[key] as Uint8Array) = (log[key] as Uint8Array).subarray(0, rows);
  log.x = log.x.map((column) => column.subarray(0, rows));
  return { population, log };
}

/** Logistic regression with an intercept by Newton's method; coefficients and their z values. */
function regress(
  x: Float64Array[],
  y: ArrayLike<number>,
  rows: number[] | null,
): { coefficient: number[]; z: number[] } {
  const k = x.length + 1;
  const n = rows?.length ?? y.length;
  const beta = new Float64Array(k);
  let information: Float64Array[] = [];
  for (let step = 0; step < 8; step++) {
    const gradient = new Float64Array(k);
    information = Array.from({ length: k }, () => new Float64Array(k));
    const row = new Float64Array(k);
    row[0] = 1;
    for (let i = 0; i < n; i++) {
      const r = rows ? rows[i]! : i;
      let eta = beta[0]!;
      for (let c = 1; c < k; c++) {
        row[c] = x[c - 1]![r]!;
        eta += beta[c]! * row[c]!;
      }
      const p = 1 / (1 + Math.exp(-eta));
      const weight = p * (1 - p);
      const error = y[r]! - p;
      for (let a = 0; a < k; a++) {
        gradient[a]! += error * row[a]!;
        const scaled = weight * row[a]!;
        const line = information[a]!;
        for (let b = 0; b <= a; b++) line[b]! += scaled * row[b]!;
      }
    }
    for (let a = 0; a < k; a++) for (let b = a + 1; b < k; b++) information[a]![b] = information[b]![a]!;
    const move = solve(information, gradient);
    for (let c = 0; c < k; c++) beta[c]! += move[c]!;
  }
  const z = Array.from({ length: k }, (_, c) => {
    const unit = new Float64Array(k);
    unit[c] = 1;
    return beta[c]! / Math.sqrt(solve(information, unit)[c]!);
  });
  return { coefficient: [...beta].slice(1), z: z.slice(1) };
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

describe('the log of a world', () => {
  let population: Population;
  let log: Log;
  let plain: Log;
  beforeAll(async () => {
    ({ population, log } = await makeLog(true));
    plain = (await makeLog(false)).log;
  }, 60_000);

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
    expect(auc(log.click, log.ctr)).toBeGreaterThan(0.82);
    expect(auc(log.click, log.ctr)).toBeLessThan(0.86);
    expect(auc(log.order, log.ctcvr)).toBeGreaterThan(0.88);
  });

  test('shows every claimed effect with its sign', () => {
    const { coefficient, z } = regress(log.x, log.click, null);
    const negative = new Set([
      'hot dish x heat',
      'rich dish x heat',
      'rain x distance',
      'distance',
      'price gap',
      'position',
    ]);
    for (const [i, name] of NAMES.entries()) {
      const sign = negative.has(name) ? -1 : 1;
      expect(sign * coefficient[i]!, name).toBeGreaterThan(0);
      expect(sign * z[i]!, `${name}: z`).toBeGreaterThan(3.5);
    }
  });

  test('without scene effects lacks those of the scene and keeps the others', () => {
    const there = regress(log.x, log.click, null).coefficient;
    const { coefficient, z } = regress(plain.x, plain.click, null);
    for (const [i, name] of NAMES.entries()) {
      // The z values know nothing of the kinship of one POI's impressions, so a true zero may stray past 3: size decides.
      if (SCENE_NAMES.includes(name)) expect(Math.abs(coefficient[i]!), name).toBeLessThan(0.35 * Math.abs(there[i]!));
      else expect(Math.abs(z[i]!), `${name}: z`).toBeGreaterThan(3.5);
    }
  });

  test('has orders that follow taste and price among what was clicked', () => {
    const clicked = [...log.click.keys()].filter((r) => log.click[r] === 1);
    const { z } = regress(log.x, log.order, clicked);
    expect(z[NAMES.indexOf('taste x dish')]).toBeGreaterThan(3);
    expect(z[NAMES.indexOf('price gap')]).toBeLessThan(-3);
    expect(z[NAMES.indexOf('rating')]).toBeGreaterThan(3);
    expect(z[NAMES.indexOf('rain x distance')]).toBeLessThan(-1.5);
  });

  test('lets tastes be told from what people clicked, by the words of its menus alone', () => {
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

    const wish = new Float64Array(people.count * A);
    const clicks = new Float64Array(people.count);
    for (let r = 0; r < log.click.length; r++) {
      const u = log.user[r]!;
      const p = log.poi[r]!;
      if (p % 2 === 0) continue;
      clicks[u]! += log.click[r]!;
      for (let a = 0; a < TASTE_ATTRIBUTES; a++) wish[u * A + a]! += (log.click[r]! - 0.08) * told[p * A + a]!;
    }
    let agreement = 0;
    let counted = 0;
    for (let u = 0; u < people.count; u++) {
      if (clicks[u]! < 10) continue;
      let dot = 0;
      let left = 0;
      let right = 0;
      for (let a = 0; a < TASTE_ATTRIBUTES; a++) {
        const x = wish[u * A + a]!;
        const y = people.tastes[u * A + a]!;
        dot += x * y;
        left += x * x;
        right += y * y;
      }
      agreement += dot / Math.sqrt(left * right);
      counted++;
    }
    expect(counted).toBeGreaterThan(200);
    // The cosine between chance vectors of 15 dimensions is 0 on average, with a deviation of .26 / √counted.
    expect(agreement / counted).toBeGreaterThan(0.2);
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
