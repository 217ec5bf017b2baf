// The language model's way from a dataset to vectors: stage 1, stage 2, embedding, one after another.
import { existsSync } from 'node:fs';
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { openDataset, TrainingError, writeFileAtomic } from '@larr/core';
import { FinetuneConfig, type FinetuneConfigInput } from '../embedding/config.js';
import { type FinetuneResult, finetune } from '../embedding/finetune.js';
import { type EmbedResult, embedDataset } from '../embedding/vectors.js';
import { PretrainConfig, type PretrainConfigInput } from '../pretraining/config.js';
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
 * @throws TrainingError `RUN_OF_OTHER_DATA` before anything is touched where `out` holds the stages of another dataset or split,
 * `RUN_OF_OTHER_SETTINGS` where it holds stages of another seed or configuration; whatever the stages throw; the signal's reason when aborted, a checkpoint written
 */
export async function ensureVectors(options: LanguageStagesOptions): Promise<LanguageStages> {
  const { data, split, out, config, seed, device, signal, onProgress, onNotice } = options;
  const shared = { dataset: data, split, seed, device, signal, onProgress, onNotice };
  const stage1 = join(out, 'stage1');
  const stage2 = join(out, 'stage2');
  const vectors = join(out, 'vectors');
  await claim(options);
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

/** `origin.json`: what the stages of a run directory are of. */
interface Origin {
  dataset: string;
  split: string;
  contentDigest: string;
  /** Of each stage: its seed and whole configuration. */
  settings?: Record<'stage1' | 'stage2', Record<string, unknown>>;
}

/** Notes in `out/origin.json` which data and settings the run is of, so that others never overwrite hours of training. */
async function claim({ data, split, out, config, seed }: LanguageStagesOptions): Promise<void> {
  const { manifest, splitName } = await openDataset(data, split);
  const settings = {
    stage1: { seed, ...PretrainConfig.parse(config.pretrain ?? {}) },
    stage2: { seed, ...FinetuneConfig.parse(config.finetune ?? {}) },
  };
  const origin: Origin = { dataset: manifest.name, split: splitName, contentDigest: manifest.contentDigest, settings };
  const file = join(out, 'origin.json');
  const text = await readFile(file, 'utf8').catch(() => null);
  if (text !== null) {
    const of = JSON.parse(text) as Origin;
    if (of.contentDigest !== origin.contentDigest || of.split !== origin.split) {
      throw new TrainingError(
        'RUN_OF_OTHER_DATA',
        `${out} holds a run on "${of.dataset}", split "${of.split}", of other content than ${data}. Take another --out, or remove the directory to start afresh`,
        { file },
      );
    }
    for (const stage of ['stage1', 'stage2'] as const) {
      const changes = of.settings === undefined ? [] : changed(of.settings[stage], settings[stage]);
      if (changes.length === 0 || !existsSync(join(out, stage))) continue;
      throw new TrainingError(
        'RUN_OF_OTHER_SETTINGS',
        `${join(out, stage)} was made with other settings (${changes.join('; ')}). Give the same --config and --seed to go on, or take another --out, or remove ${join(out, stage)} to make it anew`,
        { file },
      );
    }
  }
  await mkdir(out, { recursive: true });
  await writeFileAtomic(file, `${JSON.stringify(origin, null, 2)}\n`);
}

/** Settings that differ: `tokens: 60000 there, 1200000 now`. */
function changed(before: Record<string, unknown>, now: Record<string, unknown>): string[] {
  return Object.keys({ ...before, ...now })
    .filter((name) => JSON.stringify(before[name]) !== JSON.stringify(now[name]))
    .map(
      (name) => `${name}: ${JSON.stringify(before[name]) ?? 'none'} there, ${JSON.stringify(now[name]) ?? 'none'} now`,
    );
}
