import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { TrainingError } from '@larr/core';
import { clipGradNorm, type Job, manualSeed, type Tensor, TensorError, warmupCosine } from '@larr/torch';
import { draws } from './draws.js';
import { type MachinePeak, machinePeak } from './machine-peak.js';
import { beginTogether, byFirst, isFirst, sumGradients, total } from './several-processes.js';
import { appendMetric, CHECKPOINT, restoreStage, rewindMetrics, saveStage } from './stage-checkpoint.js';
import { adamW } from './stage-optimizer.js';

/** Settings that the stages of language-model training share. */
export interface StageLoopConfig {
  learningRate: number;
  warmupShare: number;
  finalShare: number;
  weightDecay: number;
  clipNorm: number;
  precision: 'f32' | 'bf16';
  recompute: boolean;
  trainingState: 'f32' | 'bf16';
  lora?: object | undefined;
  logEvery: number;
  evaluateEvery: number;
  checkpointEvery: number;
}

/** Where a stage stands; stages add what they need to go on. */
export interface StageCursor {
  step: number;
  /** Seconds spent in steps, over all sittings. */
  seconds: number;
  /** What those steps had to multiply and add (`stepFlops`). */
  flops: number;
}

/** How fast the steps of a stage were, over all sittings. */
export interface StageSpeed {
  seconds: number;
  tokensPerSecond: number;
  /** Model FLOPs utilisation: the share of the machine's peak that the steps reached; null without steps. */
  mfu: number | null;
  peak: MachinePeak | null;
}

export function stageSpeed(
  { seconds, flops }: StageCursor,
  tokens: number,
  device: string,
  config: Pick<StageLoopConfig, 'precision'>,
  job: Job | null,
): StageSpeed {
  const peak = seconds > 0 ? machinePeak(device, config.precision, job?.size) : null;
  return {
    seconds,
    tokensPerSecond: Math.round(seconds > 0 ? tokens / seconds : 0),
    mfu: peak && flops / seconds / peak.flops,
    peak,
  };
}

/** A stage of language-model training: what differs between them. */
export interface StageLoop<Cursor extends StageCursor> {
  /** For messages. */
  name: string;
  /** The stage's directory: checkpoint and metrics.jsonl. */
  output: string;
  identity: string;
  steps: number;
  device: string;
  /** Whose ranks take the steps together: each its share, with the same parameters before and after; rank 0 writes and tells. */
  job: Job | null;
  config: StageLoopConfig;
  /** Settings that take less memory when they are lowered, in words. */
  smaller: string;
  parameters: Record<string, Tensor>;
  /** The other halves of parameters that are held in halves, by their names. */
  lows?: Record<string, Tensor> | undefined;
  /** The cursor before the first step. */
  beginning: Cursor;
  /**
   * Leaves the gradient of one batch in the parameters, and notes in the cursor what it drew. Of a job: the gradient of the rank's
   * share, which over all ranks adds up to the batch's, and the figures of the whole batch.
   */
  step(cursor: Cursor): { loss: number; tokens: number; flops: number };
  /** What is logged of the steps since the last line. */
  line(cursor: Cursor): { loss: number } & Record<string, unknown>;
  /** What is measured every `evaluateEvery` steps. */
  evaluate(cursor: Cursor): Promise<Record<string, unknown>>;
  signal: AbortSignal | undefined;
  onProgress(progress: { step: number; steps: number; loss: number; tokensPerSecond: number; mfu: number }): void;
  onNotice: ((message: string) => void) | undefined;
}

/**
 * Takes a stage's steps with AdamW under a warm-up and a cosine, from its checkpoint on where there is one: to the same numbers
 * as without a stop. When the signal is aborted, a checkpoint is written and its reason thrown.
 * @throws TrainingError `LOSS_NOT_FINITE`, with the last good checkpoint kept where there is one; `OUT_OF_MEMORY`, with what would take less
 */
export async function runStageLoop<Cursor extends StageCursor>(stage: StageLoop<Cursor>): Promise<Cursor> {
  try {
    return await takeSteps(stage);
  } catch (error) {
    if (error instanceof TensorError && error.code === 'TENSOR_MEMORY') throw outOfMemory(stage, error);
    throw error;
  }
}

async function takeSteps<Cursor extends StageCursor>(stage: StageLoop<Cursor>): Promise<Cursor> {
  const { output, identity, steps, config, parameters, signal, job } = stage;
  const all = Object.values(parameters);
  for (const parameter of all) parameter.requiresGrad_();
  // Its roundings by chance are drawn from a seed, and rank 0 may have drawn more than the others by now.
  drawTogether(job, identity, 0);
  using optimizer = adamW(parameters, config.learningRate, config.weightDecay, stage.lows);
  const cursor = restoreStage<Cursor>(output, identity, parameters, optimizer) ?? stage.beginning;
  beginTogether(job, [...all, ...Object.values(stage.lows ?? {})], cursor.step, output);
  if (cursor.step > 0) stage.onNotice?.(`${stage.name} goes on from step ${cursor.step}.`);
  const metrics = join(output, 'metrics.jsonl');
  const isDue = (every: number) => cursor.step > 0 && cursor.step < steps && cursor.step % every === 0;
  // What is measured after the last step, the stage measures itself.
  const measures = isDue(config.evaluateEvery) || cursor.step === steps;
  if (isFirst(job)) await rewindMetrics(metrics, cursor.step, measures);
  // All wait: a rank that ended meanwhile would end rank 0 with it.
  const save = () => byFirst(job, () => saveStage(output, identity, { parameters, optimizer, cursor }));
  const schedule = warmupCosine({
    warmup: Math.ceil(steps * config.warmupShare),
    total: steps,
    minRatio: config.finalShare,
  });
  const evaluate = () =>
    byFirst(job, async () => appendMetric(metrics, { step: cursor.step, ...(await measured(stage, cursor)) }));
  if (isDue(config.evaluateEvery)) await evaluate();
  let tokens = 0;
  let seconds = 0;
  let flops = 0;
  while (cursor.step < steps) {
    const [interrupted] = total(job, [signal?.aborted ? 1 : 0]);
    if (interrupted! > 0) {
      await save();
      throw signal?.aborted ? signal.reason : new TrainingError('INTERRUPTED', 'another process was interrupted');
    }
    const started = performance.now();
    optimizer.lr = config.learningRate * schedule(cursor.step);
    optimizer.zeroGrad();
    drawApart(job, identity, cursor.step);
    const taken = stage.step(cursor);
    drawTogether(job, identity, cursor.step);
    sumGradients(job, all);
    const norm = Number.isFinite(taken.loss) ? clipGradNorm(all, config.clipNorm) : Number.NaN;
    if (!Number.isFinite(norm)) throw notFinite(stage, cursor.step, taken.loss);
    optimizer.step();
    cursor.step++;
    const spent = (performance.now() - started) / 1000;
    cursor.seconds += spent;
    cursor.flops += taken.flops;
    seconds += spent;
    tokens += taken.tokens;
    flops += taken.flops;
    if (cursor.step % config.logEvery === 0 || cursor.step === steps) {
      const line = stage.line(cursor);
      if (isFirst(job)) {
        const tokensPerSecond = tokens / seconds;
        const mfu = flops / seconds / machinePeak(stage.device, config.precision, job?.size).flops;
        await appendMetric(metrics, {
          step: cursor.step,
          ...line,
          learningRate: optimizer.lr,
          gradientNorm: norm,
          tokensPerSecond: Math.round(tokensPerSecond),
          mfu: Number(mfu.toPrecision(3)),
        });
        stage.onProgress({ step: cursor.step, steps, loss: line.loss, tokensPerSecond, mfu });
      }
      tokens = seconds = flops = 0;
      // Lets signals and other work of the process through.
      await new Promise(setImmediate);
    }
    // Measuring can fail, and be interrupted: before it, here and at the end, the steps so far are made safe.
    if (isDue(config.checkpointEvery) || isDue(config.evaluateEvery) || cursor.step === steps) await save();
    if (isDue(config.evaluateEvery)) await evaluate();
  }
  optimizer.zeroGrad();
  for (const parameter of all) parameter.requiresGrad_(false);
  return cursor;
}

/** @throws TrainingError `OUT_OF_MEMORY`, with what leaves this measurement out */
async function measured<Cursor extends StageCursor>(
  { name, device, output, evaluate }: StageLoop<Cursor>,
  cursor: Cursor,
): Promise<Record<string, unknown>> {
  try {
    return await evaluate(cursor);
  } catch (error) {
    if (!(error instanceof TensorError) || error.code !== 'TENSOR_MEMORY') throw error;
    throw new TrainingError(
      'OUT_OF_MEMORY',
      `${name} ran out of memory on ${device} (${error.message}) as it measured after step ${cursor.step}. The steps so far are kept in ${output}: give the device more memory and start it again, or go on without this measurement by an evaluateEvery that does not divide ${cursor.step}`,
      { cause: error },
    );
  }
}

/** Lets each rank drop out inputs of its own in a step, the same ones whenever that step is taken by as many. */
function drawApart(job: Job | null, identity: string, step: number): void {
  if (job !== null) manualSeed(2 ** 32 * draws(step, identity, 1 + job.rank)());
}

/** What is drawn from here on is the same on all ranks. */
function drawTogether(job: Job | null, identity: string, step: number): void {
  if (job !== null) manualSeed(2 ** 32 * draws(step, identity)());
}

/** What failed, and the settings that would take less, those that change no result first. */
function outOfMemory<Cursor extends StageCursor>(
  { name, config, device, smaller, output }: StageLoop<Cursor>,
  cause: TensorError,
): TrainingError {
  const remedies = [
    smaller,
    ...(config.recompute
      ? []
      : ['recompute true (a third more arithmetic, the activations of one layer in place of all)']),
    ...(config.precision === 'bf16' ? [] : ['precision bf16']),
    ...(config.lora !== undefined || config.trainingState === 'bf16'
      ? []
      : ['trainingState bf16, with precision bf16 (10 bytes a learnt weight in place of 18)']),
    ...(config.lora === undefined ? ['lora (no gradients and no moments of frozen weights)'] : ['a lower lora.rank']),
  ];
  return new TrainingError(
    'OUT_OF_MEMORY',
    `${name} ran out of memory on ${device} (${cause.message}). In this order: ${remedies.join('; ')}. Checkpoints in ${output} are kept; other settings start afresh, in another --out`,
    { cause },
  );
}

function notFinite<Cursor extends StageCursor>(
  { name, output, config }: StageLoop<Cursor>,
  step: number,
  loss: number,
): TrainingError {
  const what = `${name}: the ${Number.isFinite(loss) ? 'gradient' : 'loss'} of step ${step + 1} is not a finite number`;
  if (step === 0) {
    return new TrainingError(
      'LOSS_NOT_FINITE',
      `${what}, before anything was learnt: it is the model that the stage starts from. Its weights may be damaged (numbers that are none, or far too great): copy it again, or take another. If they are not, it is a setting that is far from its default (a temperature near 0).`,
    );
  }
  const kept = existsSync(join(output, CHECKPOINT)) ? `The last good checkpoint is kept in ${output}. ` : '';
  return new TrainingError(
    'LOSS_NOT_FINITE',
    `${what}. ${kept}Lower learningRate${config.precision === 'bf16' ? ', or use precision f32' : ''}; see that no setting is far from its default (temperature, weightDecay).`,
  );
}
