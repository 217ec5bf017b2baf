import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { UsageError } from '@larr/core';
import { modelKind } from '../models/index.js';
import { writeCompareReport } from '../report/compare-report.js';
import type { TrainConfigInput } from '../training/config.js';
import { loadTrainingData, type TrainingData } from '../training/data.js';
import { type ExperimentOptions, runExperiment, type SeedsVary } from './experiment.js';
import { measureOracle, type OracleMetrics } from './oracle.js';
import { pairedTest } from './paired-test.js';
import {
  type AucMetric,
  aucPerSeed,
  type CandidateRun,
  type CompareModel,
  seedList,
  tabulate,
  type VectorsGiven,
  vectorsOf,
} from './runs.js';

export { type CompareFigures, type CompareModel, runDirectory } from './runs.js';

export interface CompareOptions extends ExperimentOptions {
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
  vectors?: VectorsGiven | undefined;
  config?: TrainConfigInput | undefined;
  device?: string | undefined;
}

/** compare.json, and what `larr compare --json` prints. */
export interface CompareResult {
  dataset: string;
  seeds: number[];
  seedsVary: SeedsVary;
  models: CompareModel[];
  split: string;
  /** what the world's true probabilities score on the same test rows: the ceiling; null on real data */
  oracle: OracleMetrics | null;
  /** paired t-tests over the seeds, every model against every one before it */
  differences: Difference[];
}

/** A paired t-test over the seeds of two candidates' AUC. */
export interface Difference {
  a: string;
  b: string;
  metric: AucMetric;
  /** mean of a − b */
  difference: number;
  t: number | null;
  p: number;
}

/**
 * Trains every model with every seed on the same data, and tabulates mean and standard deviation on the test part.
 * Finished runs are kept, and a stopped one goes on: running it again costs only what is missing.
 *
 * @throws UsageError `BAD_SEEDS`, `UNKNOWN_MODEL`, `NEEDS_VECTORS` before anything is loaded; what `runExperiment` and loading throw
 */
export async function compare(options: CompareOptions): Promise<CompareResult> {
  for (const name of checkCompare(options).models) vectorsOf(name, options.vectors);
  const data = await loadTrainingData(options);
  try {
    return await compareOn(data, options);
  } finally {
    data.dispose();
  }
}

/** `compare` on data that is loaded already. */
export async function compareOn(data: TrainingData, options: CompareOptions): Promise<CompareResult> {
  const { seeds, models } = checkCompare(options);
  const { config, vectors } = options;
  return runExperiment<CompareResult>(
    data,
    {
      stage: 'compare',
      seeds,
      candidates: models.map((name) => ({ name, model: name, config, vectors: vectorsOf(name, vectors) })),
      tabulate: async (runs, seedsVary) => ({
        dataset: data.dataset.manifest.name,
        seeds,
        seedsVary,
        models: models.map((name) => tabulate(name, runs)),
        split: data.dataset.splitName,
        oracle: await oracleOf(data),
        differences: models.flatMap((a, i) => models.slice(0, i).flatMap((b) => differencesOf(runs, a, b))),
      }),
      report: writeCompareReport,
    },
    options,
  );
}

/** What the true probabilities of a simulated world score on the test rows; null where the data are no such world. */
export async function oracleOf({ dataset, test }: TrainingData): Promise<OracleMetrics | null> {
  const path = join(dataset.directory, 'controls', 'oracle.parquet');
  return existsSync(path) ? measureOracle(path, test.samples) : null;
}

/** Tests of a against b, CTR and CTCVR; none where there is a single seed, or a metric is not there. */
export function differencesOf(runs: readonly CandidateRun[], a: string, b: string): Difference[] {
  return (['ctrAuc', 'ctcvrAuc'] as const).flatMap((metric) => {
    const [left, right] = [aucPerSeed(runs, a, metric), aucPerSeed(runs, b, metric)];
    const test = left && right && pairedTest(left, right);
    return test ? [{ a, b, metric, ...test }] : [];
  });
}

/** What can be refused before vectors are made and data are loaded. @throws as `compare` */
export function checkCompare(options: Pick<CompareOptions, 'models' | 'seeds'>): { seeds: number[]; models: string[] } {
  const models = [...new Set(options.models)];
  if (models.length === 0) throw new UsageError('UNKNOWN_MODEL', 'compare needs at least one model');
  for (const name of models) modelKind(name);
  return { seeds: seedList(options.seeds), models };
}
