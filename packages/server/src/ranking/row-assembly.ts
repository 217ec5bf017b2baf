import {
  compileValue,
  type DatasetSchema,
  FeatureEncoder,
  featureLayout,
  featureValues,
  type Row,
  sceneKeywords,
  type ValueSpec,
} from '@larr/core';
import type { BundleFeatures } from '../bundle/contents.js';

/**
 * What a feature depends on. `request`: user and moment, computed once a request. `poi`: the POI alone, computed once when the bundle is
 * loaded. `pair`: both, computed for every candidate.
 */
type Scope = 'request' | 'poi' | 'pair';

/** The features of one scope, as a schema of their own that core computes, and where their values go in a row. */
interface ScopedFeatures {
  schema: DatasetSchema;
  encoder: FeatureEncoder;
  /** encoder position → column of the row; −1 for parts that only a cross feature needs */
  ids: Int32Array;
  dense: Int32Array;
  /** scratch: one row */
  idValues: Int32Array;
  denseValues: Float32Array;
}

/** The poi-only part of every known POI's row: [pois, ·]. */
export interface PoiColumns {
  ids: Int32Array;
  dense: Float32Array;
}

/**
 * Makes the ranker's rows from stores and a moment, with core's features: the same code that made the training samples.
 */
export class RowAssembly {
  readonly #features: BundleFeatures;
  readonly #offsets: Int32Array;
  readonly #scopes: Record<Scope, ScopedFeatures>;
  readonly #sceneOfRequest: DatasetSchema;
  readonly #sceneOfPair: DatasetSchema | null;
  readonly #fieldIndex: Map<string, number>;
  /** ID features of the request that event columns alone say, by their place in its encoder: a stranger has no known id, and that is told apart. */
  readonly #ofMoment: { position: number; feature: string }[];

  constructor(schema: DatasetSchema, features: BundleFeatures) {
    this.#features = features;
    this.#offsets = Int32Array.from(features.categorical, ({ rowOffset }) => rowOffset);
    this.#scopes = {
      request: scopedFeatures(schema, features, 'request'),
      poi: scopedFeatures(schema, features, 'poi'),
      pair: scopedFeatures(schema, features, 'pair'),
    };
    const keys = [`events.${schema.keys.user}`, `events.${schema.keys.poi}`];
    this.#ofMoment = this.#scopes.request.schema.features.categorical.flatMap(({ name, value }, position) => {
      const { inputs } = compileValue(schema, value);
      const said = inputs.every((input) => input === 'time' || (input.startsWith('events.') && !keys.includes(input)));
      return said && scopeOf(schema, value) === 'request' ? [{ position, feature: name }] : [];
    });
    const scene = (wanted: boolean): DatasetSchema => ({
      ...schema,
      keywords: {
        ...schema.keywords,
        scene: schema.keywords.scene.filter(({ value }) => (scopeOf(schema, value) !== 'request') === wanted),
      },
    });
    this.#sceneOfRequest = scene(false);
    const ofPair = scene(true);
    this.#sceneOfPair = ofPair.keywords.scene.length > 0 ? ofPair : null;
    this.#fieldIndex = new Map(features.scene.map(({ field }, i) => [field, i]));
  }

  /** Whether any scene keyword differs between the candidates of one request (a distance band does). */
  get sceneVariesByPoi(): boolean {
    return this.#sceneOfPair !== null;
  }

  /** Computes the POI-only part of every row of a store. */
  poiColumns(pois: readonly Row[]): PoiColumns {
    const scope = this.#scopes.poi;
    const ids = new Int32Array(pois.length * scope.ids.length);
    const dense = new Float32Array(pois.length * scope.dense.length);
    pois.forEach((poi, i) => {
      scope.encoder.encode(
        featureValues(scope.schema, {}, undefined, poi),
        ids,
        i * scope.ids.length,
        dense,
        i * scope.dense.length,
      );
    });
    return { ids, dense };
  }

  /**
   * Rows of one request.
   * @param candidates index into `columns`, or −1 for an unknown POI, and its store row
   * @returns ids [rows, F] as rows of the fused table, dense [rows, D] raw or null; `unseen`: the moment's values that training did not have
   */
  rows(
    event: Row,
    user: Row | undefined,
    candidates: readonly { index: number; poi: Row | undefined; pair: Row | undefined }[],
    columns: PoiColumns,
  ): { ids: Int32Array; dense: Float32Array | null; unseen: { feature: string; value: string }[] } {
    const F = this.#features.categorical.length;
    const D = this.#features.dense.length;
    const { request, poi: ofPoi, pair: ofPair } = this.#scopes;
    const ids = new Int32Array(candidates.length * F);
    const dense = new Float32Array(candidates.length * D);

    // the request's own part, and "unknown" for the POI's part, in every row; then what each POI has
    const idRow = new Int32Array(F);
    const denseRow = new Float32Array(D);
    const values = featureValues(request.schema, event, user);
    place(request, values, idRow, 0, denseRow, 0);
    const unseen = this.#ofMoment.flatMap(({ position, feature }) => {
      const value = values.categorical[position]!;
      return value !== null && value !== '' && request.idValues[position] === 0 ? [{ feature, value }] : [];
    });
    place(ofPoi, featureValues(ofPoi.schema, {}), idRow, 0, denseRow, 0);
    const hasPairs = ofPair.ids.length > 0 || ofPair.dense.length > 0;
    candidates.forEach(({ index, poi, pair }, row) => {
      ids.set(idRow, row * F);
      if (D > 0) dense.set(denseRow, row * D);
      if (index >= 0) {
        const n = ofPoi.ids.length;
        for (let i = 0; i < n; i++) ids[row * F + ofPoi.ids[i]!] = columns.ids[index * n + i]!;
        const m = ofPoi.dense.length;
        for (let i = 0; i < m; i++) dense[row * D + ofPoi.dense[i]!] = columns.dense[index * m + i]!;
      }
      if (hasPairs) place(ofPair, featureValues(ofPair.schema, event, user, poi, pair), ids, row * F, dense, row * D);
      for (let f = 0; f < F; f++) ids[row * F + f]! += this.#offsets[f]!;
    });
    return { ids, dense: D > 0 ? dense : null, unseen };
  }

  /** Texts of the scene keywords that all candidates share, by position of their field; null = missing. */
  sharedScene(event: Row, user: Row | undefined): (string | null)[] {
    const texts: (string | null)[] = this.#features.scene.map(() => null);
    for (const { field, text } of sceneKeywords(this.#sceneOfRequest, event, user))
      texts[this.#fieldIndex.get(field)!] = text;
    return texts;
  }

  /** Texts of the keywords that depend on the candidate: position of the field, and text. */
  sceneOf(event: Row, user: Row | undefined, poi: Row | undefined): { field: number; text: string | null }[] {
    if (this.#sceneOfPair === null) return [];
    return sceneKeywords(this.#sceneOfPair, event, user, poi).map(({ field, text }) => ({
      field: this.#fieldIndex.get(field)!,
      text,
    }));
  }
}

function place(
  scope: ScopedFeatures,
  values: ReturnType<typeof featureValues>,
  ids: Int32Array,
  idsAt: number,
  dense: Float32Array,
  denseAt: number,
): void {
  scope.encoder.encode(values, scope.idValues, 0, scope.denseValues, 0);
  for (let i = 0; i < scope.ids.length; i++) if (scope.ids[i]! >= 0) ids[idsAt + scope.ids[i]!] = scope.idValues[i]!;
  for (let i = 0; i < scope.dense.length; i++) dense[denseAt + scope.dense[i]!] = scope.denseValues[i]!;
}

function scopedFeatures(schema: DatasetSchema, features: BundleFeatures, wanted: Scope): ScopedFeatures {
  const all = schema.features;
  const scopes = new Map(all.categorical.map((f) => [f.name, scopeOf(schema, f.value)]));
  const cross = all.cross.filter(({ of: [a, b] }) => join(scopes.get(a)!, scopes.get(b)!) === wanted);
  const parts = new Set(cross.flatMap((f) => f.of));
  const scoped: DatasetSchema = {
    ...schema,
    features: {
      ...all,
      categorical: all.categorical.filter((f) => scopes.get(f.name) === wanted || parts.has(f.name)),
      cross,
      dense: all.dense.filter((f) => scopeOf(schema, f.value) === wanted),
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

function scopeOf(schema: DatasetSchema, value: ValueSpec): Scope {
  const scopes = compileValue(schema, value).inputs.map(
    (reference): Scope =>
      reference.startsWith('pois.') || reference === `events.${schema.keys.poi}` ? 'poi' : 'request',
  );
  return scopes.reduce(join);
}

const join = (a: Scope, b: Scope): Scope => (a === b ? a : 'pair');
