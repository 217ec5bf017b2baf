import { ATTRIBUTES, type AttributeName, attributeIndex, MEALTIMES } from './attributes.js';

/**
 * The strength of everything that moves a click or an order, in logits. Attribute effects multiply *standardised* attributes
 * (mean 0, deviation 1 over all dishes); docs/world.md prints the formulas. They were tuned on the
 * rates, the oracle's AUC and what the true attributes are worth to a plain network, never on a result of LARR.
 */
export const EFFECTS = {
  userActivityBias: 0.3,
  quality: 0.25,
  rating: 0.15,
  popularity: 0.15,
  position: 0.3,
  distance: 0.4,
  rainTimesDistance: 0.9,
  price: 0.35,
  /** Chance that a person feels strongly about an attribute, and the deviations of strong and weak tastes. */
  strongTasteShare: 0.3,
  strongTaste: 0.37,
  weakTaste: 0.1,
  groupTaste: 0.18,
  /** For what the present city cooks: at home, and when travelling for each purpose. */
  local: { home: 0.1, vacation: 1.2, work: 0.7, family: 0.5 },
  homesick: 0.6,
  /** How the purse differs from the usual budget, in log-yuan: by mealtime (in the order of MEALTIMES), on free days, on vacation. */
  purse: { mealtimes: [-0.6, -0.1, -0.35, 0.2, 0], free: 0.12, vacation: 0.15 },
  habit: 0.9,
  newcomer: 0.35,
  pairNoise: 0.25,
  order: { preference: 0.5, price: 0.5, distance: 0.25, rating: 0.2, quality: 0.3, habit: 0.5, userBias: 0.3 },
} as const;

/** Whether a scene's mealtime, weather and week shift what is wanted: one row of the effect table. */
export interface SceneEffect {
  scene: string;
  attribute: AttributeName;
  effect: number;
}

/** What each scene condition adds to the wish for an attribute. `feel` is (temperature − 17 °C) / 12, within ±1.5. */
export const SCENE_EFFECTS: SceneEffect[] = [
  // Weather: `heat` multiplies feel, `wet` the weather's wetness while it is not hot, `damp` wetness always.
  ...rows('heat', {
    hot: -0.74,
    soupy: -0.44,
    spicy: -0.24,
    sour: 0.35,
    rich: -0.39,
    sweet: 0.15,
    creamy: 0.11,
    seafood: 0.15,
  }),
  ...rows('wet', { hot: 0.24, soupy: 0.62, fried: 0.15 }),
  ...rows('damp', { spicy: 0.44, grilled: -0.35 }),
  // Mealtimes beyond the dish's own fit.
  ...rows('breakfast', { rich: -0.3, fried: -0.11, soupy: 0.24, spicy: -0.3, grilled: -0.3 }),
  ...rows('lunch', { rice: 0.44, noodles: 0.24, sweet: -0.18 }),
  ...rows('afternoon', { sweet: 0.48, creamy: 0.18, rice: -0.24, hot: -0.15 }),
  ...rows('dinner', { rich: 0.18, meat: 0.18, seafood: 0.21, soupy: 0.11 }),
  ...rows('late-night', { grilled: 0.48, fried: 0.3, spicy: 0.35, vegetarian: -0.18 }),
  ...rows('weekend', { rich: 0.24, seafood: 0.21, sweet: 0.18, rice: -0.18 }),
  // Combinations that no single field tells.
  ...rows('cold late night', { soupy: 0.59, hot: 0.38 }),
  ...rows('hot afternoon', { hot: -0.51, sweet: 0.22, sour: 0.22 }),
  ...rows('rainy weekend dinner', { soupy: 0.38, spicy: 0.3 }),
];

/** A dish made for the present mealtime, and one made for another. */
export const MEAL_FIT = { present: 0.6, other: -0.08 };

function rows(scene: string, effects: Partial<Record<AttributeName, number>>): SceneEffect[] {
  return Object.entries(effects).map(([attribute, effect]) => ({
    scene,
    attribute: attribute as AttributeName,
    effect,
  }));
}

const HEAT_NORMAL = 17;
const HEAT_SCALE = 12;

export interface Moment {
  temperature: number;
  wetness: number;
  /** Index into MEALTIMES. */
  mealtime: number;
  weekend: boolean;
}

/** How hot it feels: 0 at 17 °C, ±1.5 at most. */
function feel(temperature: number): number {
  return Math.max(-1.5, Math.min(1.5, (temperature - HEAT_NORMAL) / HEAT_SCALE));
}

/** How much of a scene condition is present, 0 … 1 (`heat`: −1.5 … 1.5). */
export function sceneStrength(scene: string, moment: Moment): number {
  const heat = feel(moment.temperature);
  const mealtime = MEALTIMES[moment.mealtime];
  switch (scene) {
    case 'heat':
      return heat;
    case 'wet':
      return heat < 0.5 ? moment.wetness : 0;
    case 'damp':
      return moment.wetness;
    case 'weekend':
      return moment.weekend ? 1 : 0;
    case 'cold late night':
      return mealtime === 'late-night' && heat < -0.2 ? 1 : 0;
    case 'hot afternoon':
      return mealtime === 'afternoon' && heat > 0.4 ? 1 : 0;
    case 'rainy weekend dinner':
      return mealtime === 'dinner' && moment.weekend && moment.wetness >= 0.5 ? 1 : 0;
    default:
      return mealtime === scene ? 1 : 0;
  }
}

const WEATHER_SCENES = new Set(['heat', 'wet', 'damp', 'cold late night', 'hot afternoon', 'rainy weekend dinner']);
const COMPILED = SCENE_EFFECTS.map((row) => ({
  ...row,
  at: attributeIndex(row.attribute),
  weather: WEATHER_SCENES.has(row.scene),
}));
const MEAL_AT = MEALTIMES.map((meal) => attributeIndex(meal));

/**
 * Writes into `wish` [attributes] what the moment adds to the wish for each standardised attribute. Weather effects are
 * scaled by how much this person minds the weather.
 */
export function sceneWish(moment: Moment, weatherSensitivity: number, wish: Float64Array): void {
  wish.fill(0);
  let last = '';
  let strength = 0;
  for (const row of COMPILED) {
    if (row.scene !== last) {
      last = row.scene;
      strength = sceneStrength(row.scene, moment);
    }
    if (strength !== 0) wish[row.at]! += row.effect * strength * (row.weather ? weatherSensitivity : 1);
  }
  for (const [m, at] of MEAL_AT.entries()) wish[at]! += m === moment.mealtime ? MEAL_FIT.present : MEAL_FIT.other;
}

/** Attributes that people have tastes for: all but the mealtimes. */
export const TASTE_ATTRIBUTES = ATTRIBUTES.length - MEALTIMES.length;

/** Mealtime of an hour of day, an index into MEALTIMES. */
export function mealtimeOf(hour: number): number {
  if (hour >= 5 && hour < 10) return 0;
  if (hour >= 10 && hour < 14) return 1;
  if (hour >= 14 && hour < 17) return 2;
  if (hour >= 17 && hour < 21) return 3;
  return 4;
}
