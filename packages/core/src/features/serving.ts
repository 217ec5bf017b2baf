import { createHash } from 'node:crypto';
import type { CategoricalSpec, DenseSpec } from '../dataset/manifest.js';
import type { CompiledDerivation } from '../scene/derive.js';
import {
  type CompiledValue,
  canonicalText,
  compileValue,
  keywordText,
  type Moment,
  numberOf,
  type Row,
} from '../scene/moment.js';
import type { DatasetSchema } from '../schema/schema.js';
import { crossSeparator, type DenseLayout, type FeatureLayout, featureLayout } from './layout.js';

/** A moment's feature values before encoding, in the order of the manifest. null = missing. */
export interface FeatureValues {
  categorical: (string | null)[];
  /** Transformed (log1p …), not standardised. */
  dense: (number | null)[];
}

interface CompiledLayout {
  layout: FeatureLayout;
  categorical: CompiledValue[];
  dense: CompiledValue[];
}
const compiled = new WeakMap<DatasetSchema, CompiledLayout>();

/**
 * A moment's feature values, as `prepare` computed them for training (the same derivations run in both).
 * Statistics come from the store rows (columns `dense_<name>`), frozen when the dataset was prepared.
 * @param event event columns and the two keys; the keys may also come from the store rows
 * @param user, poi, pair rows of store/users.parquet, store/pois.parquet, store/pairs.parquet, columns that are neither texts nor
 *   DOUBLE or 32-bit whole numbers as `canonicalSql` gives them; leave out what is unknown
 */
export function featureValues(schema: DatasetSchema, event: Row, user?: Row, poi?: Row, pair?: Row): FeatureValues {
  const { layout, categorical: categoricalValues, dense: denseValues } = compile(schema);
  const moment: Moment = { event, user, poi, pair };
  const categorical: (string | null)[] = layout.categorical.map((f, i) => {
    const { derivation, evaluate } = categoricalValues[i]!;
    return categoricalText(evaluate(moment, f.missing), derivation, f.missing);
  });
  for (const f of layout.cross) {
    const a = categorical[f.parts[0]]!;
    const b = categorical[f.parts[1]]!;
    categorical.push(a === null || b === null ? null : a + crossSeparator + b);
  }
  const dense: (number | null)[] = layout.dense.map((f, i) =>
    denseNumber(denseValues[i]!.evaluate(moment, f.missing), f.transform),
  );
  for (const f of layout.statistics) {
    const row = f.of === 'user' ? user : f.of === 'poi' ? poi : pair;
    const value = row?.[`dense_${f.name}`];
    dense.push(value === null || value === undefined ? null : Number(value));
  }
  return { categorical, dense };
}

/** The text that an ID feature's vocabulary knows a value by. @param derivation what computed it, null for a column as it is */
export function categoricalText(
  value: unknown,
  derivation: CompiledDerivation | null,
  missing: ReadonlySet<string>,
): string | null {
  return derivation?.yields === 'text' ? keywordText(value, missing) : canonicalText(value);
}

/** A dense feature's value, transformed and not standardised; null where it is missing or no number. */
export function denseNumber(value: unknown, transform: DenseLayout['transform']): number | null {
  const x = numberOf(value);
  if (!Number.isFinite(x)) return null;
  return transform === 'log1p' ? Math.log1p(Math.max(0, x)) : x;
}

/** What encoding needs of a split: the specs with their vocabularies inline, as in a bundle's features.json. */
export interface EncodingTables {
  categorical: (Pick<CategoricalSpec, 'name' | 'size' | 'hashed'> & { vocabulary: readonly string[] })[];
  dense: Pick<DenseSpec, 'name' | 'mean' | 'absent'>[];
}

/** Turns feature values into the numbers a model takes. Build it once per bundle: it indexes the vocabularies. */
export class FeatureEncoder {
  readonly #indices: Map<string, number>[];
  readonly #tables: EncodingTables;
  constructor(tables: EncodingTables) {
    this.#tables = tables;
    this.#indices = tables.categorical.map((f) => new Map(f.vocabulary.map((value, i) => [value, i])));
  }

  /**
   * Writes vocabulary indices and dense values at the given offsets.
   */
  encode(
    values: FeatureValues,
    ids: Int32Array | BigInt64Array,
    idsOffset: number,
    dense: Float32Array,
    denseOffset: number,
  ): void {
    for (let i = 0; i < this.#indices.length; i++) {
      const index = this.index(i, values.categorical[i]!);
      if (ids instanceof BigInt64Array) ids[idsOffset + i] = BigInt(index);
      else ids[idsOffset + i] = index;
    }
    for (let i = 0; i < this.#tables.dense.length; i++) dense[denseOffset + i] = this.dense(i, values.dense[i]!);
  }

  /** Vocabulary index of the i-th ID feature's value, 0 = unseen or missing. */
  index(i: number, value: string | null): number {
    if (value === null) return 0;
    const { hashed } = this.#tables.categorical[i]!;
    return hashed !== undefined ? hashBucket(value, hashed.buckets) : (this.#indices[i]!.get(value) ?? 0);
  }

  /** The i-th dense feature's value; what is missing is the value of "no history" for statistics, else the train mean. */
  dense(i: number, value: number | null): number {
    const { absent, mean } = this.#tables.dense[i]!;
    return value ?? absent ?? mean;
  }
}

/**
 * Index of a hashed value: 1 + (the last 8 bytes of its MD5, little end first) mod `buckets`. `md5_number_lower` of DuckDB is
 * the same number, so `prepare` needs no call per row.
 */
export function hashBucket(value: string, buckets: number): number {
  const digest = createHash('md5').update(value, 'utf8').digest();
  return 1 + Number(digest.readBigUInt64LE(8) % BigInt(buckets));
}

function compile(schema: DatasetSchema): CompiledLayout {
  let found = compiled.get(schema);
  if (found === undefined) {
    const layout = featureLayout(schema);
    found = {
      layout,
      categorical: layout.categorical.map((f) => compileValue(schema, f.value)),
      dense: layout.dense.map((f) => compileValue(schema, f.value)),
    };
    compiled.set(schema, found);
  }
  return found;
}
