import type { DatasetSchema } from '../schema/schema.js';
import { defineSchema } from '../schema/validate.js';
import { CITIES } from './cities.js';

/** How many food groups the baselines see: about ten, or every cuisine. */
export type CategoryGranularity = 'coarse' | 'fine';

const CITY_TEXTS = Object.fromEntries(CITIES.map((city) => [city.id, `${city.name} in ${city.region}`]));
const HERE: [string, string] = ['events.latitude', 'events.longitude'];
const THERE: [string, string] = ['pois.latitude', 'pois.longitude'];
const DISTANCE_EDGES = [1, 2, 4, 6];

/**
 * The schema of a generated world. Baselines get every non-text column that a platform would have at serving time. The position in the
 * list is a column of the events but no feature: it is unknown when POIs are ranked (docs/world.md, "Position"). Whatever the scene says
 * in words is a feature of theirs too: without time slot, mealtime, temperature in words and distance band as ids, half of what LARR
 * gained over PLE was no meaning, but that it saw them (docs/results.md).
 * @param training settings that suit the world's size
 */
export function worldSchema(granularity: CategoryGranularity, training: DatasetSchema['training']): DatasetSchema {
  return defineSchema({
    name: 'food-delivery-world',
    description: `The built-in food-delivery world; baselines know ${granularity === 'coarse' ? 'eleven food groups' : 'every cuisine'}.`,
    tables: {
      events: { path: 'tables/events.parquet' },
      users: { path: 'tables/users.parquet', key: 'user_id' },
      pois: { path: 'tables/pois.parquet', key: 'poi_id' },
    },
    keys: { user: 'user_id', poi: 'poi_id', row: 'row_id' },
    time: 'time',
    place: { poi: 'city', user: 'home_city' },
    labels: { click: 'click', order: 'ordered' },
    features: {
      categorical: [
        { name: 'user', value: 'events.user_id', role: 'user' },
        { name: 'poi', value: 'events.poi_id', role: 'poi' },
        { name: 'gender', value: 'users.gender', role: 'user-feature' },
        { name: 'age_group', value: 'users.age_group', role: 'user-feature' },
        { name: 'home_city', value: 'users.home_city', role: 'user-feature' },
        { name: 'cuisine', value: granularity === 'coarse' ? 'pois.food_group' : 'pois.cuisine', role: 'poi-feature' },
        {
          name: 'price_band',
          value: { derive: 'bucket', of: 'pois.price', edges: [15, 25, 40, 60] },
          role: 'poi-feature',
        },
        { name: 'poi_district', value: 'pois.district', role: 'poi-feature' },
        { name: 'hour', value: { derive: 'hour' }, role: 'context' },
        { name: 'weekday', value: { derive: 'weekday' }, role: 'context' },
        { name: 'holiday', value: 'events.holiday', role: 'context' },
        { name: 'weather', value: 'events.weather', role: 'context' },
        {
          name: 'temperature_band',
          value: { derive: 'bucket', of: 'events.temperature', edges: [0, 5, 10, 15, 20, 25, 30] },
          role: 'context',
        },
        { name: 'time_slot', value: { derive: 'timeSlot' } },
        { name: 'mealtime', value: { derive: 'mealtime' } },
        { name: 'temperature_words', value: { derive: 'temperatureWords', of: 'events.temperature' } },
        { name: 'distance_band', value: { derive: 'distanceBand', from: HERE, to: THERE, edges: DISTANCE_EDGES } },
        { name: 'city', value: 'events.city', role: 'context' },
        { name: 'district', value: 'events.district', role: 'context' },
        { name: 'travel', value: 'events.travel', role: 'context' },
      ],
      dense: [
        { name: 'distance', value: { derive: 'distanceKm', from: HERE, to: THERE }, transform: 'log1p' },
        { name: 'temperature', value: 'events.temperature' },
        { name: 'price', value: 'pois.price', transform: 'log1p' },
        { name: 'rating', value: 'pois.rating' },
      ],
      statistics: [
        { of: 'poi', measures: ['impressions', 'clicks', 'ctr', 'cvr'], windows: [7, 'all'], ending: 'day' },
        { of: 'user', measures: ['impressions', 'clicks', 'orders', 'ctr', 'cvr'], windows: ['all'], ending: 'day' },
        { of: 'user-poi', measures: ['impressions', 'clicks', 'orders'], windows: ['all'], ending: 'day' },
      ],
    },
    keywords: {
      poi: [
        { name: 'name', column: 'name' },
        { name: 'location', column: 'location' },
        { name: 'menu', column: 'menu' },
        { name: 'introduction', column: 'introduction' },
        { name: 'tags', column: 'tags' },
        { name: 'price', column: 'price_words' },
      ],
      user: [
        { name: 'nickname', column: 'nickname' },
        { name: 'gender', column: 'gender' },
        { name: 'age', column: 'age_group' },
        { name: 'home', column: 'home_text' },
        { name: 'dishes', behaviour: { top: 5, of: 'pois.signature', separator: ', ', on: 'click' } },
        { name: 'food_words', behaviour: { top: 12, of: 'pois.food_words', words: true, on: 'click' } },
        { name: 'mealtimes', behaviour: { top: 2, of: 'scene.mealtime', on: 'click' } },
        { name: 'spending', behaviour: { top: 1, of: 'pois.price_words', on: 'click' } },
        {
          name: 'orders',
          behaviour: {
            recent: 3,
            template: '{pois.signature} at {scene.mealtime} in {scene.weather} weather, {scene.temperature}',
            on: 'order',
          },
        },
      ],
      scene: [
        { name: 'time', value: { derive: 'timeSlot' } },
        { name: 'weekday', value: { derive: 'weekday' } },
        { name: 'mealtime', value: { derive: 'mealtime' } },
        { name: 'weather', value: 'events.weather' },
        { name: 'temperature', value: { derive: 'temperatureWords', of: 'events.temperature' } },
        { name: 'city', value: { derive: 'text', of: 'events.city', values: CITY_TEXTS } },
        { name: 'district', value: 'events.district' },
        {
          name: 'travel',
          value: {
            derive: 'text',
            of: 'events.travel',
            values: {
              home: 'at home',
              vacation: 'travelling on vacation',
              work: 'travelling for work',
              family: 'visiting family away from home',
            },
          },
        },
        { name: 'distance', value: { derive: 'distanceBand', from: HERE, to: THERE, edges: DISTANCE_EDGES } },
        { name: 'holiday', value: 'events.holiday' },
      ],
    },
    texts: {
      cptInput: ['name', 'location'],
      poiBusiness: ['name', 'location', 'menu'],
      poiBasic: ['introduction', 'tags'],
      userProfile: ['nickname', 'gender', 'age', 'home'],
      userBehaviour: ['dishes', 'food_words', 'mealtimes', 'spending', 'orders'],
    },
    splits: { time: { kind: 'time', testDays: 1, validationDays: 1 } },
    defaultSplit: 'time',
    ...(training !== undefined && { training }),
  });
}
