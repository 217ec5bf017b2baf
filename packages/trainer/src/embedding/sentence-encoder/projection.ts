import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { DataError, readSafetensors, writeSafetensors } from '@larr/core';
import { noGrad, tensor, tidy } from '@larr/torch';
import { draws, shuffled } from '../../language-model/draws.js';
import { principalAxes } from '../eigen.js';
import { mapBatches } from '../embedder.js';
import type { TextEmbedder } from '../text-embedder.js';
import { plainText, type SentenceEncoder } from './sentence-encoder.js';

/** Width of the vectors that stage 3 reads: the paper's. */
const DIMENSION = 128;
/** Texts of POIs that the projection is fitted on. */
const FITTED_TEXTS = 4096;
/** Directions of less variance than this share of the greatest would be noise blown up. */
const FLOOR = 1e-4;
const FILE = 'encoder-projection.safetensors';

/** `e(x) = W (h(x) − mean)` */
interface EncoderProjection {
  /** [dimension, width], row by row */
  matrix: Float32Array;
  mean: Float32Array;
  dimension: number;
}

/** What a projection was fitted on: fitted again for anything else. */
export interface FittedOn {
  /** Token ids of all POIs' texts. */
  texts: readonly Int32Array[];
  /** `contentDigest` of the dataset */
  dataset: string;
  seed: number;
}

/**
 * A sentence encoder as a `TextEmbedder` of at most 128 dimensions, which then owns it: its vectors are centred and whitened along the
 * principal axes of POIs' texts (Su et al. 2021, "Whitening sentence representations"). Which texts they are follows from
 * the seed. The projection is kept in `output`, so that queries of `larr recall` go the same way.
 * @returns the embedder, and the digest of everything that decides its vectors
 * @throws DataError `EMPTY_CORPUS` where there are not two texts
 */
export async function fitProjection(
  encoder: SentenceEncoder,
  output: string,
  { texts, dataset, seed }: FittedOn,
  signal: AbortSignal | undefined,
): Promise<{ embedder: TextEmbedder; digest: string }> {
  const path = join(output, FILE);
  const identity = createHash('sha256')
    .update(JSON.stringify([encoder.digest, dataset, seed]))
    .digest('hex');
  const kept = existsSync(path) ? await readProjection(path, encoder).catch(() => null) : null;
  const projection = kept?.identity === identity ? kept : await fit(encoder, texts, seed, signal);
  if (projection !== kept) {
    const { matrix, mean, dimension } = projection;
    await writeSafetensors(
      path,
      {
        projection: { dtype: 'F32', shape: [dimension, encoder.width], data: matrix },
        mean: { dtype: 'F32', shape: [encoder.width], data: mean },
      },
      { format: 'larr-encoder-projection', encoder: encoder.digest, identity },
    );
  }
  return { embedder: projected(encoder, projection), digest: digestOf(encoder, projection) };
}

/**
 * The same from a directory of vectors that were made with this encoder.
 * @throws DataError `VECTORS_MISMATCH` where they were made with another one
 */
export async function readProjected(
  encoder: SentenceEncoder,
  vectors: string,
): Promise<{ embedder: TextEmbedder; digest: string }> {
  const path = join(vectors, FILE);
  const projection = existsSync(path) ? await readProjection(path, encoder).catch(() => null) : null;
  if (projection === null) {
    throw new DataError(
      'VECTORS_MISMATCH',
      `${path} is missing, or not the projection of this encoder. Give the --encoder that "larr embed" made the vectors with, or embed again with this one.`,
      { file: path },
    );
  }
  return { embedder: projected(encoder, projection), digest: digestOf(encoder, projection) };
}

async function readProjection(
  path: string,
  encoder: SentenceEncoder,
): Promise<(EncoderProjection & { identity: string | undefined }) | null> {
  const { tensors, metadata } = await readSafetensors(path);
  const { projection, mean } = tensors;
  if (projection === undefined || mean === undefined || metadata.encoder !== encoder.digest) return null;
  return {
    matrix: projection.data as Float32Array,
    mean: mean.data as Float32Array,
    dimension: projection.shape[0]!,
    identity: metadata.identity,
  };
}

async function fit(
  encoder: SentenceEncoder,
  texts: readonly Int32Array[],
  seed: number,
  signal: AbortSignal | undefined,
): Promise<EncoderProjection> {
  if (texts.length < 2) {
    throw new DataError(
      'EMPTY_CORPUS',
      'There are not two POIs with a text to fit the projection of the encoder on. Name text columns as POI keywords in the schema.',
    );
  }
  const { width } = encoder;
  const chosen = Array.from(
    shuffled(texts.length, draws(seed, 'texts of the projection')).subarray(0, FITTED_TEXTS),
    (i) => texts[i]!,
  );
  const states = await mapBatches(chosen, width, (batch) => encoder.encode(batch), {
    signal,
    name: (i) => `a POI's text of ${chosen[i]!.length} tokens`,
  });
  const { mean, covariance } = noGrad(() =>
    tidy(() => {
      const rows = tensor(states, [chosen.length, width]).to('f64');
      const centre = rows.mean([0], true);
      const centred = rows.sub(centre);
      const product = centred.transpose(0, 1).matmul(centred).div(chosen.length);
      return { mean: centre.to('f32').contiguous().toFloat32Array(), covariance: product.contiguous().toArray() };
    }),
  );
  const dimension = Math.min(DIMENSION, width);
  const { values, vectors } = principalAxes(covariance as Float64Array, width, dimension);
  const floor = FLOOR * values[0]!;
  const matrix = new Float32Array(dimension * width);
  for (let row = 0; row < dimension; row++) {
    const scale = 1 / Math.sqrt(Math.max(values[row]!, floor, Number.MIN_VALUE));
    for (let i = 0; i < width; i++) matrix[row * width + i] = scale * vectors[row * width + i]!;
  }
  return { matrix, mean, dimension };
}

function projected(encoder: SentenceEncoder, { matrix, mean, dimension }: EncoderProjection): TextEmbedder {
  const { width } = encoder;
  const project = (states: Float32Array) =>
    noGrad(() =>
      tidy(() =>
        tensor(states, [states.length / width, width])
          .sub(tensor(mean, [1, width]))
          .linear(tensor(matrix, [dimension, width]))
          .toFloat32Array(),
      ),
    );
  return {
    dimension,
    similarity: 'cosine',
    contextLength: encoder.directory.contextLength,
    phrase: plainText,
    tokens: encoder.tokens,
    embed: (sequences, options) =>
      mapBatches(sequences, dimension, async (batch) => project(await encoder.encode(batch)), options),
    dispose: () => void encoder.dispose(),
  };
}

/** The encoder's own vectors, for judging what the projection does to them. */
export function unprojected(encoder: SentenceEncoder): TextEmbedder {
  return {
    dimension: encoder.width,
    similarity: 'cosine',
    contextLength: encoder.directory.contextLength,
    phrase: plainText,
    tokens: encoder.tokens,
    embed: (sequences, options) => mapBatches(sequences, encoder.width, (batch) => encoder.encode(batch), options),
    dispose: () => void encoder.dispose(),
  };
}

function digestOf(encoder: SentenceEncoder, { matrix, mean }: EncoderProjection): string {
  const hash = createHash('sha256').update(encoder.digest);
  for (const part of [matrix, mean]) hash.update(new Uint8Array(part.buffer, part.byteOffset, part.byteLength));
  return hash.digest('hex');
}
