import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { TrainingError, UsageError, writeFileAtomic } from '@larr/core';
import { checkVectors } from '../embedding/vectors-manifest.js';
import { checkModelInputs, modelKind } from '../models/index.js';
import { writeCompareReport } from '../report/compare-report.js';
import { type RunDescription, recordRun, runDataset } from '../report/run-record.js';
import { resolveTrainConfig, type TrainConfigInput } from '../training/config.js';
import { loadTrainingData, type TrainingData } from '../training/data.js';
import type { RankingMetrics } from '../training/evaluate.js';
import { type TrainProgress, type TrainResult, trainModel } from '../training/train.js';
import { vectorsDigest } from '../training/vectors-digest.js';
import { measureOracle, type OracleMetrics } from './oracle.js';
import { mean, pairedTest, standardDeviation } from './paired-test.js';

export interface CompareOptions {
  /** a dataset directory */
  data: string;
  split?: string | undefined;
  /** names out of `modelNames` */
  models: string[];
  /** how many seeds (1 … n), or which */
  seeds: number | number[];
  /** the directory of the comparison: one run directory per model and seed in models/, run.json, metrics.jsonl, compare.json, report.html */
  out: string;
  /** what `larr embed` wrote; needed by LARR and its variants */
  vectors?: string | undefined;
  config?: TrainConfigInput | undefined;
  device?: string | undefined;
  /** at most so many rows of each part */
  limit?: number | undefined;
  signal?: AbortSignal | undefined;
  onProgress?: ((progress: TrainProgress) => void) | undefined;
  /** called after each run, also for those that an earlier sitting finished */
  onResult?: ((result: TrainResult) => void) | undefined;
}

/** The six figures of method.md's table, and the seconds a run trained. */
export interface CompareFigures {
  ctrAuc: number;
  ctrLogloss: number;
  ctcvrAuc: number | null;
  ctrGauc: number | null;
  ctcvrGauc: number | null;
  seconds: number;
}

export interface CompareModel extends CompareFigures {
  name: string;
  /** sample standard deviations over the seeds; null with a single seed */
  std: { [K in keyof CompareFigures]: number | null };
  perSeed: (CompareFigures & { seed: number })[];
}

/** compare.json, and what `larr compare --json` prints. */
export interface CompareResult {
  dataset: string;
  seeds: number[];
  /** What the seeds are of, and so what standard deviations and tests speak of. */
  seedsVary: {
    stages: ['train'];
    /** sha256 of the language model's vectors, the same for every seed; null where no model takes them */
    vectors: string | null;
    note: string;
  };
  models: CompareModel[];
  split: string;
  /** what the world's true probabilities score on the same test rows: the ceiling; null on real data */
  oracle: OracleMetrics | null;
  /** paired t-tests over the seeds, every model against every one before it */
  differences: {
    a: string;
    b: string;
    metric: 'ctrAuc' | 'ctcvrAuc';
    difference: number;
    t: number | null;
    p: number;
  }[];
}

/**
 * Trains every model with every seed on the same data, and tabulates mean and standard deviation on the test part.
 * Finished runs are kept, and a stopped one goes on: running it again costs only what is missing.
 *
 * @throws UsageError `BAD_SEEDS`, `UNKNOWN_MODEL`, `NEEDS_VECTORS` before anything is loaded; ConfigError `NEEDS_SEQUENCE`,
 * `NEEDS_FIELDS` before anything is trained; TrainingError
 * `INTERRUPTED`; whatever loading and training throw
 */
export async function compare(options: CompareOptions): Promise<CompareResult> {
  checkOptions(options);
  const data = await loadTrainingData(options);
  try {
    return await compareOn(data, options);
  } finally {
    data.dispose();
  }
}

/** `compare` on data that is loaded already. */
export async function compareOn(data: TrainingData, options: CompareOptions): Promise<CompareResult> {
  const { seeds, models } = checkOptions(options);
  await mkdir(options.out, { recursive: true });
  const run = await describeRun(data, options, models, seeds);
  const path = join(options.out, 'compare.json');
  let results: TrainResult[] = [];
  const { result, record } = await recordRun(
    options.out,
    run,
    options.signal,
    async () => {
      results = await trainAll(data, options, models, seeds);
      return tabulateAll(data, options, models, seeds, results, run.inputs.vectors?.sha256 ?? null);
    },
    async (again) => (await readFile(path, 'utf8').catch(() => '')) === asJson(again),
  );
  const lines = results.map(({ model, seed, metrics, seconds }) =>
    JSON.stringify({ model, seed, ...metrics, seconds }),
  );
  await writeFileAtomic(join(options.out, 'metrics.jsonl'), lines.map((line) => `${line}\n`).join(''));
  await writeFileAtomic(path, asJson(result));
  const directoryOf = (model: string, seed: number) => runDirectory(options.out, model, seed);
  await writeCompareReport(join(options.out, 'report.html'), result, results, directoryOf, record);
  return result;
}

const asJson = (result: CompareResult): string => `${JSON.stringify(result, null, 2)}\n`;

/** Trains what is not finished, seed by seed, so that a stopped comparison has whole rows to show. */
async function trainAll(
  data: TrainingData,
  options: CompareOptions,
  models: string[],
  seeds: number[],
): Promise<TrainResult[]> {
  const results: TrainResult[] = [];
  for (const seed of seeds) {
    for (const model of models) {
      if (options.signal?.aborted)
        throw new TrainingError('INTERRUPTED', 'the comparison was stopped between two runs');
      const result = await trainModel(data, {
        model,
        seed,
        out: runDirectory(options.out, model, seed),
        config: options.config,
        vectors: options.vectors,
        signal: options.signal,
        onProgress: options.onProgress,
      });
      results.push(result);
      options.onResult?.(result);
    }
  }
  return results;
}

async function tabulateAll(
  data: TrainingData,
  options: CompareOptions,
  models: string[],
  seeds: number[],
  results: TrainResult[],
  vectors: string | null,
): Promise<CompareResult> {
  const { manifest, splitName } = data.dataset;
  const oraclePath = join(options.data, 'controls', 'oracle.parquet');
  return {
    dataset: manifest.name,
    seeds,
    seedsVary: {
      stages: ['train'],
      vectors,
      note:
        vectors === null
          ? 'Seeds vary the training of the recommendation models (stage 3).'
          : 'Seeds vary stage 3 alone: one language model, trained once, gave the vectors of every seed. Standard deviations and tests say nothing of how its own training would vary.',
    },
    models: models.map((name) => tabulate(name, results)),
    split: splitName,
    oracle: existsSync(oraclePath) ? await measureOracle(oraclePath, data.test.samples) : null,
    differences: differences(models, results),
  };
}

async function describeRun(
  data: TrainingData,
  { vectors, config, limit }: CompareOptions,
  models: string[],
  seeds: number[],
): Promise<RunDescription> {
  const { dataset } = data;
  const semantic = models.some((name) => modelKind(name).semantic);
  const dimension = semantic ? (await checkVectors(vectors!, dataset)).dimension : undefined;
  const configs = models.map((name) => {
    const width = modelKind(name).semantic ? dimension : undefined;
    const resolved = resolveTrainConfig(name, dataset.manifest.training, config, width);
    checkModelInputs(name, resolved, data.inputs);
    return [name, resolved];
  });
  const description = {
    stage: 'compare' as const,
    config: { models: Object.fromEntries(configs), ...(limit !== undefined && { limit }) },
    seed: seeds,
    device: data.device,
    dataset: runDataset(dataset),
    inputs: { ...(semantic && { vectors: { path: vectors!, sha256: await vectorsDigest(vectors!) } }) },
  };
  const { contentDigest, split } = description.dataset;
  const decisive = [description.config, seeds, contentDigest, split, description.inputs.vectors?.sha256];
  return { ...description, identity: createHash('sha256').update(JSON.stringify(decisive)).digest('hex') };
}

function checkOptions(options: CompareOptions): { seeds: number[]; models: string[] } {
  const models = [...new Set(options.models)];
  if (models.length === 0) throw new UsageError('UNKNOWN_MODEL', 'compare needs at least one model');
  for (const name of models) {
    if (modelKind(name).semantic && !options.vectors) {
      throw new UsageError(
        'NEEDS_VECTORS',
        `the model "${name}" needs the language model's vectors: give the directory that "larr embed" writes`,
      );
    }
  }
  return { seeds: seedList(options.seeds), models };
}

/** Where `compare` keeps the run of a model and seed. */
export function runDirectory(out: string, model: string, seed: number): string {
  return join(out, 'models', `${model}-seed${seed}`);
}

function seedList(seeds: number | number[]): number[] {
  const list = typeof seeds === 'number' ? Array.from({ length: seeds }, (_, i) => i + 1) : seeds;
  if (list.length === 0 || list.some((seed) => !Number.isSafeInteger(seed) || seed < 0)) {
    throw new UsageError('BAD_SEEDS', `seeds must be a count above 0 or whole numbers from 0 up, not ${seeds}`);
  }
  const repeated = list.find((seed, i) => list.indexOf(seed) !== i);
  if (repeated !== undefined) {
    throw new UsageError('BAD_SEEDS', `seed ${repeated} stands twice in the list: its run would count twice`);
  }
  return list;
}

function figures(result: TrainResult): CompareFigures {
  const m: RankingMetrics = result.metrics;
  return {
    ctrAuc: m.ctrAuc,
    ctrLogloss: m.ctrLogloss,
    ctcvrAuc: m.ctcvrAuc,
    ctrGauc: m.ctrGauc,
    ctcvrGauc: m.ctcvrGauc,
    seconds: result.seconds,
  };
}

function tabulate(name: string, results: TrainResult[]): CompareModel {
  const own = results.filter((result) => result.model === name);
  const perSeed = own.map((result) => ({ seed: result.seed, ...figures(result) }));
  const over = (key: keyof CompareFigures, f: (values: number[]) => number) => {
    const values = perSeed.flatMap((row) => (row[key] === null ? [] : [row[key]]));
    return values.length === perSeed.length ? f(values) : null;
  };
  const spread = (key: keyof CompareFigures) => (own.length < 2 ? null : over(key, standardDeviation));
  return {
    name,
    ctrAuc: over('ctrAuc', mean)!,
    ctrLogloss: over('ctrLogloss', mean)!,
    ctcvrAuc: over('ctcvrAuc', mean),
    ctrGauc: over('ctrGauc', mean),
    ctcvrGauc: over('ctcvrGauc', mean),
    seconds: over('seconds', mean)!,
    std: {
      ctrAuc: spread('ctrAuc'),
      ctrLogloss: spread('ctrLogloss'),
      ctcvrAuc: spread('ctcvrAuc'),
      ctrGauc: spread('ctrGauc'),
      ctcvrGauc: spread('ctcvrGauc'),
      seconds: spread('seconds'),
    },
    perSeed,
  };
}

function differences(models: string[], results: TrainResult[]): CompareResult['differences'] {
  const out: CompareResult['differences'] = [];
  const of = (model: string, metric: 'ctrAuc' | 'ctcvrAuc') =>
    results.flatMap((result) => (result.model === model ? [result.metrics[metric]] : []));
  models.forEach((a, i) => {
    for (const b of models.slice(0, i)) {
      for (const metric of ['ctrAuc', 'ctcvrAuc'] as const) {
        const left = of(a, metric);
        const right = of(b, metric);
        if (left.includes(null) || right.includes(null)) continue;
        const test = pairedTest(left as number[], right as number[]);
        if (test) out.push({ a, b, metric, ...test });
      }
    }
  });
  return out;
}
