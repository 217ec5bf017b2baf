import { readFile } from 'node:fs/promises';
import { type Bundle, BundleError, phrasesOf, type Row, readSafetensors, tensorPlaces, wordsOf } from '@larr/core';
import { z } from 'zod';
import { ApiError } from '../api/errors.js';
import type { HeldFiles } from '../bundle/held-files.js';
import type { PoiTable } from '../ranking/poi-table.js';
import { type ChangesOfPois, ColumnFilters } from './column-filters.js';
import { Search } from './search.js';
import { type MatchedTerm, Terms } from './terms.js';

/** `recall/terms.json`: which text each row of the term vectors and of the scene vectors is of. */
const TermFile = z.object({
  poi: z.array(z.object({ field: z.string(), terms: z.array(z.string()) })),
  /** terms that too many POIs have, whose vectors follow those of the others; bundles of before have none */
  common: z.array(z.object({ field: z.string(), terms: z.array(z.string()) })).default([]),
  scene: z.array(z.object({ field: z.string(), texts: z.array(z.string()) })),
});

/** What POIs shall be like. */
export interface RecallQuery {
  text?: string | undefined;
  /** scene texts by field */
  scene?: ReadonlyMap<string, string>;
  /** POIs that the user chose before, by their number in the data */
  history?: readonly number[];
  /** Of a user that was asked for and adds nothing: why, as `user "u1" has no history`; or that the store which would know does not answer. */
  lacking?: { user: string } | 'store';
}

export interface Recalled {
  /** rows of the table of POIs, best first */
  rows: number[];
  similarities: number[];
  matched: { field: string; text: string }[];
  /** terms that too many POIs have: looked for only where nothing else of the text is known */
  common: string[];
  /** words of the text that are in no known term */
  unmatched: string[];
}

/** Scenes' words are looked up in free text where there are at most so many texts; more are places and ids rather than words. */
const MOST_SCENE_TEXTS = 20_000;

/**
 * Finds POIs by their stage-2 vectors without a language model: a text's words are matched to terms whose vectors the bundle carries, a scene's texts
 * to its keywords', a user to the POIs of their history; the sum is what the POIs' vectors are compared with, all of them.
 */
export class Recall {
  readonly #terms: Terms;
  readonly #sceneWords: Terms;
  readonly #vectors: { terms: Float32Array; scene: Float32Array };
  readonly #sceneRows = new Map<string, number>();
  readonly #search: Search;
  readonly #poiVectors: Float32Array;
  readonly #filters: ColumnFilters;

  private constructor(
    file: z.infer<typeof TermFile>,
    vectors: { terms: Float32Array; scene: Float32Array },
    poiVectors: Float32Array,
    search: Search,
    filters: ColumnFilters,
  ) {
    const telling = numbered(file.poi.map(({ field, terms }) => ({ field, texts: terms })));
    const common = numbered(file.common.map(({ field, terms }) => ({ field, texts: terms })));
    this.#terms = new Terms([
      ...telling,
      ...common.map((one) => ({ ...one, row: telling.length + one.row, common: true })),
    ]);
    const scene = numbered(file.scene);
    for (const { field, term, row } of scene) this.#sceneRows.set(`${field} ${term}`, row);
    this.#sceneWords = new Terms(scene.length <= MOST_SCENE_TEXTS ? wordsOfScene(scene) : []);
    this.#vectors = vectors;
    this.#poiVectors = poiVectors;
    this.#search = search;
    this.#filters = filters;
  }

  /**
   * The recall of a bundle; null where it was exported without vectors.
   * @param held holds what only a question reads: another bundle may lie in this one's place by then
   * @param changes what of POIs changed since the export
   * @throws BundleError BUNDLE_INVALID, TENSORS_UNREADABLE
   */
  static async open(
    bundle: Bundle,
    held: HeldFiles,
    mapped: (file: string) => ArrayBuffer,
    threads: number,
    changes: ChangesOfPois,
  ): Promise<Recall | null> {
    if (bundle.manifest.files['recall/terms.json'] === undefined) return null;
    const parsed = TermFile.safeParse(await bundle.json('recall/terms.json'));
    if (!parsed.success)
      throw new BundleError('BUNDLE_INVALID', 'recall/terms.json is not what it should be: export the bundle again');
    const { tensors } = await readSafetensors(bundle.path('recall/terms.safetensors'));
    const file = bundle.path('recall/pois.safetensors');
    const place = (await tensorPlaces(file)).vectors;
    if (place === undefined || place.dtype !== 'F32' || place.shape.length !== 2)
      throw new BundleError(
        'TENSORS_UNREADABLE',
        'recall/pois.safetensors has no table [POIs, ·]: export the bundle again',
      );
    const [pois, dimension] = place.shape as [number, number];
    const { byteOffset } = place;
    const graph = await readFile(bundle.path('recall/search.onnx'));
    return new Recall(
      parsed.data,
      { terms: tensors.terms!.data as Float32Array, scene: tensors.scene!.data as Float32Array },
      new Float32Array(mapped(file), byteOffset, pois * dimension),
      new Search({ graph, file: await held.hold(file), byteOffset, pois, dimension, threads }),
      new ColumnFilters(await held.hold(bundle.path('store/pois.parquet')), changes),
    );
  }

  /**
   * The `k` POIs nearest to the query, best first.
   * @param within POI columns and the value each must have
   * @throws ApiError RECALL_EMPTY (400) where nothing of the query is known, but STORE_AWAY (503) where the store would tell of the user that is
   *   asked for too; USER_WITHOUT_HISTORY (400) where nothing but a user is asked for; COLUMN_UNKNOWN (400)
   */
  async nearest(
    query: RecallQuery,
    k: number,
    table: PoiTable,
    within: Readonly<Record<string, string>>,
  ): Promise<Recalled> {
    const { vector, matched, common, unmatched } = this.#vectorOf(query);
    const allowed = await this.#filters.rows(within, table);
    const similarities = await this.#search.similarities(vector);
    const best = nearestRows(similarities, k, table, allowed);
    const said = new Map(matched.map(({ field, text }) => [`${field} ${text}`, { field, text }]));
    return { ...best, matched: [...said.values()], common, unmatched };
  }

  /** Columns of POIs changed: filters know of it. */
  put(pois: readonly Row[], table: PoiTable): void {
    this.#filters.put(pois, table);
  }

  close(): Promise<void> {
    return this.#search.close();
  }

  #vectorOf({ text, scene, history, lacking }: RecallQuery): {
    vector: Float32Array;
    matched: Omit<MatchedTerm, 'row'>[];
    common: string[];
    unmatched: string[];
  } {
    const d = this.#search.dimension;
    const vector = new Float32Array(d);
    const matched: Omit<MatchedTerm, 'row'>[] = [];
    let common: string[] = [];
    let unmatched: string[] = [];
    const add = (vectors: Float32Array, row: number, weight = 1): void => {
      for (let i = 0; i < d; i++) vector[i]! += weight * vectors[row * d + i]!;
    };
    if (text !== undefined) {
      const found = this.#terms.match(text);
      for (const term of found.matched) {
        add(this.#vectors.terms, term.row);
        matched.push(term);
      }
      // Words that no POI's text has, or too many, may be a scene's.
      const rest = this.#sceneWords.match(found.unmatched.join(' '));
      const scenes = found.common.map(({ text }) => this.#sceneWords.match(text).matched);
      const little = found.common.filter((_, i) => scenes[i]!.length === 0);
      for (const term of [...rest.matched, ...scenes.flat()]) {
        add(this.#vectors.scene, term.row);
        matched.push(term);
      }
      unmatched = rest.unmatched;
      common = [...new Set(little.map((term) => term.text))];
      if (matched.length === 0) {
        for (const term of little) {
          add(this.#vectors.terms, term.row);
          matched.push(term);
        }
      }
    }
    for (const [field, value] of scene ?? []) {
      const row = this.#sceneRows.get(`${field} ${value}`);
      if (row === undefined) {
        unmatched.push(value);
        continue;
      }
      add(this.#vectors.scene, row);
      matched.push({ field, text: value });
    }
    const chosen = (history ?? []).filter((poi) => poi >= 0 && poi < this.#search.pois);
    for (const poi of chosen) add(this.#poiVectors, poi, 1 / chosen.length);
    const length = Math.hypot(...vector);
    if (length === 0) {
      const unknown = [
        ...(unmatched.length === 0 ? [] : [`nothing is known of: ${unmatched.join(', ')}`]),
        ...(common.length === 0 ? [] : [`nearly all POIs have: ${common.join(', ')}`]),
        ...(chosen.length === 0 ? [] : ["the POIs of the user's history have no vectors"]),
      ];
      throw emptyRecall(unknown, lacking);
    }
    return { vector: vector.map((x) => x / length), matched, common, unmatched };
  }
}

/** Why there is nothing to compare POIs with, and what to give. @param unknown what is known of the rest of the query to tell nothing */
function emptyRecall(unknown: readonly string[], lacking: RecallQuery['lacking']): ApiError {
  if (lacking === 'store')
    return new ApiError(
      503,
      'STORE_AWAY',
      "the online store, which knows the user's history, does not answer",
      'user',
      1,
    );
  const said = [...unknown, ...(lacking === undefined ? [] : [lacking.user])].join('; ');
  if (unknown.length === 0 && lacking !== undefined)
    return new ApiError(
      400,
      'USER_WITHOUT_HISTORY',
      `${said}, so nothing is known that they like: give a text or a scene, with or without the user`,
      'user',
    );
  return new ApiError(
    400,
    'RECALL_EMPTY',
    `${said || 'there is nothing to look for'}; give a text, a scene, or a user with a history`,
  );
}

/** The best `k` of the POIs that have a vector and are allowed, best first; equal ones by their row. */
function nearestRows(
  similarities: Float32Array,
  k: number,
  table: PoiTable,
  allowed: ((row: number) => boolean) | null,
): { rows: number[]; similarities: number[] } {
  // a heap with the worst of the best on top
  const heap: number[] = [];
  const of = (row: number): number => similarities[table.poiIndex[row]!]!;
  const worse = (a: number, b: number): boolean => of(a) < of(b) || (of(a) === of(b) && a > b);
  const sink = (): void => {
    for (let i = 0; ; ) {
      let least = i;
      for (const child of [2 * i + 1, 2 * i + 2])
        if (child < heap.length && worse(heap[child]!, heap[least]!)) least = child;
      if (least === i) return;
      [heap[i], heap[least]] = [heap[least]!, heap[i]!];
      i = least;
    }
  };
  for (let row = 0; row < table.size; row++) {
    const index = table.poiIndex[row]!;
    if (index < 0 || index >= similarities.length || similarities[index] === 0 || allowed?.(row) === false) continue;
    if (heap.length < k) {
      let i = heap.push(row) - 1;
      for (let parent = (i - 1) >> 1; i > 0 && worse(heap[i]!, heap[parent]!); i = parent, parent = (i - 1) >> 1)
        [heap[i], heap[parent]] = [heap[parent]!, heap[i]!];
    } else if (worse(heap[0]!, row)) {
      heap[0] = row;
      sink();
    }
  }
  const rows = heap.sort((a, b) => (worse(a, b) ? 1 : -1));
  return { rows, similarities: rows.map(of) };
}

interface NumberedTerm {
  field: string;
  term: string;
  row: number;
}

/** Texts with their rows: one after another through all fields. */
function numbered(fields: readonly { field: string; texts: readonly string[] }[]): NumberedTerm[] {
  let row = 0;
  return fields.flatMap(({ field, texts }) => texts.map((term) => ({ field, term, row: row++ })));
}

/** Phrases of scene texts that tell one text of their field from most others. */
function wordsOfScene(scene: readonly NumberedTerm[]): NumberedTerm[] {
  const byField = new Map<string, NumberedTerm[]>();
  for (const one of scene) byField.set(one.field, [...(byField.get(one.field) ?? []), one]);
  return [...byField.values()].flatMap((texts) => {
    const phrases = texts.flatMap(({ field, term, row }) =>
      [...new Set(phrasesOf(wordsOf(term)))].map((phrase) => ({ field, term: phrase, row })),
    );
    const counts = new Map<string, number>();
    for (const { term } of phrases) counts.set(term, (counts.get(term) ?? 0) + 1);
    return phrases.filter(({ term }) => counts.get(term)! <= Math.max(1, COMMON * texts.length));
  });
}

/** A word that so large a share of a field's texts have tells nothing. */
const COMMON = 0.3;
