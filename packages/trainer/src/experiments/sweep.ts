import { UsageError } from '@larr/core';
import { networkOf } from '../models/index.js';
import { writeSweepReport } from '../report/sweep-report.js';
import { resolveTrainConfig, type TrainConfigInput } from '../training/config.js';
import { loadTrainingData, type TrainingData } from '../training/data.js';
import type { RankingMetrics } from '../training/evaluate.js';
import { oracleOf } from './compare.js';
import { type ExperimentOptions, runExperiment, type SeedsVary } from './experiment.js';
import type { OracleMetrics } from './oracle.js';
import { mean, type PairedTest, pairedTest, standardDeviation } from './paired-test.js';
import {
  aucPerSeed,
  type CandidateRun,
  type CompareModel,
  seedList,
  tabulate,
  type VectorsGiven,
  vectorsOf,
} from './runs.js';
import { numericSettings, settingAt, whyUnread, withSetting } from './settings.js';

export interface SweepOptions extends ExperimentOptions {
  data: string;
  split?: string | undefined;
  /** the model that is trained with every value; default larr */
  model?: string | undefined;
  /** a number among the settings of `train`, by its dotted name: align.temperature */
  param: string;
  values: number[];
  seeds: number | number[];
  out: string;
  vectors?: VectorsGiven | undefined;
  config?: TrainConfigInput | undefined;
  device?: string | undefined;
}

/** One value of the swept setting over the seeds; figures are of the test part. */
export interface SweepPoint extends CompareModel {
  value: number;
  /** what a choice would go by: the mean over the seeds of the validation AUCs of clicks and orders, and its spread */
  validation: { score: number; std: number | null };
  /** paired tests against the value that the configuration has; empty for that value, and where it is not swept */
  against: { ctrAuc: PairedTest | null; ctcvrAuc: PairedTest | null } | null;
}

/** sweep.json, and what `larr sweep --json` prints. */
export interface SweepResult {
  dataset: string;
  split: string;
  seeds: number[];
  seedsVary: SeedsVary;
  model: string;
  param: string;
  /** what the configuration has without the sweep */
  configured: number;
  /** the value with the best validation score: what to take, whatever the test part says */
  best: number;
  points: SweepPoint[];
  oracle: OracleMetrics | null;
}

/**
 * Trains one model with each of several values of one setting (the paper's figure 4: align.temperature, align.extraNegatives).
 * @throws UsageError `UNKNOWN_SETTING`, `SETTING_UNREAD`, `BAD_VALUES`, `BAD_SEEDS`, `UNKNOWN_MODEL`, `NEEDS_VECTORS`; ConfigError
 * `BAD_CONFIG` for a value that the setting cannot have; what `runExperiment` and loading throw
 */
export async function sweep(options: SweepOptions): Promise<SweepResult> {
  const { model } = checkSweep(options);
  vectorsOf(model, options.vectors);
  const data = await loadTrainingData(options);
  try {
    return await sweepOn(data, options);
  } finally {
    data.dispose();
  }
}

/** `sweep` on data that is loaded already. */
export async function sweepOn(data: TrainingData, options: SweepOptions): Promise<SweepResult> {
  const { seeds, model, values } = checkSweep(options);
  const { param, config, vectors } = options;
  const { manifest, splitName } = data.dataset;
  const nameOf = (value: number) => `${model}-${param}=${value}`;
  const configured = settingAt(resolveTrainConfig(model, manifest.training, config), param);
  return runExperiment<SweepResult>(
    data,
    {
      stage: 'sweep',
      seeds,
      candidates: values.map((value) => ({
        name: nameOf(value),
        model,
        config: withSetting(config ?? {}, model, param, value),
        vectors: vectorsOf(model, vectors),
      })),
      tabulate: async (runs, seedsVary) => {
        const reference = values.includes(configured) ? nameOf(configured) : null;
        const points = values.map((value): SweepPoint => {
          const name = nameOf(value);
          return {
            value,
            ...tabulate(name, runs),
            validation: validationOf(name, runs),
            against: reference === null || reference === name ? null : testsAgainst(runs, name, reference),
          };
        });
        const best = points.reduce((a, b) => (b.validation.score > a.validation.score ? b : a)).value;
        return {
          dataset: manifest.name,
          split: splitName,
          seeds,
          seedsVary,
          model,
          param,
          configured,
          best,
          points,
          oracle: await oracleOf(data),
        };
      },
      report: writeSweepReport,
    },
    options,
  );
}

function testsAgainst(runs: readonly CandidateRun[], name: string, reference: string): SweepPoint['against'] {
  const test = (metric: 'ctrAuc' | 'ctcvrAuc') => {
    const [a, b] = [aucPerSeed(runs, name, metric), aucPerSeed(runs, reference, metric)];
    return a && b && pairedTest(a, b);
  };
  return { ctrAuc: test('ctrAuc'), ctcvrAuc: test('ctcvrAuc') };
}

/** What training itself chooses its best epoch by: the mean of the AUCs that there are. */
export function validationScore({ ctrAuc, ctcvrAuc }: RankingMetrics): number {
  return ctcvrAuc === null ? ctrAuc : (ctrAuc + ctcvrAuc) / 2;
}

function validationOf(name: string, runs: readonly CandidateRun[]): SweepPoint['validation'] {
  const scores = runs.filter((run) => run.name === name).map(({ result }) => validationScore(result.validation));
  return { score: mean(scores), std: scores.length < 2 ? null : standardDeviation(scores) };
}

/** What can be refused before vectors are made and data are loaded. @throws as `sweep` */
export function checkSweep(options: Pick<SweepOptions, 'param' | 'values' | 'model' | 'seeds' | 'config'>): {
  seeds: number[];
  model: string;
  values: number[];
} {
  const { param, values, model = 'larr' } = options;
  if (!numericSettings().includes(param)) {
    throw new UsageError(
      'UNKNOWN_SETTING',
      `"${param}" is no number among the settings of train; known: ${numericSettings().join(', ')}`,
    );
  }
  if (values.length < 2 || values.some((value) => !Number.isFinite(value)) || new Set(values).size < values.length)
    throw new UsageError('BAD_VALUES', `a sweep takes two or more different numbers, not ${values.join(', ')}`);
  const unread = whyUnread(model, param, [networkOf(model, resolveTrainConfig(model, {}, options.config))]);
  if (unread !== null) throw new UsageError('SETTING_UNREAD', `${unread}: sweep another model, or another setting`);
  // Refused before anything is loaded, and not after half of the values were trained.
  for (const value of values) resolveTrainConfig(model, {}, withSetting(options.config ?? {}, model, param, value));
  return { seeds: seedList(options.seeds), model, values };
}
