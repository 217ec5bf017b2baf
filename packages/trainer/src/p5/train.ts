// P5 as a model beside the others: trained on prompts of the train part, measured on the same rows by the same metrics.
import { createHash } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { calibration, type LarrError, specialTokens, TrainingError, writeFileAtomic } from '@larr/core';
import { manualSeed } from '@larr/torch';
import { noteLearntPairs, refuseOtherPairs } from '../embedding/learnt-pairs.js';
import { modelDigest } from '../embedding/model-digest.js';
import { wholeWeights } from '../language-model/compact-weights.js';
import { disposeDecoder, trainedParameters } from '../language-model/decoder.js';
import { heldMatrices, readyToTrain, saveTrained } from '../language-model/lora-directory.js';
import { checkModelDirectory, loadLanguageModel } from '../language-model/model-directory.js';
import { appendMetric, dropStage } from '../language-model/stage-checkpoint.js';
import { runStageLoop, type StageCursor } from '../language-model/stage-loop.js';
import { needsLanguageModel } from '../models/index.js';
import { clickLogitShift } from '../models/inputs.js';
import { differencesFrom } from '../report/run-differences.js';
import { recordRun, runDataset } from '../report/run-record.js';
import { writeTrainReport } from '../report/train-report.js';
import { resolveTrainConfig } from '../training/config.js';
import type { TrainingData } from '../training/data.js';
import { CALIBRATION_BINS, measure, type Predictions, slices } from '../training/evaluate.js';
import type { EvaluationSamples } from '../training/part.js';
import { readFinished, runPaths, type TrainOptions, type TrainResult } from '../training/train.js';
import { answers, learnAnswers } from './asked.js';
import { balancedRows } from './balanced-rows.js';
import { promptsOf } from './prompts.js';

interface Cursor extends StageCursor {
  tokens: number;
  unlogged: { loss: number; steps: number };
}

/**
 * Trains P5 with one seed and measures it on the test part: a language model that is asked in text whether this user clicks (and orders
 * from) this POI in this scene; the score is P(yes), the softmax over the two answers. Odds are corrected for the rows being drawn half and
 * half. Goes on from its checkpoint in `options.out`; a finished run is read back. The trained model is kept in `<out>/language-model`, with
 * a record of what it has learnt.
 *
 * @param options.vectors the directory of the language model that is asked: one that can still write, of stage 1 or from elsewhere
 * @throws UsageError `NEEDS_LANGUAGE_MODEL`; TrainingError `CHECKPOINT_MISMATCH`, `INTERRUPTED`, `LOSS_NOT_FINITE`, `OUT_OF_MEMORY`;
 * DataError of the model's directory, `MODEL_OF_OTHER_SPLIT` or `MODEL_WITHOUT_RECORD` where it has learnt from other rows; UsageError
 * `SHORT_CONTEXT`
 */
export async function trainP5(data: TrainingData, options: TrainOptions): Promise<TrainResult> {
  const { dataset, device } = data;
  const { manifest, splitName } = dataset;
  const { model: name, out, seed, signal } = options;
  const base = options.vectors;
  if (base === undefined) throw needsLanguageModel(name);
  const config = resolveTrainConfig(name, manifest.training, options.config);
  const { p5 } = config;
  await refuseOtherPairs(base, dataset);
  await checkModelDirectory(base, p5);
  const input = { path: base, sha256: await modelDigest(base) };
  const { logEvery: _, checkpointEvery: __, ...decisive } = p5;
  const identity = createHash('sha256')
    .update(
      JSON.stringify([
        'p5',
        1,
        decisive,
        seed,
        manifest.contentDigest,
        splitName,
        input.sha256,
        data.train.rows,
        data.test.part.rows,
      ]),
    )
    .digest('hex');
  const paths = runPaths(out);
  const run = {
    stage: 'train' as const,
    identity,
    config: { model: name, p5 },
    seed,
    device,
    dataset: runDataset(dataset),
    inputs: { 'language model': input },
  };
  const finished = await readFinished<TrainResult>(paths.result, identity, await differencesFrom(out, run));
  if (finished !== null) return finished;
  await mkdir(out, { recursive: true });

  const loaded = await loadLanguageModel(base, { device, matrices: heldMatrices(p5) });
  manualSeed(seed);
  const model = readyToTrain(loaded, { ...p5, saveAs: 'f32' }, specialTokens(manifest));
  try {
    const prompts = await promptsOf(dataset, model.tokenizer, model.decoder.config.contextLength);
    const work = async (): Promise<TrainResult> => {
      const rows = await balancedRows(dataset, { count: p5.samples, available: data.train.rows, seed });
      const labels = rows.order === null ? [rows.click] : [rows.click, rows.order];
      const steps = Math.ceil(rows.rows / p5.batchSize);
      const parameters = trainedParameters(model.decoder);
      const learnt = Object.values(parameters).reduce((sum, { numel }) => sum + numel, 0);
      const cursor = await runStageLoop<Cursor>({
        name: 'P5',
        output: out,
        identity,
        steps,
        device,
        job: null,
        config: { ...p5, evaluateEvery: steps + 1 },
        smaller: 'a higher p5.accumulate (the same step in more, smaller pieces)',
        parameters,
        lows: model.decoder.lows,
        beginning: { step: 0, seconds: 0, flops: 0, tokens: 0, unlogged: { loss: 0, steps: 0 } },
        step(cursor) {
          const from = cursor.step * p5.batchSize;
          const chosen = Int32Array.from({ length: Math.min(p5.batchSize, rows.rows - from) }, (_, i) => from + i);
          const taken = learnAnswers(model, prompts, rows, chosen, labels, p5);
          cursor.tokens += taken.tokens;
          cursor.unlogged.loss += taken.loss;
          cursor.unlogged.steps++;
          return taken;
        },
        line(cursor) {
          const { loss, steps: since } = cursor.unlogged;
          cursor.unlogged = { loss: 0, steps: 0 };
          return { event: 'train', epoch: 0, row: Math.min(rows.rows, cursor.step * p5.batchSize), loss: loss / since };
        },
        evaluate: async () => ({}),
        signal,
        onProgress: ({ step, loss }) => {
          const row = Math.min(rows.rows, step * p5.batchSize);
          const samplesPerSecond = cursorRate(row);
          options.onProgress?.({
            model: name,
            seed,
            epoch: 0,
            epochs: 1,
            row,
            rows: rows.rows,
            loss,
            samplesPerSecond,
          });
        },
        onNotice: undefined,
      }).catch(interrupted);
      wholeWeights(model.decoder);
      const shift = rows.clickShift - clickLogitShift(data.inputs);
      const score = async (samples: EvaluationSamples): Promise<Predictions> => {
        const [click, order] = await answers(model, prompts, samples, { precision: p5.precision, signal }).catch(
          interrupted,
        );
        return corrected(click!, order ?? null, shift);
      };
      const some = firstRows(data.validation.samples, p5.validationRows);
      const validation = measure(some, await score(some));
      const { samples, travelling } = data.test;
      const predictions = await score(samples);
      await appendMetric(paths.metrics, {
        step: steps,
        event: 'validation',
        epoch: 1,
        seconds: cursor.seconds,
        ...validation,
      });
      const kept = join(out, 'language-model');
      await noteLearntPairs(kept, dataset, base);
      await saveTrained(kept, model, { ...p5, saveAs: 'f32' }, input);
      return {
        format: 'larr-run',
        version: 1,
        model: name,
        dataset: manifest.name,
        split: splitName,
        schemaDigest: manifest.schemaDigest,
        seed,
        config,
        parameters: learnt,
        epochs: 1,
        bestEpoch: 1,
        validation,
        seconds: cursor.seconds,
        samplesPerSecond: rows.rows / cursor.seconds,
        metrics: measure(samples, predictions),
        calibration: {
          ctr: calibration(samples.click, predictions.ctr, CALIBRATION_BINS),
          ctcvr: predictions.ctcvr && calibration(samples.order!, predictions.ctcvr, CALIBRATION_BINS),
        },
        slices: slices(samples, travelling, dataset.split, predictions),
      };
    };
    const started = performance.now();
    const cursorRate = (row: number) => (row * 1000) / (performance.now() - started);
    const { result, record } = await recordRun(out, run, signal, work);
    await writeTrainReport(out, result, record);
    await writeFileAtomic(paths.result, `${JSON.stringify({ ...result, identity }, null, 2)}\n`);
    await dropStage(out);
    return result;
  } finally {
    disposeDecoder(model.decoder);
  }

  function interrupted(error: LarrError): never {
    if (!signal?.aborted) throw error;
    throw new TrainingError(
      'INTERRUPTED',
      'training of p5 stopped; the same command goes on from its last checkpoint',
      {
        cause: error,
      },
    );
  }
}

/**
 * Probabilities of the whole log from those learnt on rows drawn by click. With weights w₁ and w₀ of clicked and other rows, log(w₁ / w₀)
 * = `shift`: odds of a click fall by it; an order is a click, so p(order) falls as p(click) does.
 */
export function corrected(click: Float32Array, order: Float32Array | null, shift: number): Predictions {
  const ctr = click.map((p) => p / (p + (1 - p) * Math.exp(shift)));
  const ofOrder = (p: number, row: number) => Math.min(1, (p * ctr[row]!) / Math.max(click[row]!, 1e-12));
  return { ctr, ctcvr: order === null ? null : order.map(ofOrder) };
}

/** The first rows of a part, of what prompts and metrics read. */
function firstRows(samples: EvaluationSamples, count: number): EvaluationSamples {
  const rows = Math.min(count, samples.rows);
  const columns = (all: Int32Array) => {
    const n = samples.rows === 0 ? 0 : all.length / samples.rows;
    const out = new Int32Array(n * rows);
    for (let i = 0; i < n; i++) out.set(all.subarray(i * samples.rows, i * samples.rows + rows), i * rows);
    return out;
  };
  return {
    rows,
    categorical: columns(samples.categorical),
    scene: columns(samples.scene),
    user: samples.user.subarray(0, rows),
    poi: samples.poi.subarray(0, rows),
    click: samples.click.subarray(0, rows),
    order: samples.order?.subarray(0, rows) ?? null,
    rowId: samples.rowId.subarray(0, rows),
  };
}
