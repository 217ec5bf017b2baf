import { ATTRIBUTES, attributeIndex, MEALTIMES } from './attributes.js';
import { CITIES } from './cities.js';
import { CUISINES, cuisineIndex, DISHES } from './dishes.js';
import { TASTE_ATTRIBUTES } from './effects.js';
import { Random } from './random.js';
import { STREAM } from './streams.js';
import { namePlace, writeIntroduction, writeTags } from './words.js';

const A = ATTRIBUTES.length;
const at = attributeIndex;

/** Mean and deviation of every attribute over DISHES: the scale of all tastes and effects. */
export const ATTRIBUTE_MEAN = new Float64Array(A);
export const ATTRIBUTE_STD = new Float64Array(A);
for (let a = 0; a < A; a++) {
  for (const dish of DISHES) ATTRIBUTE_MEAN[a]! += dish.attributes[a]! / DISHES.length;
  for (const dish of DISHES) ATTRIBUTE_STD[a]! += (dish.attributes[a]! - ATTRIBUTE_MEAN[a]!) ** 2 / DISHES.length;
  ATTRIBUTE_STD[a] = Math.sqrt(ATTRIBUTE_STD[a]!);
}

/** One line of a menu: a dish, perhaps as a variant ("iced", "extra spicy") whose attributes differ. */
export interface MenuItem {
  dish: number;
  name: string;
  attributes: Float64Array;
}

interface Variant {
  word: string;
  applies: (attributes: Float64Array, drink: boolean) => boolean;
  changes: Partial<Record<(typeof ATTRIBUTES)[number], number>>;
}

const VARIANTS: Variant[] = [
  { word: 'extra spicy', applies: (x) => x[at('spicy')]! > 0, changes: { spicy: 1 } },
  { word: 'mild', applies: (x) => x[at('spicy')]! > 0.5, changes: { spicy: 0 } },
  {
    word: 'spicy',
    applies: (x, drink) => !drink && x[at('spicy')]! === 0 && x[at('sweet')]! === 0,
    changes: { spicy: 0.67 },
  },
  { word: 'iced', applies: (x, drink) => drink && x[at('hot')]! > 0.5, changes: { hot: 0 } },
  { word: 'hot', applies: (x, drink) => drink && x[at('hot')]! < 0.3, changes: { hot: 1 } },
  {
    word: 'chilled',
    applies: (x, drink) => !drink && x[at('hot')]! > 0.4 && (x[at('noodles')]! > 0 || x[at('sweet')]! > 0.5),
    changes: { hot: 0.25 },
  },
  { word: 'less sweet', applies: (x) => x[at('sweet')]! > 0.6, changes: { sweet: 0.33 } },
  {
    word: 'cheesy',
    applies: (x, drink) => !drink && x[at('creamy')]! === 0 && x[at('hot')]! > 0.7,
    changes: { creamy: 1, rich: 1 },
  },
  { word: 'light', applies: (x) => x[at('rich')]! > 0.5, changes: { rich: 0 } },
  {
    word: 'sour',
    applies: (x, drink) => !drink && x[at('sour')]! === 0 && x[at('soupy')]! > 0.5,
    changes: { sour: 0.67 },
  },
  {
    word: 'vegetarian',
    applies: (x) => x[at('meat')]! > 0 || x[at('poultry')]! > 0,
    changes: { vegetarian: 1, meat: 0, poultry: 0, seafood: 0 },
  },
];

/** The names and attribute changes of every variant a menu may hold: what the general text explains. */
export function variantOf(dish: number, random: Random): MenuItem | null {
  const base = DISHES[dish]!;
  const fitting = VARIANTS.filter((variant) => variant.applies(base.attributes, base.drink));
  if (fitting.length === 0) return null;
  const variant = random.pick(fitting);
  const attributes = Float64Array.from(base.attributes);
  for (const [name, value] of Object.entries(variant.changes))
    attributes[at(name as (typeof ATTRIBUTES)[number])] = value;
  // A name such as "hot chocolate" says it already; "iced hot chocolate" would only confuse.
  const bare = base.name.replace(/^(hot|iced|spicy|chilled|cold) /, '');
  return { dish, name: `${variant.word} ${bare}`, attributes };
}

/** Every restaurant of the world, as columns. Index = poi_id. */
export interface Restaurants {
  count: number;
  name: string[];
  city: Uint8Array;
  district: Uint8Array;
  x: Float32Array;
  y: Float32Array;
  cuisine: Uint8Array;
  menu: MenuItem[][];
  signatures: Uint8Array;
  introduction: (string | null)[];
  tags: (string | null)[];
  price: Float32Array;
  rating: Float32Array;
  quality: Float32Array;
  popularity: Float64Array;
  opensDay: Int16Array;
  closesDay: Int16Array;
  opensHour: Uint8Array;
  closesHour: Uint8Array;
  /** Standardised attributes [count, ATTRIBUTES.length]. */
  attributes: Float32Array;
  /** Which cities call its signature dishes their own: share of signature dishes, by city, [count, cities]. */
  localness: Float32Array;
}

export interface CityPlan {
  /** District centres in km from the city's centre, [districts]. */
  x: Float64Array;
  y: Float64Array;
}

/** District centres of the first `cities` cities. */
export function planCities(cities: number, seed: number): CityPlan[] {
  return CITIES.slice(0, cities).map((city, c) => {
    const random = new Random(seed, STREAM.place, c);
    const x = new Float64Array(city.districts.length);
    const y = new Float64Array(city.districts.length);
    for (let d = 0; d < x.length; d++) {
      const angle = (2 * Math.PI * (d + 0.5 * random.uniform())) / x.length;
      const radius = d === 0 ? 0.5 : 3 + 3.5 * random.uniform();
      x[d] = radius * Math.cos(angle);
      y[d] = radius * Math.sin(angle);
    }
    return { x, y };
  });
}

const GROUP_WEIGHT: Record<string, number> = {
  'drinks and desserts': 1.4,
  snacks: 1.2,
  'light food': 0.9,
  western: 0.6,
  'japanese and korean': 0.9,
  'southeast asian': 0.6,
  'indian and middle eastern': 0.5,
};

function cuisineWeights(city: number): Float64Array {
  const place = CITIES[city]!;
  const weights = Float64Array.from(CUISINES, (cuisine) => GROUP_WEIGHT[cuisine.group] ?? 0.8);
  let rest = 0;
  for (const weight of weights) rest += weight;
  // About two POIs in five cook what the city is known for, its pride most of all.
  const own = place.own.map((id) => cuisineIndex(id));
  const share = own.map((_, i) => 1 / (1 + 0.5 * i));
  const total = share.reduce((sum, value) => sum + value, 0);
  for (const [i, index] of own.entries()) weights[index]! += (0.65 * rest * share[i]!) / total;
  return weights;
}

function chooseMenu(cuisine: number, random: Random): { items: MenuItem[]; signatures: number } {
  // A slant of its own: among the dishes of one cuisine one kitchen leans to cold and sour, another to rich and hot.
  const slant = new Float64Array(A);
  for (let a = 0; a < A; a++) slant[a] = random.normal() * (a < TASTE_ATTRIBUTES ? 1 : 0.6);
  const candidates: { dish: number; score: number }[] = [];
  const consider = (which: number, handicap: number): void => {
    const { first, count } = CUISINES[which]!;
    for (let dish = first; dish < first + count; dish++) {
      let score = handicap - Math.log(-Math.log(1 - random.uniform() + 1e-12) + 1e-12);
      for (let a = 0; a < A; a++)
        score += (slant[a]! * (DISHES[dish]!.attributes[a]! - ATTRIBUTE_MEAN[a]!)) / ATTRIBUTE_STD[a]!;
      candidates.push({ dish, score });
    }
  };
  consider(cuisine, 0);
  if (random.uniform() < 0.35) {
    const kin = CUISINES.flatMap((other, i) => (i !== cuisine && other.group === CUISINES[cuisine]!.group ? [i] : []));
    const other = random.uniform() < 0.6 && kin.length > 0 ? random.pick(kin) : random.below(CUISINES.length);
    if (other !== cuisine) consider(other, -1);
  }
  candidates.sort((a, b) => b.score - a.score || a.dish - b.dish);
  const size = 4 + random.below(4);
  const items = candidates.slice(0, size).map(({ dish }) => {
    const variant = random.uniform() < 0.18 ? variantOf(dish, random) : null;
    return variant ?? { dish, name: DISHES[dish]!.name, attributes: DISHES[dish]!.attributes };
  });
  return { items, signatures: 2 + random.below(2) };
}

function openingHours(meals: Float64Array, random: Random): [number, number] {
  // meals: share of the signature dishes that fit each mealtime.
  const [breakfast, , afternoon, , late] = meals as unknown as [number, number, number, number, number];
  let opens = breakfast > 0.5 ? 6 : breakfast > 0.2 ? 7 + random.below(2) : 9 + random.below(2);
  let closes = late > 0.5 ? 26 : late > 0.2 ? 24 : afternoon > 0.6 ? 22 : 21 + random.below(2);
  if (random.uniform() < 0.12) closes = 27;
  if (random.uniform() < 0.05) {
    opens = 0;
    closes = 29;
  }
  return [opens, closes];
}

/** Makes `count` restaurants over `days` days, cities in proportion to their weight. */
export function makeRestaurants(
  count: number,
  cities: number,
  days: number,
  plans: CityPlan[],
  seed: number,
): Restaurants {
  const restaurants: Restaurants = {
    count,
    name: new Array<string>(count),
    city: new Uint8Array(count),
    district: new Uint8Array(count),
    x: new Float32Array(count),
    y: new Float32Array(count),
    cuisine: new Uint8Array(count),
    menu: new Array<MenuItem[]>(count),
    signatures: new Uint8Array(count),
    introduction: new Array<string | null>(count),
    tags: new Array<string | null>(count),
    price: new Float32Array(count),
    rating: new Float32Array(count),
    quality: new Float32Array(count),
    popularity: new Float64Array(count),
    opensDay: new Int16Array(count),
    closesDay: new Int16Array(count),
    opensHour: new Uint8Array(count),
    closesHour: new Uint8Array(count),
    attributes: new Float32Array(count * A),
    localness: new Float32Array(count * cities),
  };
  const cityWeights = CITIES.slice(0, cities).map((city) => city.weight);
  const menuWeights = CITIES.slice(0, cities).map((_, c) => cuisineWeights(c));
  const ownOf = CITIES.slice(0, cities).map((city) => new Set(city.own.map((id) => cuisineIndex(id))));
  const taken = new Set<string>();
  const random = new Random(seed, STREAM.restaurant);
  for (let p = 0; p < count; p++) {
    random.restart(seed, STREAM.restaurant, p);
    // The first POIs go round the cities, so that none is left without.
    const city = p < cities * 12 ? p % cities : random.weighted(cityWeights);
    const place = CITIES[city]!;
    const district = random.below(place.districts.length);
    const cuisine = random.weighted(menuWeights[city]!);
    const { items, signatures } = chooseMenu(cuisine, random);
    const raw = new Float64Array(A);
    for (const [i, item] of items.entries()) {
      const weight = i < signatures ? 0.8 / signatures : 0.2 / (items.length - signatures);
      for (let a = 0; a < A; a++) raw[a]! += weight * item.attributes[a]!;
    }
    const z = raw.map((value, a) => (value - ATTRIBUTE_MEAN[a]!) / ATTRIBUTE_STD[a]!);
    const meals = raw.slice(A - MEALTIMES.length);
    let price = 0;
    for (const item of items.slice(0, signatures)) price += DISHES[item.dish]!.price / signatures;
    const quality = random.normal();
    restaurants.city[p] = city;
    restaurants.district[p] = district;
    restaurants.x[p] = plans[city]!.x[district]! + 1.1 * random.normal();
    restaurants.y[p] = plans[city]!.y[district]! + 1.1 * random.normal();
    restaurants.cuisine[p] = cuisine;
    restaurants.menu[p] = items;
    restaurants.signatures[p] = signatures;
    restaurants.price[p] = Math.max(4, Math.round(price * Math.exp(0.22 * random.normal())));
    restaurants.quality[p] = quality;
    restaurants.rating[p] =
      Math.round(10 * Math.max(3, Math.min(5, 4.35 + 0.22 * quality + 0.22 * random.normal()))) / 10;
    restaurants.popularity[p] = Math.min(400, (1 - random.uniform()) ** (-1 / 1.15));
    // Three POIs in ten open while the log runs, so some are cold on any day; a few close.
    restaurants.opensDay[p] = random.uniform() < 0.3 ? 1 + random.below(days - 1) : 0;
    restaurants.closesDay[p] =
      random.uniform() < 0.04 ? Math.max(restaurants.opensDay[p]! + 1, random.below(days)) : days;
    const [opens, closes] = openingHours(meals, random);
    restaurants.opensHour[p] = opens;
    restaurants.closesHour[p] = closes;
    for (let a = 0; a < A; a++) restaurants.attributes[p * A + a] = z[a]!;
    for (const item of items.slice(0, signatures))
      for (let c = 0; c < cities; c++)
        if (ownOf[c]!.has(DISHES[item.dish]!.cuisine)) restaurants.localness[p * cities + c]! += 1 / signatures;
    random.restart(seed, STREAM.words, p);
    restaurants.name[p] = namePlace(place, district, cuisine, items, taken, random);
    restaurants.introduction[p] = writeIntroduction(place, district, items.slice(0, signatures), z, random);
    restaurants.tags[p] = writeTags(z, price, restaurants.opensDay[p]! > 0, random);
  }
  return restaurants;
}
