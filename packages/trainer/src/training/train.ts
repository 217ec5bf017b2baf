import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { appendFile, mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { TrainingError, UsageError, writeFileAtomic } from '@larr/core';
import {
  Adam,
  AdamW,
  autocast,
  clipGradNorm,
  getRngState,
  keep,
  loadSafetensors,
  manualSeed,
  RowwiseAdagrad,
  RowwiseAdam,
  rand,
  saveSafetensors,
  setRngState,
  type Tensor,
  tensor,
  tidy,
  where,
} from '@larr/torch';
import { checkVectors } from '../embedding/vectors-manifest.js';
import type { Parameters } from '../layers/parameters.js';
import { checkModelInputs, createModel, modelKind } from '../models/index.js';
import type { Batch, ModelInputs, RecommendationModel } from '../models/inputs.js';
import { differencesFrom, otherRun } from '../report/run-differences.js';
import { type RunRecord, recordRun, runDataset } from '../report/run-record.js';
import { writeTrainReport } from '../report/train-report.js';
import { loadCheckpoint, saveCheckpoint, type TrainingPosition, type TrainingState } from './checkpoint.js';
import { resolveTrainConfig, type TrainConfig, type TrainConfigInput } from './config.js';
import type { LearningData, TrainingData } from './data.js';
import { type Evaluation, evaluate, measure, predict, type RankingMetrics } from './evaluate.js';
import { alignmentLoss, recommendationLoss } from './loss.js';
import type { TrainingPart } from './part.js';
import { installPois } from './poi-entries.js';
import { readRunFile } from './run-files.js';
import { installVectors, loadSemanticVectors } from './semantic-vectors.js';
import { installTruth, readTruth, type WorldTruth } from './truth.js';
import { vectorsDigest } from './vectors-digest.js';

export interface TrainProgress {
  model: string;
  seed: number;
  epoch: number;
  epochs: number;
  row: number;
  rows: number;
  loss: number;
  samplesPerSecond: number;
}

export interface TrainOptions {
  /** one of `modelNames` */
  model: string;
  /** the run directory: run.json, checkpoints, metrics.jsonl, result.json, report.html */
  out: string;
  seed: number;
  /** overrides of defaults and of the dataset's recommendation */
  config?: TrainConfigInput | undefined;
  /** the directory that `larr embed` wrote; needed by LARR and its variants. Of P5: the directory of the language model that is asked */
  vectors?: string | undefined;
  signal?: AbortSignal | undefined;
  onProgress?: ((progress: TrainProgress) => void) | undefined;
}

/** What a finished run says before anything but the validation part has measured it. */
export interface LearntResult {
  format: 'larr-run';
  version: 1;
  model: string;
  dataset: string;
  split: string;
  schemaDigest: string;
  seed: number;
  config: TrainConfig;
  parameters: number;
  epochs: number;
  bestEpoch: number;
  validation: RankingMetrics;
  /** training and validation, without loading and test */
  seconds: number;
  samplesPerSecond: number;
}

/** result.json */
export interface TrainResult extends LearntResult, Evaluation {}

/** model.json: what model.safetensors is of. */
export interface ModelDescription {
  format: 'larr-model';
  version: 1;
  model: string;
  config: TrainConfig;
  inputs: ModelInputs;
  dataset: { name: string; split: string; schemaDigest: string; contentDigest: string };
}

/**
 * Trains one model with one seed and measures it on the test part.
 *
 * The run continues from `out` where it was stopped: from its last checkpoint, to the same numbers as without a stop;
 * a finished run is read back. On abort the position is saved first.
 *
 * @throws TrainingError `INTERRUPTED`, `LOSS_NOT_FINITE` (the last good checkpoint stays), `CHECKPOINT_MISMATCH`;
 * UsageError `NEEDS_VECTORS`, `UNKNOWN_MODEL`; ConfigError `BAD_CONFIG`, `NEEDS_SEQUENCE`, `NEEDS_FIELDS`; DataError of the vectors
 */
export async function trainModel(data: TrainingData, options: TrainOptions): Promise<TrainResult> {
  if (modelKind(options.model).languageModel) {
    const { trainP5 } = await import('../p5/train.js');
    return trainP5(data, options);
  }
  return runTraining(data, options, {
    share: 1,
    measure: (model, config) => evaluate(model, data.test, data.dataset.split, data.inputs, config),
    report: (result, record) => writeTrainReport(options.out, result, record),
  });
}

/**
 * The same without a test: the run is measured on the validation part alone, as a search does.
 * @param share of the train part's rows that each epoch takes, in (0, 1]
 */
export async function trainForValidation(
  data: LearningData,
  options: TrainOptions,
  share: number,
): Promise<LearntResult> {
  return runTraining(data, options, { share, measure: async () => ({}), report: async () => {} });
}

/** What is different between a run that is tested and one that is not. */
interface RunKind<T extends object> {
  share: number;
  /** further measurements of the best weights */
  measure(model: RecommendationModel, config: TrainConfig): Promise<T>;
  report(result: LearntResult & T, record: RunRecord): Promise<void>;
}

async function runTraining<T extends object>(
  data: LearningData,
  options: TrainOptions,
  { share, measure: measureFurther, report }: RunKind<T>,
): Promise<LearntResult & T> {
  const { dataset } = data;
  const { manifest, splitName } = dataset;
  const kind = modelKind(options.model);
  if (kind.vectors !== null && !options.vectors) {
    throw new UsageError(
      'NEEDS_VECTORS',
      `the model "${options.model}" needs the language model's vectors: give the directory that "larr embed" writes`,
    );
  }
  const vectorDim = kind.vectors === null ? undefined : (await checkVectors(options.vectors!, dataset)).dimension;
  const config = resolveTrainConfig(options.model, manifest.training, options.config, vectorDim);
  checkModelInputs(options.model, config, data.inputs);
  const truth = kind.truth === null ? null : await readTruth(dataset);
  const inputs = truth === null ? data.inputs : { ...data.inputs, truth: truthShape(truth) };
  const description: ModelDescription = {
    format: 'larr-model',
    version: 1,
    model: options.model,
    config,
    inputs,
    dataset: {
      name: manifest.name,
      split: splitName,
      schemaDigest: manifest.schemaDigest,
      contentDigest: manifest.contentDigest,
    },
  };
  const vectors =
    kind.vectors === null ? null : { path: options.vectors!, sha256: await vectorsDigest(options.vectors!) };
  const identity = identityOf(description, options.seed, data.train, vectors?.sha256 ?? null, share);
  await mkdir(options.out, { recursive: true });
  const paths = runPaths(options.out);

  const run = {
    stage: 'train' as const,
    identity,
    config: { model: options.model, ...config },
    seed: options.seed,
    device: data.device,
    dataset: runDataset(dataset),
    inputs: { ...(vectors && { vectors }) },
  };
  const differing = await differencesFrom(options.out, run);
  const finished = await readFinished<LearntResult & T>(paths.result, identity, differing);
  if (finished) return finished;

  manualSeed(options.seed);
  const { parameters, model } = createModel(options.model, inputs, config, data.device, config.embeddingL2 === 0);
  const state = trainingState(parameters, config);
  try {
    const resumed = loadCheckpoint(paths.last, identity, state, differing);
    if (!resumed) await install(parameters, inputs, dataset, config, options, truth);
    const log = await openMetricsLog(paths.metrics, resumed?.step ?? 0);
    await writeFileAtomic(paths.description, `${JSON.stringify(description, null, 2)}\n`);
    const work = async (): Promise<LearntResult & T> => {
      const rows = Math.ceil(share * data.train.rows);
      const position = await runEpochs(data, model, state, config, {
        identity,
        paths,
        log,
        options,
        rows,
        start: resumed,
      });
      tidy(() => parameters.load(loadSafetensors(paths.weights).tensors));
      const further = await measureFurther(model, config);
      const validation = measure(data.validation.samples, await predict(model, data.validation.part, inputs, config));
      return {
        format: 'larr-run',
        version: 1,
        model: options.model,
        dataset: manifest.name,
        split: splitName,
        schemaDigest: manifest.schemaDigest,
        seed: options.seed,
        config,
        parameters: parameters.count(),
        epochs: position.epoch,
        bestEpoch: position.best!.epoch,
        validation,
        seconds: position.seconds,
        samplesPerSecond: (position.epoch * rows) / position.seconds,
        ...further,
      };
    };
    const { result, record } = await recordRun(options.out, run, options.signal, work);
    await report(result, record);
    // Last, since it says that the run is finished.
    await writeFileAtomic(paths.result, `${JSON.stringify({ ...result, identity }, null, 2)}\n`);
    return result;
  } finally {
    state.dense.dispose();
    state.tables.dispose();
    parameters.dispose();
  }
}

function truthShape({ attributes, users }: WorldTruth): NonNullable<ModelInputs['truth']> {
  return { attributes, users: users.length / attributes };
}

/** Fresh optimisers over a model's parameters. */
export function trainingState(parameters: Parameters, config: TrainConfig): TrainingState {
  const dense = new AdamW([...parameters.dense.values()], {
    lr: config.learningRate,
    weightDecay: config.weightDecay,
  });
  const lr = config.embeddingLearningRate ?? config.learningRate;
  const tables = [...parameters.tables.values()];
  // An L2 penalty moves every row, so that there are no rows to leave out.
  const Rowwise = config.embeddingOptimiser === 'adagrad' ? RowwiseAdagrad : RowwiseAdam;
  return { parameters, dense, tables: parameters.sparse ? new Rowwise(tables, { lr }) : new Adam(tables, { lr }) };
}

/** Fills what a fresh model does not learn: the language model's vectors, POIs' vocabulary entries, a control's truth. */
async function install(
  parameters: Parameters,
  inputs: ModelInputs,
  dataset: TrainingData['dataset'],
  config: TrainConfig,
  { model, vectors, seed }: TrainOptions,
  truth: WorldTruth | null,
): Promise<void> {
  if (modelKind(model).vectors !== null) {
    const read = await loadSemanticVectors(vectors!, dataset.split, inputs);
    installVectors(parameters, inputs, read, config.larr.vectors, seed);
    read.scene.dispose();
    read.pois.dispose();
  }
  await installPois(parameters, inputs, dataset);
  if (truth !== null) installTruth(parameters, inputs, truth);
}

/** The files of a run directory. */
export function runPaths(out: string) {
  return {
    last: join(out, 'last.safetensors'),
    weights: join(out, 'model.safetensors'),
    description: join(out, 'model.json'),
    metrics: join(out, 'metrics.jsonl'),
    result: join(out, 'result.json'),
  };
}

interface EpochsContext {
  identity: string;
  paths: ReturnType<typeof runPaths>;
  log: (line: Record<string, unknown>) => Promise<void>;
  options: TrainOptions;
  /** rows of an epoch */
  rows: number;
  start: TrainingPosition | null;
}

async function runEpochs(
  data: LearningData,
  model: RecommendationModel,
  state: TrainingState,
  config: TrainConfig,
  context: EpochsContext,
): Promise<TrainingPosition> {
  const { options, paths, log, rows } = context;
  const steps = config.epochs * Math.ceil(rows / config.batchSize);
  const position = context.start ?? { epoch: 0, row: 0, step: 0, seconds: 0, rng: '', best: null, done: false };
  const firstRow = firstRows(data.inputs, data.device);
  let since = performance.now();
  let saved = since;
  const clock = () => {
    const now = performance.now();
    position.seconds += (now - since) / 1000;
    since = now;
  };
  const save = () => {
    clock();
    position.rng = Buffer.from(getRngState()).toString('base64');
    saveCheckpoint(paths.last, context.identity, state, position);
    saved = performance.now();
  };

  try {
    while (!position.done) {
      // Order and random numbers of an epoch follow from seed and epoch alone, so that a resumed run finds them again.
      manualSeed(options.seed * 1_000_003 + position.epoch);
      const batches = data.train.shuffled({ ...position, seed: options.seed, batchSize: config.batchSize });
      if (position.row > 0) setRngState(new Uint8Array(Buffer.from(position.rng, 'base64')));
      let rate = { row: position.row, at: performance.now() };
      let sum = 0;
      let count = 0;
      for await (const { next, take } of batches) {
        if (position.row >= rows) break;
        setLearningRate(state, config, position, steps);
        const loss = trainStep(model, state, config, take, firstRow);
        if (!Number.isFinite(loss)) throw notFinite(loss, position, config, paths.last);
        position.row = next;
        position.step += 1;
        sum += loss;
        count += 1;
        if (count === config.logEvery || position.row >= rows) {
          const samplesPerSecond = ((position.row - rate.row) * 1000) / (performance.now() - rate.at);
          const { epoch, step, row } = position;
          await log({
            event: 'train',
            epoch,
            step,
            row,
            loss: sum / count,
            learningRate: state.dense.lr,
            samplesPerSecond,
          });
          options.onProgress?.({
            model: options.model,
            seed: options.seed,
            epoch,
            epochs: config.epochs,
            // the last batch is a whole one, also where it goes past the share
            row: Math.min(row, rows),
            rows,
            loss: sum / count,
            samplesPerSecond,
          });
          rate = { row, at: performance.now() };
          sum = 0;
          count = 0;
        }
        // a turn of the event loop, so that signals and a server beside this run get their turn
        await new Promise((resolve) => setImmediate(resolve));
        if (options.signal?.aborted) {
          save();
          throw new TrainingError(
            'INTERRUPTED',
            `training of ${options.model} stopped in epoch ${position.epoch + 1}; the same command goes on from there`,
          );
        }
        if (performance.now() - saved > config.checkpointSeconds * 1000 && position.row < rows) save();
      }
      position.epoch += 1;
      position.row = 0;
      const metrics = measure(data.validation.samples, await predict(model, data.validation.part, data.inputs, config));
      const score = metrics.ctcvrAuc === null ? metrics.ctrAuc : (metrics.ctrAuc + metrics.ctcvrAuc) / 2;
      if (!position.best || score > position.best.score + LEAST_GAIN) {
        position.best = { score, epoch: position.epoch, since: 0 };
        saveSafetensors(paths.weights, state.parameters.state(), { format: 'larr-model', model: options.model });
      } else {
        position.best.since += 1;
        position.plateaus = (position.plateaus ?? 0) + 1;
      }
      position.done =
        position.epoch >= config.epochs || (config.patience > 0 && position.best.since >= config.patience);
      clock();
      await log({
        event: 'validation',
        epoch: position.epoch,
        step: position.step,
        seconds: position.seconds,
        ...metrics,
      });
      save();
    }
  } finally {
    firstRow.dispose();
  }
  return position;
}

/** One batch: forward, backward, update. Returns the loss; where it is not finite nothing was updated. */
export function trainStep(
  model: RecommendationModel,
  state: TrainingState,
  config: TrainConfig,
  take: () => Batch,
  firstRow: Tensor,
): number {
  return tidy(() => {
    const batch = take();
    if (config.idDropout > 0) batch.ids = dropIds(batch.ids, firstRow, config.idDropout);
    const loss = batchLoss(model, state.parameters, batch, config);
    loss.backward();
    // A gradient can be infinite where the loss is not, and would spoil the weights that a checkpoint keeps.
    const norm = clipGradNorm(
      [...state.parameters.dense.values()],
      config.clipNorm > 0 ? config.clipNorm : Number.POSITIVE_INFINITY,
    );
    // Read after the backward pass: reading waits for the device, and would leave it idle before.
    const value = loss.item();
    if (!Number.isFinite(value)) return value;
    if (!Number.isFinite(norm)) return Number.NaN;
    state.dense.step();
    state.tables.step();
    state.dense.zeroGrad();
    state.tables.zeroGrad();
    return value;
  });
}

/** L = L_rec + λ L_al (eq. 26), and the penalty on the embedding tables. */
export function batchLoss(
  model: RecommendationModel,
  parameters: Parameters,
  batch: Batch,
  config: TrainConfig,
): Tensor {
  const output = autocast(() => model.forward(batch, true), { dtype: 'bf16', enabled: config.dtype === 'bf16' });
  let loss = recommendationLoss(output, batch);
  if (output.alignment) {
    loss = loss.add(alignmentLoss(output.alignment, batch, config.align, config.dtype).mul(config.align.lambda));
  }
  if (config.embeddingL2 > 0) {
    for (const table of parameters.tables.values()) {
      loss = loss.add(
        table
          .square()
          .sum()
          .mul(config.embeddingL2 / 2),
      );
    }
  }
  return loss;
}

/** Replaces a share of the ids by their feature's "unseen" row: it is trained on everything, so it means "any". */
function dropIds(ids: Tensor, firstRow: Tensor, share: number): Tensor {
  return where(rand(ids.shape, { device: ids.device }).lt(share), firstRow.expand(ids.shape), ids);
}

/** i64 [1, F]: the "unseen" row of each feature. */
export function firstRows(inputs: ModelInputs, device: string): Tensor {
  const offsets = BigInt64Array.from(inputs.categorical, (feature) => BigInt(feature.offset));
  return keep(tensor(offsets, [1, offsets.length], { dtype: 'i64', device }));
}

/** What a validation score must gain to count as better (FuxiCTR's min_delta). */
const LEAST_GAIN = 1e-6;

/** Below this no plateau takes the rate (FuxiCTR's min_lr). */
const LEAST_RATE = 1e-6;

function setLearningRate(state: TrainingState, config: TrainConfig, position: TrainingPosition, steps: number): void {
  if (config.schedule === 'constant') return;
  const rate =
    config.schedule === 'plateau'
      ? (peak: number) =>
          Math.min(peak, Math.max(LEAST_RATE, peak * (config.plateauFactor ?? 0.1) ** (position.plateaus ?? 0)))
      : (peak: number) => peak * (0.05 + 0.95 * 0.5 * (1 + Math.cos((Math.PI * position.step) / steps)));
  state.dense.lr = rate(config.learningRate);
  state.tables.lr = rate(config.embeddingLearningRate ?? config.learningRate);
}

function notFinite(loss: number, position: TrainingPosition, config: TrainConfig, last: string): TrainingError {
  const kept = existsSync(last) ? `the last good checkpoint is ${last}` : 'no checkpoint had been written yet';
  return new TrainingError(
    'LOSS_NOT_FINITE',
    `the loss became ${loss} in epoch ${position.epoch + 1}, step ${position.step + 1}: ${kept}. ` +
      `Lower learningRate (${config.learningRate}), set clipNorm, or look for infinite values in the dense features`,
  );
}

/** Everything that decides the numbers of a run, as one digest. */
function identityOf(
  description: ModelDescription,
  seed: number,
  train: TrainingPart,
  vectors: string | null,
  share: number,
): string {
  // how often to save or log changes no number, and the budget none but by the order of rows
  const { checkpointSeconds: _, logEvery: __, memoryBudgetMiB: ___, ...config } = description.config;
  const { rows } = train;
  const windowRows = train.windowRows ?? undefined;
  return createHash('sha256')
    .update(JSON.stringify({ ...description, config, seed, rows, vectors, windowRows, ...(share < 1 && { share }) }))
    .digest('hex');
}

/**
 * The result of a finished run; null where there is none.
 * @param differing in what the run of that directory differs from the one of this identity, as `differencesFrom` says it
 * @throws TrainingError `CHECKPOINT_MISMATCH`, `RUN_CORRUPT`
 */
export async function readFinished<T extends object>(
  path: string,
  identity: string,
  differing: readonly string[] | null,
): Promise<T | null> {
  if (!existsSync(path)) return null;
  const { identity: of, ...result } = await readRunFile<T & { identity: string }>(path);
  if (of === identity) return result as unknown as T;
  throw otherRun(path, 'is the result of', differing);
}

/** Opens metrics.jsonl for appending; lines after the checkpoint belong to steps that will be taken again. */
async function openMetricsLog(path: string, step: number): Promise<(line: Record<string, unknown>) => Promise<void>> {
  const lines = existsSync(path) ? (await readFile(path, 'utf8')).split('\n') : [];
  const kept = lines.filter((line) => {
    try {
      return (JSON.parse(line) as { step: number }).step <= step;
    } catch {
      return false; // the torn last line of a killed run
    }
  });
  await writeFileAtomic(path, kept.map((line) => `${line}\n`).join(''));
  return (line) => appendFile(path, `${JSON.stringify(line)}\n`);
}
