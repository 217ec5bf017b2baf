import { ATTRIBUTES, type AttributeName, attributeIndex, MEALTIMES } from './attributes.js';
import { CITIES } from './cities.js';
import { CUISINES, cuisineIndex, DISHES } from './dishes.js';
import { Random } from './random.js';
import { type MenuItem, variantOf } from './restaurants.js';
import { STREAM } from './streams.js';
import { attributeWord, describeDish, englishName, listed } from './words.js';

/** A dish and one description of it: a pair for contrastive training (docs/method.md, section 7). */
export interface DishPair {
  dish: string;
  description: string;
}

const plain = (dish: number): MenuItem => ({ dish, name: DISHES[dish]!.name, attributes: DISHES[dish]!.attributes });

/** `perDish` descriptions of every dish, and one of a variant of each dish that has any. */
export function dishPairs(perDish: number, seed: number): DishPair[] {
  const pairs: DishPair[] = [];
  const random = new Random(seed, STREAM.corpus);
  for (let dish = 0; dish < DISHES.length; dish++) {
    random.restart(seed, STREAM.corpus, dish);
    for (let i = 0; i < perDish; i++)
      pairs.push({ dish: DISHES[dish]!.name, description: describeDish(plain(dish), random) });
    const variant = variantOf(dish, random);
    if (variant) pairs.push({ dish: variant.name, description: describeDish(variant, random) });
  }
  return pairs;
}

/** Dishes that have a property, for sentences that name examples. */
function dishesWhere(test: (attributes: Float64Array) => boolean): number[] {
  return DISHES.flatMap((dish, d) => (test(dish.attributes) ? [d] : []));
}

const at = attributeIndex;
const COLD = dishesWhere((x) => x[at('hot')]! <= 0.25);
const HOT_SOUP = dishesWhere((x) => x[at('soupy')]! > 0.6 && x[at('hot')]! > 0.7);
const SPICY = dishesWhere((x) => x[at('spicy')]! > 0.6);
const SWEET = dishesWhere((x) => x[at('sweet')]! > 0.6);
const GRILLED = dishesWhere((x) => x[at('grilled')]! > 0.6);
const RICE = dishesWhere((x) => x[at('rice')]! > 0);
const BY_MEAL = MEALTIMES.map((meal) => dishesWhere((x) => x[at(meal)]! > 0));

const COLD_WEATHER = [
  'On a freezing day',
  'When snow lies in the street',
  'In cold weather',
  'When the wind is cold',
  'On a chilly evening',
];
const HOT_WEATHER = [
  'On a hot day',
  'In the heat of summer',
  'When the sun burns',
  'In hot and humid weather',
  'When it is above thirty degrees',
];
const WET_WEATHER = [
  'On a rainy night',
  'When it rains',
  'In a thunderstorm',
  'On a damp and grey day',
  'While drizzle falls',
];
const WANT = [
  'people want',
  'many people order',
  'it is nice to have',
  'nothing is better than',
  'customers look for',
  'one likes',
];
const HOUR_WORDS = ['In the morning', 'At noon', 'In the afternoon', 'In the evening', 'Late at night'];

/** One short text about food, places, weather or mealtimes in plain English. */
function writeText(random: Random): string {
  const examples = (dishes: number[], n: number): string =>
    listed(Array.from({ length: n }, () => englishName(DISHES[random.pick(dishes)]!.name)));
  const city = random.pick(CITIES);
  const own = CUISINES[cuisineIndex(random.pick(city.own))]!;
  const local = (n: number): string =>
    listed(Array.from({ length: n }, () => englishName(DISHES[own.first + random.below(own.count)]!.name)));
  const n = 1 + random.below(3);
  switch (random.below(17)) {
    case 0:
    case 1:
    case 2: {
      const dish = random.below(DISHES.length);
      return describeDish((random.uniform() < 0.25 ? variantOf(dish, random) : null) ?? plain(dish), random);
    }
    case 3:
      return `${random.pick(COLD_WEATHER)} ${random.pick(WANT)} ${attributeWord('hot', true, random)} food such as ${examples(HOT_SOUP, n)}.`;
    case 4:
      return `${random.pick(HOT_WEATHER)} ${random.pick(WANT)} something ${attributeWord('hot', false, random)}, for example ${examples(COLD, n)}.`;
    case 5:
      return `${random.pick(WET_WEATHER)} ${random.pick(WANT)} a meal ${attributeWord('soupy', true, random)}, perhaps ${examples(HOT_SOUP, n)}, from a shop that is near.`;
    case 6: {
      const meal = random.below(MEALTIMES.length);
      return `${HOUR_WORDS[meal]} ${random.pick(WANT)} ${examples(BY_MEAL[meal]!, n)}.`;
    }
    case 7:
      return `${city.name} is a city in ${city.region}. People there eat ${own.phrase}, such as ${local(n)}.`;
    case 8:
      return `A visitor to ${city.name} should try ${local(n)}; it is the local taste of ${city.region}.`;
    case 9:
      return `${random.pick(city.districts)} is a district of ${city.name}, where one finds ${local(n)} and also ${examples([...DISHES.keys()], 1)}.`;
    case 10: {
      const summer = Math.round(Math.max(city.january, city.july));
      const winter = Math.round(Math.min(city.january, city.july));
      return `In ${city.name} the warm season is about ${summer} degrees and the cool season about ${winter}; ${city.wetness > 0.34 ? 'rain is frequent in spring' : 'spring is mostly dry'}.`;
    }
    case 11:
      return `${own.phrase} has many dishes: ${local(2 + n)}.`;
    case 12: {
      const [dishes, name] = random.pick<[number[], AttributeName]>([
        [SPICY, 'spicy'],
        [SWEET, 'sweet'],
        [GRILLED, 'grilled'],
        [RICE, 'rice'],
        [HOT_SOUP, 'soupy'],
      ]);
      return `Those who like food that is ${attributeWord(name, true, random)} are fond of ${examples(dishes, 1 + n)}.`;
    }
    case 13: {
      const first = random.below(DISHES.length);
      const second = random.below(DISHES.length);
      return compareDishes(first, second, random);
    }
    case 14: {
      const day = random.pick(['weekend', 'holiday', 'weekday', 'working day']);
      const slow = day === 'weekend' || day === 'holiday';
      return slow
        ? `At the ${day} families take time and share ${attributeWord('rich', true, random)} food or ${attributeWord('seafood', true, random)}, and they pay a little more.`
        : `On a ${day} office workers have a short lunch, often ${attributeWord('rice', true, random)} or ${attributeWord('noodles', true, random)}, close to the office.`;
    }
    case 15:
      return `${random.pick(WET_WEATHER)} riders are slow, so a restaurant close to home in ${random.pick(city.districts)} is the better choice.`;
    default: {
      const away = random.pick(CITIES);
      return `Someone from ${city.name} who travels to ${away.name} ${random.pick(['on vacation', 'for work', 'to see family'])} may try ${CUISINES[cuisineIndex(random.pick(away.own))]!.phrase}, or miss the ${local(1)} of home.`;
    }
  }
}

function compareDishes(first: number, second: number, random: Random): string {
  const a = DISHES[first]!;
  const b = DISHES[second]!;
  let widest = 0;
  for (let i = 0; i < ATTRIBUTES.length - MEALTIMES.length; i++)
    if (Math.abs(a.attributes[i]! - b.attributes[i]!) > Math.abs(a.attributes[widest]! - b.attributes[widest]!))
      widest = i;
  const name = ATTRIBUTES[widest]!;
  const [more, less] = a.attributes[widest]! >= b.attributes[widest]! ? [a, b] : [b, a];
  return `Between ${englishName(a.name)} and ${englishName(b.name)}, ${englishName(more.name)} is the one that is ${attributeWord(name, true, random)}; ${englishName(less.name)} is not.`;
}

/** The general text: `bytes` (about) of short texts, as JSON lines. Yields blocks, so that nothing large is held. */
export function* generalText(bytes: number, seed: number): Generator<string> {
  const random = new Random(seed, STREAM.corpus);
  let written = 0;
  for (let index = 0; written < bytes; index++) {
    let block = '';
    for (let i = 0; i < 256 && written < bytes; i++) {
      random.restart(seed, STREAM.corpus, 1_000_000 + index * 256 + i);
      // Short passages of one to three texts.
      const text = Array.from({ length: 1 + random.below(3) }, () => writeText(random)).join(' ');
      const line = `${JSON.stringify({ text })}\n`;
      block += line;
      written += Buffer.byteLength(line);
    }
    yield block;
  }
}
