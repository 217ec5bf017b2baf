import {
  type CompiledValue,
  categoricalText,
  compileValue,
  crossSeparator,
  type DatasetSchema,
  type DenseLayout,
  denseNumber,
  FeatureEncoder,
  type FeatureScope,
  featureLayout,
  featureScopes,
  featureValues,
  joinScopes,
  keywordText,
  type Moment,
  type Row,
  sceneKeywords,
  valueScope,
} from '@larr/core';
import type { BundleFeatures, RankerInputs } from '../bundle/contents.js';
import { pairAt, type UserRecord } from '../store/user-record.js';
import { type AskedValue, ask, type PairValue, PairValues, remembered } from './pair-values.js';
import type { PoiEncoder, PoiTable } from './poi-table.js';

/** The features of one scope, as a schema of their own that core computes. */
interface ScopedFeatures {
  schema: DatasetSchema;
  encoder: FeatureEncoder;
  /** encoder position → position among all ID features; −1 for parts that only a cross feature needs */
  ids: Int32Array;
  dense: Int32Array;
  /** scratch: one row */
  idValues: Int32Array;
  denseValues: Float32Array;
}

/** One part of a cross feature: the same for the whole request, a text of the POI, or of both. */
type CrossPart =
  | { scope: 'request'; value: CompiledValue; missing: ReadonlySet<string> }
  | { scope: 'poi'; column: number }
  | { scope: 'pair'; value: PairValue; missing: ReadonlySet<string> };

/** An ID feature of user and POI together, and its place in a row. */
interface PairId {
  at: number;
  parts: CrossPart[];
  index: (text: string | null) => number;
}

interface PairDense {
  at: number;
  value: PairValue;
  transform: DenseLayout['transform'];
  encode: (value: number | null) => number;
}

/** A statistic of the user's history with the POI. */
interface PairStatistic {
  at: number;
  /** its place in a pair's values; −1 where the store has no such column */
  column: number;
  absent: number;
}

/** A scene keyword that differs between POIs. */
interface PairKeyword {
  /** position of the field */
  field: number;
  value: PairValue;
  missing: ReadonlySet<string>;
}

/** Rows of one request, in the order and shapes of the ranker's inputs. */
export interface AssembledRows {
  /** [context features]: of the user and the moment, as rows of the fused table */
  contextIds: Int32Array;
  /** [context features] raw */
  contextDense: Float32Array;
  /** [rows, row features] */
  ids: Int32Array;
  dense: Float32Array;
  /** the moment's values that training did not have */
  unseen: { feature: string; value: string }[];
}

/** The scenes of one request. */
export interface AssembledScenes {
  /** [scenes, fields] entries of the scene table, −1 = missing */
  rows: Int32Array;
  /** [candidates]: which scene each has */
  of: Int32Array;
  count: number;
  /** texts without an entry */
  unknown: { field: string; text: string }[];
}

/** Finds the entry of a scene text; null where it has none. */
export type SceneEntry = (field: number, text: string) => number | null;

/**
 * Makes the ranker's rows from a user's record, the table of POIs and a moment, with core's features: the same code that made the training
 * samples. What depends on the POI alone was computed when it was put into the table; per candidate there is left what depends on both.
 */
export class RowAssembly {
  readonly #features: BundleFeatures;
  readonly #inputs: RankerInputs;
  readonly #request: ScopedFeatures;
  readonly #pairs: PairValues;
  readonly #pairIds: PairId[];
  readonly #pairDense: PairDense[];
  readonly #pairStatistics: PairStatistic[];
  /** ID features of the request that event columns alone say, by their place in its encoder: a stranger has no known id, and that is told apart. */
  readonly #ofMoment: { position: number; feature: string }[];
  readonly #sceneOfRequest: DatasetSchema;
  readonly #sceneOfPair: PairKeyword[];
  readonly #fieldIndex: Map<string, number>;
  /** what the table of POIs keeps for this model */
  readonly poiEncoder: PoiEncoder;
  /** places of the POI's own features in a row */
  readonly #poiIdsAt: Int32Array;
  readonly #poiDenseAt: Int32Array;
  /** a row's features of an unknown POI, offsets added; the pair's are overwritten */
  readonly #unknownIds: Int32Array;
  readonly #unknownDense: Float32Array;

  /** @param pairColumns what a user record's pair values are */
  constructor(schema: DatasetSchema, features: BundleFeatures, inputs: RankerInputs, pairColumns: readonly string[]) {
    this.#features = features;
    this.#inputs = inputs;
    const scopes = featureScopes(schema);
    this.#request = scopedFeatures(schema, features, 'request');
    const ofPoi = scopedFeatures(schema, features, 'poi');
    this.#pairs = new PairValues(schema);

    const rowIdAt = positions(inputs.ids.row);
    const rowDenseAt = positions(inputs.dense.row);
    this.#pairIds = this.#compilePairIds(schema, scopes.categorical, rowIdAt);
    const { plain, statistics } = this.#compilePairDense(schema, scopes.dense, rowDenseAt, pairColumns);
    this.#pairDense = plain;
    this.#pairStatistics = statistics;

    const keys = [`events.${schema.keys.user}`, `events.${schema.keys.poi}`];
    this.#ofMoment = this.#request.schema.features.categorical.flatMap(({ name, value }, position) => {
      const { inputs: references } = compileValue(schema, value);
      const said = references.every((ref) => ref === 'time' || (ref.startsWith('events.') && !keys.includes(ref)));
      return said && valueScope(schema, value) === 'request' ? [{ position, feature: name }] : [];
    });

    this.#fieldIndex = new Map(features.scene.map(({ field }, i) => [field, i]));
    const { scene } = schema.keywords;
    const varies = (keyword: (typeof scene)[number]): boolean => valueScope(schema, keyword.value) !== 'request';
    this.#sceneOfRequest = {
      ...schema,
      keywords: { ...schema.keywords, scene: scene.filter((keyword) => !varies(keyword)) },
    };
    this.#sceneOfPair = scene.filter(varies).map(({ name, value, missing: own }) => {
      const missing = new Set([...schema.missing, ...(own ?? [])]);
      return { field: this.#fieldIndex.get(name)!, value: this.#pairs.add(value, missing), missing };
    });

    // the POI's own features, one after another, as the table keeps them
    const poiIds = [...ofPoi.ids].flatMap((feature, position) => (feature < 0 ? [] : [{ feature, position }]));
    const poiDense = [...ofPoi.dense].map((feature, position) => ({ feature, position }));
    this.#poiIdsAt = Int32Array.from(poiIds, ({ feature }) => rowIdAt.get(feature)!);
    this.#poiDenseAt = Int32Array.from(poiDense, ({ feature }) => rowDenseAt.get(feature)!);
    const offsets = poiIds.map(({ feature }) => features.categorical[feature]!.rowOffset);
    const encode = (
      poi: Row | undefined,
      ids: Int32Array,
      idsAt: number,
      dense: Float32Array,
      denseAt: number,
    ): void => {
      ofPoi.encoder.encode(featureValues(ofPoi.schema, {}, undefined, poi), ofPoi.idValues, 0, ofPoi.denseValues, 0);
      for (let i = 0; i < poiIds.length; i++) ids[idsAt + i] = ofPoi.idValues[poiIds[i]!.position]! + offsets[i]!;
      for (let i = 0; i < poiDense.length; i++) dense[denseAt + i] = ofPoi.denseValues[i]!;
    };
    const pairs = this.#pairs;
    this.poiEncoder = {
      wanted: { ids: poiIds.length, dense: poiDense.length, numbers: pairs.numbers, texts: pairs.texts },
      encode,
      number: (poi, i) => pairs.number(poi, i),
      text: (poi, i) => pairs.text(poi, i),
    };
    const unknown = { ids: new Int32Array(poiIds.length), dense: new Float32Array(poiDense.length) };
    encode(undefined, unknown.ids, 0, unknown.dense, 0);
    this.#unknownIds = new Int32Array(inputs.ids.row.length);
    this.#unknownDense = new Float32Array(inputs.dense.row.length);
    this.#poiIdsAt.forEach((at, i) => {
      this.#unknownIds[at] = unknown.ids[i]!;
    });
    this.#poiDenseAt.forEach((at, i) => {
      this.#unknownDense[at] = unknown.dense[i]!;
    });
  }

  /** Of the features that come with each row, in their order: whether one follows from the POI alone. */
  get followFromPoi(): { ids: boolean[]; dense: boolean[] } {
    const marks = (count: number, places: Int32Array): boolean[] =>
      Array.from({ length: count }, (_, at) => places.includes(at));
    const { ids, dense } = this.#inputs;
    return { ids: marks(ids.row.length, this.#poiIdsAt), dense: marks(dense.row.length, this.#poiDenseAt) };
  }

  /**
   * Rows of one request.
   * @param candidates rows of `table`, −1 for an unknown POI
   */
  rows(event: Row, user: UserRecord | null, candidates: Int32Array, table: PoiTable): AssembledRows {
    const { ids: idInputs, dense: denseInputs } = this.#inputs;
    const [F, D] = [idInputs.row.length, denseInputs.row.length];
    const B = candidates.length;
    const ids = new Int32Array(B * F);
    const dense = new Float32Array(B * D);
    const moment: Moment = { event, user: user?.row };

    const { contextIds, contextDense, unseen } = this.#contextOf(moment);

    const [nIds, nDense] = [this.#poiIdsAt.length, this.#poiDenseAt.length];
    const [idsAt, denseAt] = [this.#poiIdsAt, this.#poiDenseAt];
    const [tableIds, tableDense] = [table.ids, table.dense];
    for (let row = 0; row < B; row++) {
      const poi = candidates[row]!;
      if (poi < 0) {
        ids.set(this.#unknownIds, row * F);
        dense.set(this.#unknownDense, row * D);
        continue;
      }
      for (let i = 0; i < nIds; i++) ids[row * F + idsAt[i]!] = tableIds[poi * nIds + i]!;
      for (let i = 0; i < nDense; i++) dense[row * D + denseAt[i]!] = tableDense[poi * nDense + i]!;
    }
    this.#putPairIds(moment, candidates, table, ids, F);
    this.#putPairDense(moment, candidates, table, dense, D);
    this.#putStatistics(user, candidates, table, dense, D);
    return { contextIds, contextDense, ids, dense, unseen };
  }

  /** The distinct scenes of a request, and which of them each candidate has. @param given texts that the request gives keywords directly */
  scenes(
    event: Row,
    user: Row | undefined,
    candidates: Int32Array,
    table: PoiTable,
    given: ReadonlyMap<string, string | null>,
    entryOf: SceneEntry,
  ): AssembledScenes {
    const fields = this.#features.scene;
    const unknown = new Map<string, { field: string; text: string }>();
    const entry = (field: number, text: string | null): number => {
      if (text === null) return -1;
      const found = entryOf(field, text);
      if (found !== null) return found;
      unknown.set(`${field} ${text}`, { field: fields[field]!.field, text });
      return -1;
    };
    const shared = this.sharedScene(event, user);
    const base = Int32Array.from(shared, (text, field) => {
      const name = fields[field]!.field;
      return entry(field, given.has(name) ? given.get(name)! : text);
    });
    const of = new Int32Array(candidates.length);
    const varying = this.#sceneOfPair.filter(({ field }) => !given.has(fields[field]!.field));
    const result = (rows: Int32Array): AssembledScenes => ({
      rows,
      of,
      count: rows.length / base.length,
      unknown: [...unknown.values()],
    });
    if (varying.length === 0) return result(base);

    const moment: Moment = { event, user };
    const asked = varying.map(({ field, value, missing }) => {
      const compute = ask(value, moment);
      const toEntry = remembered((found: string | number | null) => entry(field, keywordText(found, missing)));
      return { field, of: (poi: number) => (compute === null || poi < 0 ? -1 : toEntry(compute(table, poi))) };
    });
    const rows: number[] = [];
    const distinct = new Map<number | string, number>();
    const [first, ...others] = asked;
    for (let i = 0; i < candidates.length; i++) {
      const one = first!.of(candidates[i]!);
      const rest = others.map((keyword) => keyword.of(candidates[i]!));
      const key = rest.length === 0 ? one : [one, ...rest].join();
      let scene = distinct.get(key);
      if (scene === undefined) {
        scene = distinct.size;
        distinct.set(key, scene);
        const at = rows.length;
        rows.push(...base);
        rows[at + first!.field] = one;
        others.forEach(({ field }, k) => {
          rows[at + field] = rest[k]!;
        });
      }
      of[i] = scene;
    }
    return result(Int32Array.from(rows));
  }

  /** Texts of the scene keywords that all candidates share, by position of their field; null = missing. */
  sharedScene(event: Row, user: Row | undefined): (string | null)[] {
    const texts: (string | null)[] = this.#features.scene.map(() => null);
    for (const { field, text } of sceneKeywords(this.#sceneOfRequest, event, user))
      texts[this.#fieldIndex.get(field)!] = text;
    return texts;
  }

  #contextOf({ event, user }: Moment): Pick<AssembledRows, 'contextIds' | 'contextDense' | 'unseen'> {
    const { schema, encoder, ids, dense, idValues, denseValues } = this.#request;
    const values = featureValues(schema, event, user);
    encoder.encode(values, idValues, 0, denseValues, 0);
    const unseen = this.#ofMoment.flatMap(({ position, feature }) => {
      const value = values.categorical[position]!;
      return value !== null && value !== '' && idValues[position] === 0 ? [{ feature, value }] : [];
    });
    const byFeature = new Map<number, number>();
    ids.forEach((feature, position) => {
      if (feature >= 0) byFeature.set(feature, idValues[position]! + this.#features.categorical[feature]!.rowOffset);
    });
    const denseByFeature = new Map<number, number>();
    dense.forEach((feature, position) => {
      denseByFeature.set(feature, denseValues[position]!);
    });
    return {
      contextIds: Int32Array.from(this.#inputs.ids.context, (feature) => byFeature.get(feature)!),
      contextDense: Float32Array.from(this.#inputs.dense.context, (feature) => denseByFeature.get(feature)!),
      unseen,
    };
  }

  #putPairIds(moment: Moment, candidates: Int32Array, table: PoiTable, ids: Int32Array, F: number): void {
    for (const { at, parts, index } of this.#pairIds) {
      const texts = parts.map((part) => askText(part, moment, table));
      for (let row = 0; row < candidates.length; row++) {
        let text: string | null = null;
        for (let p = 0; p < texts.length; p++) {
          const one = texts[p]!(candidates[row]!);
          if (one === null) {
            text = null;
            break;
          }
          text = text === null ? one : text + crossSeparator + one;
        }
        ids[row * F + at] = index(text);
      }
    }
  }

  #putPairDense(moment: Moment, candidates: Int32Array, table: PoiTable, dense: Float32Array, D: number): void {
    for (const { at, value, transform, encode } of this.#pairDense) {
      const compute = ask(value, moment);
      for (let row = 0; row < candidates.length; row++) {
        const poi = candidates[row]!;
        const x = compute === null || poi < 0 ? null : denseNumber(compute(table, poi), transform);
        dense[row * D + at] = encode(x);
      }
    }
  }

  #putStatistics(
    user: UserRecord | null,
    candidates: Int32Array,
    table: PoiTable,
    dense: Float32Array,
    D: number,
  ): void {
    if (this.#pairStatistics.length === 0) return;
    const pairs = user?.pairs ?? null;
    const width = pairs === null ? 0 : pairs.values.length / pairs.poi.length;
    for (let row = 0; row < candidates.length; row++) {
      const poi = candidates[row]!;
      const number = poi < 0 ? -1 : table.poiIndex[poi]!;
      const pair = pairs === null || number < 0 ? -1 : pairAt(pairs, number);
      for (const { at, column, absent } of this.#pairStatistics) {
        const x = pair < 0 || column < 0 ? Number.NaN : pairs!.values[pair * width + column]!;
        dense[row * D + at] = Number.isNaN(x) ? absent : x;
      }
    }
  }

  #compilePairIds(
    schema: DatasetSchema,
    scopes: readonly FeatureScope[],
    rowAt: ReadonlyMap<number, number>,
  ): PairId[] {
    const layout = featureLayout(schema);
    const plain = layout.categorical.length;
    return scopes.flatMap((scope, feature): PairId[] => {
      if (scope !== 'pair') return [];
      const { rowOffset, size, vocabulary, hashed } = this.#features.categorical[feature]!;
      const encoder = new FeatureEncoder({
        categorical: [{ name: '', size, vocabulary, ...(hashed === undefined ? {} : { hashed }) }],
        dense: [],
      });
      const part = (position: number): CrossPart => {
        const { value, missing } = layout.categorical[position]!;
        const compiled = compileValue(schema, value);
        switch (scopes[position]!) {
          case 'request':
            return { scope: 'request', value: compiled, missing };
          case 'poi': {
            const read = (poi: Row) =>
              categoricalText(compiled.evaluate({ event: {}, poi }, missing), compiled.derivation, missing);
            return { scope: 'poi', column: this.#pairs.column('text', JSON.stringify(['feature', position]), read) };
          }
          case 'pair':
            return { scope: 'pair', value: this.#pairs.add(value, missing), missing };
        }
      };
      const parts = feature < plain ? [part(feature)] : layout.cross[feature - plain]!.parts.map(part);
      return [{ at: rowAt.get(feature)!, parts, index: (text) => rowOffset + encoder.index(0, text) }];
    });
  }

  #compilePairDense(
    schema: DatasetSchema,
    scopes: readonly FeatureScope[],
    rowAt: ReadonlyMap<number, number>,
    pairColumns: readonly string[],
  ): { plain: PairDense[]; statistics: PairStatistic[] } {
    const layout = featureLayout(schema);
    const plain: PairDense[] = [];
    const statistics: PairStatistic[] = [];
    scopes.forEach((scope, feature) => {
      if (scope !== 'pair') return;
      const spec = this.#features.dense[feature]!;
      const at = rowAt.get(feature)!;
      const absent = spec.absent ?? spec.mean;
      const own = layout.dense[feature];
      if (own === undefined) {
        const { name } = layout.statistics[feature - layout.dense.length]!;
        statistics.push({ at, column: pairColumns.indexOf(`dense_${name}`), absent });
      } else {
        const value = this.#pairs.add(own.value, own.missing);
        plain.push({ at, value, transform: own.transform, encode: (x) => x ?? absent });
      }
    });
    return { plain, statistics };
  }
}

/** A cross feature's part as a function of the POI. */
function askText(part: CrossPart, moment: Moment, table: PoiTable): (poi: number) => string | null {
  if (part.scope === 'request') {
    const { value, missing } = part;
    const text = categoricalText(value.evaluate(moment, missing), value.derivation, missing);
    return () => text;
  }
  if (part.scope === 'poi') {
    const column = table.texts[part.column]!;
    return (poi) => (poi < 0 || column[poi]! < 0 ? null : table.words[column[poi]!]!);
  }
  const compute: AskedValue = ask(part.value, moment);
  const { derivation } = part.value.compiled;
  const toText = remembered((found: string | number | null) => categoricalText(found, derivation, part.missing));
  return (poi) => (compute === null || poi < 0 ? null : toText(compute(table, poi)));
}

/** Where each feature stands in a list of features. */
const positions = (features: readonly number[]): Map<number, number> =>
  new Map(features.map((feature, at) => [feature, at]));

function scopedFeatures(schema: DatasetSchema, features: BundleFeatures, wanted: 'request' | 'poi'): ScopedFeatures {
  const all = schema.features;
  const scopes = new Map(all.categorical.map((f) => [f.name, valueScope(schema, f.value)]));
  const cross = all.cross.filter(({ of: [a, b] }) => joinScopes(scopes.get(a)!, scopes.get(b)!) === wanted);
  const parts = new Set(cross.flatMap((f) => f.of));
  const scoped: DatasetSchema = {
    ...schema,
    features: {
      ...all,
      categorical: all.categorical.filter((f) => scopes.get(f.name) === wanted || parts.has(f.name)),
      cross,
      dense: all.dense.filter((f) => valueScope(schema, f.value) === wanted),
      statistics: all.statistics.filter((f) => ({ user: 'request', poi: 'poi', 'user-poi': 'pair' })[f.of] === wanted),
    },
  };
  const layout = featureLayout(scoped);
  const idNames = [...layout.categorical, ...layout.cross].map(({ name }) => name);
  const denseNames = [...layout.dense, ...layout.statistics].map(({ name }) => name);
  const categoricalIndex = new Map(features.categorical.map(({ name }, i) => [name, i]));
  const denseIndex = new Map(features.dense.map(({ name }, i) => [name, i]));
  const own = (name: string): boolean => !scopes.has(name) || scopes.get(name) === wanted;
  return {
    schema: scoped,
    encoder: new FeatureEncoder({
      categorical: idNames.map((name) => features.categorical[categoricalIndex.get(name)!]!),
      dense: denseNames.map((name) => features.dense[denseIndex.get(name)!]!),
    }),
    ids: Int32Array.from(idNames, (name) => (own(name) ? categoricalIndex.get(name)! : -1)),
    dense: Int32Array.from(denseNames, (name) => denseIndex.get(name)!),
    idValues: new Int32Array(idNames.length),
    denseValues: new Float32Array(denseNames.length),
  };
}
