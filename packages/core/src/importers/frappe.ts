import { access } from 'node:fs/promises';
import { join } from 'node:path';
import { DataError } from '../errors.js';
import type { DatasetSchema } from '../schema/schema.js';
import { defineSchema } from '../schema/validate.js';

/** The ten ID features of the public CTR protocol on Frappe, "Frappe_x1". */
const ID_FEATURES = ['daytime', 'weekday', 'isweekend', 'homework', 'cost', 'weather', 'country', 'city'] as const;

/**
 * The schema of Frappe (Baltrunas et al., 2015, arXiv:1505.03014) as published: every row of frappe.csv is a positive, and
 * two negatives with the same user and context are drawn for each among the apps that this user never used; rows are split
 * 7 : 2 : 1 at random (train : validation : test), or so that the apps of the test part are unseen in training.
 *
 * As ID features `unknown` and `0` are categories of their own, which is how the protocol encodes them; as texts they are
 * missing.
 */
export function frappeSchema(): DatasetSchema {
  return defineSchema({
    name: 'frappe',
    description: 'Mobile-app usage in context. Research only: see the terms in its README.',
    tables: {
      events: { path: 'frappe.csv', format: 'tsv' },
      pois: { path: 'meta.csv', format: 'tsv', key: 'item' },
    },
    keys: { user: 'user', poi: 'item' },
    labels: {},
    missing: ['unknown', 'None'],
    features: {
      categorical: [
        { name: 'user', value: 'events.user', role: 'user' },
        { name: 'item', value: 'events.item', role: 'poi' },
        ...ID_FEATURES.map((name) => ({ name, value: `events.${name}`, role: 'context' as const })),
      ],
    },
    keywords: {
      poi: [
        { name: 'name', column: 'name' },
        { name: 'developer', column: 'developer' },
        { name: 'category', column: 'category' },
        { name: 'description', column: 'description', maxCharacters: 300 },
        { name: 'price', column: 'price' },
      ],
      user: [
        { name: 'categories', behaviour: { top: 5, of: 'pois.category', on: 'click' } },
        { name: 'apps', behaviour: { top: 8, of: 'pois.name', on: 'click', howOften: false } },
        { name: 'daytime', behaviour: { top: 2, of: 'scene.daytime', on: 'click' } },
        { name: 'places', behaviour: { top: 1, of: 'scene.country', on: 'click', howOften: false } },
      ],
      scene: [
        { name: 'daytime', value: 'events.daytime' },
        { name: 'weekday', value: 'events.weekday' },
        { name: 'weekend', value: 'events.isweekend' },
        {
          name: 'place',
          value: { derive: 'text', of: 'events.homework', values: { home: 'at home', work: 'at work' } },
        },
        { name: 'weather', value: 'events.weather' },
        { name: 'country', value: 'events.country' },
        { name: 'city', value: { derive: 'text', of: 'events.city', template: 'city {}' }, missing: ['0'] },
        {
          name: 'cost',
          value: { derive: 'text', of: 'events.cost', values: { free: 'a free app', paid: 'a paid app' } },
        },
      ],
    },
    texts: {
      cptInput: ['name', 'developer'],
      cptTarget: ['category', 'price', 'description'],
      poiBusiness: ['name', 'developer', 'category', 'price'],
      poiBasic: ['description'],
      userBehaviour: ['categories', 'apps', 'daytime', 'places'],
    },
    splits: {
      random: { kind: 'random', ratios: [7, 2, 1] },
      'cold-poi': { kind: 'cold-poi', ratios: [7, 2, 1] },
    },
    defaultSplit: 'random',
    negatives: { method: 'unused', perPositive: 2 },
    training: {
      epochs: 15,
      batchSize: 4096,
      learningRate: 1e-3,
      embeddingDim: 10,
      patience: 2,
    },
  });
}

/** @throws DataError `FILE_MISSING` naming the file that is not there */
export async function requireFiles(directory: string, files: readonly string[], what: string): Promise<void> {
  for (const file of files) {
    const path = join(directory, file);
    await access(path).catch((cause) => {
      throw new DataError(
        'FILE_MISSING',
        `${path} is not there. ${what} is published as ${files.join(' and ')}; give their folder.`,
        {
          file: path,
          cause,
        },
      );
    });
  }
}
