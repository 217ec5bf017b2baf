import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { DataError, type Dataset, readSafetensors } from '@larr/core';
import { LATER_TEXTS, LATER_VECTORS } from '../embedding/later-texts.js';
import type { SceneEntry } from '../embedding/vectors.js';
import type { ModelInputs } from '../models/inputs.js';
import type { ModelState } from './onnx/layers.js';

/** A scene text that was embedded after the model was trained, as its scene table would have it. */
export interface LaterText {
  /** position of the field */
  field: number;
  text: string;
  /** [d], standardised as the field's texts were (layers/standardise.ts) */
  vector: Float32Array;
}

/** How far a standardised vector may lie from the model's own and still be of the same language model. */
const SAME = 1e-3;

/**
 * Texts that `larr embed --texts` embedded for a model's vectors, by field; none where there are none.
 * @throws DataError `VECTORS_MISMATCH` where the model was trained with other vectors
 */
export async function laterScene(
  vectors: string | null,
  dataset: Dataset,
  inputs: ModelInputs,
  state: ModelState,
): Promise<LaterText[]> {
  const table = state.get('scene.table');
  if (vectors === null || table === undefined || !existsSync(join(vectors, LATER_TEXTS))) return [];
  const later = JSON.parse(await readFile(join(vectors, LATER_TEXTS), 'utf8')) as SceneEntry[];
  const rows = async (file: string): Promise<Float32Array> =>
    (await readSafetensors(join(vectors, file))).tensors.embeddings!.data as Float32Array;
  const [known, unknown] = [await rows('scene.safetensors'), await rows(LATER_VECTORS)];
  const d = table.shape[1]!;
  let from = 0;
  return dataset.split.scene.flatMap(({ field, texts }, position): LaterText[] => {
    const count = texts.length - 1;
    const { mean, scale } = standardisation(known.subarray(from * d, (from + count) * d), d);
    const standardised = (row: Float32Array): Float32Array => row.map((x, i) => (x - mean[i]!) * scale);
    for (let i = 0; i < count; i++) {
      const own = standardised(known.subarray((from + i) * d, (from + i + 1) * d));
      const at = (inputs.scene[position]!.offset + 1 + i) * d;
      if (own.some((x, k) => !(Math.abs(x - table.data[at + k]!) <= SAME * Math.max(1, Math.abs(x))))) {
        throw new DataError(
          'VECTORS_MISMATCH',
          `the model was trained with other vectors than ${vectors} holds, so the texts that were embedded later mean nothing to it: name the vectors that it was trained with, or train it with these`,
        );
      }
    }
    from += count;
    return later.flatMap((entry, i) =>
      entry.field === field
        ? [{ field: position, text: entry.text, vector: standardised(unknown.subarray(i * d, (i + 1) * d)) }]
        : [],
    );
  });
}

/** The mean of rows [·, d], and the factor that makes the mean square of what is left 1 (0 where nothing is). */
function standardisation(rows: Float32Array, d: number): { mean: Float64Array; scale: number } {
  const count = rows.length / d;
  const mean = new Float64Array(d);
  rows.forEach((x, at) => {
    mean[at % d]! += x / count;
  });
  const square = rows.reduce((sum, x, at) => sum + (x - mean[at % d]!) ** 2, 0) / Math.max(1, rows.length);
  return { mean, scale: Math.sqrt(square) > 1e-8 ? 1 / Math.sqrt(square) : 0 };
}
