import type { City } from './cities.js';
import type { Days } from './sessions.js';

/** Monday, 25 March 2024: spring, when climates differ most between cities and weather turns within days. */
export const FIRST_DAY = Date.UTC(2024, 2, 25);
/** Day of the year of FIRST_DAY, 1 = 1 January. */
export const FIRST_DAY_OF_YEAR = 85;

const WESTERN = new Set(['England', 'France', 'Australia', 'United States']);
const ELSEWHERE = new Set([...WESTERN, 'Japan', 'Korea', 'Thailand', 'Singapore']);

/** The public holiday of a city on a day of the log, if any. */
export function holiday(city: City, day: number): string | null {
  if (!ELSEWHERE.has(city.region) && day >= 10 && day <= 12) return 'Qingming holiday';
  if (WESTERN.has(city.region) && day >= 4 && day <= 7) return 'Easter holiday';
  if (city.region === 'Thailand' && day >= 19 && day <= 21) return 'Songkran holiday';
  return null;
}

/**
 * Weekdays and free days of a log that starts on FIRST_DAY.
 * @param logged days of the log; people's trips of its last weeks come again in the days after it
 */
export function calendar(days: number, cities: City[], logged = days): Days {
  return {
    count: days,
    trips: (day) => (day < logged ? day : Math.max(0, day - 7 * Math.ceil((day - logged + 1) / 7))),
    weekday: (day) => day % 7,
    free: (day, city) => day % 7 >= 5 || holiday(cities[city]!, day) !== null,
  };
}
