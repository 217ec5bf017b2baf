import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { DataError, type Dataset } from '@larr/core';
import { loadSafetensors } from '@larr/torch';
import { howToFinetune, isOf, type LearntPairs } from './learnt-pairs.js';
import { modelDigest } from './model-digest.js';

/** `vectors.json`: what the vectors beside it were made from. */
export interface VectorsManifest {
  format: 'larr-vectors';
  version: 3;
  /** `contentDigest` of the dataset */
  dataset: string;
  split: string;
  /** `embedderDigest` of the model, or the digest of the sentence encoder and its projection */
  model: string;
  /** What the model was fine-tuned on; null where it is one of stage 1. */
  finetuned: LearntPairs | null;
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
 * Makes sure that a vectors directory is whole and of this dataset and split, and their model fine-tuned on no other one, before
 * anything is built on it. Vectors of another split would bring that split's training into this one's test.
 * @param model where given, the vectors must be this model's: its directory and its digest
 * @throws DataError `NO_VECTORS` where the directory is not finished, `VECTORS_MISMATCH` where it is of something else, saying what to run
 */
export async function checkVectors(
  dir: string,
  dataset: Pick<Dataset, 'directory' | 'manifest' | 'splitName'>,
  model?: { directory: string; digest: string },
): Promise<VectorsManifest> {
  const { directory, manifest, splitName } = dataset;
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
  /** Vectors of other data or of another split may be needed as they are: what is made in their stead has a place of its own. */
  const embed = (embedder: string, out = '<another directory>') =>
    `larr embed --data ${directory} --split ${splitName} --model ${embedder} --out ${out}`;
  const mismatch = (what: string, instead = '', elsewhere = false) => {
    const embedder = model?.directory ?? '<what finetune wrote on it>';
    const make = elsewhere
      ? `Make those of these data and this split (${dir} stays as it is): ${embed(embedder)}`
      : `Make them again (what has not changed is kept): ${embed(embedder, dir)}`;
    return new DataError('VECTORS_MISMATCH', `${dir}: ${what}. ${instead}${make}`, { file: path });
  };
  // A model that has learnt other pairs can't make them: embedding again would be refused, and rightly.
  const mismatchOfPairs = (what: string, instead = '') =>
    new DataError(
      'VECTORS_MISMATCH',
      `${dir}: ${what}: their model may have learnt from rows that "${splitName}" tests on. ${instead}Fine-tune on this split, ${howToFinetune(dataset)}, and embed with that: ${embed('<that directory>')}`,
      { file: path },
    );
  if (found.format !== 'larr-vectors' || found.version !== 3 || typeof found.dimension !== 'number')
    throw mismatch('vectors.json is not one of this version');
  const finetuned = found.finetuned ?? null;
  const ofOthers = finetuned !== null && !isOf(finetuned, dataset);
  const otherData = found.dataset !== manifest.contentDigest;
  const otherSplit = found.split !== splitName;
  const otherModel = model !== undefined && model.digest !== found.model;
  if (otherData || otherSplit) {
    // Everything that differs at once: who mends one should not meet the next.
    const what = [
      ...(otherData ? [`the data differ: the vectors were made for data of other content than ${directory}`] : []),
      ...(otherSplit
        ? [`the split differs: the vectors are of --split ${found.split}, not of --split ${splitName}`]
        : []),
      ...(otherModel ? [`the language model differs: they are not by ${model.directory} as it is now`] : []),
    ].join('; ');
    const instead =
      !otherData && found.split! in manifest.splits
        ? `If that split is meant, say --split ${found.split}; if not, give vectors of this one. `
        : otherData
          ? 'Give the --data that they are of, or vectors of these data. '
          : '';
    throw ofOthers ? mismatchOfPairs(what, instead) : mismatch(what, instead, true);
  }
  if (ofOthers)
    throw mismatchOfPairs(`the vectors' model was fine-tuned on other pairs (those of the split "${finetuned.split}")`);
  for (const file of ['scene.safetensors', 'pois.safetensors']) {
    if (!existsSync(join(dir, file))) throw mismatch(`${file} is missing`);
    if (modelOf(join(dir, file)) !== found.model) throw mismatch(`${file} is of another model than vectors.json says`);
  }
  if (otherModel)
    throw mismatch(
      `the language model differs: the vectors are of another model, or an earlier state of it, than ${model.directory}`,
      'Give the model that they are of, or make others. ',
    );
  return found as VectorsManifest;
}

/** The model that a file of vectors names in its metadata. The file is mapped, so the vectors are not read for it. */
function modelOf(path: string): string | undefined {
  const { tensors, metadata } = loadSafetensors(path);
  for (const t of Object.values(tensors)) t.dispose();
  return metadata.model;
}
