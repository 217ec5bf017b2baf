/**
 * What a dish is like. The log and the tables never hold these as columns: they are met through words alone (menus,
 * introductions, tags, the general text), and as numbers only in controls/ (docs/world.md, "Dishes").
 */
export const ATTRIBUTES = [
  'hot',
  'spicy',
  'sweet',
  'sour',
  'rich',
  'soupy',
  'fried',
  'grilled',
  'creamy',
  'vegetarian',
  'seafood',
  'meat',
  'poultry',
  'noodles',
  'rice',
  'breakfast',
  'lunch',
  'afternoon',
  'dinner',
  'late-night',
] as const;
export type AttributeName = (typeof ATTRIBUTES)[number];

/** The five mealtimes, in the order of their attributes. */
export const MEALTIMES = ['breakfast', 'lunch', 'afternoon', 'dinner', 'late-night'] as const;
export type Mealtime = (typeof MEALTIMES)[number];

/** Position of an attribute in every attribute or taste vector. */
export function attributeIndex(name: AttributeName): number {
  return ATTRIBUTES.indexOf(name);
}
