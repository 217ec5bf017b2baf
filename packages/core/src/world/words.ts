import { ATTRIBUTES, type AttributeName, attributeIndex } from './attributes.js';
import type { City } from './cities.js';
import { CUISINES, DISHES } from './dishes.js';
import type { Random } from './random.js';
import type { MenuItem } from './restaurants.js';

/** The English part of a dish's name; `mapo tofu 麻婆豆腐` → `mapo tofu`. */
export function englishName(name: string): string {
  return name.replace(/\s*[㐀-鿿].*$/u, '');
}

/**
 * Words for having much (or, after the bar, little) of an attribute. Several for each, so that a model has to learn that they mean
 * the same. `hot` is temperature.
 */
const WORDS: Record<AttributeName, { much: string[]; little?: string[] }> = {
  hot: {
    much: ['piping hot', 'steaming', 'served hot', 'warming', 'straight from the stove'],
    little: ['chilled', 'served cold', 'ice cold', 'cooling', 'refreshing'],
  },
  spicy: {
    much: ['spicy', 'fiery', 'full of chilli', 'numbing', 'hot with pepper'],
    little: ['mild', 'without chilli', 'gentle'],
  },
  sweet: { much: ['sweet', 'sugary', 'honeyed', 'for a sweet tooth'], little: ['savoury', 'salty'] },
  sour: { much: ['sour', 'tangy', 'sharp with vinegar', 'tart'] },
  rich: {
    much: ['rich', 'heavy', 'filling', 'hearty', 'oily'],
    little: ['light', 'clean', 'low in oil', 'easy on the stomach'],
  },
  soupy: { much: ['in soup', 'full of broth', 'soupy', 'with plenty of soup'], little: ['dry'] },
  fried: { much: ['deep fried', 'crispy', 'crunchy', 'golden and crisp'] },
  grilled: { much: ['grilled', 'smoky', 'charred over fire', 'from the charcoal'] },
  creamy: { much: ['creamy', 'milky', 'smooth with cream', 'full of milk and cheese'] },
  vegetarian: { much: ['vegetarian', 'without meat', 'made of plants', 'meatless'] },
  seafood: { much: ['seafood', 'from the sea', 'fish and shellfish'] },
  meat: { much: ['meaty', 'beef, pork or lamb', 'for meat eaters'] },
  poultry: { much: ['chicken or duck', 'poultry'] },
  noodles: { much: ['noodles', 'springy noodles'] },
  rice: { much: ['rice', 'served with rice'] },
  breakfast: { much: ['breakfast', 'the early morning', 'the morning'] },
  lunch: { much: ['lunch', 'the noon break', 'a quick midday meal'] },
  afternoon: { much: ['afternoon tea', 'the afternoon', 'a snack between meals'] },
  dinner: { much: ['dinner', 'the evening meal', 'the evening'] },
  'late-night': { much: ['late night', 'midnight', 'the small hours'] },
};
const MEAL_START = attributeIndex('breakfast');

/** A phrase for one attribute at a standardised value, or null where there is nothing to say of it. */
function phrase(attribute: number, value: number, random: Random): string | null {
  const words = WORDS[ATTRIBUTES[attribute]!];
  if (value > 0) return random.pick(words.much);
  return words.little ? random.pick(words.little) : null;
}

/** The attributes that stand out, most striking first, with the sign kept. */
function striking(
  values: ArrayLike<number>,
  from: number,
  to: number,
  random: Random,
): { attribute: number; value: number }[] {
  const found: { attribute: number; value: number; weight: number }[] = [];
  for (let a = from; a < to; a++) {
    const value = values[a]!;
    if (value > 0 || WORDS[ATTRIBUTES[a]!].little)
      found.push({ attribute: a, value, weight: Math.abs(value) + 0.35 * random.normal() });
  }
  return found.sort((x, y) => y.weight - x.weight);
}

const FAMILY = [
  'Chen',
  'Wang',
  'Li',
  'Zhang',
  'Liu',
  'Huang',
  'Zhou',
  'Wu',
  'Lin',
  'Guo',
  'He',
  'Ma',
  'Luo',
  'Tang',
  'Xu',
  'Feng',
];
const GIVEN = [
  'Mei',
  'Jun',
  'Lan',
  'Wei',
  'Ying',
  'Hao',
  'Ning',
  'Bo',
  'Xin',
  'Rui',
  'Yan',
  'Tao',
  'Qing',
  'Min',
  'Lei',
  'Fang',
];
const PLACE_WORDS = [
  'Old Street',
  'River',
  'Garden',
  'Corner',
  'Bridge',
  'Lantern',
  'Red Door',
  'Sunrise',
  'Moon',
  'Harbour',
  'Bamboo',
  'Stone',
  'Lotus',
  'Golden',
  'Little',
  'Happy',
  'North Gate',
  'South Gate',
  'Hill',
  'Market',
];
const PLAIN_KINDS = [
  'House',
  'Kitchen',
  'Table',
  'Room',
  'Canteen',
  'Courtyard',
  'Family Restaurant',
  'Diner',
  'Hall',
  'Place',
];

/** A restaurant's name, unique within its district. About half the names tell what is sold. */
export function namePlace(
  city: City,
  district: number,
  cuisine: number,
  items: MenuItem[],
  taken: Set<string>,
  random: Random,
): string {
  const dish = DISHES[items[0]!.dish]!;
  for (let attempt = 1; ; attempt++) {
    const telling = random.uniform() < 0.5;
    const owner = random.uniform() < 0.5 ? `${random.pick(FAMILY)}'s` : random.pick(PLACE_WORDS);
    let name: string;
    if (telling)
      name =
        random.uniform() < 0.6
          ? `${owner} ${titled(englishName(dish.name))}`
          : `${owner} ${titled(CUISINES[cuisine]!.phrase)}`;
    else name = `${owner} ${random.pick(PLACE_WORDS)} ${random.pick(PLAIN_KINDS)}`;
    if (attempt > 6) name += ` No. ${attempt - 4}`;
    const key = `${city.id}/${district}/${name}`;
    if (!taken.has(key)) {
      taken.add(key);
      return name;
    }
  }
}

function titled(text: string): string {
  return text.replace(/(^|\s)\p{Ll}/gu, (letter) => letter.toUpperCase());
}

const OPENERS = [
  'A small kitchen in {district}',
  'A family shop in {district}',
  'A busy counter near the centre of {district}',
  'A quiet place in {district}',
  'A neighbourhood kitchen in {district}, {city}',
  'An old shop of {city}',
  'A new kitchen in {district}',
  'A friendly place that delivers across {district}',
];
const ABOUT = ['known for', 'proud of', 'where people come for', 'that cooks', 'loved for', 'best known for'];
const PLAIN = [
  'The cook learned the trade from an uncle.',
  'Orders leave the kitchen within twenty minutes.',
  'Portions are fair and the boxes are strong.',
  'Everything is made on the day.',
  'Regulars call ahead.',
  'The menu is short and changes little.',
  'Three generations have worked here.',
  'Students and office workers keep it busy.',
];
const PRAISE = ['Guests say it is', 'The style is', 'Expect food that is', 'The cooking is', 'Most dishes are'];

/** A few sentences about a restaurant; null where the owner wrote none. Attributes `z` are standardised. */
export function writeIntroduction(
  city: City,
  district: number,
  signatures: MenuItem[],
  z: ArrayLike<number>,
  random: Random,
): string | null {
  if (random.uniform() < 0.1) return null;
  const opener = random.pick(OPENERS).replace('{district}', city.districts[district]!).replace('{city}', city.name);
  const dishes = signatures.slice(0, 1 + random.below(signatures.length)).map((item) => englishName(item.name));
  const sentences = [`${opener} ${random.pick(ABOUT)} ${listed(dishes)}.`];
  if (random.uniform() < 0.6) {
    const words = striking(z, 0, MEAL_START, random)
      .slice(0, 2)
      .map(({ attribute, value }) => phrase(attribute, value, random))
      .filter((word) => word !== null);
    if (words.length > 0) sentences.push(`${random.pick(PRAISE)} ${words.join(' and ')}.`);
  }
  if (random.uniform() < 0.35) {
    const meal = striking(z, MEAL_START, ATTRIBUTES.length, random)[0];
    if (meal) sentences.push(`Good for ${phrase(meal.attribute, meal.value, random)}.`);
  }
  if (random.uniform() < 0.5) sentences.push(random.pick(PLAIN));
  return sentences.join(' ');
}

const PLAIN_TAGS = [
  'fast delivery',
  'family run',
  'good value',
  'neat boxes',
  'well known',
  'friendly service',
  'big portions',
];

/** Two to five tags, as a platform would set them: some of the food, some of the service; null where there are none. */
export function writeTags(z: ArrayLike<number>, price: number, isNew: boolean, random: Random): string | null {
  if (random.uniform() < 0.08) return null;
  const tags: string[] = [];
  for (const { attribute, value } of striking(z, 0, ATTRIBUTES.length, random).slice(0, 1 + random.below(3))) {
    const word = phrase(attribute, value, random);
    if (word) tags.push(word);
  }
  if (random.uniform() < 0.5) tags.push(random.pick(PLAIN_TAGS));
  if (price > 60 && random.uniform() < 0.5) tags.push('for a treat');
  if (price < 16 && random.uniform() < 0.5) tags.push('cheap');
  if (isNew) tags.push('newly opened');
  return tags.length > 0 ? tags.join(', ') : null;
}

const NICK_WORDS = [
  'Cloud',
  'Little Fish',
  'Blue Sky',
  'Morning',
  'Tiger',
  'Lucky',
  'Quiet River',
  'Panda',
  'Seven',
  'Star',
  'Snow',
  'Autumn',
  'Maple',
  'Rabbit',
  'Sailor',
  'Traveller',
  'Orange Cat',
  'Night Owl',
];

/** A nickname; it tells nothing about the person's tastes. */
export function nickname(gender: number, random: Random): string {
  const kind = random.below(4);
  if (kind === 0) return `${random.pick(FAMILY)} ${random.pick(GIVEN)}`;
  if (kind === 1) return `${random.pick(NICK_WORDS)} ${random.below(100)}`;
  if (kind === 2) return `${gender === 0 ? 'Miss' : 'Mr'} ${random.pick(FAMILY)}`;
  return `${random.pick(NICK_WORDS)} ${random.pick(GIVEN)}`;
}

const DESCRIPTIONS = [
  '{Dish} is {words}.',
  '{Dish} comes from {cuisine} and is {words}.',
  'People who order {dish} get something {words}.',
  'In {cuisine}, {dish} is a dish that is {words}.',
  'What is {dish}? It is {words}.',
  'A plate of {dish} is {words}, and it suits {meals}.',
  '{Dish}: {words}. People eat it for {meals}.',
  '{Dish} belongs to {cuisine}; it suits {meals} and is {words}.',
  'Ask a cook about {dish} and you hear that it is {words}.',
];

/** Everything that a dish is, in words, in an order and with words that vary: for the general text. */
export function describeDish(item: MenuItem, random: Random): string {
  const { attributes } = item;
  const words: string[] = [];
  const say = (name: AttributeName, much: boolean): void => {
    const forms = WORDS[name];
    words.push(random.pick(much ? forms.much : forms.little!));
  };
  const value = (name: AttributeName): number => attributes[attributeIndex(name)]!;
  if (value('hot') >= 0.7) say('hot', true);
  else if (value('hot') <= 0.3) say('hot', false);
  for (const name of ['spicy', 'sweet', 'sour', 'rich', 'soupy', 'fried', 'grilled', 'creamy'] as const)
    if (value(name) > 0.5) say(name, true);
    else if (value(name) > 0.2 && name !== 'rich') words.push(`a little ${WORDS[name].much[0]}`);
  if (value('rich') === 0) say('rich', false);
  if (value('spicy') === 0 && random.uniform() < 0.25) say('spicy', false);
  for (const name of ['vegetarian', 'seafood', 'meat', 'poultry', 'noodles', 'rice'] as const)
    if (value(name) > 0) say(name, true);
  for (let i = words.length - 1; i > 0; i--) {
    const j = random.below(i + 1);
    [words[i], words[j]] = [words[j]!, words[i]!];
  }
  const meals = ATTRIBUTES.slice(MEAL_START).filter((name) => value(name) > 0);
  const name = random.uniform() < 0.5 ? item.name : englishName(item.name);
  return random
    .pick(DESCRIPTIONS)
    .replace('{Dish}', name[0]!.toUpperCase() + name.slice(1))
    .replace('{dish}', name)
    .replace('{cuisine}', CUISINES[DISHES[item.dish]!.cuisine]!.phrase)
    .replace('{words}', listed(words))
    .replace('{meals}', listed(meals.map((meal) => random.pick(WORDS[meal].much))));
}

/** `a, b and c`. */
export function listed(words: string[]): string {
  return words.length < 2 ? (words[0] ?? '') : `${words.slice(0, -1).join(', ')} and ${words.at(-1)}`;
}

/** One of the words for much (or little) of an attribute. */
export function attributeWord(name: AttributeName, much: boolean, random: Random): string {
  const words = WORDS[name];
  return random.pick(much ? words.much : (words.little ?? words.much));
}
