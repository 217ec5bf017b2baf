import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { DataError, type Dataset } from '@larr/core';
import { loadSafetensors } from '@larr/torch';
import { modelDigest } from './model-digest.js';

/** `vectors.json`: what the vectors beside it were made from. */
export interface VectorsManifest {
  format: 'larr-vectors';
  version: 2;
  /** `contentDigest` of the dataset */
  dataset: string;
  split: string;
  /** `embedderDigest` of the model */
  model: string;
  dimension: number;
}

/** Digest of everything that decides a model's vectors: its files and, where it has no projection of its own, the seed of one. */
export async function embedderDigest(model: string, seed: number): Promise<string> {
  const own = existsSync(join(model, 'projection.safetensors'));
  return createHash('sha256')
    .update(`${await modelDigest(model)} ${own ? '' : seed}`)
    .digest('hex');
}

/**
 * Makes sure that a vectors directory is whole and of this dataset and split, before anything is built on it. Vectors of another
 * split would bring that split's training into this one's test.
 * @param model where given, the vectors must be this model's
 * @throws DataError `NO_VECTORS` where the directory is not finished, `VECTORS_MISMATCH` where it is of something else, saying what to run
 */
export async function checkVectors(
  dir: string,
  { directory, manifest, splitName }: Pick<Dataset, 'directory' | 'manifest' | 'splitName'>,
  model?: { directory: string; seed: number },
): Promise<VectorsManifest> {
  const path = join(dir, 'vectors.json');
  const found = await readFile(path, 'utf8').then(
    (text) => {
      try {
        return JSON.parse(text) as Partial<VectorsManifest>;
      } catch {
        return {};
      }
    },
    () => null,
  );
  if (found === null) {
    throw new DataError(
      'NO_VECTORS',
      `${dir} holds no finished vectors (vectors.json, written last, is missing). Make them: larr embed --data ${directory} --model <what finetune wrote> --out ${dir}`,
      { file: path },
    );
  }
  const mismatch = (what: string) =>
    new DataError(
      'VECTORS_MISMATCH',
      `${dir}: ${what}. Make them again (what has not changed is kept): larr embed --data ${directory} --split ${splitName} --model ${model?.directory ?? '<what finetune wrote on it>'} --out ${dir}`,
      { file: path },
    );
  if (found.format !== 'larr-vectors' || found.version !== 2 || typeof found.dimension !== 'number')
    throw mismatch('vectors.json is not one of this version');
  if (found.dataset !== manifest.contentDigest)
    throw mismatch(`the vectors were made for data of other content than ${directory}`);
  if (found.split !== splitName)
    throw mismatch(
      `the vectors were made for the split "${found.split}", not "${splitName}": their model may have learnt from rows that this split tests on`,
    );
  for (const file of ['scene.safetensors', 'pois.safetensors']) {
    if (!existsSync(join(dir, file))) throw mismatch(`${file} is missing`);
    if (modelOf(join(dir, file)) !== found.model) throw mismatch(`${file} is of another model than vectors.json says`);
  }
  if (model !== undefined && (await embedderDigest(model.directory, model.seed)) !== found.model)
    throw mismatch(`the vectors are of another model, or an earlier state of it, than ${model.directory}`);
  return found as VectorsManifest;
}

/** The model that a file of vectors names in its metadata. The file is mapped, so the vectors are not read for it. */
function modelOf(path: string): string | undefined {
  const { tensors, metadata } = loadSafetensors(path);
  for (const t of Object.values(tensors)) t.dispose();
  return metadata.model;
}
