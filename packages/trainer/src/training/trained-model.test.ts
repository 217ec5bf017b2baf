import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { tidy } from '@larr/torch';
import { expect, test } from 'vitest';
import { syntheticData, syntheticVectors, temporaryDirectory, tinyConfig } from '../../test/synthetic-data.js';
import { predict } from './evaluate.js';
import type { ResidentPart } from './resident-part.js';
import { trainModel } from './train.js';
import { evaluateTrained, exportModelState, loadTrainedModel, splitOfRun } from './trained-model.js';

test('a trained LARR is read back, without the vectors it was made from, and scores as it did', async () => {
  const data = syntheticData();
  const run = temporaryDirectory();
  const vectors = syntheticVectors(data.inputs, data.dataset.split, 16);
  const result = await trainModel(data, { model: 'larr', out: run, seed: 1, config: tinyConfig, vectors });
  expect((await evaluateTrained(run, data)).metrics).toEqual(result.metrics);

  const state = await exportModelState(run);
  expect(state.description).toMatchObject({
    model: 'larr',
    inputs: data.inputs,
    dataset: { name: 'synthetic', split: 'random' },
  });
  expect(state.tensors.embedding!.shape).toEqual([61 + 41 + 5, 8]);
  const { scene } = data.inputs;
  const table = state.tensors['scene.table']!;
  for (const { offset } of scene) {
    const missing = table.data.subarray(offset * 16, (offset + 1) * 16);
    expect(missing.every((x) => x === 0)).toBe(true);
  }
  data.dispose();
});

test('a run of before a setting existed is read with what it did then', async () => {
  const data = syntheticData({ rows: 300 });
  const run = temporaryDirectory();
  const vectors = syntheticVectors(data.inputs, data.dataset.split, 16);
  const result = await trainModel(data, { model: 'larr', out: run, seed: 1, config: tinyConfig, vectors });
  const path = join(run, 'model.json');
  const { config, ...rest } = JSON.parse(readFileSync(path, 'utf8'));
  const { base: _, mmoe: __, ...older } = config;
  writeFileSync(path, JSON.stringify({ ...rest, config: older }));
  expect((await evaluateTrained(run, data)).metrics).toEqual(result.metrics);
  data.dispose();
});

test('scores of one row do not depend on the rows beside it', async () => {
  const data = syntheticData();
  const run = temporaryDirectory();
  await trainModel(data, { model: 'ple', out: run, seed: 1, config: { ...tinyConfig, batchNorm: true } });
  const { model, parameters, description } = await loadTrainedModel(run);
  const all = (await predict(model, data.test.part, data.inputs, description.config)).ctr;
  const part = data.test.part as ResidentPart;
  const alone = tidy(() => model.forward(part.range(17, 1), false).ctr.sigmoid().item());
  expect(alone).toBeCloseTo(all[17]!, 6);
  parameters.dispose();
  data.dispose();
});

test('data of another schema, or of other vocabularies, are refused', async () => {
  const data = syntheticData();
  const run = temporaryDirectory();
  await trainModel(data, { model: 'dnn', out: run, seed: 1, config: tinyConfig });
  const other = syntheticData({ orders: false });
  await expect(evaluateTrained(run, other)).rejects.toMatchObject({ code: 'SCHEMA_MISMATCH' });
  const { manifest } = data.dataset;
  for (const changed of [{ schemaDigest: 'another' }, { contentDigest: 'another' }]) {
    const renamed = { ...data, dataset: { ...data.dataset, manifest: { ...manifest, ...changed } } } as typeof data;
    await expect(evaluateTrained(run, renamed)).rejects.toMatchObject({
      code: 'SCHEMA_MISMATCH',
      message: expect.stringContaining('another'),
    });
  }
  const split = { ...data, dataset: { ...data.dataset, splitName: 'time' } } as typeof data;
  await expect(evaluateTrained(run, split)).rejects.toMatchObject({
    code: 'SCHEMA_MISMATCH',
    message: expect.stringMatching(/split random.*split time/),
  });
  data.dispose();
  other.dispose();
});

test('a run knows its split', async () => {
  const data = syntheticData({ rows: 300 });
  const run = temporaryDirectory();
  await trainModel(data, { model: 'dnn', out: run, seed: 1, config: tinyConfig });
  expect(await splitOfRun(run)).toBe('random');
  await expect(splitOfRun(temporaryDirectory())).rejects.toMatchObject({ code: 'NOT_TRAINED' });
  data.dispose();
});

test('a directory without a finished run says so', async () => {
  const empty = temporaryDirectory();
  await expect(exportModelState(empty)).rejects.toMatchObject({
    code: 'NOT_TRAINED',
    message: expect.stringContaining('run "larr train" first'),
  });
  mkdirSync(join(empty, 'models', 'ple-seed1'), { recursive: true });
  await expect(exportModelState(empty)).rejects.toMatchObject({
    code: 'NOT_TRAINED',
    message: expect.stringContaining(join(empty, 'models', 'ple-seed1')),
  });
});
