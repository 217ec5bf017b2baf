import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { memoryStats } from '@larr/torch';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { tinyConfig } from '../../test/synthetic-data.js';
import { makeToyDataset } from '../../test/toy-dataset.js';
import type { TrainConfigInput } from './config.js';
import { loadTrainingData, type TrainingData } from './data.js';
import { ResidentPart } from './resident-part.js';
import { StreamedPart } from './streamed-part.js';
import { type TrainResult, trainModel } from './train.js';
import { evaluateTrained } from './trained-model.js';

/** So small that every part is streamed, in windows of a few shards. */
const SMALL = 0.015;
const config: TrainConfigInput = { ...tinyConfig, epochs: 4, learningRate: 0.05, dropout: 0.1, logEvery: 1 };
let root: string;
let resident: TrainingData;
let streamed: TrainingData;
let directories = 0;
/** A streamed run, and the tensors that there were before and after it. */
let run: { out: string; result: TrainResult; tensors: [number, number] };

beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), 'larr-streamed-'));
  const data = join(root, 'data');
  await makeToyDataset(data, { pois: 20, users: 30, eventsPerUser: 200, rowsPerShard: 200 });
  resident = await loadTrainingData({ data });
  streamed = await loadTrainingData({ data, config: { memoryBudgetMiB: SMALL } });
  const out = directory();
  const { tensors } = memoryStats();
  const result = await train(streamed, out);
  run = { out, result, tensors: [tensors, memoryStats().tensors] };
}, 60_000);
afterAll(() => {
  resident.dispose();
  streamed.dispose();
  rmSync(root, { recursive: true, force: true });
});

const directory = () => join(root, `run${directories++}`);
const train = (data: TrainingData, out: string, signal?: AbortSignal, onProgress?: () => void) =>
  trainModel(data, { model: 'ple', out, seed: 3, config, signal, onProgress });
const numbers = ({ seconds: _, samplesPerSecond: __, ...rest }: TrainResult) => rest;

test('a part beyond the budget is streamed in several windows, one within it is resident', () => {
  expect(resident.train).toBeInstanceOf(ResidentPart);
  for (const part of [streamed.train, streamed.validation.part, streamed.test.part])
    expect(part).toBeInstanceOf(StreamedPart);
  expect(streamed.train.rows).toBe(resident.train.rows);
  expect(streamed.train.windowRows!).toBeLessThan(streamed.train.rows / 4);
  for (const part of ['validation', 'test'] as const) {
    const { dense: _, sequences: __, ...samples } = resident[part].samples as Parameters<typeof ResidentPart.from>[0];
    expect(streamed[part].samples).toEqual(samples);
  }
});

test('training from shards learns as training from memory does, and leaves no tensors behind', async () => {
  const whole = await train(resident, directory());
  const { result, tensors } = run;
  expect(tensors[1]).toBe(tensors[0]);
  for (const { metrics } of [whole, result]) {
    expect(metrics.ctrAuc).toBeGreaterThan(0.78);
    expect(metrics.ctcvrAuc).toBeGreaterThan(0.74);
  }
  // Other windows, other batches: not the same run twice.
  expect(result.metrics.ctrLogloss).not.toBe(whole.metrics.ctrLogloss);
});

test('a streamed run that was stopped in mid-epoch ends with the numbers of one that was not', async () => {
  const out = directory();
  for (const stopAfter of [7, 50]) {
    const stop = new AbortController();
    let steps = 0;
    const stopped = train(streamed, out, stop.signal, () => {
      if (++steps === stopAfter) stop.abort();
    });
    await expect(stopped).rejects.toMatchObject({ code: 'INTERRUPTED' });
  }
  const resumed = await train(streamed, out);
  expect(numbers(resumed)).toEqual(numbers(run.result));
  const steps = readFileSync(join(out, 'metrics.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .flatMap((line) => (JSON.parse(line).event === 'train' ? [JSON.parse(line).step] : []));
  expect(steps).toEqual(Array.from({ length: steps.length }, (_, i) => i + 1));
});

test('a model is measured the same whether the test part is streamed or resident', async () => {
  const { metrics, slices } = run.result;
  const again = await evaluateTrained(run.out, resident);
  expect(again.metrics.ctrAuc).toBeCloseTo(metrics.ctrAuc, 9);
  expect(again.metrics.ctcvrGauc!).toBeCloseTo(metrics.ctcvrGauc!, 9);
  expect(again.slices.map(({ rows, clicks }) => [rows, clicks])).toEqual(
    slices.map(({ rows, clicks }) => [rows, clicks]),
  );
});

test('a run is not continued in another order of rows', async () => {
  const out = directory();
  const stop = new AbortController();
  await expect(train(streamed, out, stop.signal, () => stop.abort())).rejects.toMatchObject({ code: 'INTERRUPTED' });
  await expect(train(resident, out)).rejects.toMatchObject({ code: 'CHECKPOINT_MISMATCH' });
});

test('a budget that is none is refused', async () => {
  const load = loadTrainingData({ data: join(root, 'data'), config: { memoryBudgetMiB: 0 } });
  await expect(load).rejects.toMatchObject({ code: 'BAD_CONFIG', message: expect.stringContaining('memoryBudgetMiB') });
});
