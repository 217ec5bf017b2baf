import { createHash } from 'node:crypto';
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { writeFileAtomic } from '@larr/core';
import { refuseOtherPairs } from '../embedding/learnt-pairs.js';
import { modelDigest } from '../embedding/model-digest.js';
import { checkVectors } from '../embedding/vectors-manifest.js';
import { checkModelDirectory } from '../language-model/model-directory.js';
import { checkModelInputs, type LanguageStagesTaken, modelKind } from '../models/index.js';
import { type RunDescription, type RunRecord, recordRun, runDataset } from '../report/run-record.js';
import { resolveTrainConfig, type TrainConfig } from '../training/config.js';
import type { LearningData, TrainingData } from '../training/data.js';
import { vectorsDigest } from '../training/vectors-digest.js';
import { type Candidate, type CandidateRun, type RunOptions, trainCandidates } from './runs.js';

/** What the seeds are of, and so what standard deviations and tests speak of. */
export interface SeedsVary {
  stages: ['train'];
  /** sha256 of the language model's vectors, the same for every seed; null where no model takes those of the whole language model */
  vectors: string | null;
  note: string;
}

export interface ExperimentOptions extends RunOptions {
  /** at most so many rows of each part */
  limit?: number | undefined;
}

export interface Experiment<R> {
  stage: 'compare' | 'ablate' | 'sweep';
  candidates: readonly Candidate[];
  seeds: readonly number[];
  /** What the experiment says of its runs: `<stage>.json`. */
  tabulate(runs: readonly CandidateRun[], seedsVary: SeedsVary): Promise<R>;
  /** Writes report.html. */
  report(path: string, result: R, runs: readonly CandidateRun[], record: RunRecord): Promise<void>;
}

/**
 * Trains all candidates with all seeds, keeps run.json, metrics.jsonl, `<stage>.json` and report.html in `out`, and returns what
 * `tabulate` says. Finished runs are kept and a stopped one goes on, so that asking again costs only what is missing.
 *
 * @throws ConfigError `NEEDS_SEQUENCE`, `NEEDS_FIELDS` before anything is trained; DataError of the vectors; TrainingError
 * `INTERRUPTED`; whatever training throws
 */
export async function runExperiment<R extends object>(
  data: TrainingData,
  { stage, candidates, seeds, tabulate, report }: Experiment<R>,
  options: ExperimentOptions,
): Promise<R> {
  const { out, signal, limit } = options;
  await mkdir(out, { recursive: true });
  const { configs, vectors } = await describeCandidates(data, candidates);
  const config = { models: configs, ...(limit !== undefined && { limit }) };
  const run: RunDescription = {
    stage,
    config,
    seed: seeds,
    device: data.device,
    dataset: runDataset(data.dataset),
    inputs: vectors,
    identity: '',
  };
  const digests = Object.entries(vectors).map(([name, { sha256 }]) => [name, sha256]);
  run.identity = digestOf([config, seeds, run.dataset.contentDigest, run.dataset.split, digests]);
  const path = join(out, `${stage}.json`);
  let runs: CandidateRun[] = [];
  const { result, record } = await recordRun(
    out,
    run,
    signal,
    async () => {
      runs = await trainCandidates(data, candidates, seeds, options);
      return tabulate(runs, seedsVary(vectors.vectors?.sha256 ?? null));
    },
    async (again) => (await readFile(path, 'utf8').catch(() => '')) === asJson(again),
  );
  const lines = runs.map(({ name, seed, result: { metrics, seconds } }) =>
    JSON.stringify({ model: name, seed, ...metrics, seconds }),
  );
  await writeFileAtomic(join(out, 'metrics.jsonl'), lines.map((line) => `${line}\n`).join(''));
  await writeFileAtomic(path, asJson(result));
  await report(join(out, 'report.html'), result, runs, record);
  return result;
}

export const asJson = (result: object): string => `${JSON.stringify(result, null, 2)}\n`;

export const digestOf = (decisive: unknown): string =>
  createHash('sha256').update(JSON.stringify(decisive)).digest('hex');

/** How `run.json` calls the vectors that an experiment read. */
const VECTOR_NAMES: Record<LanguageStagesTaken, string> = {
  both: 'vectors',
  'no-cpt': 'vectors without stage 1',
  'no-ft': 'vectors without stage 2',
};

/**
 * The candidates' configurations in full, and the vectors that they read.
 * @throws ConfigError and DataError where the data or vectors are not what a candidate needs
 */
export async function describeCandidates(
  { dataset, inputs }: Pick<LearningData, 'dataset' | 'inputs'>,
  candidates: readonly Candidate[],
): Promise<{ configs: Record<string, TrainConfig>; vectors: RunDescription['inputs'] }> {
  const configs: Record<string, TrainConfig> = {};
  const vectors: RunDescription['inputs'] = {};
  const dimensions = new Map<string, number>();
  for (const { name, model, config, vectors: path } of candidates) {
    const kind = modelKind(model);
    if (kind.vectors !== null && !dimensions.has(path!)) {
      dimensions.set(path!, (await checkVectors(path!, dataset)).dimension);
      vectors[VECTOR_NAMES[kind.vectors]] = { path: path!, sha256: await vectorsDigest(path!) };
    }
    const width = kind.vectors === null ? undefined : dimensions.get(path!);
    configs[name] = resolveTrainConfig(model, dataset.manifest.training, config, width);
    checkModelInputs(model, configs[name], inputs);
    if (kind.languageModel) {
      await refuseOtherPairs(path!, dataset);
      await checkModelDirectory(path!, configs[name].p5);
      vectors['language model'] = { path: path!, sha256: await modelDigest(path!) };
    }
  }
  return { configs, vectors };
}

function seedsVary(vectors: string | null): SeedsVary {
  return {
    stages: ['train'],
    vectors,
    note:
      vectors === null
        ? 'Seeds vary the training of the recommendation models (stage 3).'
        : 'Seeds vary stage 3 alone: one language model, trained once, gave the vectors of every seed. Standard deviations and tests say nothing of how its own training would vary.',
  };
}
