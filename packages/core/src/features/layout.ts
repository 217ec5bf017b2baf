import type { FeatureRole } from '../dataset/manifest.js';
import { compileDerivation } from '../scene/derive.js';
import { derivationInputs } from '../scene/inputs.js';
import { poiKey, userKey } from '../scene/moment.js';
import type { DatasetSchema, StatisticMeasure, StatisticsFeature, ValueSpec } from '../schema/schema.js';

interface Limits {
  minCount: number;
  maxSize: number | null;
  buckets: number | null;
}

export interface CategoricalLayout extends Limits {
  name: string;
  role: FeatureRole;
  value: ValueSpec;
  missing: Set<string>;
}
export interface CrossLayout extends Limits {
  name: string;
  role: 'cross';
  /** Positions of the two parts among the categorical features. */
  parts: [number, number];
}
export interface DenseLayout {
  name: string;
  role: FeatureRole;
  value: ValueSpec;
  transform: 'none' | 'log1p';
  missing: Set<string>;
}
export interface StatisticLayout {
  /** e.g. `poi_ctr_7d`, `user_clicks_all`, `user_poi_daysSinceOrder`. */
  name: string;
  role: FeatureRole;
  of: StatisticsFeature['of'];
  measure: StatisticMeasure;
  /** Days; null = everything before. */
  window: number | null;
  ending: StatisticsFeature['ending'];
  smoothing: number;
}

/**
 * The features of a schema in the order of every dataset and bundle: categorical features, then crosses; dense features,
 * then statistics (one per measure and window).
 */
export interface FeatureLayout {
  categorical: CategoricalLayout[];
  cross: CrossLayout[];
  dense: DenseLayout[];
  statistics: StatisticLayout[];
}

/** Works out the features of a schema. */
export function featureLayout(schema: DatasetSchema): FeatureLayout {
  const names = schema.features.categorical.map((f) => f.name);
  const limits = (f: {
    minCount?: number | undefined;
    maxSize?: number | undefined;
    buckets?: number | undefined;
  }): Limits => ({
    minCount: f.minCount ?? 1,
    maxSize: f.maxSize ?? null,
    buckets: f.buckets ?? null,
  });
  const statistics = new Map<string, StatisticLayout>();
  for (const f of schema.features.statistics) {
    for (const measure of f.measures) {
      const since = measure.startsWith('daysSince');
      for (const window of since ? (['all'] as const) : f.windows) {
        const name = `${f.of.replace('-', '_')}_${measure}${since ? '' : window === 'all' ? '_all' : `_${window}d`}`;
        statistics.set(name, {
          name,
          role: f.of === 'user' ? 'user-feature' : f.of === 'poi' ? 'poi-feature' : 'cross',
          of: f.of,
          measure,
          window: window === 'all' ? null : window,
          ending: f.ending,
          smoothing: f.smoothing,
        });
      }
    }
  }
  return {
    categorical: schema.features.categorical.map((f) => ({
      name: f.name,
      role: f.role ?? roleOf(schema, f.value),
      value: f.value,
      missing: markers(schema, f, typeof f.value !== 'string' && !compileDerivation(f.value).takes.includes('text')),
      ...limits(f),
    })),
    cross: schema.features.cross.map((f) => ({
      name: f.name,
      role: 'cross',
      parts: [names.indexOf(f.of[0]), names.indexOf(f.of[1])],
      ...limits(f),
    })),
    dense: schema.features.dense.map((f) => ({
      name: f.name,
      role: roleOf(schema, f.value),
      value: f.value,
      transform: f.transform,
      missing: markers(schema, f, true),
    })),
    statistics: [...statistics.values()],
  };
}

/**
 * Values that mean "missing" to a feature. The schema's own list holds wherever a number (or a time) is read; an ID feature keeps
 * such values as values, unless it lists them itself.
 */
function markers(schema: DatasetSchema, feature: { missing?: string[] | undefined }, numbers: boolean): Set<string> {
  return new Set([...(numbers ? schema.missing : []), ...(feature.missing ?? [])]);
}

function roleOf(schema: DatasetSchema, value: ValueSpec): FeatureRole {
  if (value === `events.${schema.keys.user}` || value === `users.${userKey(schema)}`) return 'user';
  if (value === `events.${schema.keys.poi}` || value === `pois.${poiKey(schema)}`) return 'poi';
  const inputs = typeof value === 'string' ? [value] : derivationInputs(value);
  if (inputs.every((ref) => ref.startsWith('users.'))) return 'user-feature';
  if (inputs.every((ref) => ref.startsWith('pois.'))) return 'poi-feature';
  return 'context';
}

/** Joins the two values of a cross feature; the unit separator occurs in no sane text. */
export const crossSeparator = '\u001f';
