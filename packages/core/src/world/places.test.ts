import { beforeAll, describe, expect, test } from 'vitest';
import { FIRST_DAY_OF_YEAR } from './calendar.js';
import { CITIES, meanTemperature } from './cities.js';
import { CUISINES, DISHES } from './dishes.js';
import { type Population, populate } from './population.js';
import { Session } from './sessions.js';
import { STREAM } from './streams.js';
import { Climate, WEATHERS } from './weather.js';
import { englishName } from './words.js';

const SIZE = { pois: 3000, users: 2000, sessions: 12_000, days: 26 };
const mean = (values: ArrayLike<number>): number =>
  (Array.prototype.reduce.call(values, (a, b) => (a as number) + (b as number), 0) as number) / values.length;

function correlation(x: number[], y: number[]): number {
  const [mx, my] = [mean(x), mean(y)];
  const covariance = (a: number[], ma: number, b: number[], mb: number) =>
    mean(a.map((value, i) => (value - ma) * (b[i]! - mb)));
  return covariance(x, mx, y, my) / Math.sqrt(covariance(x, mx, x, mx) * covariance(y, my, y, my));
}

describe('weather', () => {
  const days = 364;
  const climate = new Climate(CITIES, days, 1, 3);
  const cities = [...CITIES.keys()];

  test('persists: the sky mostly stays from one block of three hours to the next, and a warm day follows a warm day', () => {
    let same = 0;
    let blocks = 0;
    const today: number[] = [];
    const tomorrow: number[] = [];
    for (const c of cities) {
      // The anomaly of a day against the month's mean, at an hour without the daily curve.
      const anomaly = (day: number) => climate.temperatureAt(c, day, 9) - meanTemperature(CITIES[c]!, 1 + day);
      for (let day = 0; day < days - 1; day++) {
        for (let block = 0; block < 7; block++, blocks++)
          same += climate.weatherAt(c, day, block * 3) === climate.weatherAt(c, day, block * 3 + 3) ? 1 : 0;
        today.push(anomaly(day));
        tomorrow.push(anomaly(day + 1));
      }
    }
    // Three blocks in four keep the sky, and of those drawn anew some draw the same.
    expect(same / blocks).toBeGreaterThan(0.75);
    expect(same / blocks).toBeLessThan(0.88);
    expect(correlation(today, tomorrow)).toBeGreaterThan(0.65);
    expect(correlation(today, tomorrow)).toBeLessThan(0.85);
  });

  test('has a climate of its own in every city and month', () => {
    const years = [1, 2, 3, 4].map((seed) => new Climate(CITIES, days, 1, seed));
    for (const c of cities) {
      const place = CITIES[c]!;
      const noon = (from: number, to: number) =>
        mean(
          years.map((year) => mean(Array.from({ length: to - from }, (_, d) => year.temperatureAt(c, from + d, 9)))),
        );
      // January and July, as the table of cities has them, within the unrest of four years.
      expect(Math.abs(noon(0, 31) - place.january), place.id).toBeLessThan(4);
      expect(Math.abs(noon(181, 212) - place.july), place.id).toBeLessThan(4);
      let wet = 0;
      for (let day = 0; day < days; day++) {
        const weather = WEATHERS[climate.weatherAt(c, day, 12)]!;
        if (['drizzle', 'rain', 'thunderstorm', 'snow'].includes(weather)) wet++;
        // Snow lies between warm days nowhere.
        if (weather === 'snow') expect(climate.temperatureAt(c, day, 12)).toBeLessThan(7);
      }
      expect(Math.abs(wet / days - place.wetness), place.id).toBeLessThan(0.2);
    }
  });
});

describe('restaurants and what is shown of them', () => {
  let population: Population;
  /** One row per impression. */
  const shown: { poi: number; day: number; km: number; place: number; city: number }[] = [];
  beforeAll(() => {
    population = populate(SIZE, 4, true);
    const session = new Session();
    for (let s = 0; s < SIZE.sessions; s++) {
      const day = s % SIZE.days;
      population.source.fill(session, STREAM.pilot, s, day, ((s * 7919) % 86_400) | 0);
      for (let i = 0; i < session.length; i++)
        shown.push({ poi: session.poi[i]!, day, km: session.distance[i]!, place: i, city: session.city });
    }
  });

  test('popularity follows a power law of the stated exponent, up to its cap', () => {
    const { popularity } = population.restaurants;
    // Hill's estimator with what lies beyond the cap counted as censored: deviation α / √n.
    for (const from of [1, 3, 10]) {
      const above = [...popularity].filter((x) => x >= from);
      const exponent = above.filter((x) => x < 400).length / above.reduce((sum, x) => sum + Math.log(x / from), 0);
      expect(Math.abs(exponent - 1.15), `from ${from}`).toBeLessThan((4 * 1.15) / Math.sqrt(above.length));
    }
    expect(Math.max(...popularity)).toBeGreaterThan(100);
  });

  test('impressions have the long tail of popularity: a tenth of the POIs has several times its share', () => {
    const count = new Map<number, number>();
    for (const { poi } of shown) count.set(poi, (count.get(poi) ?? 0) + 1);
    const sorted = [...count.values()].sort((a, b) => b - a);
    const top = sorted.slice(0, SIZE.pois / 10).reduce((sum, n) => sum + n, 0);
    expect(top / shown.length).toBeGreaterThan(0.25);
    expect(count.size / SIZE.pois).toBeGreaterThan(0.95);
  });

  test('open and close while the log runs, and are shown on the days between alone', () => {
    const { opensDay, closesDay } = population.restaurants;
    const share = (test: (p: number) => boolean) => [...opensDay.keys()].filter(test).length / SIZE.pois;
    expect(Math.abs(share((p) => opensDay[p]! > 0) - 0.3)).toBeLessThan(0.04);
    expect(Math.abs(share((p) => closesDay[p]! < SIZE.days) - 0.04)).toBeLessThan(0.015);
    // On every day but the first some open, and some have closed by the end.
    for (let day = 1; day < SIZE.days; day++) expect([...opensDay]).toContain(day);
    expect(shown.filter(({ poi, day }) => day < opensDay[poi]! || day >= closesDay[poi]!)).toEqual([]);
    expect(shown.some(({ poi, day }) => closesDay[poi] === day + 1)).toBe(true);
  });

  test('the logging policy shows what is near, popular and new, and explores', () => {
    const { restaurants } = population;
    const byCity = new Map<number, number[]>();
    for (let p = 0; p < restaurants.count; p++)
      byCity.set(restaurants.city[p]!, [...(byCity.get(restaurants.city[p]!) ?? []), p]);
    // Against POIs drawn evenly from the same cities, open on the same days.
    const even = shown.map(({ city, day }, i) => {
      const open = byCity.get(city)!;
      for (let k = 0; ; k++) {
        const p = open[(i * 7919 + k * 104729) % open.length]!;
        if (restaurants.opensDay[p]! <= day && restaurants.closesDay[p]! > day) return { poi: p, day };
      }
    });
    const isNew = ({ poi, day }: { poi: number; day: number }) =>
      restaurants.opensDay[poi]! > Math.max(0, day - 7) ? 1 : 0;
    const logPopularity = ({ poi }: { poi: number }) => Math.log(restaurants.popularity[poi]!);
    expect(mean(shown.map(logPopularity))).toBeGreaterThan(mean(even.map(logPopularity)) + 0.3);
    expect(mean(shown.map(isNew))).toBeGreaterThan(1.3 * mean(even.map(isNew)));
    expect(mean(shown.map((s) => s.km))).toBeLessThan(4);
    expect(Math.max(...shown.map((s) => s.km))).toBeGreaterThan(8);
    // Higher up lies what is nearer and more popular.
    expect(
      correlation(
        shown.map((s) => s.place),
        shown.map((s) => s.km),
      ),
    ).toBeGreaterThan(0.05);
    expect(
      correlation(
        shown.map((s) => s.place),
        shown.map(logPopularity),
      ),
    ).toBeLessThan(-0.05);
  });

  test('cities cook their own: two POIs in five, of cuisines that elsewhere are a few in a hundred', () => {
    const { restaurants } = population;
    let own = 0;
    for (let p = 0; p < restaurants.count; p++)
      if (CITIES[restaurants.city[p]!]!.own.includes(CUISINES[restaurants.cuisine[p]!]!.id)) own++;
    expect(own / restaurants.count).toBeGreaterThan(0.35);
    expect(own / restaurants.count).toBeLessThan(0.55);
  });

  test('some names tell what is sold and some do not', () => {
    const { restaurants } = population;
    const words = new Set(
      [...CUISINES.map((cuisine) => cuisine.id.replaceAll('-', ' ')), ...DISHES.map((dish) => englishName(dish.name))]
        .flatMap((name) => name.toLowerCase().split(/[^\p{L}]+/u))
        .filter((word) => word.length > 3),
    );
    const telling = restaurants.name.filter((name) =>
      name
        .toLowerCase()
        .split(/[^\p{L}]+/u)
        .some((word) => words.has(word)),
    );
    expect(telling.length / restaurants.count).toBeGreaterThan(0.35);
    expect(telling.length / restaurants.count).toBeLessThan(0.75);
    // Dishes carry the names that they have at home.
    const chinese = restaurants.menu.filter((menu) => menu.some((item) => /\p{Script=Han}/u.test(item.name)));
    expect(chinese.length / restaurants.count).toBeGreaterThan(0.4);
  });
});

test('the log starts in spring, when cities differ most', () => {
  const spring = CITIES.map((city) => meanTemperature(city, FIRST_DAY_OF_YEAR + 13));
  expect(Math.max(...spring) - Math.min(...spring)).toBeGreaterThan(20);
});
