import { access } from 'node:fs/promises';
import { join } from 'node:path';
import { openDataset } from '../dataset/open.js';
import { DuckdbSession, literal } from '../duckdb/session.js';
import { DataError } from '../errors.js';
import { FIRST_DAY, holiday } from './calendar.js';
import { CITIES, coordinates } from './cities.js';
import { PURPOSES } from './people.js';
import { type Population, populate, SIZES, type Size } from './population.js';
import { Random } from './random.js';
import { LIST, Session } from './sessions.js';
import { calibrate, type Intercepts, sigmoid, simulate } from './simulate.js';
import { STREAM } from './streams.js';
import { WEATHERS } from './weather.js';

export { LIST as WORLD_LIST };

/** Which world, and how far beyond its log it is to go on. */
export interface ReplayOptions {
  size: Pick<Size, 'pois' | 'users' | 'sessions' | 'days'>;
  seed: number;
  sceneEffects: boolean;
  /** Days after the log. */
  days: number;
  /** Days at the end of the log whose outcomes `before` tells; none by default. */
  lastDays?: number;
  signal?: AbortSignal;
  onProgress?: (done: number, total: number) => void;
}

/** True probabilities of the POIs of a list, by position: of a click, and of an order given a click. */
export interface Wanted {
  click: Float64Array;
  order: Float64Array;
}

/**
 * The world after its log: the same people, restaurants and tastes, weather that goes on, the trips of the log's last weeks, and everybody remembering what
 * they ordered. Somebody opens the app (`visit`), is shown a list (`show`), and clicks and orders with the world's own probabilities
 * (docs/world.md, "What people do"). One visit at a time.
 */
export class WorldReplay {
  readonly #population: Population;
  readonly #intercepts: Intercepts;
  readonly #session = new Session();
  readonly #random = new Random(0, STREAM.replayAnswer);
  readonly #wanted: Wanted = { click: new Float64Array(LIST), order: new Float64Array(LIST) };

  private constructor(
    readonly options: ReplayOptions,
    population: Population,
    intercepts: Intercepts,
    /** [users, 4] */
    private readonly past: Float64Array,
    /** What the log came to when it was run again. */
    readonly log: { impressions: number; clicks: number; orders: number },
  ) {
    this.#population = population;
    this.#intercepts = intercepts;
  }

  /** Runs the log again from its first day to its last, so that people know what they ordered in it. */
  static async open(options: ReplayOptions): Promise<WorldReplay> {
    const { size, seed, sceneEffects, lastDays = 0, signal, onProgress } = options;
    const population = populate(size, seed, sceneEffects, options.days);
    const intercepts = calibrate(population.source, size.days);
    const { days, source } = population;
    const log = { impressions: 0, clicks: 0, orders: 0 };
    const past = new Float64Array(population.people.count * 4);
    await simulate(
      source,
      intercepts,
      { days: size.days, sessions: size.sessions, seed, weekend: (day) => days.weekday(day) >= 5 },
      (session, answers) => {
        log.impressions += session.length;
        for (let i = 0; i < session.length; i++) {
          log.clicks += answers.click[i]!;
          log.orders += answers.order[i]!;
        }
        if (session.day < size.days - lastDays) return;
        const at = session.user * 4;
        past[at]! += session.length;
        for (let i = 0; i < session.length; i++) {
          past[at + 1]! += answers.click[i]!;
          past[at + 2]! += answers.order[i]!;
          if (answers.order[i] === 1) past[at + 3]! += population.restaurants.price[session.poi[i]!]!;
        }
      },
      (done) => {
        signal?.throwIfAborted();
        onProgress?.(done, size.sessions);
      },
    );
    return new WorldReplay(options, population, intercepts, past, log);
  }

  get users(): number {
    return this.#population.people.count;
  }

  /** What a person did in the log's last days: impressions, clicks, orders and GMV. */
  before(user: number): Float64Array {
    return this.past.subarray(user * 4, user * 4 + 4);
  }

  /** Yuan that an order at a POI is worth. */
  price(poi: number): number {
    return this.#population.restaurants.price[poi]!;
  }

  /** Name of a day after the log, 0 the first, as YYYY-MM-DD. */
  date(day: number): string {
    return new Date(FIRST_DAY + (this.options.size.days + day) * 86_400_000).toISOString().slice(0, 10);
  }

  /** When the visits of a day after the log begin, in seconds of the day, sorted. */
  visits(day: number, count: number): Int32Array {
    return this.#population.source.schedule(this.options.size.days + day, count);
  }

  /**
   * The `index`-th visit after the log (each index is another person and place, the same every time).
   * @returns who it is, and what the logging policy would show
   */
  visit(index: number, day: number, secondOfDay: number): { user: number; shown: number[] } {
    const session = this.#session;
    this.#population.source.fill(session, STREAM.replay, index, this.options.size.days + day, secondOfDay);
    return { user: session.user, shown: [...session.poi.subarray(0, session.length)] };
  }

  /** The visit's moment as columns of the world's events table, for a rank request. */
  scene(): Record<string, string | number> {
    const { day, secondOfDay, city, district, weather, temperature, purpose, x, y } = this.#session;
    const place = CITIES[city]!;
    const free = holiday(place, day);
    return {
      time: new Date(FIRST_DAY + day * 86_400_000 + secondOfDay * 1000).toISOString().slice(0, 19),
      city: place.id,
      district: place.districts[district]!,
      weather: WEATHERS[weather]!,
      temperature,
      travel: PURPOSES[purpose]!,
      ...(free === null ? {} : { holiday: free }),
      ...coordinates(place, x, y),
    };
  }

  /** POIs that are open and deliver to the visit's place, nearest first. */
  withinReach(): number[] {
    return this.#population.source.withinReach(this.#session);
  }

  /** How much each POI of a list is wanted in this visit, at its position. What is returned is written over by the next call. */
  show(pois: ArrayLike<number>): Wanted {
    const { clickLogit, orderLogit } = this.#session;
    this.#population.source.showInstead(this.#session, pois);
    for (let i = 0; i < pois.length; i++) {
      this.#wanted.click[i] = sigmoid(clickLogit[i]! + this.#intercepts.click);
      this.#wanted.order[i] = sigmoid(orderLogit[i]! + this.#intercepts.order);
    }
    return this.#wanted;
  }

  /** The chance that decides the answers of the `index`-th visit; another in every run. */
  chance(run: number, index: number): Random {
    this.#random.restart(run, STREAM.replayAnswer, index);
    return this.#random;
  }

  /** The person of this visit ordered at a POI, and knows it from now on. */
  remember(poi: number): void {
    this.#population.source.remember(this.#session.user, poi);
  }
}

/**
 * Finds out which built-in world a dataset directory holds.
 * @throws DataError `NOT_A_WORLD` where it is none of the built-in worlds, or another version's
 */
export async function worldOf(directory: string): Promise<Pick<ReplayOptions, 'size' | 'seed' | 'sceneEffects'>> {
  const { manifest } = await openDataset(directory);
  const complain = (why: string) =>
    new DataError(
      'NOT_A_WORLD',
      `${directory} ${why}. Only a built-in world knows who would have clicked what: make one with \`larr world\``,
      { file: directory },
    );
  const size = Object.values(SIZES).find(({ users, pois }) => users === manifest.users && pois === manifest.pois);
  const effects = join(directory, 'controls', 'scene_effects.parquet');
  const made = await access(effects).then(
    () => true,
    () => false,
  );
  if (size === undefined || !made) throw complain('is not a built-in world with its controls/');
  using db = await DuckdbSession.open();
  const { n } = await db.row<{ n: bigint }>(`SELECT count(*) AS n FROM read_parquet(${literal(effects)})`);
  const prices = await db.rows<{ poi_id: number; price: number }>(
    `SELECT poi_id, price FROM read_parquet(${literal(join(directory, 'tables', 'pois.parquet'))}) ORDER BY poi_id LIMIT 50`,
  );
  const world = { size, seed: manifest.seed, sceneEffects: n > 0n };
  const { restaurants } = populate(size, world.seed, world.sceneEffects);
  if (prices.some(({ poi_id, price }) => Math.fround(restaurants.price[poi_id]!) !== price))
    throw complain('was made by another version of the world');
  return world;
}
