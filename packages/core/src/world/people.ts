import { ATTRIBUTES, attributeIndex } from './attributes.js';
import { CITIES } from './cities.js';
import { CUISINES, cuisineIndex, DISHES } from './dishes.js';
import { EFFECTS, TASTE_ATTRIBUTES } from './effects.js';
import { Random } from './random.js';
import { ATTRIBUTE_MEAN, ATTRIBUTE_STD } from './restaurants.js';
import { STREAM } from './streams.js';
import { nickname } from './words.js';

export const GENDERS = ['female', 'male'] as const;
export const AGE_GROUPS = ['under 20', '20 to 29', '30 to 39', '40 to 49', '50 and over'] as const;
const AGE_WEIGHTS = [0.1, 0.4, 0.28, 0.14, 0.08];
export const PURPOSES = ['home', 'vacation', 'work', 'family'] as const;
const TRIPS = 2;

/** Every person of the world, as columns. Index = user_id. */
export interface People {
  count: number;
  nickname: string[];
  gender: Uint8Array;
  ageGroup: Uint8Array;
  homeCity: Uint8Array;
  homeDistrict: Uint8Array;
  workDistrict: Uint8Array;
  joinsDay: Int16Array;
  /** Relative number of sessions. */
  activity: Float64Array;
  /** Natural logarithm of the yuan they like to spend on a usual meal. */
  logBudget: Float64Array;
  /** 0 keeps to what it knows … 1 wants the new. */
  novelty: Float64Array;
  weatherSensitivity: Float64Array;
  clickBias: Float64Array;
  orderBias: Float64Array;
  /** Logits per standardised attribute, [count, ATTRIBUTES.length]; mealtimes are 0. */
  tastes: Float32Array;
  tripStart: Int16Array;
  tripEnd: Int16Array;
  tripCity: Uint8Array;
  tripPurpose: Uint8Array;
}

/** What a city's own kitchens taste of: the mean of their dishes' standardised attributes. */
function cityTaste(city: number): Float64Array {
  const taste = new Float64Array(ATTRIBUTES.length);
  let dishes = 0;
  for (const id of CITIES[city]!.own) {
    const { first, count } = CUISINES[cuisineIndex(id)]!;
    for (let d = first; d < first + count; d++)
      for (let a = 0; a < TASTE_ATTRIBUTES; a++)
        taste[a]! += (DISHES[d]!.attributes[a]! - ATTRIBUTE_MEAN[a]!) / ATTRIBUTE_STD[a]!;
    dishes += count;
  }
  return taste.map((value) => value / dishes);
}

export function makePeople(count: number, cities: number, days: number, seed: number): People {
  const A = ATTRIBUTES.length;
  const people: People = {
    count,
    nickname: new Array<string>(count),
    gender: new Uint8Array(count),
    ageGroup: new Uint8Array(count),
    homeCity: new Uint8Array(count),
    homeDistrict: new Uint8Array(count),
    workDistrict: new Uint8Array(count),
    joinsDay: new Int16Array(count),
    activity: new Float64Array(count),
    logBudget: new Float64Array(count),
    novelty: new Float64Array(count),
    weatherSensitivity: new Float64Array(count),
    clickBias: new Float64Array(count),
    orderBias: new Float64Array(count),
    tastes: new Float32Array(count * A),
    tripStart: new Int16Array(count * TRIPS),
    tripEnd: new Int16Array(count * TRIPS).fill(-1),
    tripCity: new Uint8Array(count * TRIPS),
    tripPurpose: new Uint8Array(count * TRIPS),
  };
  const cityWeights = CITIES.slice(0, cities).map((city) => city.weight);
  const cityTastes = CITIES.slice(0, cities).map((_, c) => cityTaste(c));
  const random = new Random(seed, STREAM.person);
  const add = (u: number, name: (typeof ATTRIBUTES)[number], value: number): void => {
    people.tastes[u * A + attributeIndex(name)]! += value;
  };
  for (let u = 0; u < count; u++) {
    random.restart(seed, STREAM.person, u);
    const gender = random.below(2);
    const age = random.weighted(AGE_WEIGHTS);
    const home = random.weighted(cityWeights);
    const districts = CITIES[home]!.districts.length;
    people.nickname[u] = nickname(gender, random);
    people.gender[u] = gender;
    people.ageGroup[u] = age;
    people.homeCity[u] = home;
    people.homeDistrict[u] = random.below(districts);
    people.workDistrict[u] = random.below(districts);
    people.joinsDay[u] = random.uniform() < 0.12 ? 1 + random.below(days - 1) : 0;
    people.activity[u] = Math.exp(0.9 * random.normal());
    people.logBudget[u] = Math.log(32) + [-0.3, -0.05, 0.15, 0.15, 0][age]! + 0.35 * random.normal();
    people.novelty[u] = 1 / (1 + Math.exp(-(0.4 * (1.5 - age) + 1.1 * random.normal())));
    people.weatherSensitivity[u] = Math.exp(0.35 * random.normal() - 0.06);
    people.clickBias[u] = EFFECTS.userActivityBias * random.normal();
    people.orderBias[u] = EFFECTS.order.userBias * random.normal();
    for (let a = 0; a < TASTE_ATTRIBUTES; a++) {
      const strong = random.uniform() < EFFECTS.strongTasteShare;
      people.tastes[u * A + a] =
        EFFECTS.groupTaste * cityTastes[home]![a]! +
        random.normal() * (strong ? EFFECTS.strongTaste : EFFECTS.weakTaste);
    }
    // What age and gender lean to, as any platform's averages would show it.
    add(u, 'sweet', (gender === 0 ? 0.1 : -0.1) + [0.15, 0.05, 0, -0.08, -0.12][age]!);
    add(u, 'meat', gender === 0 ? -0.08 : 0.08);
    add(u, 'fried', [0.15, 0.06, 0, -0.1, -0.18][age]!);
    add(u, 'soupy', [-0.1, -0.04, 0, 0.08, 0.15][age]!);
    add(u, 'hot', [-0.1, -0.04, 0, 0.06, 0.14][age]!);
    let from = 0;
    for (let trip = 0; trip < TRIPS; trip++) {
      if (random.uniform() > 0.45) continue;
      const start = from + random.below(Math.max(1, days - from));
      const end = Math.min(days - 1, start + 1 + random.below(7));
      let city = random.weighted(cityWeights);
      if (city === home) city = (city + 1 + random.below(cities - 1)) % cities;
      people.tripStart[u * TRIPS + trip] = start;
      people.tripEnd[u * TRIPS + trip] = end;
      people.tripCity[u * TRIPS + trip] = city;
      people.tripPurpose[u * TRIPS + trip] = 1 + random.weighted([0.5, 0.3, 0.2]);
      from = end + 1;
      if (from >= days) break;
    }
  }
  return people;
}

/** The trip a person is on that day: its index into the trip columns, or −1 at home. */
export function tripOn(people: People, user: number, day: number): number {
  for (let trip = user * TRIPS; trip < (user + 1) * TRIPS; trip++)
    if (day >= people.tripStart[trip]! && day <= people.tripEnd[trip]!) return trip;
  return -1;
}
