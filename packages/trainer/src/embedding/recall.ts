import { join } from 'node:path';
import {
  DataError,
  type Dataset,
  DuckdbSession,
  type KeywordText,
  literal,
  readSafetensors,
  UsageError,
} from '@larr/core';
import { noGrad, tensor, tidy } from '@larr/torch';
import type { Similarity } from './embedder.js';
import { notFiniteRow } from './finite-vectors.js';
import type { NearestIndex } from './nearest-index.js';
import { similarities } from './retrieval.js';
import type { TextEmbedder } from './text-embedder.js';

/** POI vectors held for searching. */
export interface PoiIndex {
  /** [pois, dimension], row = POI number */
  vectors: Float32Array;
  pois: number;
  dimension: number;
}

export interface RecallHit {
  poi: number;
  similarity: number;
}

/** Reads pois.safetensors of a vectors/ directory. @throws DataError `MISSING_FILE` or `BAD_VECTORS` naming it. */
export async function loadPoiIndex(vectors: string): Promise<PoiIndex> {
  const path = join(vectors, 'pois.safetensors');
  const { tensors } = await readSafetensors(path);
  const table = tensors.embeddings;
  if (table === undefined || table.dtype !== 'F32' || table.shape.length !== 2) {
    throw new DataError('BAD_VECTORS', `${path} has no f32 table "embeddings". Run embed again.`);
  }
  const [pois, dimension] = table.shape as [number, number];
  const data = table.data as Float32Array;
  const lost = notFiniteRow(data, dimension);
  if (lost !== null)
    throw new DataError(
      'BAD_VECTORS',
      `${path}: the vector of POI number ${lost} holds NaN or infinity. Run embed again.`,
    );
  return { vectors: data, pois, dimension };
}

/** [pois]: the user's own id of each POI, by its number. @throws DataError `DATASET_CORRUPT` naming the file */
export async function loadPoiIds({ directory, manifest }: Pick<Dataset, 'directory' | 'manifest'>): Promise<string[]> {
  const file = join(directory, 'texts', 'pois.parquet');
  using db = await DuckdbSession.open();
  const rows = await db
    .rows<{ poi: string }>(`SELECT CAST(poi AS VARCHAR) AS poi FROM read_parquet(${literal(file)}) ORDER BY poi_index`)
    .catch((cause) => {
      throw new DataError('DATASET_CORRUPT', `${file} has no readable ids of POIs. Prepare the dataset again.`, {
        file,
        cause,
      });
    });
  if (rows.length !== manifest.pois)
    throw new DataError('DATASET_CORRUPT', `${file} has ${rows.length} POIs, not ${manifest.pois}. Prepare it again.`);
  return rows.map(({ poi }) => poi);
}

/** What to look for: free text, wrapped keywords (a scene's, a user's), or both. */
export interface RecallQuery {
  text?: string;
  keywords?: readonly { token: string; text: string }[];
}

/** Which POIs may be found. */
export interface RecallFilter {
  /** Only POIs of this place, as the schema's `place.poi` names it. */
  place?: string | undefined;
  /** Only POIs whose keyword of this name holds the text; upper and lower case are the same. Several must all hold. */
  keywords?: Readonly<Record<string, string>>;
}

/**
 * [pois]: 1 for those that the filter lets through; null where it lets all.
 * @throws UsageError `NO_PLACES`, `UNKNOWN_PLACE`, `UNKNOWN_KEYWORD` naming those that there are
 */
export async function allowedPois(
  dataset: Dataset,
  { place, keywords = {} }: RecallFilter,
): Promise<Uint8Array | null> {
  const wanted = Object.entries(keywords);
  if (place === undefined && wanted.length === 0) return null;
  const allowed = new Uint8Array(dataset.manifest.pois).fill(1);
  if (place !== undefined) {
    const places = await requirePlaces(dataset, [place]);
    places.forEach((one, poi) => {
      if (one !== place) allowed[poi] = 0;
    });
  }
  const names = dataset.manifest.keywords.poi.map(({ name }) => name);
  const unknown = wanted.find(([name]) => !names.includes(name));
  if (unknown !== undefined)
    throw new UsageError('UNKNOWN_KEYWORD', `POIs have no keyword "${unknown[0]}"; they have ${names.join(', ')}`);
  if (wanted.length > 0) {
    (await dataset.poiTexts()).forEach((texts, poi) => {
      if (!wanted.every(([name, part]) => holdsText(texts, name, [part]))) allowed[poi] = 0;
    });
  }
  return allowed;
}

/** Whether one of a POI's texts of this keyword holds one of some texts; upper and lower case are the same. */
export function holdsText(texts: readonly KeywordText[], keyword: string, wanted: readonly string[]): boolean {
  const parts = wanted.map((part) => part.toLowerCase());
  return texts.some((own) => own.keyword === keyword && parts.some((part) => own.text.toLowerCase().includes(part)));
}

/** [pois]: the place of each POI. @throws UsageError `NO_PLACES`; `UNKNOWN_PLACE` where one of `wanted` has no POI */
export async function requirePlaces(dataset: Dataset, wanted: readonly string[]): Promise<(string | null)[]> {
  const places = await dataset.poiPlaces();
  if (places === null) {
    throw new UsageError(
      'NO_PLACES',
      'the schema of these data names no place of POIs ("place": docs/data.md); filter by a keyword',
    );
  }
  const unknown = wanted.find((place) => !places.includes(place));
  if (unknown !== undefined) {
    const known = [...new Set(places.filter((one) => one !== null))].sort();
    const some = known.slice(0, 20).join(', ');
    throw new UsageError(
      'UNKNOWN_PLACE',
      `no POI is in "${unknown}"; there are ${some}${known.length > 20 ? ', …' : ''}`,
    );
  }
  return places;
}

export interface RecallOptions {
  /** Which POIs may be found; all where it is null. With a filter the search is exact, over those that it lets through. */
  allowed?: Uint8Array | null;
  /** Found by way of this index instead of looking at every POI. */
  graph?: Pick<NearestIndex, 'search'> | null;
}

/**
 * The `k` POIs whose vectors are most similar to the query's, best first (the paper's case study, section 4.5). POIs without a text
 * are never found.
 *
 * @throws UsageError `EMPTY_QUERY`; DataError `DIMENSION_MISMATCH` where the vectors are another model's
 */
export async function recall(
  embedder: TextEmbedder,
  index: PoiIndex,
  { text, keywords = [] }: RecallQuery,
  k = 10,
  { allowed = null, graph = null }: RecallOptions = {},
): Promise<RecallHit[]> {
  const vector = await questionVector(embedder, index, { ...(text && { text }), keywords });
  if (allowed === null && graph !== null) return graph.search(vector, k);
  return nearest(vector, index, k, embedder.similarity, allowed);
}

/** A question as the text that is read. @throws UsageError `EMPTY_QUERY` */
export function questionText(embedder: Pick<TextEmbedder, 'phrase'>, { text, keywords = [] }: RecallQuery): string {
  const parts = [...(text ? [text] : []), ...(keywords.length > 0 ? [embedder.phrase(keywords)] : [])];
  if (parts.length === 0) throw new UsageError('EMPTY_QUERY', 'There is nothing to look for: give a text or keywords.');
  return parts.join(' ');
}

/**
 * The vector of a question, [dimension], as the model makes it.
 * @throws as `recall`
 */
export async function questionVector(
  embedder: TextEmbedder,
  index: Pick<PoiIndex, 'dimension'>,
  query: RecallQuery,
): Promise<Float32Array> {
  const question = questionText(embedder, query);
  if (index.dimension !== embedder.dimension) {
    throw new DataError(
      'DIMENSION_MISMATCH',
      `The POI vectors have ${index.dimension} dimensions, the model makes ${embedder.dimension}. Embed the dataset with this model.`,
    );
  }
  return embedder.embed([embedder.tokens(` ${question}`).ids], { name: () => `the question "${question}"` });
}

/** The `k` rows of an index most similar to `vector` [dimension], best first; of those that are allowed. */
export function nearest(
  vector: Float32Array,
  index: PoiIndex,
  k: number,
  similarity: Similarity,
  allowed: Uint8Array | null = null,
): RecallHit[] {
  return nearestOfEach([vector], index, k, similarity, allowed)[0]!;
}

/** [pois]: 1 for the POIs that can be found: those that have a vector, and are allowed. */
export function findable({ vectors, pois, dimension }: PoiIndex, allowed: Uint8Array | null): Uint8Array {
  return Uint8Array.from({ length: pois }, (_, poi) => {
    const own = vectors.subarray(poi * dimension, (poi + 1) * dimension);
    return +(allowed?.[poi] !== 0 && own.some((x) => x !== 0));
  });
}

/** Questions at a time. */
const BATCH = 64;

/** `nearest` of each of some vectors, [dimension] each. */
export function nearestOfEach(
  questions: readonly Float32Array[],
  index: PoiIndex,
  k: number,
  similarity: Similarity,
  allowed: Uint8Array | null = null,
): RecallHit[][] {
  const { vectors, pois, dimension } = index;
  const can = findable(index, allowed);
  const rows = Int32Array.from([...can.keys()].filter((poi) => can[poi]));
  const found = Math.min(k, rows.length);
  if (found === 0) return questions.map(() => []);
  return noGrad(() =>
    tidy(() => {
      const all = tensor(vectors, [pois, dimension]);
      const table = rows.length === pois ? all : all.indexSelect(0, tensor(rows, [rows.length]));
      const out: RecallHit[][] = [];
      for (let start = 0; start < questions.length; start += BATCH) {
        const some = questions.slice(start, start + BATCH);
        const flat = new Float32Array(some.length * dimension);
        for (const [i, one] of some.entries()) flat.set(one, i * dimension);
        tidy(() => {
          const scores = similarities(tensor(flat, [some.length, dimension]), table, similarity);
          const [values, places] = scores.topk(found, 1, true, true) as [typeof scores, typeof scores];
          const similar = values.contiguous().toFloat32Array();
          const place = places.contiguous().toArray() as BigInt64Array;
          for (let i = 0; i < some.length; i++)
            out.push(
              Array.from({ length: found }, (_, j) => ({
                poi: rows[Number(place[i * found + j])]!,
                similarity: similar[i * found + j]!,
              })),
            );
        });
      }
      return out;
    }),
  );
}
