import { compileValue } from '../scene/moment.js';
import type { DatasetSchema, ValueSpec } from '../schema/schema.js';
import { featureLayout } from './layout.js';

/**
 * What a feature of a (user, moment, POI) depends on. `request`: user and moment, so it is the same for all POIs of a request. `poi`: the POI
 * alone, so it is the same in all requests. `pair`: both.
 */
export type FeatureScope = 'request' | 'poi' | 'pair';

/** Scope of what depends on two things. */
export const joinScopes = (a: FeatureScope, b: FeatureScope): FeatureScope => (a === b ? a : 'pair');

/** Scope of a feature's or scene keyword's value. */
export function valueScope(schema: DatasetSchema, value: ValueSpec): FeatureScope {
  const scopes = compileValue(schema, value).inputs.map(
    (reference): FeatureScope =>
      reference.startsWith('pois.') || reference === `events.${schema.keys.poi}` ? 'poi' : 'request',
  );
  return scopes.reduce(joinScopes);
}

const STATISTICS: Record<'user' | 'poi' | 'user-poi', FeatureScope> = {
  user: 'request',
  poi: 'poi',
  'user-poi': 'pair',
};

/** Scopes of all features in the order of every dataset and bundle (`featureLayout`). */
export function featureScopes(schema: DatasetSchema): { categorical: FeatureScope[]; dense: FeatureScope[] } {
  const layout = featureLayout(schema);
  const plain = layout.categorical.map(({ value }) => valueScope(schema, value));
  return {
    categorical: [...plain, ...layout.cross.map(({ parts: [a, b] }) => joinScopes(plain[a]!, plain[b]!))],
    dense: [
      ...layout.dense.map(({ value }) => valueScope(schema, value)),
      ...layout.statistics.map(({ of }) => STATISTICS[of]),
    ],
  };
}
