import { describe, expect, it } from 'vitest';
import { draws } from '../language-model/draws.js';
import { type StageTexts, type UserPoiOptions, userPoiPairs } from './pairs.js';

/** Users and POIs whose text is their number. */
function numbered(users: number, pois: number): StageTexts {
  const texts = (n: number) => Array.from({ length: n }, (_, i) => Int32Array.of(i));
  const own = (n: number) => ({ all: texts(n), placeless: texts(n) });
  return {
    poi: { ...own(pois), business: [], basic: [] },
    user: { ...own(users), profile: [], behaviour: [] },
    dishes: [],
    truncated: 0,
  };
}

function randomPairs(count: number, users: number, pois: number) {
  const next = draws(5, 'pairs');
  return {
    user: Int32Array.from({ length: count }, () => Math.floor(next() * users)),
    poi: Int32Array.from({ length: count }, () => Math.floor(next() * next() * pois)),
  };
}

const options: UserPoiOptions = {
  size: 48,
  seed: 3,
  hidePlaceShare: 0.5,
  sameCityShare: 0.5,
  avoidFalseNegatives: true,
};

describe('user–POI pairs', () => {
  it('are what a comparison of each row drawn with every row of the batch lets in', () => {
    const pairs = randomPairs(3000, 400, 300);
    const city = Int32Array.from({ length: 300 }, (_, poi) => (poi % 7) - 1);
    const usable = (pair: number) => pair % 11 !== 0;
    const source = userPoiPairs(numbered(400, 300), pairs, usable, city, options)!;

    const rows = [...pairs.user.keys()].filter(usable);
    const cities = new Map<number, number[]>();
    for (const i of rows) {
      const where = city[pairs.poi[i]!]!;
      if (where >= 0) cities.set(where, [...(cities.get(where) ?? []), i]);
    }
    const inCities = [...cities.values()].flat();
    const known = new Set(Array.from(pairs.user, (user, i) => `${user} ${pairs.poi[i]}`));
    for (let number = 0; number < 40; number++) {
      const next = draws(options.seed, 'user–POI', number);
      next();
      const pool =
        next() < 0.5 ? cities.get(city[pairs.poi[inCities[Math.floor(next() * inCities.length)]!]!]!)! : rows;
      const batch: { user: number; poi: number }[] = [];
      for (let tries = 0; batch.length < 48 && tries < 20 * 48; tries++) {
        const pair = pool[Math.floor(next() * pool.length)]!;
        const [user, poi] = [pairs.user[pair]!, pairs.poi[pair]!];
        const clashes = batch.some(
          (row) =>
            row.user === user || row.poi === poi || known.has(`${user} ${row.poi}`) || known.has(`${row.user} ${poi}`),
        );
        if (!clashes) batch.push({ user, poi });
      }
      const { a, b } = source(number);
      expect(a.map((ids) => ids[0])).toEqual(batch.map(({ user }) => user));
      expect(b.map((ids) => ids[0])).toEqual(batch.map(({ poi }) => poi));
    }
  });

  it('come two at least, though a place has one pair, or pairs of one user alone', () => {
    // 2,800 pairs in one place, 100 places with one, 50 places with two of the same user.
    const user = Int32Array.from({ length: 3000 }, (_, i) => (i < 2900 ? i : 2900 + ((i - 2900) >> 1)));
    const poi = Int32Array.from({ length: 3000 }, (_, i) => i);
    const city = Int32Array.from(poi, (i) => (i < 2800 ? 0 : i < 2900 ? i : user[i]!));
    const source = userPoiPairs(numbered(3000, 3000), { user, poi }, () => true, city, {
      ...options,
      sameCityShare: 1,
    })!;
    for (let number = 0; number < 300; number++) expect(source(number).a.length).toBe(48);
  });

  it('are none where every pair is of one user', () => {
    const pairs = { user: new Int32Array(9), poi: Int32Array.from({ length: 9 }, (_, i) => i) };
    expect(userPoiPairs(numbered(1, 9), pairs, () => true, null, options)).toBeNull();
  });

  it('are drawn in a moment for a batch of thousands', () => {
    const pairs = randomPairs(300_000, 100_000, 50_000);
    const source = userPoiPairs(numbered(100_000, 50_000), pairs, () => true, null, { ...options, size: 8192 })!;
    const before = process.cpuUsage();
    expect(source(0).a.length).toBeGreaterThan(4000);
    // Compared with every row of the batch it takes seconds.
    expect(process.cpuUsage(before).user / 1e6).toBeLessThan(1);
  });
});
