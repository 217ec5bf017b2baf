import type { Derivation } from '../schema/schema.js';
import { degreesOf } from './inputs.js';

/**
 * The one implementation of every derivation: `prepare` calls it from SQL, the server for each request, so that training
 * and serving cannot drift (docs/architecture.md).
 *
 * Times are milliseconds since 1970 of the *local* clock at the place of the event; no time zone is applied.
 */

/** What a derivation takes: times and numbers as numbers, texts as strings. None is missing: a derivation with a missing input is missing itself. */
export type DerivationArgument = number | string;

export interface CompiledDerivation {
  /** Texts become keywords or categorical values, numbers dense features. */
  yields: 'text' | 'number';
  /** Kinds of the inputs, in the order of `derivationInputs`. */
  takes: ('time' | 'number' | 'text')[];
  /** null = missing (an input out of range, such as a latitude of 200). */
  apply(args: readonly DerivationArgument[]): string | number | null;
}

const dayMs = 86_400_000;
const weekdays = ['Sunday', 'Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday'];
const seasons = ['winter', 'spring', 'summer', 'autumn'];

/** Turns a derivation of the schema into the function that computes it. */
export function compileDerivation(d: Derivation): CompiledDerivation {
  switch (d.derive) {
    case 'timeSlot':
      return { yields: 'text', takes: ['time'], apply: ([t]) => timeSlot(hourOf(t as number)) };
    case 'weekday':
      return { yields: 'text', takes: ['time'], apply: ([t]) => weekdays[dayOfWeek(t as number)]! };
    case 'weekend':
      return {
        yields: 'text',
        takes: ['time'],
        apply: ([t]) => (dayOfWeek(t as number) % 6 === 0 ? 'weekend' : 'workday'),
      };
    case 'hour':
      return { yields: 'number', takes: ['time'], apply: ([t]) => hourOf(t as number) };
    case 'month':
      return { yields: 'number', takes: ['time'], apply: ([t]) => new Date(t as number).getUTCMonth() + 1 };
    case 'mealtime':
      return { yields: 'text', takes: ['time'], apply: ([t]) => mealtime(hourOf(t as number)) };
    case 'season': {
      const south = d.latitude !== undefined;
      return {
        yields: 'text',
        takes: south ? ['time', 'number'] : ['time'],
        apply: ([t, latitude]) =>
          south && Math.abs(latitude as number) > degreesOf.latitude
            ? null
            : season(t as number, south ? (latitude as number) : 90),
      };
    }
    case 'temperatureWords':
      return {
        yields: 'text',
        takes: ['number'],
        apply: ([x]) => temperatureWords(d.unit === 'celsius' ? (x as number) : (((x as number) - 32) * 5) / 9),
      };
    case 'distanceKm':
      return {
        yields: 'number',
        takes: ['number', 'number', 'number', 'number'],
        apply: ([a, b, c, e]) => distanceKm(a as number, b as number, c as number, e as number),
      };
    case 'distanceBand': {
      const names = distanceNames(d.edges);
      return {
        yields: 'text',
        takes: ['number', 'number', 'number', 'number'],
        apply: ([a, b, c, e]) => {
          const km = distanceKm(a as number, b as number, c as number, e as number);
          return km === null ? null : names[bucketOf(km, d.edges)]!;
        },
      };
    }
    case 'travelling':
      return {
        yields: 'text',
        takes: ['text', 'text'],
        apply: ([home, here]) => (home === here ? `at home in ${home}` : `travelling, from ${home}`),
      };
    case 'bucket': {
      const names = d.names ?? bucketNames(d.edges);
      return { yields: 'text', takes: ['number'], apply: ([x]) => names[bucketOf(x as number, d.edges)]! };
    }
    case 'text':
      return {
        yields: 'text',
        takes: ['text'],
        // A function as replacement: "$" in a value must stay as it is.
        apply: ([x]) => d.template.replaceAll('{}', () => d.values?.[x as string] ?? (x as string)),
      };
  }
}

/** Great-circle distance in km (haversine, mean Earth radius 6371.0088 km); null for coordinates out of range. */
export function distanceKm(
  latitude1: number,
  longitude1: number,
  latitude2: number,
  longitude2: number,
): number | null {
  if (
    !(
      Math.abs(latitude1) <= degreesOf.latitude &&
      Math.abs(latitude2) <= degreesOf.latitude &&
      Math.abs(longitude1) <= degreesOf.longitude &&
      Math.abs(longitude2) <= degreesOf.longitude
    )
  ) {
    return null;
  }
  const radians = Math.PI / 180;
  const s1 = Math.sin(((latitude2 - latitude1) * radians) / 2);
  const s2 = Math.sin(((longitude2 - longitude1) * radians) / 2);
  const h = s1 * s1 + Math.cos(latitude1 * radians) * Math.cos(latitude2 * radians) * s2 * s2;
  return 2 * 6371.0088 * Math.asin(Math.min(1, Math.sqrt(h)));
}

function hourOf(t: number): number {
  return Math.floor((((t % dayMs) + dayMs) % dayMs) / 3_600_000);
}

function dayOfWeek(t: number): number {
  // 1 January 1970 was a Thursday.
  return (((Math.floor(t / dayMs) + 4) % 7) + 7) % 7;
}

function timeSlot(hour: number): string {
  if (hour < 5) return 'late at night';
  if (hour < 8) return 'early morning';
  if (hour < 11) return 'morning';
  if (hour < 14) return 'noon';
  if (hour < 17) return 'afternoon';
  if (hour < 21) return 'evening';
  return 'night';
}

function mealtime(hour: number): string {
  if (hour < 5) return 'late-night snack';
  if (hour < 10) return 'breakfast';
  if (hour < 14) return 'lunch';
  if (hour < 17) return 'afternoon tea';
  if (hour < 21) return 'dinner';
  return 'late-night snack';
}

/** Meteorological seasons: December to February is winter in the north. */
function season(t: number, latitude: number): string {
  const quarter = Math.floor(((new Date(t).getUTCMonth() + 1) % 12) / 3);
  return seasons[latitude < 0 ? (quarter + 2) % 4 : quarter]!;
}

function temperatureWords(celsius: number): string {
  const edges = [-5, 5, 12, 18, 24, 29, 34];
  const words = ['freezing', 'very cold', 'cold', 'cool', 'mild', 'warm', 'hot', 'very hot'];
  return words[bucketOf(celsius, edges)]!;
}

/** Number of edges that are ≤ x. */
function bucketOf(x: number, edges: readonly number[]): number {
  let i = 0;
  while (i < edges.length && x >= edges[i]!) i++;
  return i;
}

function bucketNames(edges: readonly number[]): string[] {
  return [`under ${edges[0]}`, ...edges.slice(1).map((edge, i) => `${edges[i]} to ${edge}`), `${edges.at(-1)} or more`];
}

function distanceNames(edges: readonly number[]): string[] {
  const km = (x: number) => (x < 1 ? `${Math.round(x * 1000)} m` : `${x} km`);
  return [
    `within ${km(edges[0]!)}`,
    ...edges
      .slice(1)
      .map((edge, i) => (edges[i]! >= 1 ? `${edges[i]} to ${km(edge)}` : `${km(edges[i]!)} to ${km(edge)}`)),
    `over ${km(edges.at(-1)!)}`,
  ];
}
