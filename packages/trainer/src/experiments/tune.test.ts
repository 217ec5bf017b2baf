import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { full, loadSafetensors, saveSafetensors, tidy } from '@larr/torch';
import { expect, test } from 'vitest';
import { reportPage } from '../../test/report-page.js';
import { syntheticData, syntheticVectors, temporaryDirectory, tinyConfig } from '../../test/synthetic-data.js';
import { resolveTrainConfig } from '../training/config.js';
import type { LearningData } from '../training/data.js';
import type { TrainProgress } from '../training/train.js';
import { checkSpaceIsRead, readSpace, type SearchSpace } from './search-space.js';
import { type TuneOptions, tuneOn } from './tune.js';

/** Data whose test part nobody may look at. */
function withoutTest(): LearningData {
  const { test: hidden, ...data } = syntheticData({ rows: 600 });
  hidden.part.dispose();
  return data;
}

const space = {
  learningRate: { min: 1e-4, max: 2e-2, log: true },
  hidden: { choices: [[8], [16], [16, 8]] },
};

test('a search halves its trials by the validation part alone, goes on where it was stopped, and writes what train takes', async () => {
  const data = withoutTest();
  const out = temporaryDirectory();
  const config = { ...tinyConfig, learningRate: 1e-5 };
  const options: TuneOptions = {
    data: 'in-memory',
    models: ['dnn', 'wide-deep'],
    seed: 3,
    budget: { trials: 5 },
    out,
    space,
    config,
    otherSections: { finetune: { steps: 7 } },
  };
  const stop = new AbortController();
  let runs = 0;
  const stopped = tuneOn(data, {
    ...options,
    signal: stop.signal,
    onTrial: () => {
      if (++runs === 4) stop.abort();
    },
  });
  await expect(stopped).rejects.toMatchObject({ code: 'INTERRUPTED' });
  const before = readdirSync(join(out, 'trials'));

  const told: number[][] = [];
  const beyond: TrainProgress[] = [];
  const result = await tuneOn(data, {
    ...options,
    onTrial: (_, __, done, total) => told.push([done, total]),
    onProgress: (progress) => {
      if (progress.row > progress.rows) beyond.push(progress);
    },
  });
  expect(beyond).toEqual([]);
  expect(told.slice(0, 9)).toEqual(Array.from({ length: 9 }, (_, i) => [i + 1, 9]));
  expect(readdirSync(join(out, 'trials'))).toEqual(expect.arrayContaining(before));
  for (const model of result.models) {
    expect(model.trials.map(({ steps }) => steps.length).sort()).toEqual([1, 1, 1, 1, 2, 3]);
    const shares = (count: number) => model.trials.filter(({ steps }) => steps.some(({ share }) => share === count));
    expect([0.25, 0.5, 1].map((share) => shares(share).length)).toEqual([5, 2, 2]);
    // Those that go on are those that were best before.
    const quarter = shares(0.25).map(({ index, steps }) => ({ index, score: steps[0]!.score! }));
    const kept = quarter.sort((a, b) => b.score - a.score).slice(0, 2);
    expect(shares(0.5).map(({ index }) => index)).toEqual(kept.map(({ index }) => index).sort());
    // A learning rate of 1e-5 learns nothing in an epoch: the search must do better than what is configured.
    expect(model.gain).toBeGreaterThan(0.01);
    expect(model.best).not.toBe(0);
  }
  const best = JSON.parse(readFileSync(join(out, 'best.json'), 'utf8'));
  expect(best.finetune).toEqual({ steps: 7 });
  for (const { name, best: chosen, trials } of result.models) {
    const { learningRate } = trials.find(({ index }) => index === chosen)!.settings;
    expect(resolveTrainConfig(name, {}, best.train).learningRate).toBe(learningRate);
  }
  expect(resolveTrainConfig('ple', {}, best.train).learningRate).toBe(1e-5);
  for (const text of ['wide-deep', 'Best score so far', 'learningRate', '--config'])
    expect(reportPage(out)).toContain(text);
  expect(readdirSync(join(out, 'trials', 'dnn-0-of-1'))).not.toContain('last.safetensors');
  expect(await tuneOn(data, options)).toEqual(result);
  data.dispose();
});

test('a trial whose loss does not stay finite loses, and does not end the search', async () => {
  const data = withoutTest();
  const out = temporaryDirectory();
  const options: TuneOptions = {
    data: 'in-memory',
    models: ['dnn'],
    seed: 1,
    budget: { trials: 4 },
    out,
    space: { learningRate: { choices: [1e30, 1e-2] } },
    config: tinyConfig,
  };
  const result = await tuneOn(data, options);
  const [model] = result.models;
  const failed = model!.trials.filter(({ steps }) => steps.some(({ score }) => score === null));
  expect(failed.length).toBeGreaterThan(0);
  for (const { settings } of failed) expect(settings.learningRate).toBe(1e30);
  expect(failed.map(({ index }) => index)).not.toContain(model!.best);
  expect(await tuneOn(data, options)).toEqual(result);
  expect(reportPage(out)).toContain('not finite');
  data.dispose();
});

test('a failure is that of its vectors and rows alone: others are tried anew', async () => {
  const data = withoutTest();
  const out = temporaryDirectory();
  const vectors = syntheticVectors(data.inputs, data.dataset.split, 16);
  const options: TuneOptions = {
    data: 'in-memory',
    models: ['larr'],
    seed: 1,
    budget: { trials: 1 },
    out,
    vectors,
    space: { learningRate: { choices: [1e-3] } },
    config: { ...tinyConfig, learningRate: 1e30 },
  };
  const marker = join(out, 'trials', 'larr-0-of-1', 'failed.json');
  const failing = async (change: Partial<TuneOptions> = {}) => {
    await expect(tuneOn(data, { ...options, ...change })).rejects.toMatchObject({ code: 'LOSS_NOT_FINITE' });
  };
  /** Whether the trial is run although a failure is noted. */
  const triedAnew = async (change: Partial<TuneOptions> = {}) => {
    const noted = JSON.stringify({ ...JSON.parse(readFileSync(marker, 'utf8')), seconds: 12345 });
    writeFileSync(marker, noted);
    await failing(change);
    return readFileSync(marker, 'utf8') !== noted;
  };
  await failing();
  expect(await triedAnew()).toBe(false);
  expect(await triedAnew({ limit: 300 })).toBe(true);
  expect(await triedAnew({ limit: 300 })).toBe(false);
  tidy(() => {
    const path = join(vectors, 'scene.safetensors');
    const { tensors, metadata } = loadSafetensors(path);
    saveSafetensors(path, { embeddings: full(tensors.embeddings!.shape, 0.1) }, metadata);
  });
  expect(await triedAnew({ limit: 300 })).toBe(true);
  data.dispose();
});

test('minutes allow the trials that they pay for, and each model has the same', async () => {
  const data = withoutTest();
  const vectors = syntheticVectors(data.inputs, data.dataset.split, 16);
  const options = {
    data: 'x',
    models: ['larr'],
    seed: 1,
    vectors,
    config: tinyConfig,
    space: { idDropout: { min: 0, max: 0.2 } },
  };
  const tuned = async (minutes: number) => {
    const result = await tuneOn(data, { ...options, budget: { minutes }, out: temporaryDirectory() });
    return { trials: result.models[0]!.trials.length - 1, reference: result.models[0]!.trials[0]!.steps[0]!.seconds };
  };
  expect((await tuned(1e-6)).trials).toBe(0);
  const { trials, reference } = await tuned(0.05);
  // Three trials cost 3/4 + 1/2 + 1 runs, and the configured one another.
  expect(trials >= 3).toBe(3 >= 3.25 * reference);
  data.dispose();
});

test('search spaces and budgets that make no sense are refused, with the place', async () => {
  const directory = temporaryDirectory();
  mkdirSync(directory, { recursive: true });
  const read = (value: unknown) => {
    const file = join(directory, 'space.json');
    writeFileSync(file, JSON.stringify(value));
    return readSpace(file);
  };
  await expect(read({ dropout: { min: 0.2, max: 0.1 } })).rejects.toThrow(/dropout: min must be below max/);
  await expect(read({ dropout: { min: 0, max: 0.1, log: true } })).rejects.toThrow(/begins above 0/);
  await expect(read({ dropout: { from: 1 } })).rejects.toMatchObject({ code: 'SPACE_INVALID' });
  await expect(read({})).rejects.toThrow(/names no setting/);
  await expect(readSpace(join(directory, 'nowhere.json'))).rejects.toMatchObject({ code: 'SPACE_MISSING' });
  expect(await read(space)).toEqual(space);
  await expect(read({ 'align.temprature': { min: 0.1, max: 0.2 } })).rejects.toThrow(
    /space\.json is no search space.*\n {2}align\.temprature: .*Did you mean "align\.temperature"\?/,
  );
  await expect(
    read({ dropuot: { min: 0, max: 0.1 }, learningRate: { min: -1, max: 1 }, hidden: { choices: [[64], 'wide'] } }),
  ).rejects.toThrow(/dropuot: .*"dropout".*\n.*learningRate: .*-1\n.*hidden: "wide" is not an array/s);
  for (const [wrong, said] of [
    [{ hidden: { min: 1, max: 2 } }, /hidden: it is no number.*choices/],
    [{ batchSize: { min: 64, max: 512 } }, /batchSize: it is a whole number: add "whole": true/],
    [{ interactions: { choices: ['none', 'fn'] } }, /interactions: "fn" is not valid. Did you mean "fm"\?/],
    [{ dropout: { min: 0, max: 1 } }, /dropout: .*<1, not 1/],
    [{ 'larr.vectorDim': { choices: [64, 128] } }, /larr\.vectorDim: train has no such setting that can be searched/],
    [{ ple: { choices: [{}, {}] } }, /ple: train has no such setting/],
    [[1], /is no search space/],
  ] as const)
    await expect(read(wrong)).rejects.toThrow(said);
  expect(() => checkSpaceIsRead({ 'align.lambda': { min: 0.1, max: 1 } }, ['ple', 'dnn'])).toThrow(
    /ple does not read align\.lambda, dnn does not/,
  );
  expect(() => checkSpaceIsRead({ 'align.lambda': { min: 0.1, max: 1 } }, ['ple', 'larr'])).not.toThrow();
  const levels = { 'ple.levels': { choices: [[[8]], [[16]]] } };
  const maps = { 'xdeepfm.maps': { choices: [[8], [16]] } };
  for (const [unread, models, base] of [
    [levels, ['dnn']],
    [levels, ['larr', 'larr-ple'], 'dnn'],
    [maps, ['larr', 'deepfm']],
    [{ 'mmoe.experts': { choices: [2, 4] } }, ['ple', 'larr']],
    [{ 'dcnV2.layers': { choices: [2, 4] } }, ['xdeepfm']],
    [{ 'fibinet.reduction': { choices: [2, 4] } }, ['din']],
    [{ 'din.attention': { choices: [[8], [16]] } }, ['esmm']],
    [{ 'p5.samples': { choices: [10, 20] } }, ['dnn', 'larr']],
    [{ hidden: { choices: [[8], [16]] } }, ['larr', 'mmoe']],
    [{ interactions: { choices: ['none', 'fm'] } }, ['deepfm']],
    [{ base: { choices: ['dnn', 'ple'] } }, ['dnn']],
  ] as const)
    expect(() => checkSpaceIsRead(unread as SearchSpace, models, base && { base })).toThrow(/does not read/);
  expect(() => checkSpaceIsRead(maps, ['larr', 'dnn'], { base: 'xdeepfm' })).not.toThrow();
  expect(() => checkSpaceIsRead(maps, ['larr'], { models: { larr: { base: 'xdeepfm' } } })).not.toThrow();
  expect(() => checkSpaceIsRead({ ...maps, base: { choices: ['ple', 'xdeepfm'] } }, ['larr'])).not.toThrow();
  expect(() => checkSpaceIsRead({ 'din.attention': { choices: [[8], [16]] } }, ['din'])).not.toThrow();
  for (const idle of ['logEvery', 'p5.logEvery', 'p5.checkpointEvery', 'p5.recompute', 'p5.lora.save'])
    await expect(read({ [idle]: { choices: [1, 2] } })).rejects.toThrow(`${idle}: train has no such setting`);

  const data = withoutTest();
  const run = (budget: TuneOptions['budget'], wrong: TuneOptions['space'] = space) =>
    tuneOn(data, { data: 'x', models: ['dnn'], seed: 1, budget, out: join(directory, 'run'), space: wrong });
  await expect(run({ trials: 0 })).rejects.toMatchObject({ code: 'BAD_BUDGET' });
  await expect(run({ minutes: -1 })).rejects.toMatchObject({ code: 'BAD_BUDGET' });
  await expect(run({ trials: 2 }, { learnigRate: { min: 1, max: 2 } })).rejects.toMatchObject({ code: 'BAD_CONFIG' });
  expect(existsSync(join(directory, 'run'))).toBe(false);
  data.dispose();
});
