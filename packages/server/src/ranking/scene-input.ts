import {
  canonicalText,
  compileValue,
  coordinateInputs,
  type DatasetSchema,
  degreesOf,
  featureLayout,
  localTime,
  numberOf,
  type ValueSpec,
} from '@larr/core';
import { ApiError } from '../api/errors.js';
import type { SceneValues } from './ranking-model.js';

type Check =
  | { kind: 'time'; unit: Parameters<typeof localTime>[1]; missing: ReadonlySet<string> }
  | { kind: 'number'; missing: ReadonlySet<string>; coordinate?: 'latitude' | 'longitude' };

/** Whether a time column counts something, so that numbers say a time. Without a stated unit they would be guessed at by their size. */
const counts = (unit: Parameters<typeof localTime>[1]): boolean => unit !== undefined && unit !== 'timestamp';

/** The ranker computes with 32-bit numbers: a larger one would be infinite there. */
const LARGEST = 3.4e38;

/** What a refused value ought to have been. */
function expectation(check: Check): string {
  if (check.kind === 'number' && check.coordinate !== undefined) {
    const limit = degreesOf[check.coordinate];
    return `a ${check.coordinate} between ${-limit} and ${limit} degrees is expected`;
  }
  if (check.kind === 'number') return `a number between ${-LARGEST} and ${LARGEST} is expected`;
  const iso = 'a time as text, ISO 8601 as in "2026-01-31T12:05:00",';
  const units = { s: 'seconds', ms: 'milliseconds', us: 'microseconds', timestamp: '' } as const;
  return counts(check.unit)
    ? `${iso} or a number of ${units[check.unit!]} since 1970, of the years 1 to 9999, is expected`
    : `${iso} is expected; a number does not say its unit`;
}

/** How a name with accents is written, for people who see the same letters either way. */
function formOf(name: string): string {
  const form = name === name.normalize('NFC') ? 'NFC, ' : name === name.normalize('NFD') ? 'NFD, ' : '';
  return (
    form + JSON.stringify(name).replace(/[^ -~]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)
  );
}

/** Whether a feature would get a value out of this; what is missing needs none. */
function readable(value: SceneValues[string], check: Check): boolean {
  const text = canonicalText(value);
  if (text === null || text === '') return true;
  if (check.missing.has(text)) return true;
  if (check.kind === 'time') {
    const number = typeof value === 'number' || /^-?\d+(\.\d+)?$/.test(text);
    return typeof value !== 'boolean' && (!number || counts(check.unit)) && localTime(value, check.unit) !== null;
  }
  // Not a number compares as false.
  return Math.abs(numberOf(value)) <= (check.coordinate === undefined ? LARGEST : degreesOf[check.coordinate]);
}

/**
 * Reads a request's scene: values of event columns, or texts of scene keywords. Where both have a name, it is the column: the keyword
 * then follows from it as it did in training.
 */
export class SceneInput {
  readonly #columns: ReadonlySet<string>;
  readonly #checks = new Map<string, Check[]>();
  readonly #keywords: ReadonlySet<string>;
  /** What reads each column that a feature or keyword reads. */
  readonly #readers = new Map<string, { features: boolean; keywords: string[] }>();

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
    this.#collectChecks(schema, time);
    this.#collectReaders(schema, time);
  }

  #collectReaders(schema: DatasetSchema, time: string | undefined): void {
    const of = (value: ValueSpec): { features: boolean; keywords: string[] }[] =>
      compileValue(schema, value).inputs.flatMap((reference) => {
        const column = reference === 'time' ? time : reference.replace(/^events\./, '');
        if (column === undefined || !(reference === 'time' || reference.startsWith('events.'))) return [];
        if (!this.#columns.has(column)) return [];
        const readers = this.#readers.get(column) ?? { features: false, keywords: [] };
        this.#readers.set(column, readers);
        return [readers];
      });
    const layout = featureLayout(schema);
    for (const { value } of [...layout.categorical, ...layout.dense])
      for (const readers of of(value)) readers.features = true;
    for (const { name, value } of schema.keywords.scene) for (const readers of of(value)) readers.keywords.push(name);
  }

  /** What each column has to be read as: what its derivations take, a number for a dense feature, the time for the time column. */
  #collectChecks(schema: DatasetSchema, time: string | undefined): void {
    const unit = typeof schema.time === 'object' ? schema.time.unit : undefined;
    const add = (column: string, check: Check): void => {
      this.#checks.set(column, [...(this.#checks.get(column) ?? []), check]);
    };
    const collect = (value: ValueSpec, missing: ReadonlySet<string>, plain: 'number' | 'text'): void => {
      const { inputs, derivation } = compileValue(schema, value);
      inputs.forEach((reference, i) => {
        const kind = derivation === null ? plain : derivation.takes[i]!;
        if (kind === 'text' || !reference.startsWith('events.')) return;
        const coordinate = typeof value === 'string' ? null : coordinateInputs(value)[i];
        add(
          reference.slice('events.'.length),
          kind === 'time'
            ? { kind, unit: undefined, missing }
            : { kind, missing, ...(coordinate == null ? {} : { coordinate }) },
        );
      });
    };
    if (time !== undefined) add(time, { kind: 'time', unit, missing: new Set() });
    const layout = featureLayout(schema);
    for (const { value, missing } of layout.categorical) collect(value, missing, 'text');
    for (const { value, missing } of layout.dense) collect(value, missing, 'number');
    for (const { value, missing } of schema.keywords.scene)
      collect(value, new Set([...schema.missing, ...(missing ?? [])]), 'text');
  }

  /** The event columns that features and keywords read, without the keys. */
  get columns(): string[] {
    return [...this.#columns];
  }

  /** Whether the name is that of an event column, which then says what a keyword of the same name is. */
  isColumn(name: string): boolean {
    return this.#columns.has(name);
  }

  /** What a column is read as. */
  kindOf(column: string): 'time' | 'number' | 'text' {
    return this.#checks.get(column)?.[0]?.kind ?? 'text';
  }

  /** Which coordinate a column is taken for; null where it is none. */
  coordinateOf(column: string): 'latitude' | 'longitude' | null {
    for (const check of this.#checks.get(column) ?? [])
      if (check.kind === 'number' && check.coordinate !== undefined) return check.coordinate;
    return null;
  }

  /**
   * Event columns that the model reads and a scene does not have; one that is there as null was left out knowingly. A column that only
   * keywords read is not among them where the scene gives their texts directly.
   * @param keywords whether the model reads scene keywords at all
   */
  leftOut(scene: SceneValues, keywords: boolean): string[] {
    const out: string[] = [];
    for (const [column, readers] of this.#readers) {
      if (Object.hasOwn(scene, column)) continue;
      if (readers.features || (keywords && readers.keywords.some((name) => !Object.hasOwn(scene, name))))
        out.push(column);
    }
    return out;
  }

  /** @throws ApiError SCENE_FIELD_UNKNOWN, SCENE_VALUE_INVALID (400), naming the field */
  read(scene: SceneValues): { event: Record<string, unknown>; texts: Map<string, string | null> } {
    const event: Record<string, unknown> = {};
    const texts = new Map<string, string | null>();
    for (const [name, value] of Object.entries(scene)) {
      const field = `scene.${name}`;
      if (this.#columns.has(name)) {
        const unread = this.#checks.get(name)?.find((check) => !readable(value, check));
        if (unread !== undefined) {
          throw new ApiError(
            400,
            'SCENE_VALUE_INVALID',
            `${field}: ${expectation(unread)}; null where it is missing`,
            field,
          );
        }
        event[name] = value;
      } else if (!this.#keywords.has(name)) {
        const known = [...new Set([...this.#columns, ...this.#keywords])];
        const same = known.find((other) => other.normalize() === name.normalize());
        throw new ApiError(
          400,
          'SCENE_FIELD_UNKNOWN',
          `${field} is neither an event column nor a scene keyword of this model; ${
            same === undefined
              ? `known: ${known.join(', ')}`
              : `${same} is one, the same letters in another Unicode form (${formOf(same)}): names go by their characters as the tables have them`
          }`,
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
