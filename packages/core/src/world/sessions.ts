import { ATTRIBUTES } from './attributes.js';
import { EFFECTS, type Moment, mealtimeOf, sceneWish } from './effects.js';
import { type People, tripOn } from './people.js';
import { AliasTable, pairNormal, Random } from './random.js';
import type { CityPlan, Restaurants } from './restaurants.js';
import { STREAM } from './streams.js';
import { type Climate, WEATHERS, WETNESS } from './weather.js';

const A = ATTRIBUTES.length;
/** Longest list shown. */
export const LIST = 12;
/** No one is shown a POI farther off than this, in km. */
const DELIVERY_RADIUS = 9;
/** How many of a person's last ordered POIs count as known to them. */
const REMEMBERED = 16;

/** Share of sessions that begin in each hour, on weekdays and at weekends. */
const HOURS_WEEKDAY = [
  1.2, 0.7, 0.4, 0.2, 0.2, 0.6, 1.6, 3.2, 3.2, 2, 3, 8, 8.5, 4, 3.2, 3.6, 3, 5.5, 8.5, 7, 4, 3.2, 3, 2.2,
];
const HOURS_WEEKEND = [
  2, 1.3, 0.7, 0.3, 0.2, 0.4, 0.9, 1.8, 2.8, 3, 3.6, 6.5, 7.5, 5, 4.4, 4.6, 3.8, 5.5, 8.5, 7.5, 4.8, 4, 3.8, 3,
];

export interface Days {
  count: number;
  /** 0 = Monday. */
  weekday: (day: number) => number;
  /** Whether a day is free for people in a city: weekend or public holiday. */
  free: (day: number, city: number) => boolean;
  /** The day whose trips hold on a day: itself within the log. */
  trips: (day: number) => number;
}

/** One list shown to one person; filled in place, session by session. */
export class Session {
  user = 0;
  day = 0;
  secondOfDay = 0;
  city = 0;
  district = 0;
  weather = 0;
  temperature = 0;
  purpose = 0;
  /** Where the person is, km east and north of the city's centre. */
  x = 0;
  y = 0;
  length = 0;
  readonly poi = new Int32Array(LIST);
  readonly distance = new Float32Array(LIST);
  /** Linear predictors before the world's two intercepts. */
  readonly clickLogit = new Float64Array(LIST);
  readonly orderLogit = new Float64Array(LIST);
}

/**
 * Draws sessions: who, when, where, in what weather, what the logging policy shows them, and how much they want each of it.
 * Answers (clicks, orders) are drawn by the caller, who tells of orders through `remember`.
 */
export class SessionSource {
  private readonly userTable: AliasTable;
  private readonly byCity: Int32Array[];
  private readonly popular: AliasTable[];
  private readonly near: AliasTable[][];
  /** POIs opened in the seven days up to each day, [city][day]. */
  private readonly fresh: Int32Array[][];
  private readonly hourTables: [AliasTable, AliasTable];
  private readonly ordered: Int32Array;
  private readonly orderedNext: Uint8Array;
  private readonly wish = new Float64Array(A);
  private readonly score = new Float64Array(LIST);
  private readonly random: Random;

  constructor(
    private readonly people: People,
    private readonly restaurants: Restaurants,
    private readonly climate: Climate,
    private readonly plans: CityPlan[],
    private readonly days: Days,
    private readonly seed: number,
    private readonly sceneEffects: boolean,
  ) {
    this.random = new Random(seed, STREAM.session);
    this.userTable = new AliasTable(people.activity);
    this.hourTables = [new AliasTable(HOURS_WEEKDAY), new AliasTable(HOURS_WEEKEND)];
    const members: number[][] = plans.map(() => []);
    for (let p = 0; p < restaurants.count; p++) members[restaurants.city[p]!]!.push(p);
    this.byCity = members.map((list) => Int32Array.from(list));
    this.popular = this.byCity.map(
      (list) => new AliasTable(Float64Array.from(list, (p) => restaurants.popularity[p]!)),
    );
    this.near = this.byCity.map((list, c) =>
      [...plans[c]!.x].map(
        (_, d) =>
          new AliasTable(
            Float64Array.from(list, (p) => {
              const km = Math.hypot(restaurants.x[p]! - plans[c]!.x[d]!, restaurants.y[p]! - plans[c]!.y[d]!);
              return Math.exp(-km / 1.5) * restaurants.popularity[p]! ** 0.3 + 1e-9;
            }),
          ),
      ),
    );
    this.fresh = this.byCity.map((list) =>
      Array.from({ length: days.count }, (_, day) =>
        list.filter((p) => restaurants.opensDay[p]! > Math.max(0, day - 7) && restaurants.opensDay[p]! <= day),
      ),
    );
    this.ordered = new Int32Array(people.count * REMEMBERED).fill(-1);
    this.orderedNext = new Uint8Array(people.count);
  }

  /** Start times of the sessions of a day, in seconds of the day, sorted. */
  schedule(day: number, sessions: number): Int32Array {
    const random = new Random(this.seed, STREAM.schedule, day);
    const table = this.hourTables[this.days.weekday(day) >= 5 ? 1 : 0];
    const times = new Int32Array(sessions);
    for (let s = 0; s < sessions; s++) times[s] = table.draw(random) * 3600 + random.below(3600);
    return times.sort();
  }

  /** Fills `session` for the `index`-th session of the world, at a day and second. `stream` keeps the pilot apart. */
  fill(session: Session, stream: number, index: number, day: number, secondOfDay: number): void {
    const { people, random, days } = this;
    random.restart(this.seed, stream, index);
    let user = this.userTable.draw(random);
    while (people.joinsDay[user]! > day) user = this.userTable.draw(random);
    const hour = secondOfDay / 3600;
    const trip = tripOn(people, user, days.trips(day));
    const city = trip >= 0 ? people.tripCity[trip]! : people.homeCity[user]!;
    const free = days.free(day, city);
    let district = people.homeDistrict[user]!;
    if (trip >= 0) district = (user * 7 + trip) % this.plans[city]!.x.length;
    else if (!free && hour >= 9 && hour < 18 && random.uniform() < 0.75) district = people.workDistrict[user]!;
    session.user = user;
    session.day = day;
    session.secondOfDay = secondOfDay;
    session.city = city;
    session.district = district;
    session.weather = this.climate.weatherAt(city, day, hour);
    session.temperature = Math.round(10 * this.climate.temperatureAt(city, day, hour)) / 10;
    session.purpose = trip >= 0 ? people.tripPurpose[trip]! : 0;
    session.x = this.plans[city]!.x[district]! + 0.7 * random.normal();
    session.y = this.plans[city]!.y[district]! + 0.7 * random.normal();
    this.show(session, hour);
    this.judge(session, free, hour);
  }

  /**
   * Puts another list in the place of the one that the logging policy showed, first position first, and works out how much its POIs are wanted there.
   * @param pois at most LIST of them
   */
  showInstead(session: Session, pois: ArrayLike<number>): void {
    const { restaurants } = this;
    session.length = pois.length;
    for (let i = 0; i < pois.length; i++) {
      const p = pois[i]!;
      const km = Math.hypot(restaurants.x[p]! - session.x, restaurants.y[p]! - session.y);
      session.poi[i] = p;
      session.distance[i] = Math.max(0.1, Math.round(km * 100) / 100);
    }
    this.judge(session, this.days.free(session.day, session.city), session.secondOfDay / 3600);
  }

  /** POIs that are open and deliver to where a session is, nearest first. */
  withinReach(session: Session): number[] {
    const { restaurants } = this;
    const hour = session.secondOfDay / 3600;
    const found: { p: number; km: number }[] = [];
    for (const p of this.byCity[session.city]!) {
      if (!isOpen(restaurants, p, session.day, hour)) continue;
      const km = Math.hypot(restaurants.x[p]! - session.x, restaurants.y[p]! - session.y);
      if (km <= DELIVERY_RADIUS) found.push({ p, km });
    }
    return found.sort((a, b) => a.km - b.km || a.p - b.p).map(({ p }) => p);
  }

  /** The logging policy: near, popular, exploring, and newly opened POIs; then ranked by nearness, popularity and chance. */
  private show(session: Session, hour: number): void {
    const { restaurants, random, score } = this;
    const { x, y } = session;
    const list = this.byCity[session.city]!;
    const near = this.near[session.city]![session.district]!;
    const popular = this.popular[session.city]!;
    const fresh = this.fresh[session.city]![session.day]!;
    const wanted = 8 + random.below(LIST - 7);
    let length = 0;
    for (let draw = 0; draw < 8 * LIST && length < wanted; draw++) {
      const policy = random.uniform();
      let p: number;
      if (policy < 0.42) p = list[near.draw(random)]!;
      else if (policy < 0.7) p = list[popular.draw(random)]!;
      else if (policy < 0.92 || fresh.length === 0) p = list[random.below(list.length)]!;
      else p = fresh[random.below(fresh.length)]!;
      if (!isOpen(restaurants, p, session.day, hour)) continue;
      let repeated = false;
      for (let i = 0; i < length; i++) if (session.poi[i] === p) repeated = true;
      if (repeated) continue;
      const km = Math.hypot(restaurants.x[p]! - x, restaurants.y[p]! - y);
      if (km > DELIVERY_RADIUS) continue;
      const value = 0.25 * Math.log(restaurants.popularity[p]!) - 0.12 * km + 0.8 * random.normal();
      let place = length++;
      for (; place > 0 && score[place - 1]! < value; place--) {
        score[place] = score[place - 1]!;
        session.poi[place] = session.poi[place - 1]!;
        session.distance[place] = session.distance[place - 1]!;
      }
      score[place] = value;
      session.poi[place] = p;
      session.distance[place] = Math.max(0.1, Math.round(km * 100) / 100);
    }
    session.length = length;
  }

  /** The two linear predictors of each POI shown (docs/world.md, "What people do"). */
  private judge(session: Session, free: boolean, hour: number): void {
    const { people, restaurants, wish } = this;
    const user = session.user;
    const wetness = WETNESS[WEATHERS[session.weather]!];
    const mealtime = mealtimeOf(Math.floor(hour));
    const moment: Moment = { temperature: session.temperature, wetness, mealtime, weekend: free };
    if (this.sceneEffects) sceneWish(moment, people.weatherSensitivity[user]!, wish);
    else wish.fill(0);
    for (let a = 0; a < A; a++) wish[a]! += people.tastes[user * A + a]!;
    const novelty = people.novelty[user]!;
    const cities = this.plans.length;
    const travelling = this.sceneEffects && session.purpose > 0;
    const local = travelling ? LOCAL[session.purpose]! : EFFECTS.local.home;
    let purse = people.logBudget[user]!;
    if (this.sceneEffects) {
      purse += EFFECTS.purse.mealtimes[mealtime]!;
      if (free) purse += EFFECTS.purse.free;
      if (session.purpose === 1) purse += EFFECTS.purse.vacation;
    }
    const farness = EFFECTS.distance * (1 + (this.sceneEffects ? EFFECTS.rainTimesDistance * wetness : 0));
    for (let i = 0; i < session.length; i++) {
      const p = session.poi[i]!;
      let preference = 0;
      for (let a = 0; a < A; a++) preference += wish[a]! * restaurants.attributes[p * A + a]!;
      if (travelling) {
        preference += local * (0.5 + novelty) * restaurants.localness[p * cities + session.city]!;
        preference += EFFECTS.homesick * (1 - novelty) * restaurants.localness[p * cities + people.homeCity[user]!]!;
      } else preference += local * restaurants.localness[p * cities + session.city]!;
      const priceGap = Math.min(4, (Math.log(restaurants.price[p]!) - purse) ** 2);
      const far = Math.log(1 + session.distance[i]!);
      const rating = (restaurants.rating[p]! - 4.35) / 0.31;
      const known = this.knows(user, p);
      const quality = restaurants.quality[p]!;
      const opened = restaurants.opensDay[p]!;
      const isNew = opened > 0 && session.day - opened < 7;
      session.clickLogit[i] =
        people.clickBias[user]! +
        preference +
        EFFECTS.quality * quality +
        EFFECTS.rating * rating +
        EFFECTS.popularity * (Math.log(restaurants.popularity[p]!) - 0.9) -
        EFFECTS.position * Math.log(1 + i) -
        farness * far -
        EFFECTS.price * priceGap +
        (known ? EFFECTS.habit * (1.2 - novelty) : 0) +
        (isNew ? EFFECTS.newcomer * (2 * novelty - 0.6) : 0) +
        EFFECTS.pairNoise * pairNormal(this.seed, user, p);
      const order = EFFECTS.order;
      session.orderLogit[i] =
        people.orderBias[user]! +
        order.preference * preference +
        order.quality * quality +
        order.rating * rating -
        order.price * priceGap -
        order.distance * (farness / EFFECTS.distance) * far +
        (known ? order.habit : 0);
    }
  }

  /** Whether a person ordered from a POI not long ago. */
  private knows(user: number, poi: number): boolean {
    const from = user * REMEMBERED;
    for (let i = from; i < from + REMEMBERED; i++) if (this.ordered[i] === poi) return true;
    return false;
  }

  /** Notes an order: the person knows that POI from now on, until sixteen newer ones. */
  remember(user: number, poi: number): void {
    if (this.knows(user, poi)) return;
    const next = this.orderedNext[user]!;
    this.ordered[user * REMEMBERED + next] = poi;
    this.orderedNext[user] = (next + 1) % REMEMBERED;
  }
}

/** In the order of PURPOSES. */
const LOCAL = [EFFECTS.local.home, EFFECTS.local.vacation, EFFECTS.local.work, EFFECTS.local.family];

function isOpen(restaurants: Restaurants, p: number, day: number, hour: number): boolean {
  if (day < restaurants.opensDay[p]! || day >= restaurants.closesDay[p]!) return false;
  const opens = restaurants.opensHour[p]!;
  const closes = restaurants.closesHour[p]!;
  return (hour >= opens && hour < closes) || hour + 24 < closes;
}
