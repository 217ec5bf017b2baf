// Where recall for users happens: POIs' vectors less what all POIs share, so that questions, words and users' tastes can be added up.
import { UsageError } from '@larr/core';
import { centreAndNormalise } from './centring.js';
import { nearestOfEach, type PoiIndex, questionVector, type RecallHit, type RecallQuery } from './recall.js';
import type { TextEmbedder } from './text-embedder.js';

/** POIs' vectors less their mean (method.md, section 7: what all share tells nothing apart), each of length 1; zeros where there is no text. */
export interface PoiSpace {
  /** [pois, dimension] */
  vectors: Float32Array;
  pois: number;
  dimension: number;
  /** [dimension]: what was taken off */
  mean: Float32Array;
}

export function poiSpace({ vectors: given, pois, dimension }: PoiIndex): PoiSpace {
  const vectors = given.slice();
  const mean = centreAndNormalise({ data: vectors, shape: [pois, dimension] });
  return { vectors, pois, dimension, mean: Float32Array.from(mean) };
}

/** A vector of length 1; the zero vector stays what it is. */
export function unit(vector: Float32Array): Float32Array {
  const length = Math.hypot(...vector);
  return length === 0 ? vector : vector.map((x) => x / length);
}

/** Vectors of length 1 are rounded to about 1e-7: what is left of them below this is nothing but rounding. */
const ROUNDING = 1e-5;

/**
 * The mean of some POIs' vectors, of length 1; less the vector that `less` names of each, which is then of length 1 too. Zeros where they cancel
 * each other out, or nothing is left of them.
 */
export function meanOf(
  { vectors, dimension }: PoiSpace,
  pois: readonly number[],
  less?: (poi: number) => Float32Array | null,
): Float32Array {
  const sum = new Float32Array(dimension);
  for (const poi of pois) {
    const own = vectors.subarray(poi * dimension, (poi + 1) * dimension);
    const other = less?.(poi) ?? null;
    const part =
      other === null
        ? own
        : unit(
            told(
              own.map((x, i) => x - other[i]!),
              1,
            ),
          );
    for (let i = 0; i < dimension; i++) sum[i]! += part[i]!;
  }
  return unit(told(sum, pois.length));
}

/** Zeros in place of what is rounding alone, of a sum of so many vectors of length 1. */
function told(sum: Float32Array, vectors: number): Float32Array {
  return Math.hypot(...sum) < ROUNDING * vectors ? new Float32Array(sum.length) : sum;
}

/**
 * The `k` POIs nearest to each of some questions by cosine, best first; POIs without a text are never found.
 * @param questions [n, dimension]
 * @param allowed [pois]: 1 for those that may be found; all where it is null
 */
export function nearestInSpace(
  space: PoiSpace,
  questions: readonly Float32Array[],
  k: number,
  allowed: Uint8Array | null,
): RecallHit[][] {
  return nearestOfEach(questions, space, k, 'cosine', allowed);
}

/**
 * A question as the model reads it, [dimension], of length 1: less what all POIs share, as their vectors are.
 * @throws UsageError `NOT_COSINE` where the model compares in another way, which the space knows nothing of; those of `questionVector`
 */
export async function questionInSpace(
  embedder: TextEmbedder,
  space: PoiSpace,
  question: RecallQuery,
): Promise<Float32Array> {
  if (embedder.similarity !== 'cosine')
    throw new UsageError(
      'NOT_COSINE',
      `this model compares vectors by "${embedder.similarity}", and for users questions and tastes are added up and compared by cosine: take --by words, or a model fine-tuned with "similarity": "cosine"`,
    );
  const vector = await questionVector(embedder, space, question);
  return unit(vector.map((x, i) => x - space.mean[i]!));
}
