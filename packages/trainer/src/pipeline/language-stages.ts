// The language model's way from a dataset to vectors: stage 1, stage 2, embedding, one after another.
import { join } from 'node:path';
import { openDataset } from '@larr/core';
import { FinetuneConfig, type FinetuneConfigInput } from '../embedding/config.js';
import { type FinetuneResult, finetune } from '../embedding/finetune.js';
import { type EmbedResult, embedDataset } from '../embedding/vectors.js';
import { refuseOtherStage } from '../language-model/stage-directory.js';
import { type PretrainConfigInput, parseConfig } from '../pretraining/config.js';
import { type PretrainResult, pretrain, type StageProgress } from '../pretraining/pretrain.js';
import { runDataset } from '../report/run-record.js';

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
 * @throws TrainingError `CHECKPOINT_MISMATCH` before anything is touched where `out` holds stages of another dataset, split, seed or
 * configuration; whatever the stages throw; the signal's reason when aborted, a checkpoint written
 */
export async function ensureVectors(options: LanguageStagesOptions): Promise<LanguageStages> {
  const { data, split, out, config, seed, device, signal, onProgress, onNotice } = options;
  const shared = { dataset: data, split, seed, device, signal, onProgress, onNotice };
  const stage1 = join(out, 'stage1');
  const stage2 = join(out, 'stage2');
  const vectors = join(out, 'vectors');
  await claimStage2(options, stage2);
  const pretrained = await pretrain({ ...shared, output: stage1, config: config.pretrain });
  const finetuned = await finetune({ ...shared, model: stage1, output: stage2, config: config.finetune });
  const { verdict, reason } = finetuned.gate;
  if (verdict !== 'passed')
    onNotice?.(
      `stage 2 ${verdict === 'failed' ? 'falls short of its gate' : 'could not be judged by its gate'} (${reason})`,
    );
  const embedded = await embedDataset({ ...shared, ...config.embed, model: stage2, output: vectors });
  return { vectors, pretrain: pretrained, finetune: finetuned, embed: embedded };
}

/**
 * The vectors of the whole language model, or of one that skipped a stage (the ablations noCPT and noFT, method.md, section 6), made in
 * `out` as far as they are missing: stage 1 with no tokens to learn and stage 2 on it, in no-cpt/; or stage 1 alone, whose states go
 * through a fixed projection, in no-ft/. The latter shares stage1/ with the whole model.
 * @returns the directory of the vectors
 * @throws what `ensureVectors` throws
 */
export async function ensureVectorsOf(
  taken: 'both' | 'no-cpt' | 'no-ft',
  options: LanguageStagesOptions,
): Promise<string> {
  const { data, split, out, config, seed, device, signal, onProgress, onNotice } = options;
  if (taken === 'both') return (await ensureVectors(options)).vectors;
  if (taken === 'no-cpt') {
    const untrained = { ...config, pretrain: { ...config.pretrain, tokens: 0 } };
    return (await ensureVectors({ ...options, out: join(out, 'no-cpt'), config: untrained })).vectors;
  }
  const shared = { dataset: data, split, seed, device, signal, onProgress, onNotice };
  const stage1 = join(out, 'stage1');
  const vectors = join(out, 'no-ft', 'vectors');
  await pretrain({ ...shared, output: stage1, config: config.pretrain });
  await embedDataset({ ...shared, ...config.embed, model: stage1, output: vectors });
  return vectors;
}

/** Stage 1 alone, in `out`/stage1, where it is missing. @returns its directory @throws what stage 1 throws */
export async function ensureStage1(options: LanguageStagesOptions): Promise<string> {
  const { data, split, out, config, seed, device, signal, onProgress, onNotice } = options;
  const output = join(out, 'stage1');
  await pretrain({ dataset: data, split, seed, device, signal, onProgress, onNotice, output, config: config.pretrain });
  return output;
}

/** Before stage 1 takes its time: whether stage 2, if it is there, is of these data, settings and seed. */
async function claimStage2({ data, split, config, seed }: LanguageStagesOptions, directory: string): Promise<void> {
  const dataset = runDataset(await openDataset(data, split));
  const settings = parseConfig(FinetuneConfig, config.finetune, 'stage 2');
  await refuseOtherStage(directory, { stage: 'finetune', config: settings, seed, dataset });
}
