import { join } from 'node:path';
import { DataError, type Dataset, DuckdbSession, literal, readSafetensors, UsageError, wrapKeyword } from '@larr/core';
import { noGrad, tensor, tidy } from '@larr/torch';
import { type Embedder, embeddableText, embedSequences, type Similarity } from './embedder.js';
import { similarities } from './retrieval.js';

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
  return { vectors: table.data as Float32Array, pois: table.shape[0]!, dimension: table.shape[1]! };
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

/**
 * The `k` POIs whose vectors are most similar to the query's, best first: exact search over all of them (the paper's case
 * study, section 4.5). POIs without a text are never found.
 *
 * @throws UsageError `EMPTY_QUERY`; DataError `DIMENSION_MISMATCH` where the vectors are another model's
 */
export async function recall(embedder: Embedder, index: PoiIndex, query: RecallQuery, k = 10): Promise<RecallHit[]> {
  const { tokenizer, decoder } = embedder.model;
  const parts = [
    ...(query.text ? [query.text] : []),
    ...(query.keywords ?? []).map(({ token, text }) => wrapKeyword(token, text)),
  ];
  if (parts.length === 0) throw new UsageError('EMPTY_QUERY', 'There is nothing to look for: give a text or keywords.');
  if (index.dimension !== embedder.projection.shape[0]) {
    throw new DataError(
      'DIMENSION_MISMATCH',
      `The POI vectors have ${index.dimension} dimensions, the model makes ${embedder.projection.shape[0]}. Embed the dataset with this model.`,
    );
  }
  // A wrapped keyword's text begins after a blank; free text is encoded the same way.
  const { ids } = embeddableText(
    tokenizer,
    query.text ? ` ${parts.join(' ')}` : parts.join(' '),
    decoder.config.contextLength,
  );
  const vector = await embedSequences(embedder, [ids]);
  return nearest(vector, index, k, embedder.similarity);
}

/** The `k` rows of an index most similar to `vector` [dimension], best first. */
export function nearest(vector: Float32Array, index: PoiIndex, k: number, similarity: Similarity): RecallHit[] {
  const { pois, dimension } = index;
  return noGrad(() =>
    tidy(() => {
      const table = tensor(index.vectors, [pois, dimension]);
      const scores = similarities(tensor(vector, [1, dimension]), table, similarity).reshape([pois]);
      const empty = table.abs().sum([1]).eq(0);
      const found = pois - empty.to('i64').sum().item();
      const [values, indices] = scores
        .maskedFill(empty, Number.NEGATIVE_INFINITY)
        .topk(Math.min(k, found), 0, true, true) as [typeof scores, typeof scores];
      const similarity_ = values.toFloat32Array();
      const numbers = indices.toArray() as BigInt64Array;
      return Array.from(numbers, (poi, i) => ({ poi: Number(poi), similarity: similarity_[i]! }));
    }),
  );
}
