import { existsSync } from 'node:fs';
import { mkdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { TrainingError, UsageError, writeFileAtomic } from '@larr/core';
import { modelKind, networkOf } from '../models/index.js';
import { recordRun, runDataset } from '../report/run-record.js';
import { writeTuneReport } from '../report/tune-report.js';
import { ownSettings, resolveTrainConfig, type TrainConfig, type TrainConfigInput } from '../training/config.js';
import { type LearningData, loadLearningData } from '../training/data.js';
import { readRunFile } from '../training/run-files.js';
import { runPaths, type TrainProgress, trainForValidation } from '../training/train.js';
import { asJson, describeCandidates, digestOf } from './experiment.js';
import { type Candidate, type VectorsGiven, vectorsOf } from './runs.js';
import { defaultSpace, drawSettings, type SearchSpace } from './search-space.js';
import { withSetting } from './settings.js';
import { validationScore } from './sweep.js';

/** Shares of the train part's rows that trials are given, one after another; a third of them go on each time. */
export const SHARES = [1 / 4, 1 / 2, 1] as const;
const KEPT = 1 / 3;

/** The same for every model: configurations that are drawn, or minutes of training. */
export type TuneBudget = { trials: number } | { minutes: number };

export interface TuneOptions {
  data: string;
  split?: string | undefined;
  /** names out of `modelNames` */
  models: string[];
  /** seeds the draws, and every trial's training */
  seed: number;
  budget: TuneBudget;
  /** run.json, metrics.jsonl, trials/, tune.json, best.json, report.html */
  out: string;
  /** what is searched; default: `defaultSpace` of each model */
  space?: SearchSpace | undefined;
  vectors?: VectorsGiven | undefined;
  config?: TrainConfigInput | undefined;
  /** sections of the user's configuration file beside `train`, which best.json keeps */
  otherSections?: object | undefined;
  device?: string | undefined;
  limit?: number | undefined;
  signal?: AbortSignal | undefined;
  onProgress?: ((progress: TrainProgress) => void) | undefined;
  /** after each run: the trial as it stands, and how many of the model's runs are done */
  onTrial?: ((model: string, trial: TuneTrial, done: number, total: number) => void) | undefined;
}

/** One trial at one share of the rows. */
export interface TuneStep {
  share: number;
  /** mean of the validation AUCs that there are; null where the loss did not stay finite */
  score: number | null;
  ctrAuc: number | null;
  ctcvrAuc: number | null;
  seconds: number;
}

export interface TuneTrial {
  /** 0 is what is configured without a search */
  index: number;
  /** what was drawn, by dotted name; empty for trial 0 */
  settings: Record<string, unknown>;
  steps: TuneStep[];
}

export interface TunedModel {
  name: string;
  space: SearchSpace;
  trials: TuneTrial[];
  /** the trial with the best score at all rows; 0 where nothing drawn was better */
  best: number;
  /** score of the best trial less that of trial 0: by the validation part it was chosen on, so too good by a little */
  gain: number;
  seconds: number;
}

/** tune.json, and what `larr tune --json` prints. */
export interface TuneResult {
  dataset: string;
  split: string;
  seed: number;
  budget: TuneBudget;
  models: TunedModel[];
  /** the file that `train` and `compare` take with --config */
  config: string;
}

/**
 * Searches settings by successive halving (Jamieson and Talwalkar 2016): all drawn configurations learn from a quarter of the rows, the
 * best third from half, the best third of those from all; the best of these, or what is configured, wins. Models are chosen by the
 * validation part alone: no file of the test part is opened. A stopped search goes on; finished trials are kept.
 *
 * @throws UsageError `BAD_BUDGET`, `UNKNOWN_MODEL`, `NEEDS_VECTORS`; ConfigError `BAD_CONFIG` where the space holds what a setting cannot
 * be; TrainingError `INTERRUPTED`; whatever training and loading throw
 */
export async function tune(options: TuneOptions): Promise<TuneResult> {
  for (const name of checkTune(options)) vectorsOf(name, options.vectors);
  const data = await loadLearningData(options);
  try {
    return await tuneOn(data, options);
  } finally {
    data.dispose();
  }
}

/** `tune` on data that is loaded already. */
export async function tuneOn(data: LearningData, options: TuneOptions): Promise<TuneResult> {
  const { out, seed, budget, config, limit, signal } = options;
  const models = checkTune(options);
  const { manifest, splitName } = data.dataset;
  const candidates = models.map((name) => ({ name, model: name, config, vectors: vectorsOf(name, options.vectors) }));
  const { configs, vectors } = await describeCandidates(data, candidates);
  const spaces = Object.fromEntries(
    models.map((name) => [name, options.space ?? defaultSpace(name, networkOf(name, configs[name]!), configs[name]!)]),
  );
  // A space that holds what a setting cannot be is refused before anything is trained.
  for (const name of models) {
    for (let index = 1; index <= 20; index++)
      resolveTrainConfig(name, manifest.training, drawn(name, index, spaces[name]!, options).config);
  }
  await mkdir(out, { recursive: true });
  const described = { models: configs, spaces, budget, ...(limit !== undefined && { limit }) };
  const dataset = runDataset(data.dataset);
  const digests = Object.values(vectors).map(({ sha256 }) => sha256);
  const identity = digestOf([described, seed, dataset.contentDigest, dataset.split, digests]);
  const learntFrom = [dataset.contentDigest, dataset.split, limit ?? null, digests];
  const path = join(out, 'tune.json');
  const run = {
    stage: 'tune' as const,
    identity,
    config: described,
    seed,
    device: data.device,
    dataset,
    inputs: vectors,
  };
  const { result, record } = await recordRun(
    out,
    run,
    signal,
    async (): Promise<TuneResult> => {
      const tuned: TunedModel[] = [];
      for (const candidate of candidates) {
        const { name } = candidate;
        tuned.push(await tuneModel(data, candidate, spaces[name]!, configs[name]!, learntFrom, options));
      }
      return {
        dataset: manifest.name,
        split: splitName,
        seed,
        budget,
        models: tuned,
        config: join(out, 'best.json'),
      };
    },
    async (again) => (await readFile(path, 'utf8').catch(() => '')) === asJson(again),
  );
  const lines = result.models.flatMap(({ name, trials }) =>
    trials.flatMap(({ index, settings, steps }) =>
      steps.map((step) => JSON.stringify({ model: name, trial: index, settings, ...step })),
    ),
  );
  await writeFileAtomic(join(out, 'metrics.jsonl'), lines.map((line) => `${line}\n`).join(''));
  await writeFileAtomic(result.config, asJson(bestConfig(result, options)));
  await writeFileAtomic(path, asJson(result));
  await writeTuneReport(join(out, 'report.html'), result, configs, record);
  return result;
}

/** The user's configuration with the best settings of each model in `train.models`. */
function bestConfig({ models }: TuneResult, { config = {}, otherSections = {} }: TuneOptions): object {
  const train = models.reduce<TrainConfigInput>((all, { name, best, trials }) => {
    const { settings } = trials.find(({ index }) => index === best)!;
    return withSettings(all, name, settings);
  }, config);
  return { ...otherSections, train };
}

function withSettings(config: TrainConfigInput, model: string, settings: Record<string, unknown>): TrainConfigInput {
  const own = { ...config, models: { ...config.models, [model]: ownSettings(model, config) } };
  return Object.entries(settings).reduce<TrainConfigInput>(
    (at, [path, value]) => withSetting(at, model, path, value),
    own,
  );
}

function drawn(
  model: string,
  index: number,
  space: SearchSpace,
  { seed, config = {} }: TuneOptions,
): { settings: Record<string, unknown>; config: TrainConfigInput } {
  const settings = index === 0 ? {} : drawSettings(space, seed, model, index);
  return { settings, config: withSettings(config, model, settings) };
}

async function tuneModel(
  data: LearningData,
  candidate: Candidate,
  space: SearchSpace,
  configured: TrainConfig,
  learntFrom: unknown,
  options: TuneOptions,
): Promise<TunedModel> {
  const { name } = candidate;
  const trials = new Map<number, TuneTrial>();
  let done = 0;
  const learn = async (index: number, share: number, total: number): Promise<TuneStep> => {
    const { settings, config } = drawn(name, index, space, options);
    const trial = trials.get(index) ?? { index, settings, steps: [] };
    trials.set(index, trial);
    const step = await runTrial(data, { ...candidate, config }, index, share, learntFrom, options);
    trial.steps.push(step);
    options.onTrial?.(name, trial, ++done, total);
    return step;
  };
  const scoreOf = (index: number) => trials.get(index)!.steps.at(-1)!.score ?? Number.NEGATIVE_INFINITY;

  const reference = await learn(0, 1, 'trials' in options.budget ? runsOf(options.budget.trials) : 1);
  if (reference.score === null) {
    throw new TrainingError(
      'LOSS_NOT_FINITE',
      `the loss of ${name} does not stay finite with the settings that are configured: lower learningRate (${configured.learningRate}) or set clipNorm before searching`,
    );
  }
  const count = countOf(options.budget, reference.seconds);
  let left = Array.from({ length: count }, (_, i) => i + 1);
  for (const [rung, share] of SHARES.entries()) {
    for (const index of left) await learn(index, share, runsOf(count));
    if (rung === SHARES.length - 1) break;
    left = [...left].sort((a, b) => scoreOf(b) - scoreOf(a) || a - b).slice(0, Math.ceil(left.length * KEPT));
  }
  const best = [0, ...left].reduce((a, b) => (scoreOf(b) > scoreOf(a) ? b : a));
  const all = [...trials.values()].sort((a, b) => a.index - b.index);
  return {
    name,
    space,
    trials: all,
    best,
    gain: scoreOf(best) - reference.score,
    seconds: all.reduce((sum, { steps }) => sum + steps.reduce((s, { seconds }) => s + seconds, 0), 0),
  };
}

/** How many trials run at each share when `count` begin. */
function stepsOf(count: number): number[] {
  const steps = [count];
  while (steps.length < SHARES.length) steps.push(Math.ceil(steps.at(-1)! * KEPT));
  return steps;
}

/** Runs of one model where `count` trials are drawn, with that of what is configured. */
function runsOf(count: number): number {
  return 1 + (count === 0 ? 0 : stepsOf(count).reduce((sum, n) => sum + n, 0));
}

/** Trials that a budget allows; of minutes, what is left of them after the configured settings have shown what a run takes. */
function countOf(budget: TuneBudget, seconds: number): number {
  if ('trials' in budget) return budget.trials;
  const left = (budget.minutes * 60) / Math.max(seconds, 1e-3) - 1; // in runs over all rows
  const cost = (count: number) => stepsOf(count).reduce((sum, n, i) => sum + n * SHARES[i]!, 0);
  let count = 0;
  while (cost(count + 1) <= left && count < 10_000) count++;
  return count;
}

/**
 * Trains one trial, or reads back what a former sitting found. Its weights are let go: a search can hold hundreds of runs.
 * @param learntFrom what tells these data and vectors from others: a failure holds for them alone
 */
async function runTrial(
  data: LearningData,
  { name, model, config, vectors }: Candidate,
  index: number,
  share: number,
  learntFrom: unknown,
  { out, seed, signal, onProgress }: TuneOptions,
): Promise<TuneStep> {
  if (signal?.aborted) throw new TrainingError('INTERRUPTED', 'the search was stopped between two trials');
  const directory = join(out, 'trials', `${name}-${index}-of-${Math.round(1 / share)}`);
  const failed = join(directory, 'failed.json');
  const digest = digestOf([config, seed, share, learntFrom]);
  if (existsSync(failed)) {
    const before = await readRunFile<{ digest: string; seconds: number }>(failed);
    if (before.digest === digest) return { share, score: null, ctrAuc: null, ctcvrAuc: null, seconds: before.seconds };
  }
  const started = performance.now();
  const paths = runPaths(directory);
  try {
    const { validation, seconds } = await trainForValidation(
      data,
      {
        model,
        seed,
        out: directory,
        config,
        vectors,
        signal,
        onProgress: (progress) => onProgress?.({ ...progress, model: `${name} trial ${index}` }),
      },
      share,
    );
    const { ctrAuc, ctcvrAuc } = validation;
    return { share, score: validationScore(validation), ctrAuc, ctcvrAuc, seconds };
  } catch (error) {
    if (!(error instanceof TrainingError) || error.code !== 'LOSS_NOT_FINITE') throw error;
    const seconds = (performance.now() - started) / 1000;
    await writeFileAtomic(failed, asJson({ digest, seconds, message: error.message }));
    return { share, score: null, ctrAuc: null, ctcvrAuc: null, seconds };
  } finally {
    if (existsSync(paths.result) || existsSync(failed))
      for (const path of [paths.last, paths.weights]) await rm(path, { force: true });
  }
}

/** What can be refused before vectors are made and data are loaded. @throws as `tune` */
export function checkTune({ models: names, budget }: Pick<TuneOptions, 'models' | 'budget'>): string[] {
  const models = [...new Set(names)];
  if (models.length === 0) throw new UsageError('UNKNOWN_MODEL', 'tune needs at least one model');
  for (const name of models) {
    if (modelKind(name).truth !== null)
      throw new UsageError(
        'TRUTH_TUNED',
        `${name} is a control that is told the truth: it takes the settings of its base`,
      );
  }
  const [amount] = Object.values(budget) as [number];
  if (!(amount > 0) || ('trials' in budget && !Number.isSafeInteger(amount)))
    throw new UsageError(
      'BAD_BUDGET',
      `a search needs a whole number of trials or some minutes above 0, not ${amount}`,
    );
  return models;
}
