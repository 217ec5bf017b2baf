// The language model's way from a dataset to vectors: stage 1, stage 2, embedding, one after another.
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { openDataset, TrainingError, writeFileAtomic } from '@larr/core';
import type { FinetuneConfigInput } from '../embedding/config.js';
import { type FinetuneResult, finetune } from '../embedding/finetune.js';
import { type EmbedResult, embedDataset } from '../embedding/vectors.js';
import type { PretrainConfigInput } from '../pretraining/config.js';
import { type PretrainResult, pretrain, type StageProgress } from '../pretraining/pretrain.js';

export interface LanguageStagesOptions {
  /** A dataset directory. */
  data: string;
  split?: string | undefined;
  /** The run directory: stage1/, stage2/ and vectors/ go there. */
  out: string;
  config: {
    pretrain?: PretrainConfigInput | undefined;
    finetune?: FinetuneConfigInput | undefined;
    embed?: { saveSeconds: number } | undefined;
  };
  seed: number;
  device: string;
  signal?: AbortSignal | undefined;
  onProgress?: ((progress: StageProgress) => void) | undefined;
  onNotice?: ((message: string) => void) | undefined;
}

export interface LanguageStages {
  /** The directory of the vectors. */
  vectors: string;
  pretrain: PretrainResult;
  finetune: FinetuneResult;
  embed: EmbedResult;
}

/**
 * Runs whatever of stage 1, stage 2 and the embedding is missing in `out`; finished stages are read back, stopped ones go
 * on from their last checkpoint.
 * @throws TrainingError `RUN_OF_OTHER_DATA` before anything is touched where `out` holds the stages of another dataset or split;
 * whatever the stages throw; the signal's reason when aborted, a checkpoint written
 */
export async function ensureVectors(options: LanguageStagesOptions): Promise<LanguageStages> {
  const { data, split, out, config, seed, device, signal, onProgress, onNotice } = options;
  const shared = { dataset: data, split, seed, device, signal, onProgress, onNotice };
  const stage1 = join(out, 'stage1');
  const stage2 = join(out, 'stage2');
  const vectors = join(out, 'vectors');
  await claim(out, data, split);
  const pretrained = await pretrain({ ...shared, output: stage1, config: config.pretrain });
  const finetuned = await finetune({ ...shared, model: stage1, output: stage2, config: config.finetune });
  const { verdict, reason } = finetuned.gate;
  if (verdict !== 'passed')
    onNotice?.(
      `stage 2 ${verdict === 'failed' ? 'falls short of its gate' : 'could not be judged by its gate'} (${reason}); stage 3 takes its vectors all the same`,
    );
  const embedded = await embedDataset({ ...shared, ...config.embed, model: stage2, output: vectors });
  return { vectors, pretrain: pretrained, finetune: finetuned, embed: embedded };
}

/** Notes in `out/origin.json` which data the run is of, so that other data never overwrite hours of training. */
async function claim(out: string, data: string, split: string | undefined): Promise<void> {
  const { manifest, splitName } = await openDataset(data, split);
  const origin = { dataset: manifest.name, split: splitName, contentDigest: manifest.contentDigest };
  const file = join(out, 'origin.json');
  const text = await readFile(file, 'utf8').catch(() => null);
  if (text === null) {
    await mkdir(out, { recursive: true });
    await writeFileAtomic(file, `${JSON.stringify(origin, null, 2)}\n`);
    return;
  }
  const of = JSON.parse(text) as typeof origin;
  if (of.contentDigest === origin.contentDigest && of.split === origin.split) return;
  throw new TrainingError(
    'RUN_OF_OTHER_DATA',
    `${out} holds a run on "${of.dataset}", split "${of.split}", of other content than ${data}. Take another --out, or remove the directory to start afresh`,
    { file },
  );
}
