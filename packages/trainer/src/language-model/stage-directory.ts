// Whose a stage's directory is: hours of training are never made over by a run of other settings.
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { TrainingError, writeFileAtomic } from '@larr/core';
import { differingSettings, settings } from '../report/run-differences.js';
import { type RunDescription, readRecord } from '../report/run-record.js';
import { CHECKPOINT } from './stage-checkpoint.js';

/** What a stage of language-model training is made from. */
export interface StageRun extends Pick<RunDescription, 'dataset' | 'inputs'> {
  stage: 'pretrain' | 'finetune';
  /** The configuration in full. */
  config: object;
  seed: number;
}

/** Settings that no number follows from: when something is told or saved, and a path, of which what lies there counts. */
const indifferent = new Set(['logEvery', 'evaluateEvery', 'checkpointEvery', 'from']);

/** Of stage.json and of what the identity is made from: those of another version of LARR are not read as if they were of this one. */
const FORM = 3;

/** Written last: says that the stage is finished. */
const SUMMARY = 'stage.json';

/** A digest of everything that decides a stage's numbers: its settings, seed, data, split, and the model that it starts from. */
export function stageIdentity(run: StageRun): string {
  return createHash('sha256')
    .update(JSON.stringify([FORM, run.stage, decisive(run)]))
    .digest('hex');
}

/** What decides a stage's numbers, by the names that people know. */
function decisive({ config, seed, dataset, inputs }: Omit<StageRun, 'stage'>): Record<string, unknown> {
  const model = inputs.model?.sha256;
  return {
    data: dataset.contentDigest,
    split: dataset.split,
    seed,
    ...(model !== undefined && { model }),
    ...Object.fromEntries(settings(config).filter(([name]) => !indifferent.has(name))),
  };
}

/**
 * The result of the finished stage in `directory`; null where there is none, or where this run was stopped before its end.
 * @throws TrainingError `CHECKPOINT_MISMATCH` where the directory holds a model or a checkpoint of anything else: what is there,
 *   what was asked, and what to do
 */
export async function finishedStage<Result>(directory: string, run: StageRun): Promise<Result | null> {
  const identity = stageIdentity(run);
  const there = await readSummary<Result>(directory);
  if (there?.identity === identity && there.result !== undefined) return there.result;
  if (!isOccupied(directory)) return null;
  const record = await readRecord(directory);
  if (there === null && record?.identity === identity) return null;
  throw mismatch(directory, run, await differences(directory, run));
}

/** As `finishedStage` refuses, before it is known what model the stage will start from. */
export async function refuseOtherStage(directory: string, run: Omit<StageRun, 'inputs'>): Promise<void> {
  if (!isOccupied(directory)) return;
  const asked = { ...run, inputs: (await readRecord(directory))?.inputs ?? {} };
  const differing = await differences(directory, asked);
  if (differing === null || differing.length > 0) throw mismatch(directory, asked, differing);
}

/** Says that the stage is finished: the last thing that it writes. */
export async function finishStage(directory: string, run: StageRun, result: unknown): Promise<void> {
  const summary = { identity: stageIdentity(run), result };
  await writeFileAtomic(join(directory, SUMMARY), `${JSON.stringify(summary, null, 2)}\n`);
}

/** A directory with a model, finished or not, and wherever it came from. */
function isOccupied(directory: string): boolean {
  return [SUMMARY, CHECKPOINT, 'config.json', 'adapter_config.json'].some((file) => existsSync(join(directory, file)));
}

async function readSummary<Result>(directory: string): Promise<{ identity?: string; result?: Result } | null> {
  const path = join(directory, SUMMARY);
  if (!existsSync(path)) return null;
  try {
    return JSON.parse(await readFile(path, 'utf8')) as { identity?: string; result?: Result };
  } catch {
    return {};
  }
}

/** In what the stage that is there differs, in words; null where its record is missing or another stage's. */
async function differences(directory: string, run: StageRun): Promise<string[] | null> {
  const record = await readRecord(directory);
  if (record?.stage !== run.stage) return null;
  return differingSettings(decisive(record as StageRun), decisive(run), (name) => {
    if (name === 'data') return `data: those of ${record.dataset.directory} as they were then, others now`;
    if (name === 'model') return `the model it starts from: ${record.inputs.model?.path ?? 'none'} as it was then`;
    return null;
  });
}

function mismatch(directory: string, run: StageRun, differing: string[] | null): TrainingError {
  const number = run.stage === 'pretrain' ? 1 : 2;
  const holds =
    differing === null
      ? `holds a model that is not recorded as one of "larr ${run.stage}"`
      : `holds stage ${number} of another run (${differing.join('; ') || 'made by another version of LARR, or damaged'})`;
  return new TrainingError(
    'CHECKPOINT_MISMATCH',
    `${directory} ${holds}. Take another --out, or give the settings, seed and data that it was made with to go on; or, if nobody needs it, remove it to make it anew`,
    { file: directory },
  );
}
