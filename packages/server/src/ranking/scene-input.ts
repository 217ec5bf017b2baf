import { compileValue, type DatasetSchema, featureLayout } from '@larr/core';
import { ApiError } from '../api/errors.js';
import type { SceneValues } from './ranking-model.js';

/**
 * Reads a request's scene: values of event columns, or texts of scene keywords. Where both have a name, it is the column: the keyword
 * then follows from it as it did in training.
 */
export class SceneInput {
  readonly #columns: ReadonlySet<string>;
  readonly #keywords: ReadonlySet<string>;

  constructor(schema: DatasetSchema) {
    const layout = featureLayout(schema);
    const values = [...layout.categorical, ...layout.dense, ...schema.keywords.scene].map(({ value }) => value);
    const references = values.flatMap((value) => compileValue(schema, value).inputs);
    const time = typeof schema.time === 'object' ? schema.time.column : schema.time;
    const columns = references
      .filter((reference) => reference.startsWith('events.'))
      .map((reference) => reference.slice('events.'.length));
    const keys = [schema.keys.user, schema.keys.poi];
    this.#columns = new Set(
      [...columns, ...(time === undefined ? [] : [time])].filter((column) => !keys.includes(column)),
    );
    this.#keywords = new Set(schema.keywords.scene.map(({ name }) => name));
  }

  /** @throws ApiError SCENE_FIELD_UNKNOWN, SCENE_VALUE_INVALID (400), naming the field */
  read(scene: SceneValues): { event: Record<string, unknown>; texts: Map<string, string | null> } {
    const event: Record<string, unknown> = {};
    const texts = new Map<string, string | null>();
    for (const [name, value] of Object.entries(scene)) {
      const field = `scene.${name}`;
      if (this.#columns.has(name)) {
        event[name] = value;
      } else if (!this.#keywords.has(name)) {
        const known = [...new Set([...this.#columns, ...this.#keywords])].join(', ');
        throw new ApiError(
          400,
          'SCENE_FIELD_UNKNOWN',
          `${field} is neither an event column nor a scene keyword of this model; known: ${known}`,
          field,
        );
      } else if (value !== null && typeof value !== 'string') {
        throw new ApiError(
          400,
          'SCENE_VALUE_INVALID',
          `${field} is a scene keyword: its text, or null, is expected`,
          field,
        );
      } else {
        texts.set(name, value === '' ? null : value);
      }
    }
    return { event, texts };
  }
}
