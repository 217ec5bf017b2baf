import { UsageError } from '@larr/core';
import { modelKind } from '../models/index.js';
import { writeAblateReport } from '../report/ablate-report.js';
import type { TrainConfigInput } from '../training/config.js';
import { loadTrainingData, type TrainingData } from '../training/data.js';
import { hasTruth } from '../training/truth.js';
import { oracleOf } from './compare.js';
import { type ExperimentOptions, runExperiment, type SeedsVary } from './experiment.js';
import type { OracleMetrics } from './oracle.js';
import { holm, mean, type PairedTest, pairedTest, standardDeviation } from './paired-test.js';
import {
  type AucMetric,
  aucPerSeed,
  type CandidateRun,
  type CompareModel,
  type SliceKind,
  seedList,
  tabulate,
  type VectorsGiven,
  vectorsOf,
} from './runs.js';

/** Against which all others are held. */
export const WHOLE = 'larr';
/** LARR without the language model. */
export const BASE = 'larr-ple';
const BOUND = 'ple-true-attributes';

/** The rows of the paper's table 3, and what tells meaning from parameters, inputs and training signal. */
export const ABLATIONS = [BASE, 'larr-no-cpt', 'larr-no-ft', 'larr-no-al', WHOLE] as const;
export const CONTROLS = ['ple-scene-ids', 'larr-lambda0', 'larr-random-table', 'larr-shuffled-table'] as const;
/** Of a simulated world alone: the base that is told the truth. */
export const BOUNDS = [BOUND, 'ple-true-taste'] as const;

/** What the paper's table 3 and table 2 say, CTR and CTCVR AUC, of 3.5 billion rows of a private log: signs to hold against, no figures. */
export const PAPER: Record<string, Record<AucMetric, number>> = {
  [BASE]: { ctrAuc: 0.7983, ctcvrAuc: 0.8947 },
  'larr-no-cpt': { ctrAuc: 0.8017, ctcvrAuc: 0.8969 },
  'larr-no-ft': { ctrAuc: 0.7985, ctcvrAuc: 0.8948 },
  'larr-no-al': { ctrAuc: 0.8007, ctcvrAuc: 0.8961 },
  [WHOLE]: { ctrAuc: 0.803, ctcvrAuc: 0.8978 },
};

export interface AblateOptions extends ExperimentOptions {
  data: string;
  split?: string | undefined;
  /** names out of `modelNames`, `larr` among them; default: table 3, the controls, and the bounds where the data have the truth */
  models?: string[] | undefined;
  seeds: number | number[];
  out: string;
  vectors?: VectorsGiven | undefined;
  config?: TrainConfigInput | undefined;
  device?: string | undefined;
}

/** How a candidate does against LARR: negative where taking something away costs. */
export interface AblateDifference extends PairedTest {
  model: string;
  metric: AucMetric;
  slice: SliceKind | 'all';
  /** p corrected for the number of candidates that are held against LARR by this metric and slice (Holm) */
  pHolm: number;
  /** the same difference in the paper; null where it has no such row */
  paper: number | null;
}

/** Share of what the true attributes are worth to the base that a model got without them. */
export interface Headroom {
  model: string;
  metric: AucMetric;
  slice: SliceKind | 'all';
  /** AUC of the base, and of the base with the true attributes */
  base: number;
  bound: number;
  /** (model − base) / (bound − base), of the means over the seeds */
  share: number;
  perSeed: number[];
  /** of the shares of single seeds; null with one seed */
  std: number | null;
}

/** ablate.json, and what `larr ablate --json` prints. */
export interface AblateResult {
  dataset: string;
  split: string;
  seeds: number[];
  seedsVary: SeedsVary;
  models: AblateModel[];
  oracle: OracleMetrics | null;
  differences: AblateDifference[];
  /** null where the data have no truth */
  headroom: Headroom[] | null;
}

export interface AblateModel extends CompareModel {
  role: 'ablation' | 'control' | 'bound';
  /** CTR and CTCVR AUC over the slices that matter to a cold start, mean and standard deviation over the seeds */
  slices: { kind: SliceKind; rows: number; ctrAuc: Spread | null; ctcvrAuc: Spread | null }[];
}

export interface Spread {
  mean: number;
  std: number | null;
}

const SLICES: SliceKind[] = ['cold-poi', 'cold-user', 'travelling'];

/**
 * The paper's table 3 with controls: every candidate with every seed, each held against LARR by a paired test.
 * @throws UsageError `NO_WHOLE_MODEL`, `BAD_SEEDS`, `UNKNOWN_MODEL`, `NEEDS_VECTORS`, `NEEDS_CONTROLS`; what `runExperiment` and loading throw
 */
export async function ablate(options: AblateOptions): Promise<AblateResult> {
  for (const name of checkAblate(options).models) vectorsOf(name, options.vectors);
  const data = await loadTrainingData(options);
  try {
    return await ablateOn(data, options);
  } finally {
    data.dispose();
  }
}

/** Those that `ablate` trains where nobody says which. */
export function defaultAblations(truth: boolean): string[] {
  return [...ABLATIONS, ...CONTROLS, ...(truth ? BOUNDS : [])];
}

/** `ablate` on data that is loaded already. */
export async function ablateOn(data: TrainingData, options: AblateOptions): Promise<AblateResult> {
  const { seeds, models } = checkAblate(options, hasTruth(data.dataset.directory));
  const { config, vectors } = options;
  return runExperiment<AblateResult>(
    data,
    {
      stage: 'ablate',
      seeds,
      candidates: models.map((name) => ({ name, model: name, config, vectors: vectorsOf(name, vectors) })),
      tabulate: async (runs, seedsVary) => ({
        dataset: data.dataset.manifest.name,
        split: data.dataset.splitName,
        seeds,
        seedsVary,
        models: models.map((name) => ({ ...tabulate(name, runs), role: roleOf(name), slices: slicesOf(name, runs) })),
        oracle: await oracleOf(data),
        differences: differences(models, runs),
        headroom: models.includes(BOUND) && models.includes(BASE) ? headroom(models, runs) : null,
      }),
      report: writeAblateReport,
    },
    options,
  );
}

function roleOf(name: string): AblateModel['role'] {
  if (modelKind(name).truth !== null) return 'bound';
  return (CONTROLS as readonly string[]).includes(name) ? 'control' : 'ablation';
}

function slicesOf(name: string, runs: readonly CandidateRun[]): AblateModel['slices'] {
  const first = runs.find((run) => run.name === name);
  return SLICES.flatMap((kind) => {
    const slice = first?.result.slices.find((one) => one.kind === kind);
    if (slice === undefined) return [];
    const spread = (metric: AucMetric): Spread | null => {
      const values = aucPerSeed(runs, name, metric, kind);
      return values && { mean: mean(values), std: values.length < 2 ? null : standardDeviation(values) };
    };
    return [{ kind, rows: slice.rows, ctrAuc: spread('ctrAuc'), ctcvrAuc: spread('ctcvrAuc') }];
  });
}

function differences(models: readonly string[], runs: readonly CandidateRun[]): AblateDifference[] {
  return (['ctrAuc', 'ctcvrAuc'] as const).flatMap((metric) =>
    (['all', 'cold-poi'] as const).flatMap((slice) => {
      const whole = aucPerSeed(runs, WHOLE, metric, slice);
      const tests = models.flatMap((model) => {
        const own = model === WHOLE ? null : aucPerSeed(runs, model, metric, slice);
        const test = own && whole && pairedTest(own, whole);
        return test ? [{ model, metric, slice, ...test }] : [];
      });
      const corrected = holm(tests.map(({ p }) => p));
      return tests.map((test, i) => ({ ...test, pHolm: corrected[i]!, paper: paperDifference(test.model, metric) }));
    }),
  );
}

function paperDifference(model: string, metric: AucMetric): number | null {
  const row = PAPER[model];
  // as many digits as the paper gives
  return row === undefined ? null : Math.round((row[metric] - PAPER[WHOLE]![metric]) * 1e4) / 1e4;
}

/** Of every model but the base and the bounds; none where the bound is not above the base with every seed: there is no share of noise. */
function headroom(models: readonly string[], runs: readonly CandidateRun[]): Headroom[] {
  return (['ctrAuc', 'ctcvrAuc'] as const).flatMap((metric) =>
    (['all', ...SLICES] as const).flatMap((slice) => {
      const base = aucPerSeed(runs, BASE, metric, slice);
      const bound = aucPerSeed(runs, BOUND, metric, slice);
      if (base === null || bound === null || bound.some((auc, i) => auc <= base[i]!)) return [];
      return models.flatMap((model) => {
        const own = roleOf(model) === 'bound' || model === BASE ? null : aucPerSeed(runs, model, metric, slice);
        if (own === null) return [];
        const shareOf = (a: number, b: number, c: number) => (a - b) / (c - b);
        const perSeed = own.map((auc, i) => shareOf(auc, base[i]!, bound[i]!));
        const share = shareOf(mean(own), mean(base), mean(bound));
        const std = perSeed.length < 2 ? null : standardDeviation(perSeed);
        return [{ model, metric, slice, base: mean(base), bound: mean(bound), share, perSeed, std }];
      });
    }),
  );
}

/** What can be refused before vectors are made and data are loaded. @throws as `ablate` */
export function checkAblate(
  options: Pick<AblateOptions, 'data' | 'models' | 'seeds'>,
  truth = hasTruth(options.data),
): { seeds: number[]; models: string[] } {
  const models = [...new Set(options.models ?? defaultAblations(truth))];
  for (const name of models) {
    if (modelKind(name).truth !== null && !truth)
      throw new UsageError(
        'NEEDS_CONTROLS',
        `${name} is told the truth of a simulated world, and ${options.data} has no controls/: leave it out`,
      );
  }
  if (!models.includes(WHOLE) || models.length < 2) {
    throw new UsageError(
      'NO_WHOLE_MODEL',
      `an ablation holds other models against ${WHOLE}: name it and at least one other, not ${models.join(', ')}`,
    );
  }
  return { seeds: seedList(options.seeds), models };
}
