import { type DatasetSchema, localTime, type Row, type ValueSpec } from '@larr/core';
import type { BundleFeatures } from '../bundle/contents.js';
import type { SceneVectors } from '../scene/scene-vectors.js';
import type { PoiTable } from './poi-table.js';
import type { RankingRequest } from './ranking-model.js';
import type { RowAssembly } from './row-assembly.js';
import type { SceneInput } from './scene-input.js';

/** What an example is made from. */
export interface ExampleOf {
  schema: DatasetSchema;
  features: BundleFeatures;
  input: SceneInput;
  scene: SceneVectors | null;
  assembly: RowAssembly;
  pois: PoiTable;
}

/**
 * A request with known POIs and a known scene: the time, the columns whose values the features tell, and the first text of each keyword
 * that does not follow from those; null for what else the model reads. The document is open to whoever reaches the server, so the user is nobody's.
 */
export function exampleRequest({ schema, features, input, scene, assembly, pois }: ExampleOf): RankingRequest {
  /** Whether every scene text that follows from these columns has an embedding. */
  const known = (event: Row): boolean => {
    if (scene === null) return true;
    return assembly.sharedScene(event, undefined).every((text, i) => text === null || scene.entry(i, text) !== null);
  };
  const event: Record<string, string | number> = {};
  for (const { name, value } of schema.features.categorical) {
    const column = eventColumn(value);
    const first = features.categorical.find((f) => f.name === name)?.vocabulary[1];
    if (column !== null && input.isColumn(column) && input.kindOf(column) === 'text' && first !== undefined)
      event[column] = first;
  }
  for (const { name, value, transform } of schema.features.dense) {
    const column = eventColumn(value);
    const found = features.dense.find((f) => f.name === name);
    if (column === null || input.kindOf(column) !== 'number' || found === undefined) continue;
    const { mean, std } = found;
    const [middle, spread] = transform === 'log1p' ? [Math.expm1(mean), Math.exp(mean) * std] : [mean, std];
    event[column] = written(middle, input.coordinateOf(column) === null ? spread : spread / 10);
  }
  const given: Record<string, string> = {};
  if (scene !== null) {
    for (const { name, value } of schema.keywords.scene) {
      const column = eventColumn(value);
      const text = scene.someText(scene.fields.indexOf(name));
      if (text === null) continue;
      if (column !== null && input.isColumn(column) && input.kindOf(column) === 'text') event[column] ??= text;
    }
    // Texts that no one has an embedding for are left out, one column at a time.
    for (const column of Object.keys(event)) if (!known({ [column]: event[column]! })) delete event[column];
  }
  const time = typeof schema.time === 'object' ? schema.time.column : schema.time;
  const unit = typeof schema.time === 'object' ? schema.time.unit : undefined;
  if (time !== undefined) {
    const day = exampleTimes()
      .map((moment) => inUnit(moment, unit))
      .find((moment) => known({ ...event, [time]: moment }));
    if (day !== undefined) event[time] = day;
  }
  if (scene !== null) {
    const follows = assembly.sharedScene(event, undefined);
    scene.fields.forEach((field, i) => {
      const text = scene.someText(i);
      if (follows[i] === null && text !== null && !input.isColumn(field)) given[field] = text;
    });
  }
  const told = { ...event, ...given };
  const unknown = input.leftOut(told, scene !== null).map((column) => [column, null]);
  return {
    user: 'new user',
    scene: { ...told, ...Object.fromEntries(unknown) },
    candidates: Array.from({ length: Math.min(5, pois.size) }, (_, row) => pois.idOf(row)),
  };
}

/** The event column that a value is, as it stands. */
function eventColumn(value: ValueSpec): string | null {
  return typeof value === 'string' && value.startsWith('events.') ? value.slice('events.'.length) : null;
}

/** A number to the decimals that tell it apart from others of its column, none of them beyond the point where the values are that far apart. */
function written(x: number, spread: number): number {
  if (!(spread > 0)) return x;
  return Number(x.toFixed(Math.min(6, Math.max(0, -Math.floor(Math.log10(spread))))));
}

/** A time as the events have it: text, or a number of the schema's unit. */
function inUnit(moment: string, unit: Parameters<typeof localTime>[1]): string | number {
  if (unit === undefined || unit === 'timestamp') return moment;
  return (localTime(moment)! / 1000) * { s: 1, ms: 1e3, us: 1e6 }[unit];
}

/** Times of every season, day of the week and part of the day. */
function exampleTimes(): string[] {
  const two = (x: number): string => String(x).padStart(2, '0');
  return Array.from({ length: 12 * 7 }, (_, i) => `2026-${two(1 + Math.floor(i / 7))}-${two(1 + (i % 7))}`).flatMap(
    (day) => [12, 18, 9, 15, 21, 6, 0, 3].map((hour) => `${day}T${two(hour)}:30:00`),
  );
}
