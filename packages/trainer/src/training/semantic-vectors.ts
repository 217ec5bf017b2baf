import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { DataError, type SplitManifest } from '@larr/core';
import {
  cat,
  keep,
  loadSafetensors,
  manualSeed,
  noGrad,
  randn,
  randperm,
  type Tensor,
  tensor,
  tidy,
  zeros,
} from '@larr/torch';
import type { Parameters } from '../layers/parameters.js';
import { standardiseByField, standardiseColumns } from '../layers/standardise.js';
import type { ModelInputs } from '../models/inputs.js';

/** The language model's vectors, in the order of a split's scene entries and of the dataset's POIs. */
export interface SemanticVectors {
  /** f32 [scene entries, d]; the missing entry of each field is zero */
  scene: Tensor;
  /** f32 [POIs, d] */
  pois: Tensor;
}

/**
 * Reads a vectors directory (what `larr embed` writes).
 *
 * @throws DataError `NO_VECTORS` where the directory lacks a file, `VECTORS_MISMATCH` where a (field, text) of the
 * split has no vector or the POIs are others, `VECTORS_NOT_FINITE` naming the text where one is no vector. Whether they are of these data at all is `checkVectors`' to say, before any work.
 */
export async function loadSemanticVectors(
  dir: string,
  split: SplitManifest,
  inputs: ModelInputs,
): Promise<SemanticVectors> {
  let names: { field: string; text: string }[];
  try {
    names = JSON.parse(await readFile(join(dir, 'scene.json'), 'utf8'));
  } catch (error) {
    throw new DataError(
      'NO_VECTORS',
      `no scene vectors in ${dir} (${(error as Error).message}). LARR needs the directory that "larr embed" writes`,
    );
  }
  const rowOf = new Map(names.map(({ field, text }, row) => [`${field}\u0000${text}`, row]));
  // row `names.length` is appended as zeros: every missing entry points there
  const rows = split.scene.flatMap(({ field, texts }) =>
    texts.map((text, j) => {
      if (j === 0) return names.length;
      const row = rowOf.get(`${field}\u0000${text}`);
      if (row === undefined) {
        throw new DataError(
          'VECTORS_MISMATCH',
          `${join(dir, 'scene.json')} has no vector for the text "${text}" of scene field "${field}". ` +
            'The vectors were made for other data: run "larr embed" on this dataset',
        );
      }
      return row;
    }),
  );
  return tidy(() => {
    const table = embeddings(join(dir, 'scene.safetensors'), (row) => `the scene text "${names[row]?.text}"`);
    if (table.shape[0] !== names.length) {
      throw new DataError(
        'VECTORS_MISMATCH',
        `${join(dir, 'scene.safetensors')} has ${table.shape[0]} rows and scene.json ${names.length}`,
      );
    }
    const pois = embeddings(join(dir, 'pois.safetensors'), (row) => `POI number ${row}`);
    if (pois.shape[0] !== inputs.pois) {
      throw new DataError(
        'VECTORS_MISMATCH',
        `${join(dir, 'pois.safetensors')} has vectors of ${pois.shape[0]} POIs, and the dataset has ${inputs.pois}`,
      );
    }
    const index = tensor(BigInt64Array.from(rows, BigInt), [rows.length], { dtype: 'i64' });
    const scene = cat([table, zeros([1, table.shape[1]!])], 0).indexSelect(0, index);
    return { scene: keep(scene), pois: keep(pois.clone()) };
  });
}

function embeddings(path: string, name: (row: number) => string): Tensor {
  const { tensors } = loadSafetensors(path);
  const found = tensors.embeddings;
  if (found?.ndim !== 2) {
    throw new DataError('VECTORS_MISMATCH', `${path} holds no matrix named "embeddings"`);
  }
  const table = found.to('f32');
  const lost = table.sum([1]).isfinite().logicalNot().nonzero();
  if (lost.shape[0]! > 0) {
    const row = lost.select(0, 0).select(0, 0).item();
    throw new DataError(
      'VECTORS_NOT_FINITE',
      `${path}: the vector of ${name(row)} holds NaN or infinity. Run "larr embed" again, with a model whose arithmetic does not overflow`,
    );
  }
  return table;
}

/**
 * Fills a LARR model's `scene.table` and `pois.table` from the vectors: standardised per scene field, and each dimension over
 * all POIs. `random` draws both from N(0, 1) instead, `shuffled` gives every entry and POI the vector of another one; both
 * are controls, drawn from `seed`.
 */
export function installVectors(
  parameters: Parameters,
  inputs: ModelInputs,
  vectors: SemanticVectors,
  mode: 'model' | 'random' | 'shuffled',
  seed: number,
): void {
  noGrad(() =>
    tidy(() => {
      manualSeed(seed);
      const table = parameters.buffers.get('scene.table');
      if (table) {
        requireWidth(vectors.scene, table);
        const ranges = inputs.scene.map(({ offset, texts }) => ({ start: offset + 1, count: texts - 1 }));
        // controls replace the texts' rows only: what is missing stays missing
        const texts = ranges.flatMap(({ start, count }) => Array.from({ length: count }, (_, i) => start + i));
        table.copy_(standardiseByField(disguise(vectors.scene, texts, mode), ranges));
      }
      const pois = parameters.buffers.get('pois.table');
      if (pois) {
        requireWidth(vectors.pois, pois);
        const all = Array.from({ length: inputs.pois }, (_, i) => i);
        pois.narrow(0, 1, inputs.pois).copy_(standardiseColumns(disguise(vectors.pois, all, mode)));
      }
    }),
  );
}

function disguise(rows: Tensor, which: number[], mode: 'model' | 'random' | 'shuffled'): Tensor {
  if (mode === 'model') return rows;
  if (mode === 'random') return randn(rows.shape);
  const index = tensor(BigInt64Array.from(which, BigInt), [which.length], { dtype: 'i64' });
  const moved = index.indexSelect(0, randperm(which.length));
  return rows.indexCopy(0, index, rows.indexSelect(0, moved));
}

function requireWidth(vectors: Tensor, table: Tensor): void {
  if (vectors.shape[1] !== table.shape[1]) {
    throw new DataError(
      'VECTORS_MISMATCH',
      `the vectors are ${vectors.shape[1]} wide, and the model's larr.vectorDim is ${table.shape[1]}`,
    );
  }
}
