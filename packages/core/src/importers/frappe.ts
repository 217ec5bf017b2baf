import { join } from 'node:path';
import type { DatasetManifest } from '../dataset/manifest.js';
import type { DatasetSchema } from '../schema/schema.js';
import { defineSchema } from '../schema/validate.js';
import { readDelimited } from './delimited.js';
import { checkOutput, type ImportOptions, importTables } from './import-tables.js';

const eventColumns = [
  'user',
  'item',
  'cnt',
  'daytime',
  'weekday',
  'isweekend',
  'homework',
  'cost',
  'weather',
  'country',
  'city',
];
const metaColumns = [
  'item',
  'package',
  'category',
  'downloads',
  'developer',
  'icon',
  'language',
  'description',
  'name',
  'price',
  'rating',
  'short desc',
];

/**
 * Frappe: usage of mobile apps in context (Baltrunas et al., 2015), from `frappe.csv` and `meta.csv` as published.
 *
 * The public protocol for it as a CTR benchmark ("Frappe_x1"): every row is a positive, with two negatives of the same user
 * and context and an app that this user never used, split 7 : 2 : 1 at random. ID features take `unknown` and `0` as values of
 * their own, as the protocol does; as texts they are missing. A second split, `cold-poi`, tests on apps unseen in training.
 * @throws DataError `FILE_MISSING`, `BAD_HEADER`, `SHORT_ROW`, `BAD_ENCODING`
 */
export async function importFrappe(options: ImportOptions): Promise<DatasetManifest> {
  await checkOutput(options);
  const events = await readDelimited(join(options.input, 'frappe.csv'), { columns: eventColumns, delimiter: '\t' });
  const meta = await readDelimited(join(options.input, 'meta.csv'), { columns: metaColumns, delimiter: '\t' });
  return importTables(options, { events: events.asText(), pois: meta.asText() }, frappeSchema());
}

/** The schema of the imported tables; a template for other logs of use in context. */
export function frappeSchema(): DatasetSchema {
  const weekdays = ['monday', 'tuesday', 'wednesday', 'thursday', 'friday', 'saturday', 'sunday'];
  const capitalised = Object.fromEntries(weekdays.map((day) => [day, day[0]!.toUpperCase() + day.slice(1)]));
  return defineSchema({
    name: 'frappe',
    description: 'Mobile apps in context; research use only, cite Baltrunas et al. (2015).',
    tables: { events: 'tables/events.parquet', pois: { path: 'tables/pois.parquet', key: 'item' } },
    keys: { user: 'user', poi: 'item' },
    labels: {},
    negatives: { method: 'unused', perPositive: 2 },
    missing: ['unknown', '0', ''],
    features: {
      categorical: [
        { name: 'user', value: 'events.user' },
        { name: 'item', value: 'events.item' },
        ...['daytime', 'weekday', 'isweekend', 'homework', 'cost', 'weather', 'country', 'city'].map((c) => ({
          name: c,
          value: `events.${c}`,
          role: 'context' as const,
        })),
      ],
    },
    keywords: {
      poi: [
        { name: 'name', column: 'name' },
        { name: 'category', column: 'category' },
        { name: 'developer', column: 'developer' },
        { name: 'description', column: 'description', maxCharacters: 240 },
        { name: 'price', column: 'price' },
      ],
      user: [
        { name: 'categories', behaviour: { top: 5, of: 'pois.category' } },
        { name: 'words', behaviour: { top: 12, of: 'pois.name', words: true } },
        { name: 'daytime', behaviour: { top: 2, of: 'scene.daytime' } },
        { name: 'place', behaviour: { top: 2, of: 'scene.homework' } },
        { name: 'country', behaviour: { top: 1, of: 'scene.country', howOften: false } },
        { name: 'spending', behaviour: { top: 2, of: 'scene.cost' } },
      ],
      scene: [
        { name: 'daytime', value: 'events.daytime' },
        { name: 'weekday', value: { derive: 'text', of: 'events.weekday', values: capitalised } },
        { name: 'isweekend', value: 'events.isweekend' },
        {
          name: 'homework',
          value: { derive: 'text', of: 'events.homework', values: { home: 'at home', work: 'at work' } },
        },
        { name: 'weather', value: 'events.weather' },
        { name: 'country', value: 'events.country' },
        { name: 'city', value: { derive: 'text', of: 'events.city', template: 'city {}' } },
        { name: 'cost', value: { derive: 'text', of: 'events.cost', values: { free: 'free app', paid: 'paid app' } } },
      ],
    },
    texts: {
      cptInput: ['name'],
      cptTarget: ['category', 'developer', 'price', 'description'],
      poiBusiness: ['name', 'category', 'developer'],
      poiBasic: ['description', 'price'],
      userProfile: ['country', 'place', 'daytime'],
      userBehaviour: ['categories', 'words', 'spending'],
    },
    splits: {
      random: { kind: 'random', ratios: [7, 2, 1] },
      'cold-poi': { kind: 'cold-poi', ratios: [7, 2, 1] },
    },
    defaultSplit: 'random',
    // The public protocol's.
    training: {
      epochs: 40,
      batchSize: 4096,
      learningRate: 1e-3,
      schedule: 'plateau',
      embeddingDim: 10,
      hidden: [400, 400, 400],
      dropout: 0.2,
      idDropout: 0,
      batchNorm: true,
      embeddingL2: 0.05,
      patience: 2,
    },
  });
}
