// What every experiment does: train some candidates with some seeds, and tabulate what came out.
import { join } from 'node:path';
import { TrainingError, UsageError } from '@larr/core';
import { type LanguageStagesTaken, modelKind, needsLanguageModel } from '../models/index.js';
import type { TrainConfigInput } from '../training/config.js';
import type { TrainingData } from '../training/data.js';
import type { RankingMetrics, Slice } from '../training/evaluate.js';
import { type TrainProgress, type TrainResult, trainModel } from '../training/train.js';
import { mean, standardDeviation } from './paired-test.js';

/** One thing to train: a model under a name of its own, with its settings. */
export interface Candidate {
  /** names its runs' directories and its row in tables */
  name: string;
  model: string;
  config?: TrainConfigInput | undefined;
  /** what `larr embed` wrote, for models that take vectors */
  vectors?: string | undefined;
}

/** A finished run of a candidate. */
export interface CandidateRun {
  name: string;
  seed: number;
  directory: string;
  result: TrainResult;
}

/** What `larr embed` wrote, and for P5 the language model itself: of the whole language model, and of those that the ablations noCPT and noFT take. */
export type VectorsGiven = string | { [K in LanguageStagesTaken | 'languageModel']?: string | undefined };

/**
 * The directory of vectors that a model takes; undefined where it takes none.
 * @throws UsageError `NEEDS_VECTORS`, `UNKNOWN_MODEL`
 */
export function vectorsOf(model: string, given: VectorsGiven | undefined): string | undefined {
  const { vectors, languageModel } = modelKind(model);
  if (languageModel) {
    if (typeof given === 'object' && given.languageModel !== undefined) return given.languageModel;
    throw needsLanguageModel(model);
  }
  if (vectors === null) return undefined;
  const found = typeof given === 'string' ? { both: given } : (given ?? {});
  if (found[vectors] !== undefined) return found[vectors];
  const how = {
    both: 'give the directory that "larr embed" writes',
    'no-cpt': 'give vectors of a model whose stage 1 was skipped (pretrain.tokens 0, then finetune and embed)',
    'no-ft': 'give vectors of a stage-1 model ("larr embed" takes one)',
  }[vectors];
  throw new UsageError('NEEDS_VECTORS', `the model "${model}" needs the language model's vectors: ${how}`);
}

export interface RunOptions {
  /** the directory of the experiment; runs go to models/ */
  out: string;
  signal?: AbortSignal | undefined;
  onProgress?: ((progress: TrainProgress) => void) | undefined;
  /** called after each run, also for those that an earlier sitting finished */
  onResult?: ((result: TrainResult) => void) | undefined;
}

/** Where an experiment keeps the run of a candidate and seed. */
export function runDirectory(out: string, name: string, seed: number): string {
  return join(out, 'models', `${name}-seed${seed}`);
}

/**
 * Trains what is not finished, seed by seed, so that a stopped experiment has whole rows to show. A run that was stopped goes on.
 * @throws TrainingError `INTERRUPTED`; whatever training throws
 */
export async function trainCandidates(
  data: TrainingData,
  candidates: readonly Candidate[],
  seeds: readonly number[],
  { out, signal, onProgress, onResult }: RunOptions,
): Promise<CandidateRun[]> {
  const runs: CandidateRun[] = [];
  for (const seed of seeds) {
    for (const { name, model, config, vectors } of candidates) {
      if (signal?.aborted) throw new TrainingError('INTERRUPTED', 'the experiment was stopped between two runs');
      const directory = runDirectory(out, name, seed);
      const shown = (progress: TrainProgress) => onProgress?.({ ...progress, model: name });
      const result = await trainModel(data, {
        model,
        seed,
        out: directory,
        config,
        vectors,
        signal,
        onProgress: shown,
      });
      runs.push({ name, seed, directory, result });
      onResult?.({ ...result, model: name });
    }
  }
  return runs;
}

/** Seeds 1 … n, or those of a list. @throws UsageError `BAD_SEEDS` */
export function seedList(seeds: number | readonly number[]): number[] {
  const list = typeof seeds === 'number' ? Array.from({ length: seeds }, (_, i) => i + 1) : [...seeds];
  if (list.length === 0 || list.some((seed) => !Number.isSafeInteger(seed) || seed < 0)) {
    throw new UsageError('BAD_SEEDS', `seeds must be a count above 0 or whole numbers from 0 up, not ${seeds}`);
  }
  const repeated = list.find((seed, i) => list.indexOf(seed) !== i);
  if (repeated !== undefined) {
    throw new UsageError('BAD_SEEDS', `seed ${repeated} stands twice in the list: its run would count twice`);
  }
  return list;
}

/** The figures of method.md's table, of the test part, and the seconds a run trained. */
export interface CompareFigures {
  ctrAuc: number;
  ctrLogloss: number;
  ctcvrAuc: number | null;
  ctrGauc: number | null;
  ctcvrGauc: number | null;
  seconds: number;
}

const FIGURES = ['ctrAuc', 'ctrLogloss', 'ctcvrAuc', 'ctrGauc', 'ctcvrGauc', 'seconds'] as const;

/** A candidate over the seeds. */
export interface CompareModel extends CompareFigures {
  name: string;
  /** sample standard deviations over the seeds; null with a single seed */
  std: { [K in keyof CompareFigures]: number | null };
  perSeed: (CompareFigures & { seed: number })[];
}

function figures({ metrics, seconds }: TrainResult): CompareFigures {
  const { ctrAuc, ctrLogloss, ctcvrAuc, ctrGauc, ctcvrGauc }: RankingMetrics = metrics;
  return { ctrAuc, ctrLogloss, ctcvrAuc, ctrGauc, ctcvrGauc, seconds };
}

/** Means and standard deviations of one candidate. */
export function tabulate(name: string, runs: readonly CandidateRun[]): CompareModel {
  const own = runs.filter((run) => run.name === name);
  const perSeed = own.map(({ seed, result }) => ({ seed, ...figures(result) }));
  const over = (key: keyof CompareFigures, f: (values: number[]) => number) => {
    const values = perSeed.flatMap((row) => (row[key] === null ? [] : [row[key]]));
    return values.length === perSeed.length ? f(values) : null;
  };
  const std = Object.fromEntries(
    FIGURES.map((key) => [key, own.length < 2 ? null : over(key, standardDeviation)]),
  ) as CompareModel['std'];
  return {
    name,
    ctrAuc: over('ctrAuc', mean)!,
    ctrLogloss: over('ctrLogloss', mean)!,
    ctcvrAuc: over('ctcvrAuc', mean),
    ctrGauc: over('ctrGauc', mean),
    ctcvrGauc: over('ctcvrGauc', mean),
    seconds: over('seconds', mean)!,
    std,
    perSeed,
  };
}

export type SliceKind = Exclude<Slice['kind'], 'scene'>;
export type AucMetric = 'ctrAuc' | 'ctcvrAuc';

/** An AUC of every seed's run of a candidate, over all test rows or a slice of them; null where a run has none. */
export function aucPerSeed(
  runs: readonly CandidateRun[],
  name: string,
  metric: AucMetric,
  slice: SliceKind | 'all' = 'all',
): number[] | null {
  const values = runs.flatMap((run) => {
    if (run.name !== name) return [];
    if (slice === 'all') return [run.result.metrics[metric]];
    return [run.result.slices.find(({ kind }) => kind === slice)?.[metric]?.auc ?? null];
  });
  return values.length > 0 && !values.includes(null) ? (values as number[]) : null;
}
