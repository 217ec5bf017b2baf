import { join } from 'node:path';
import { TrainingError } from '@larr/core';
import { AdamW, clipGradNorm, type Tensor, warmupCosine } from '@larr/torch';
import { appendMetric, restoreStage, rewindMetrics, saveStage } from './stage-checkpoint.js';

/** Settings that the stages of language-model training share. */
export interface StageLoopConfig {
  learningRate: number;
  warmupShare: number;
  finalShare: number;
  weightDecay: number;
  clipNorm: number;
  logEvery: number;
  evaluateEvery: number;
  checkpointEvery: number;
}

/** Where a stage stands; stages add what they need to go on. */
export interface StageCursor {
  step: number;
  /** Seconds spent in steps, over all sittings. */
  seconds: number;
}

/** A stage of language-model training: what differs between them. */
export interface StageLoop<Cursor extends StageCursor> {
  /** For messages. */
  number: 1 | 2;
  /** The stage's directory: checkpoint and metrics.jsonl. */
  output: string;
  identity: string;
  steps: number;
  config: StageLoopConfig;
  parameters: Record<string, Tensor>;
  /** The cursor before the first step. */
  beginning: Cursor;
  /** Leaves the gradient of one batch in the parameters, and notes in the cursor what it drew. */
  step(cursor: Cursor): { loss: number; tokens: number };
  /** What is logged of the steps since the last line. */
  line(cursor: Cursor): { loss: number } & Record<string, unknown>;
  /** What is measured every `evaluateEvery` steps. */
  evaluate(cursor: Cursor): Promise<Record<string, unknown>>;
  signal: AbortSignal | undefined;
  onProgress(progress: { step: number; steps: number; loss: number; tokensPerSecond: number }): void;
  onNotice: ((message: string) => void) | undefined;
}

/**
 * Takes a stage's steps with AdamW under a warm-up and a cosine, from its checkpoint on where there is one: to the same numbers
 * as without a stop. When the signal is aborted, a checkpoint is written and its reason thrown.
 * @throws TrainingError `LOSS_NOT_FINITE`, with the last good checkpoint kept
 */
export async function runStageLoop<Cursor extends StageCursor>(stage: StageLoop<Cursor>): Promise<Cursor> {
  const { output, identity, steps, config, parameters, signal } = stage;
  const all = Object.values(parameters);
  for (const parameter of all) parameter.requiresGrad_();
  using optimizer = adamW(parameters, config.learningRate, config.weightDecay);
  const cursor = restoreStage<Cursor>(output, identity, parameters, optimizer) ?? stage.beginning;
  if (cursor.step > 0) stage.onNotice?.(`Stage ${stage.number} goes on from step ${cursor.step}.`);
  const metrics = join(output, 'metrics.jsonl');
  await rewindMetrics(metrics, cursor.step);
  const save = () => saveStage(output, identity, { parameters, optimizer, cursor });
  const schedule = warmupCosine({
    warmup: Math.ceil(steps * config.warmupShare),
    total: steps,
    minRatio: config.finalShare,
  });
  let tokens = 0;
  let seconds = 0;
  while (cursor.step < steps) {
    if (signal?.aborted) {
      save();
      throw signal.reason;
    }
    const started = performance.now();
    optimizer.lr = config.learningRate * schedule(cursor.step);
    optimizer.zeroGrad();
    const taken = stage.step(cursor);
    const norm = Number.isFinite(taken.loss) ? clipGradNorm(all, config.clipNorm) : Number.NaN;
    if (!Number.isFinite(norm)) throw notFinite(stage.number, cursor.step, taken.loss, output);
    optimizer.step();
    cursor.step++;
    const spent = (performance.now() - started) / 1000;
    cursor.seconds += spent;
    seconds += spent;
    tokens += taken.tokens;
    if (cursor.step % config.logEvery === 0 || cursor.step === steps) {
      const tokensPerSecond = tokens / seconds;
      const line = stage.line(cursor);
      await appendMetric(metrics, {
        step: cursor.step,
        ...line,
        learningRate: optimizer.lr,
        gradientNorm: norm,
        tokensPerSecond: Math.round(tokensPerSecond),
      });
      stage.onProgress({ step: cursor.step, steps, loss: line.loss, tokensPerSecond });
      tokens = seconds = 0;
      // Lets signals and other work of the process through.
      await new Promise(setImmediate);
    }
    if (cursor.step % config.evaluateEvery === 0 && cursor.step < steps)
      await appendMetric(metrics, { step: cursor.step, ...(await stage.evaluate(cursor)) });
    if (cursor.step % config.checkpointEvery === 0 && cursor.step < steps) save();
  }
  for (const parameter of all) parameter.requiresGrad_(false);
  return cursor;
}

/** AdamW over all parameters; norms' gains, biases and the embedding are not decayed. */
export function adamW(parameters: Record<string, Tensor>, lr: number, weightDecay: number): AdamW {
  const isDecayed = ([name, t]: [string, Tensor]) => t.ndim > 1 && name !== 'embedding';
  const named = Object.entries(parameters);
  const tensors = (some: [string, Tensor][]) => some.map(([, t]) => t);
  return new AdamW(
    [
      { params: tensors(named.filter(isDecayed)), weightDecay },
      { params: tensors(named.filter((one) => !isDecayed(one))), weightDecay: 0 },
    ],
    { lr, betas: [0.9, 0.98], eps: 1e-8 },
  );
}

function notFinite(stage: number, step: number, loss: number, output: string): TrainingError {
  return new TrainingError(
    'LOSS_NOT_FINITE',
    `Stage ${stage}: the ${Number.isFinite(loss) ? 'gradient' : 'loss'} of step ${step + 1} is not a finite number. The last good checkpoint is kept in ${output}. Lower learningRate, or use precision f32.`,
  );
}
