import { calendar, FIRST_DAY_OF_YEAR } from './calendar.js';
import { CITIES, cityCount } from './cities.js';
import { makePeople, type People } from './people.js';
import { makeRestaurants, planCities, type Restaurants } from './restaurants.js';
import { type Days, SessionSource } from './sessions.js';
import { Climate } from './weather.js';

export const WORLD_SCALES = ['tiny', 'small', 'medium', 'large'] as const;
export type WorldScale = (typeof WORLD_SCALES)[number];

/** Sizes of a world. A session shows about ten POIs. */
export interface Size {
  pois: number;
  users: number;
  sessions: number;
  days: number;
  corpusBytes: number;
  /** What suits models of this world at this size, by PLE, and λ by LARR, on the validation day; the same for every model. */
  training: {
    batchSize: number;
    learningRate: number;
    epochs: number;
    align?: { lambda: number };
    larr?: { gain: number };
  };
}

/**
 * One epoch; the validation CTR AUC of PLE was .748 at 8e-4, .781 at 2e-3 with batches of 1,000, and .784 at this. LARR's (CTR, CTCVR)
 * was (.780, .860) with λ = .01, (.789, .870) with .002 and (.789, .869) with 0: at this rate the paper's .05 (of lr 8e-4) leads the
 * embeddings astray. With its semantic inputs as large as they come (gain 1) LARR had (.797, .876), with a gain of .1 (.797, .872) and of .02
 * (.796, .871): one epoch leaves little time to let them grow.
 */
const ONE_PASS = { batchSize: 2400, learningRate: 5e-3, epochs: 1, align: { lambda: 0.002 }, larr: { gain: 1 } };

export const SIZES: Record<WorldScale, Size> = {
  tiny: {
    pois: 200,
    users: 400,
    sessions: 2_100,
    days: 10,
    corpusBytes: 100_000,
    training: { batchSize: 256, learningRate: 2e-3, epochs: 2 },
  },
  small: { pois: 3_000, users: 8_000, sessions: 102_000, days: 26, corpusBytes: 1_500_000, training: ONE_PASS },
  medium: { pois: 12_000, users: 40_000, sessions: 540_000, days: 26, corpusBytes: 3_000_000, training: ONE_PASS },
  large: { pois: 120_000, users: 800_000, sessions: 10_600_000, days: 26, corpusBytes: 8_000_000, training: ONE_PASS },
};

/** Who lives in a world, what they can order, and the source of their sessions. */
export interface Population {
  cities: number;
  people: People;
  restaurants: Restaurants;
  days: Days;
  source: SessionSource;
}

/**
 * Makes everything of a world but its log.
 * @param daysAfter days beyond the log that sessions can be drawn of
 */
export function populate(
  size: Omit<Size, 'corpusBytes' | 'training'>,
  seed: number,
  sceneEffects: boolean,
  daysAfter = 0,
): Population {
  const cities = cityCount(size.pois);
  const places = CITIES.slice(0, cities);
  const plans = planCities(cities, seed);
  const restaurants = makeRestaurants(size.pois, cities, size.days, plans, seed);
  const people = makePeople(size.users, cities, size.days, seed);
  const all = size.days + daysAfter;
  const climate = new Climate(places, all, FIRST_DAY_OF_YEAR, seed);
  const days = calendar(all, places, size.days);
  // What stays open to the end of the log stays open after it.
  if (daysAfter > 0)
    for (let p = 0; p < restaurants.count; p++)
      if (restaurants.closesDay[p] === size.days) restaurants.closesDay[p] = all;
  const source = new SessionSource(people, restaurants, climate, plans, days, seed, sceneEffects);
  return { cities, people, restaurants, days, source };
}
