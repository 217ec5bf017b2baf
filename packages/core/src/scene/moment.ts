import type { DatasetSchema, ValueSpec } from '../schema/schema.js';
import { type CompiledDerivation, compileDerivation, type DerivationArgument } from './derive.js';
import { derivationInputs } from './inputs.js';

/** A row of a table, or of a request: column → value. */
export type Row = Readonly<Record<string, unknown>>;

/** Everything that is known when a POI is to be scored for a user in a moment. */
export interface Moment {
  /** Columns of the events table as far as they are known before the outcome: time, place, weather … and the two keys. */
  event: Row;
  /** The user's row of store/users.parquet (or of the users table). */
  user?: Row | undefined;
  /** The POI's row of store/pois.parquet. */
  poi?: Row | undefined;
  /** The pair's row of store/pairs.parquet. */
  pair?: Row | undefined;
}

export interface SceneText {
  field: string;
  token: string;
  /** null = missing. */
  text: string | null;
}

/**
 * A value as the text that vocabularies and keywords know it by: whole numbers without a decimal point, lists joined with
 * ", ", null for nothing. `canonicalSql` (prepare/sql-values.ts) is the same for columns; what JavaScript has no value for that
 * says as much as the column's type does (64-bit integers, dates) is to be given as that text.
 */
export function canonicalText(value: unknown): string | null {
  if (value === null || value === undefined) return null;
  if (typeof value === 'string') return value;
  if (typeof value === 'number') return numberText(value);
  if (Array.isArray(value)) {
    const parts = value.map(canonicalText).filter((part) => part !== null);
    return parts.length === 0 ? null : parts.join(', ');
  }
  return String(value);
}

/** A number as DuckDB writes a DOUBLE, but whole numbers without a decimal point as far as they are exact; null for NaN. */
function numberText(x: number): string | null {
  if (Number.isNaN(x)) return null;
  if (Number.isSafeInteger(x)) return String(x);
  if (!Number.isFinite(x)) return x > 0 ? 'inf' : '-inf';
  const [digits, exponent] = x.toExponential().split('e') as [string, string];
  if (Number(exponent) < -4 || Number(exponent) >= 16)
    return `${digits}e${exponent[0]}${exponent.slice(1).padStart(2, '0')}`;
  return Number.isInteger(x) ? `${x}.0` : String(x);
}

/** The number that a value or its text stands for, truth being 1 and 0; NaN where it is none or not finite. */
export function numberOf(value: unknown): number {
  // as its text would be read, without writing it
  if (typeof value === 'number') return Number.isFinite(value) ? value : Number.NaN;
  const text = canonicalText(value)?.trim() ?? '';
  if (text === 'true') return 1;
  if (text === 'false') return 0;
  const x = text === '' ? Number.NaN : Number(text);
  return Number.isFinite(x) ? x : Number.NaN;
}

/** A scene text: blanks trimmed and runs of them collapsed; null where it is empty or a missing-value marker. */
export function keywordText(value: unknown, missing: ReadonlySet<string>): string | null {
  const raw = canonicalText(value);
  if (raw === null || missing.has(raw)) return null;
  const text = raw.trim().replace(/\s+/g, ' ');
  return text === '' || missing.has(text) ? null : text;
}

/** What a number can say of a time, in seconds since 1970: the years 1 to 9999. What is beyond is no time, whatever it counts. */
export const timeSeconds = { first: -62_135_596_800, last: 253_402_300_799 } as const;

/**
 * Reads the time of an event as local milliseconds since 1970; null where it is none.
 * Texts are ISO 8601; an offset such as "+08:00" or "Z" says which clock was read and is not applied.
 * Numbers count what the schema's time unit says; without a unit, seconds, milliseconds or microseconds by magnitude. They stay within
 * `timeSeconds`. `timeSql` (prepare/sql-values.ts) is the same for columns.
 */
export function localTime(value: unknown, unit?: 'timestamp' | 's' | 'ms' | 'us'): number | null {
  if (value === null || value === undefined || value === '') return null;
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? null : value.getTime();
  if (typeof value === 'string' && !/^-?\d+(\.\d+)?$/.test(value)) {
    const given = value.trim();
    if (!isDay(given)) return null;
    const wall = given.slice(0, 10) + given.slice(10).replace(/(Z|[+-]\d{2}:?(\d{2})?)$/, '');
    const t = Date.parse(`${wall.includes('T') || wall.includes(' ') ? wall.replace(' ', 'T') : `${wall}T00:00:00`}Z`);
    return Number.isNaN(t) ? null : t;
  }
  const x = Number(value);
  if (!Number.isFinite(x)) return null;
  const milliseconds = inMilliseconds(x, unit);
  return milliseconds >= timeSeconds.first * 1000 && milliseconds <= timeSeconds.last * 1000 ? milliseconds : null;
}

function inMilliseconds(x: number, unit: Parameters<typeof localTime>[1]): number {
  switch (unit) {
    case 's':
      return x * 1000;
    case 'ms':
      return x;
    case 'us':
      return x / 1000;
    default:
      return Math.abs(x) < 1e11 ? x * 1000 : Math.abs(x) < 1e14 ? x : x / 1000;
  }
}

/** Whether a text does not begin with a day that no month has: `Date` would read 31 February as 3 March, where DuckDB, and so `prepare`, reads nothing. */
function isDay(text: string): boolean {
  const [, year, month, day] = /^(\d{4})-(\d{2})-(\d{2})/.exec(text) ?? [];
  if (day === undefined) return true;
  return Number(day) <= new Date(Date.UTC(Number(year), Number(month), 0)).getUTCDate();
}

/** The compiled form of a value of the schema: reads its inputs from a moment and computes it. */
export interface CompiledValue {
  /** Column references; "time" is the schema's time column. */
  inputs: string[];
  derivation: CompiledDerivation | null;
  /** The value in a moment: a text or a number; null = missing. Markers in `missing` count as missing inputs. */
  evaluate(moment: Moment, missing: ReadonlySet<string>): unknown;
  /**
   * The i-th of `inputs` in a moment, as it stands where the value is the column itself, else as its derivation takes it; null = missing.
   * A derivation with a missing argument is missing; with all of them, it is `derivation.apply(arguments)`.
   */
  argument(i: number, moment: Moment, missing: ReadonlySet<string>): DerivationArgument | null;
}

/** Compiles a column reference or a derivation once, for any number of moments. */
export function compileValue(schema: DatasetSchema, spec: ValueSpec): CompiledValue {
  const timeColumn = typeof schema.time === 'object' ? schema.time.column : schema.time;
  const unit = typeof schema.time === 'object' ? schema.time.unit : undefined;
  const derivation = typeof spec === 'string' ? null : compileDerivation(spec);
  const inputs = typeof spec === 'string' ? [spec] : derivationInputs(spec);
  const readers = inputs.map((ref) => columnReader(schema, ref, timeColumn));
  const argument = (i: number, moment: Moment, missing: ReadonlySet<string>): DerivationArgument | null => {
    const raw = readers[i]!(moment);
    const kind = derivation?.takes[i];
    // A number is known by its text only where markers are: writing and reading it again would give it back.
    const plain = typeof raw === 'number' && missing.size === 0 && !Number.isNaN(raw);
    if (kind === undefined) {
      if (plain) return raw;
      const text = canonicalText(raw);
      return text === null || text === '' || missing.has(text) ? null : text;
    }
    if (kind === 'time') {
      const text = canonicalText(raw);
      // The time column itself is never missing.
      const none = inputs[i] !== 'time' && text !== null && missing.has(text);
      const time = none ? null : localTime(raw, inputs[i] === 'time' ? unit : undefined);
      return time === null || Number.isNaN(time) ? null : time;
    }
    if (kind === 'text') return keywordText(raw, missing);
    if (plain) return Number.isFinite(raw) ? raw : null;
    const text = canonicalText(raw);
    const x = text === null || text === '' || missing.has(text) ? Number.NaN : numberOf(text);
    return Number.isNaN(x) ? null : x;
  };
  return {
    inputs,
    derivation,
    argument,
    evaluate: (moment, missing) => {
      if (derivation === null) return argument(0, moment, missing);
      const args: DerivationArgument[] = [];
      for (let i = 0; i < inputs.length; i++) {
        const arg = argument(i, moment, missing);
        if (arg === null) return null;
        args.push(arg);
      }
      return derivation.apply(args);
    },
  };
}

/** Reads the column that a reference names from a moment. */
function columnReader(schema: DatasetSchema, ref: string, timeColumn: string | undefined): (moment: Moment) => unknown {
  if (ref === 'time') return ({ event }) => (timeColumn === undefined ? null : event[timeColumn]);
  const dot = ref.indexOf('.');
  const table = ref.slice(0, dot);
  const column = ref.slice(dot + 1);
  if (table === 'users') {
    return column === userKey(schema) ? ({ user }) => user?.[column] ?? user?.user : ({ user }) => user?.[column];
  }
  if (table === 'pois') {
    return column === poiKey(schema) ? ({ poi }) => poi?.[column] ?? poi?.poi : ({ poi }) => poi?.[column];
  }
  const key = column === schema.keys.user ? 'user' : column === schema.keys.poi ? 'poi' : null;
  return (moment) => {
    const value = moment.event[column];
    if (value !== undefined || key === null) return value;
    return key === 'user' ? moment.user?.user : moment.poi?.poi;
  };
}

/** The users table's key column. */
export function userKey(schema: DatasetSchema): string {
  const source = schema.tables.users;
  return (typeof source === 'object' ? source.key : undefined) ?? schema.keys.user;
}

/** The POIs table's key column. */
export function poiKey(schema: DatasetSchema): string {
  const source = schema.tables.pois;
  return (typeof source === 'object' ? source.key : undefined) ?? schema.keys.poi;
}

const compiledScenes = new WeakMap<
  DatasetSchema,
  { field: string; token: string; value: CompiledValue; missing: Set<string> }[]
>();

/**
 * The scene keywords of a moment, in the schema's order (method.md, sections 1 and 4). `prepare` and the server both get
 * their scene texts from here.
 * @param event columns of the events table, e.g. { time: '2026-01-31T12:05:00', weather: 'heavy rain', city: 'Shenzhen' }
 */
export function sceneKeywords(schema: DatasetSchema, event: Row, user?: Row, poi?: Row): SceneText[] {
  let fields = compiledScenes.get(schema);
  if (fields === undefined) {
    fields = schema.keywords.scene.map((k) => ({
      field: k.name,
      token: k.token ?? `scene_${k.name}`,
      value: compileValue(schema, k.value),
      missing: new Set([...schema.missing, ...(k.missing ?? [])]),
    }));
    compiledScenes.set(schema, fields);
  }
  const moment = { event, user, poi };
  return fields.map(({ field, token, value, missing }) => ({
    field,
    token,
    text: keywordText(value.evaluate(moment, missing), missing),
  }));
}
