import {
  compileValue,
  type DatasetSchema,
  type Derivation,
  derivationInputs,
  featureLayout,
  type ValueSpec,
} from '@larr/core';
import type { BundleFeatures, SceneEntries } from '../bundle/contents.js';
import { SceneInput } from '../ranking/scene-input.js';

/** An event column that a scene may give, or a scene keyword that may be given as text, with what the model knows of its values. */
export interface SceneField {
  name: string;
  kind: 'time' | 'number' | 'text' | 'keyword';
  /** known values, the most frequent first where the bundle says how frequent they are; empty where it does not list any */
  values: { value: string; label?: string }[];
  /** of numbers: where training values lie */
  range?: { low: number; high: number; typical: number };
  /** scene keywords that follow from this column */
  keywords: string[];
}

/** Where the moment's position is given, and which columns of a POI hold its own. */
export interface Position {
  fields: { latitude: string; longitude: string };
  columns: { latitude: string; longitude: string };
}

const EVENTS = 'events.';

/** What a scene may say to this model: every event column that a feature or keyword reads, and every keyword by its own name. */
export function sceneFields(schema: DatasetSchema, features: BundleFeatures, entries: SceneEntries): SceneField[] {
  const input = new SceneInput(schema);
  const time = typeof schema.time === 'object' ? schema.time.column : schema.time;
  const texts = new Map<string, string[]>();
  for (const { field, texts: own } of entries) texts.set(field, [...(texts.get(field) ?? []), ...own]);
  const columns = input.columns.map((name): SceneField => {
    const kind = input.kindOf(name);
    const range = kind === 'number' ? rangeOf(schema, features, name) : undefined;
    return {
      name,
      kind,
      values: kind === 'text' ? valuesOf(schema, features, texts, name) : [],
      ...(range === undefined ? {} : { range }),
      keywords: schema.keywords.scene
        .filter(({ value }) =>
          compileValue(schema, value).inputs.some((one) => one === EVENTS + name || (one === 'time' && name === time)),
        )
        .map((keyword) => keyword.name),
    };
  });
  const keywords = schema.keywords.scene
    .filter(({ name }) => !input.isColumn(name) && texts.has(name))
    .map(
      ({ name }): SceneField => ({
        name,
        kind: 'keyword',
        values: texts.get(name)!.map((value) => ({ value })),
        keywords: [name],
      }),
    );
  return [...columns, ...keywords];
}

/** The columns between which this model measures distances; null where it measures none between an event and a POI. */
export function positionOf(schema: DatasetSchema): Position | null {
  const layout = featureLayout(schema);
  for (const { value } of [...schema.keywords.scene, ...layout.dense, ...layout.categorical]) {
    if (typeof value === 'string' || (value.derive !== 'distanceKm' && value.derive !== 'distanceBand')) continue;
    const [latitude, longitude] = value.from;
    const [poiLatitude, poiLongitude] = value.to;
    if (![latitude, longitude].every((name) => name.startsWith(EVENTS))) continue;
    if (![poiLatitude, poiLongitude].every((name) => name.startsWith('pois.'))) continue;
    return {
      fields: { latitude: latitude.slice(EVENTS.length), longitude: longitude.slice(EVENTS.length) },
      columns: { latitude: poiLatitude.slice('pois.'.length), longitude: poiLongitude.slice('pois.'.length) },
    };
  }
  return null;
}

/** The values a text column has had: of the ID feature that is the column itself, else those from which known keyword texts follow. */
function valuesOf(
  schema: DatasetSchema,
  features: BundleFeatures,
  texts: ReadonlyMap<string, readonly string[]>,
  column: string,
): SceneField['values'] {
  const reference = EVENTS + column;
  const derived = schema.keywords.scene
    .map(({ name, value }) => ({ name, value }))
    .filter((keyword): keyword is { name: string; value: Extract<Derivation, { derive: 'text' }> } =>
      isTextOf(keyword.value, reference),
    );
  const labels = new Map(
    derived.flatMap(({ value: { template, values = {} } }) =>
      Object.entries(values).map(([value, text]): [string, string] => [value, template.replaceAll('{}', () => text)]),
    ),
  );
  const labelled = (values: readonly string[]): SceneField['values'] =>
    values.map((value) => ({ value, ...(labels.has(value) ? { label: labels.get(value)! } : {}) }));

  const feature = schema.features.categorical.find(({ value }) => value === reference);
  const vocabulary = features.categorical.find(({ name }) => name === feature?.name)?.vocabulary.slice(1) ?? [];
  if (vocabulary.length > 0) return labelled(vocabulary);
  const keyword = schema.keywords.scene.find(({ value }) => value === reference);
  const known = texts.get(keyword?.name ?? '') ?? [];
  if (known.length > 0) return labelled(known);
  for (const { name, value } of derived) {
    const listed = new Map(Object.entries(value.values ?? {}).map(([coded, text]) => [text, coded]));
    const [before, after, ...more] = value.template.split('{}');
    if (before === undefined || after === undefined || more.length > 0) continue;
    const inner = (texts.get(name) ?? [])
      .filter((text) => text.startsWith(before) && text.endsWith(after) && text.length >= before.length + after.length)
      .map((text) => text.slice(before.length, text.length - after.length));
    if (inner.length > 0) return labelled(inner.map((text) => listed.get(text) ?? text));
  }
  return [];
}

const isTextOf = (value: ValueSpec, reference: string): boolean =>
  typeof value !== 'string' && value.derive === 'text' && value.of === reference;

/** Where the values of a number lie: mean and three standard deviations of the feature that is the column, else the edges of its bands. */
function rangeOf(schema: DatasetSchema, features: BundleFeatures, column: string): SceneField['range'] {
  const reference = EVENTS + column;
  const feature = schema.features.dense.find(({ value }) => value === reference);
  const statistics = features.dense.find(({ name }) => name === feature?.name);
  if (feature !== undefined && statistics !== undefined) {
    const { mean, std } = statistics;
    const back = feature.transform === 'log1p' ? (x: number) => Math.max(0, Math.expm1(x)) : (x: number) => x;
    return rounded(back(mean - 3 * std), back(mean + 3 * std), back(mean));
  }
  const layout = featureLayout(schema);
  for (const { value } of [...layout.categorical, ...schema.keywords.scene]) {
    if (typeof value === 'string' || !derivationInputs(value).includes(reference)) continue;
    if (value.derive === 'temperatureWords')
      return value.unit === 'celsius' ? rounded(-15, 40, 18) : rounded(5, 104, 64);
    if (value.derive === 'bucket' && value.edges.length > 1) {
      const [first, last] = [value.edges[0]!, value.edges.at(-1)!];
      const step = (last - first) / (value.edges.length - 1);
      return rounded(first - step, last + step, (first + last) / 2);
    }
  }
  return undefined;
}

/** Three numbers to the precision that their spread asks for. */
function rounded(low: number, high: number, typical: number): SceneField['range'] {
  const digits = Math.max(0, 2 - Math.floor(Math.log10(Math.max(high - low, 1e-6))));
  const round = (x: number): number => Number(x.toFixed(Math.min(digits, 6)));
  return { low: round(low), high: round(high), typical: round(typical) };
}
