import { DOUBLE, DuckDBScalarFunction, INTEGER } from '@duckdb/node-api';
import { type DuckdbSession, ident } from '../duckdb/session.js';
import { ConfigError } from '../errors.js';
import { compileDerivation, type DerivationArgument } from '../scene/derive.js';
import { derivationInputs } from '../scene/inputs.js';
import { keywordText } from '../scene/moment.js';
import type { Derivation, ValueSpec } from '../schema/schema.js';
import { canonicalSql, numberSql, presentSql, timeSql } from './sql-values.js';
import type { LoadedTables } from './tables.js';

/** Distinct texts or combinations of texts that one derived column may have; beyond it, it is no scene keyword. */
const distinctLimit = 5_000_000;

/** A value of the schema as SQL over `ev`, `us`, `po` and the joins collected here. */
export type DerivedColumn =
  | { kind: 'text'; sql: string }
  | { kind: 'number'; sql: string }
  /** An integer code; `texts[code]` is its text (complete once the query has run). */
  | { kind: 'code'; sql: string; texts: string[] };

/**
 * Puts the TypeScript derivations (scene/derive.ts) into SQL, so that there is no second implementation of them:
 * those over times and numbers run as a scalar function on whole vectors (about 10 million rows/s), those over texts are
 * computed once for every distinct combination of their inputs and joined back.
 */
export class DerivedColumns {
  /** LEFT JOINs that the query needs. */
  readonly joins: string[] = [];
  readonly #db: DuckdbSession;
  readonly #tables: LoadedTables;
  readonly #known = new Map<string, DerivedColumn>();
  constructor(db: DuckdbSession, tables: LoadedTables) {
    this.#db = db;
    this.#tables = tables;
  }

  /** The value of an ID feature: plain columns as their canonical text, derivations as codes. */
  async categorical(spec: ValueSpec, missing: ReadonlySet<string>): Promise<DerivedColumn> {
    if (typeof spec === 'string') return { kind: 'text', sql: presentSql(this.#tables.column(spec), missing) };
    const derived = await this.#derive(spec, missing);
    return derived.kind === 'number'
      ? { kind: 'text', sql: canonicalSql({ sql: derived.sql, type: 'DOUBLE' }) }
      : derived;
  }

  /** The number of a dense feature. */
  async dense(spec: ValueSpec, missing: ReadonlySet<string>): Promise<string> {
    if (typeof spec === 'string') return numberSql(this.#tables.column(spec), missing);
    return (await this.#derive(spec, missing)).sql;
  }

  /** The text of a scene keyword, as `sceneKeywords` gives it. */
  async scene(spec: ValueSpec, missing: ReadonlySet<string>): Promise<DerivedColumn & { kind: 'code' }> {
    // A plain column goes the way of texts too: what is trimmed and what is missing is decided in one place.
    const derivation = typeof spec === 'string' ? { derive: 'text' as const, of: spec, template: '{}' } : spec;
    const derived = await this.#derive(derivation, missing);
    if (derived.kind === 'code') return derived;
    return this.#mapTexts(
      [canonicalSql({ sql: derived.sql, type: 'DOUBLE' })],
      `number ${JSON.stringify(spec)}`,
      ([x]) => keywordText(x, missing),
    );
  }

  async #derive(spec: Derivation, missing: ReadonlySet<string>): Promise<DerivedColumn> {
    const key = JSON.stringify([spec, [...missing].sort()]);
    let found = this.#known.get(key);
    if (found === undefined) {
      const { takes } = compileDerivation(spec);
      found = takes.every((kind) => kind !== 'text')
        ? this.#byFunction(spec, missing)
        : await this.#byDistinct(spec, missing);
      this.#known.set(key, found);
    }
    return found;
  }

  #byFunction(spec: Derivation, missing: ReadonlySet<string>): DerivedColumn {
    const { takes, yields, apply } = compileDerivation(spec);
    const inputs = derivationInputs(spec).map((ref, i) => {
      if (ref === 'time') return 'epoch_us(ev.t) / 1000.0';
      const column = this.#tables.column(ref);
      if (takes[i] !== 'time') return numberSql(column, missing);
      const time = `epoch_us(${timeSql(column)}) / 1000.0`;
      return missing.size === 0 ? time : `CASE WHEN ${presentSql(column, missing)} IS NOT NULL THEN ${time} END`;
    });
    const name = `derive_${this.#known.size}_${spec.derive}`;
    const texts: string[] = [];
    const codes = new Map<string, number>();
    const args: DerivationArgument[] = new Array(inputs.length);
    this.#db.connection.registerScalarFunction(
      DuckDBScalarFunction.create({
        name,
        returnType: yields === 'text' ? INTEGER : DOUBLE,
        parameterTypes: inputs.map(() => DOUBLE),
        mainFunction: (_info, chunk, output) => {
          const columns = inputs.map((_, i) => (chunk.getColumnVector(i) as unknown as { items: Float64Array }).items);
          const out = (output as unknown as { items: Int32Array | Float64Array }).items;
          const rows = chunk.rowCount;
          for (let row = 0; row < rows; row++) {
            let present = true;
            for (let i = 0; i < columns.length; i++) {
              const x = columns[i]![row]!;
              args[i] = x;
              // NaN stands for NULL on the way in and out: no validity mask to read.
              if (Number.isNaN(x)) present = false;
            }
            const value = present ? apply(args) : null;
            if (yields === 'number') {
              out[row] = value === null ? Number.NaN : (value as number);
              continue;
            }
            const text = value === null ? null : keywordText(value, missing);
            if (text === null) {
              out[row] = -1;
              continue;
            }
            let code = codes.get(text);
            if (code === undefined) {
              code = texts.length;
              texts.push(text);
              codes.set(text, code);
            }
            out[row] = code;
          }
          output.flush();
        },
      }),
    );
    const call = `${name}(${inputs.map((sql) => `coalesce(${sql}, 'NaN'::DOUBLE)`).join(', ')})`;
    if (yields === 'text') return { kind: 'code', sql: `nullif(${call}, -1)`, texts };
    return { kind: 'number', sql: `nullif(${call}, 'NaN'::DOUBLE)` };
  }

  async #byDistinct(spec: Derivation, missing: ReadonlySet<string>): Promise<DerivedColumn> {
    const { takes, apply } = compileDerivation(spec);
    const inputs = derivationInputs(spec).map((ref) =>
      ref === 'time' ? `(epoch_us(ev.t) / 1000.0)::VARCHAR` : canonicalSql(this.#tables.column(ref)),
    );
    return this.#mapTexts(inputs, `${spec.derive} of ${derivationInputs(spec).join(' and ')}`, (values) => {
      const args: DerivationArgument[] = [];
      for (let i = 0; i < values.length; i++) {
        const text = keywordText(values[i], missing);
        if (text === null) return null;
        const arg = takes[i] === 'text' ? text : Number(text);
        if (Number.isNaN(arg)) return null;
        args.push(arg);
      }
      return keywordText(apply(args), missing);
    });
  }

  /** Joins a function of texts: computed once per distinct input. */
  async #mapTexts(
    inputs: string[],
    what: string,
    map: (values: (string | null)[]) => string | null,
  ): Promise<DerivedColumn & { kind: 'code' }> {
    const db = this.#db;
    const table = `map_${this.joins.length}`;
    const columns = inputs.map((_, i) => `k${i}`);
    const all = inputs.join(' ');
    // The events alone where they hold all inputs: a distinct over the join costs several times as much.
    const from = `ev${all.includes('us.') ? ' JOIN us USING (user_index)' : ''}${all.includes('po.') ? ' JOIN po USING (poi_index)' : ''}`;
    await db.run(
      `CREATE TABLE ${table}_in AS SELECT DISTINCT ${inputs.map((sql, i) => `${sql} AS k${i}`).join(', ')} FROM ${from}`,
    );
    const { n } = await db.row<{ n: bigint }>(`SELECT count(*) AS n FROM ${table}_in`);
    if (n > BigInt(distinctLimit)) {
      throw new ConfigError(
        'TOO_MANY_VALUES',
        `${what}: ${n} different values are too many for a keyword (limit ${distinctLimit}). Use a bucket or a coarser column.`,
      );
    }
    await db.run(`CREATE TABLE ${table} (${columns.map((c) => `${c} VARCHAR`).join(', ')}, code INTEGER)`);
    const reader = await db.connection.runAndReadAll(`SELECT * FROM ${table}_in ORDER BY ALL`);
    const texts: string[] = [];
    const codes = new Map<string, number>();
    const appender = await db.connection.createAppender(table);
    for (const values of reader.getRows() as (string | null)[][]) {
      if (values.includes(null)) continue;
      const text = map(values);
      if (text === null) continue;
      let code = codes.get(text);
      if (code === undefined) {
        code = texts.length;
        texts.push(text);
        codes.set(text, code);
      }
      for (const value of values) appender.appendVarchar(value!);
      appender.appendInteger(code);
      appender.endRow();
    }
    appender.closeSync();
    await db.run(`DROP TABLE ${table}_in`);
    this.joins.push(`LEFT JOIN ${table} ON ${inputs.map((sql, i) => `${table}.k${i} = ${sql}`).join(' AND ')}`);
    return { kind: 'code', sql: `${table}.code`, texts };
  }
}

/** Makes a table (code INTEGER, text VARCHAR) of a code's texts, for queries that need the words. */
export async function writeCodeTexts(db: DuckdbSession, table: string, texts: readonly string[]): Promise<void> {
  await db.run(`CREATE OR REPLACE TABLE ${ident(table)} (code INTEGER, text VARCHAR)`);
  if (texts.length === 0) return;
  const appender = await db.connection.createAppender(table);
  texts.forEach((text, code) => {
    appender.appendInteger(code);
    appender.appendVarchar(text);
    appender.endRow();
  });
  appender.closeSync();
}
