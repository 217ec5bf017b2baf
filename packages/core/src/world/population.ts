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
}

export const SIZES: Record<WorldScale, Size> = {
  tiny: { pois: 200, users: 400, sessions: 2_100, days: 10, corpusBytes: 100_000 },
  small: { pois: 3_000, users: 8_000, sessions: 102_000, days: 26, corpusBytes: 1_500_000 },
  medium: { pois: 12_000, users: 40_000, sessions: 540_000, days: 26, corpusBytes: 3_000_000 },
  large: { pois: 120_000, users: 800_000, sessions: 10_600_000, days: 26, corpusBytes: 8_000_000 },
};

/** Who lives in a world, what they can order, and the source of their sessions. */
export interface Population {
  cities: number;
  people: People;
  restaurants: Restaurants;
  days: Days;
  source: SessionSource;
}

/** Makes everything of a world but its log. */
export function populate(size: Omit<Size, 'corpusBytes'>, seed: number, sceneEffects: boolean): Population {
  const cities = cityCount(size.pois);
  const places = CITIES.slice(0, cities);
  const plans = planCities(cities, seed);
  const restaurants = makeRestaurants(size.pois, cities, size.days, plans, seed);
  const people = makePeople(size.users, cities, size.days, seed);
  const climate = new Climate(places, size.days, FIRST_DAY_OF_YEAR, seed);
  const days = calendar(size.days, places);
  const source = new SessionSource(people, restaurants, climate, plans, days, seed, sceneEffects);
  return { cities, people, restaurants, days, source };
}
