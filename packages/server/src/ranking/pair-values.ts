import {
  type CompiledValue,
  canonicalText,
  compileValue,
  type DatasetSchema,
  type DerivationArgument,
  type Moment,
  type Row,
  type ValueSpec,
} from '@larr/core';
import type { PoiTable } from './poi-table.js';

/** An argument that a POI has: where it is among the numbers or texts of the table. */
interface PoiArgument {
  kind: 'number' | 'text';
  column: number;
}

/** A value of a moment and a POI together (a distance), ready to be computed for many POIs. */
export interface PairValue {
  readonly compiled: CompiledValue;
  readonly missing: ReadonlySet<string>;
  /** of the POI, or null for those of the request */
  readonly poi: readonly (PoiArgument | null)[];
}

/** A value with the request's arguments in place; null where one of them is missing, and so the value for every POI. */
export type AskedValue = ((table: PoiTable, row: number) => string | number | null) | null;

/**
 * Collects the values that depend on user or moment and on the POI, and which arguments of the POI they need: those are parsed once for each
 * POI, by the same code that made the training samples, and kept as columns.
 */
export class PairValues {
  readonly #schema: DatasetSchema;
  readonly #columns = { number: new Map<string, number>(), text: new Map<string, number>() };
  readonly #readers: Record<'number' | 'text', ((poi: Row) => DerivationArgument | null)[]> = { number: [], text: [] };

  constructor(schema: DatasetSchema) {
    this.#schema = schema;
  }

  get numbers(): number {
    return this.#readers.number.length;
  }

  get texts(): number {
    return this.#readers.text.length;
  }

  /** Adds a value of the schema; its arguments that only the POI has become columns. */
  add(value: ValueSpec, missing: ReadonlySet<string>): PairValue {
    const compiled = compileValue(this.#schema, value);
    const poi = compiled.inputs.map((reference, i): PoiArgument | null => {
      if (!reference.startsWith('pois.') && reference !== `events.${this.#schema.keys.poi}`) return null;
      const kind = compiled.derivation === null || compiled.derivation.takes[i] === 'text' ? 'text' : 'number';
      const takes = compiled.derivation?.takes[i] ?? 'column';
      const key = JSON.stringify([reference, takes, [...missing].sort()]);
      return { kind, column: this.column(kind, key, (row) => compiled.argument(i, { event: {}, poi: row }, missing)) };
    });
    return { compiled, missing, poi };
  }

  /** The place of a column, which is made where no value needed it before. */
  column(kind: 'number' | 'text', key: string, read: (poi: Row) => DerivationArgument | null): number {
    const found = this.#columns[kind].get(key);
    if (found !== undefined) return found;
    const column = this.#readers[kind].push(read) - 1;
    this.#columns[kind].set(key, column);
    return column;
  }

  number(poi: Row, column: number): number {
    const value = this.#readers.number[column]!(poi);
    return typeof value === 'number' ? value : Number.NaN;
  }

  text(poi: Row, column: number): string | null {
    const value = this.#readers.text[column]!(poi);
    return canonicalText(value);
  }
}

/** Reads a value's arguments of the request, once for all its POIs. */
export function ask({ compiled, missing, poi }: PairValue, moment: Moment): AskedValue {
  const args: DerivationArgument[] = [];
  for (const [i, ofPoi] of poi.entries()) {
    if (ofPoi !== null) {
      args.push(0);
      continue;
    }
    const arg = compiled.argument(i, moment, missing);
    if (arg === null) return null;
    args.push(arg);
  }
  const { derivation } = compiled;
  return (table, row) => {
    for (let i = 0; i < args.length; i++) {
      const ofPoi = poi[i];
      if (ofPoi === null || ofPoi === undefined) continue;
      if (ofPoi.kind === 'number') {
        const x = table.numbers[ofPoi.column]![row]!;
        if (Number.isNaN(x)) return null;
        args[i] = x;
      } else {
        const word = table.texts[ofPoi.column]![row]!;
        if (word < 0) return null;
        args[i] = table.words[word]!;
      }
    }
    return derivation === null ? args[0]! : derivation.apply(args);
  };
}

/** Remembers what few different values become, as bands and words do; of many different ones, the first. */
export function remembered<V extends string | number | null, T>(compute: (value: V) => T): (value: V) => T {
  const known = new Map<V, T>();
  return (value) => {
    let found = known.get(value);
    if (found === undefined) {
      found = compute(value);
      if (known.size < 4096) known.set(value, found);
    }
    return found;
  };
}
