import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { Samples } from '@larr/core';
import { loadSafetensors, tidy } from '@larr/torch';
import { expect, test } from 'vitest';
import { reportPage } from '../../test/report-page.js';
import {
  syntheticData,
  syntheticSamples,
  syntheticVectors,
  temporaryDirectory,
  tinyConfig,
} from '../../test/synthetic-data.js';
import { compareOn } from '../experiments/compare.js';
import { type NetworkName, networkNames } from '../models/config.js';
import { modelKind, modelNames } from '../models/index.js';
import { readRecord } from '../report/run-record.js';
import { requireBothClasses } from './data.js';
import { ResidentPart } from './resident-part.js';
import { trainModel } from './train.js';

const lines = (dir: string) =>
  readFileSync(join(dir, 'metrics.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));

const bases = networkNames.filter((network) => network !== 'ple');
const learners: { model: string; base?: NetworkName }[] = [
  ...modelNames
    .filter((name) => modelKind(name).truth === null && !modelKind(name).languageModel)
    .map((model) => ({ model })),
  ...bases.map((base) => ({ model: 'larr', base })),
];

for (const { model, base } of learners) {
  const name = base ? `${model} on ${base}` : model;
  test(`${name} learns: every parameter moves, the loss falls, clicks and orders rank better than chance`, async () => {
    const data = syntheticData();
    const out = temporaryDirectory();
    const vectors = syntheticVectors(data.inputs, data.dataset.split, 16);
    const config = { ...tinyConfig, ...(base && { base }), epochs: 6, logEvery: 2 };
    const result = await trainModel(data, { model, out, seed: 1, config, vectors });
    const untrained = temporaryDirectory();
    await trainModel(data, {
      model,
      out: untrained,
      seed: 1,
      config: { ...config, epochs: 1, learningRate: 1e-12 },
      vectors,
    });
    tidy(() => {
      const after = loadSafetensors(join(out, 'model.safetensors')).tensors;
      const before = loadSafetensors(join(untrained, 'model.safetensors')).tensors;
      for (const [name, tensor] of Object.entries(after)) {
        const moved = tensor.sub(before[name]!).abs().amax().item();
        if (/^dense\.|\.table$|^history\.poi$/.test(name)) expect(moved, name).toBe(0);
        else expect(moved, name).toBeGreaterThan(1e-6);
      }
    });
    const losses = lines(out).flatMap((line) => (line.event === 'train' ? [line.loss] : []));
    expect(losses.at(-1)).toBeLessThan(0.97 * losses[0]);
    expect(result.metrics.ctrAuc).toBeGreaterThan(0.6);
    expect(result.metrics.ctcvrAuc).toBeGreaterThan(0.55);
    expect(result.metrics.ctrGauc).toBeGreaterThan(0.5);
    data.dispose();
  });
}

test('a run directory says what the run was made with, and shows it on a page of its own', async () => {
  const data = syntheticData();
  const out = temporaryDirectory();
  const vectors = syntheticVectors(data.inputs, data.dataset.split, 16);
  const config = { ...tinyConfig, epochs: 2 };
  const result = await trainModel(data, { model: 'larr', out, seed: 4, config, vectors });
  expect(await readRecord(out)).toMatchObject({
    stage: 'train',
    seed: 4,
    device: 'cpu',
    dataset: { name: 'synthetic', split: 'random', contentDigest: '0'.repeat(64) },
    inputs: { vectors: { path: vectors, sha256: expect.stringMatching(/^[0-9a-f]{64}$/) } },
    // what was given, and what was not
    config: { model: 'larr', epochs: 2, align: { lambda: 0.05 }, dtype: 'f32' },
    sittings: [{ outcome: 'finished' }],
  });
  const page = reportPage(out);
  const { metrics, validation, calibration } = result;
  for (const figure of [metrics.ctrAuc, metrics.ctcvrGauc!, validation.ctrLogloss, calibration.ctr.ece])
    expect(page).toContain(figure.toFixed(4));
  for (const text of ['Training loss', 'Validation AUC', 'predicted against observed', 'POIs unseen', 'heavy rain'])
    expect(page).toContain(text);
  data.dispose();
});

for (const model of networkNames) {
  test(`data without orders train and report clicks alone: ${model}`, async () => {
    const data = syntheticData({ orders: false });
    const out = temporaryDirectory();
    const result = await trainModel(data, { model, out, seed: 1, config: { ...tinyConfig, epochs: 4 } });
    expect(result.metrics).toMatchObject({ ctcvrAuc: null, ctcvrGauc: null, ctcvrLogloss: null });
    expect(result.metrics.ctrAuc).toBeGreaterThan(0.55);
    expect(result.calibration.ctcvr).toBeNull();
    expect(reportPage(out)).not.toContain('CTCVR AUC');
    data.dispose();
  });
}

test('slices count cold POIs, cold users and every scene text', async () => {
  const data = syntheticData();
  const result = await trainModel(data, { model: 'dnn', out: temporaryDirectory(), seed: 1, config: tinyConfig });
  const { samples } = data.test;
  const cold = result.slices.find((slice) => slice.kind === 'cold-poi')!;
  expect(cold.rows).toBe(samples.poi.filter((poi) => poi >= 38).length);
  const away = result.slices.find((slice) => slice.kind === 'travelling')!;
  expect(away.rows).toBe(samples.user.filter((user) => user % 3 === 0).length);
  const weather = result.slices.filter((slice) => slice.field === 'weather');
  expect(weather.map((slice) => slice.value)).toEqual(['', 'sunny', 'heavy rain', 'snow']);
  expect(weather.reduce((sum, slice) => sum + slice.rows, 0)).toBe(samples.rows);
  expect(weather.reduce((sum, slice) => sum + slice.clicks, 0)).toBe(samples.click.reduce((a, b) => a + b));
  data.dispose();
});

const numbers = ({ seconds: _, samplesPerSecond: __, ...rest }: Record<string, unknown>) => rest;

for (const model of [...networkNames, 'larr']) {
  test(`${model}: the same seed gives the same numbers, and so does a run stopped in mid-epoch and resumed`, async () => {
    const data = syntheticData();
    const vectors = syntheticVectors(data.inputs, data.dataset.split, 16);
    const config = {
      ...tinyConfig,
      epochs: 3,
      dropout: 0.2,
      batchNorm: model !== 'ple' && model !== 'larr',
      schedule: 'cosine' as const,
      logEvery: 1,
    };
    const run = (out: string, signal?: AbortSignal, onProgress?: () => void) =>
      trainModel(data, { model, out, seed: 7, config, vectors, signal, onProgress });
    const straight = await run(temporaryDirectory());
    const out = temporaryDirectory();
    for (const stopAfter of [4, 13]) {
      const stop = new AbortController();
      let steps = 0;
      const stopped = run(out, stop.signal, () => {
        if (++steps === stopAfter) stop.abort();
      });
      await expect(stopped).rejects.toMatchObject({ code: 'INTERRUPTED' });
      expect(existsSync(join(out, 'result.json'))).toBe(false);
    }
    const resumed = await run(out);
    expect(numbers({ ...resumed })).toEqual(numbers({ ...straight }));
    const steps = lines(out).flatMap((line) => (line.event === 'train' ? [line.step] : []));
    expect(steps).toEqual(Array.from({ length: 30 }, (_, i) => i + 1));
    expect(readdirSync(out).sort()).toEqual([
      'last.safetensors',
      'metrics.jsonl',
      'model.json',
      'model.safetensors',
      'report.html',
      'result.json',
      'run.json',
    ]);
    // a finished run is read back
    expect(await run(out)).toEqual(resumed);
    data.dispose();
  });
}

test('another seed gives other numbers', async () => {
  const data = syntheticData();
  const aucs = [];
  for (const seed of [1, 2]) {
    const { metrics } = await trainModel(data, { model: 'ple', out: temporaryDirectory(), seed, config: tinyConfig });
    aucs.push(metrics.ctrAuc);
  }
  expect(aucs[0]).not.toBe(aucs[1]);
  data.dispose();
});

test('the best epoch is kept, and training stops after `patience` epochs without a better one', async () => {
  const data = syntheticData({ rows: 300 });
  const out = temporaryDirectory();
  const config = { ...tinyConfig, epochs: 60, patience: 3, learningRate: 0.03 };
  const result = await trainModel(data, { model: 'dnn', out, seed: 1, config });
  expect(result.epochs).toBeLessThan(60);
  expect(result.epochs).toBe(result.bestEpoch + 3);
  const validations = lines(out).filter((line) => line.event === 'validation');
  const best = validations.reduce((a, b) => (b.ctrAuc + b.ctcvrAuc > a.ctrAuc + a.ctcvrAuc ? b : a));
  expect(best.epoch).toBe(result.bestEpoch);
  expect(result.validation.ctrAuc).toBe(best.ctrAuc);
  data.dispose();
});

test('on a plateau the rate falls after each epoch without a better one, and a resumed run knows how far', async () => {
  const data = syntheticData({ rows: 300 });
  const config = {
    ...tinyConfig,
    epochs: 60,
    patience: 3,
    learningRate: 0.03,
    embeddingLearningRate: 0.06,
    schedule: 'plateau' as const,
    plateauFactor: 0.5,
    logEvery: 1,
  };
  const run = (out: string, signal?: AbortSignal, onProgress?: () => void) =>
    trainModel(data, { model: 'dnn', out, seed: 1, config, signal, onProgress });
  const out = temporaryDirectory();
  const straight = await run(out);
  let best = Number.NEGATIVE_INFINITY;
  let rate = 0.03;
  for (const line of lines(out)) {
    if (line.event === 'train') expect(line.learningRate).toBeCloseTo(rate, 12);
    else if (line.ctrAuc + line.ctcvrAuc > best) best = line.ctrAuc + line.ctcvrAuc;
    else rate *= 0.5;
  }
  expect(rate).toBeLessThanOrEqual(0.03 / 8);
  const resumed = temporaryDirectory();
  const stop = new AbortController();
  let steps = 0;
  // within the last epochs, when the rate has fallen
  const stopAt = lines(out).filter((line) => line.event === 'train').length - 2;
  const stopped = run(resumed, stop.signal, () => {
    if (++steps === stopAt) stop.abort();
  });
  await expect(stopped).rejects.toMatchObject({ code: 'INTERRUPTED' });
  expect(numbers({ ...(await run(resumed)) })).toEqual(numbers({ ...straight }));
  data.dispose();
});

for (const model of networkNames) {
  test(`bf16 ranks about as well as f32: ${model}`, async () => {
    const data = syntheticData({ rows: 3000 });
    const aucs: number[] = [];
    for (const dtype of ['f32', 'bf16'] as const) {
      // So few epochs that early stopping, which a rounding can set off, does not decide. (Seed 1's PLE has not come far by then, and moves by .01.)
      const config = { ...tinyConfig, epochs: 3, patience: 0, dtype };
      const { metrics } = await trainModel(data, { model, out: temporaryDirectory(), seed: 2, config });
      aucs.push(metrics.ctrAuc);
    }
    expect(Math.abs(aucs[0]! - aucs[1]!)).toBeLessThan(0.01);
    data.dispose();
  });
}

test('a loss that is not finite stops the run and keeps the last good checkpoint', async () => {
  const data = syntheticData();
  const out = temporaryDirectory();
  const config = { ...tinyConfig, epochs: 2, logEvery: 1 };
  const stop = new AbortController();
  const started = trainModel(data, {
    model: 'ple',
    out,
    seed: 1,
    config,
    signal: stop.signal,
    onProgress: () => stop.abort(),
  });
  await expect(started).rejects.toMatchObject({ code: 'INTERRUPTED' });
  const good = readFileSync(join(out, 'last.safetensors'));

  const samples = syntheticSamples(1200, 5);
  samples.dense.fill(Number.NaN);
  const poisoned = { ...data, train: ResidentPart.from(samples, data.inputs, 'cpu') };
  await expect(trainModel(poisoned, { model: 'ple', out, seed: 1, config })).rejects.toMatchObject({
    code: 'LOSS_NOT_FINITE',
    message: expect.stringMatching(/epoch 1, step 2: the last good checkpoint is .*last.safetensors/),
  });
  expect(readFileSync(join(out, 'last.safetensors')).equals(good)).toBe(true);
  poisoned.train.dispose();
  data.dispose();
});

test('a checkpoint or a result of another configuration is refused by name', async () => {
  const data = syntheticData();
  const out = temporaryDirectory();
  await trainModel(data, { model: 'dnn', out, seed: 1, config: tinyConfig });
  const other = { ...tinyConfig, learningRate: 1e-4 };
  const again = (seed: number, config: typeof other) => trainModel(data, { model: 'dnn', out, seed, config });
  const refused = (differing: string) => ({
    code: 'CHECKPOINT_MISMATCH',
    message: expect.stringContaining(`a run with other settings (${differing}). Take another --out`),
  });
  const rate = `learningRate: ${tinyConfig.learningRate} there, 0.0001 now`;
  await expect(again(2, other)).rejects.toMatchObject(refused(`seed: 1 there, 2 now; ${rate}`));
  rmSync(join(out, 'result.json'));
  await expect(again(1, other)).rejects.toMatchObject(refused(rate));
  data.dispose();
});

test('wrong settings, models and vectors are refused with what to do', async () => {
  const data = syntheticData();
  const out = temporaryDirectory();
  const run = (model: string, config: object, vectors?: string) =>
    trainModel(data, { model, out, seed: 1, config, vectors });
  await expect(run('pel', {})).rejects.toMatchObject({
    code: 'UNKNOWN_MODEL',
    message: expect.stringMatching(/no model "pel"\. Did you mean "ple"\? Known: .*deepfm/),
  });
  await expect(run('ple', { learningrate: 1 })).rejects.toMatchObject({
    code: 'BAD_CONFIG',
    message: expect.stringContaining('learningrate'),
  });
  await expect(run('larr', tinyConfig)).rejects.toMatchObject({ code: 'NEEDS_VECTORS' });
  await expect(run('larr', tinyConfig, join(out, 'nowhere'))).rejects.toMatchObject({ code: 'NO_VECTORS' });
  const fewer = { ...data.inputs, pois: 7 };
  const ofOthers = syntheticVectors(fewer, data.dataset.split, 16);
  await expect(run('larr', tinyConfig, ofOthers)).rejects.toMatchObject({
    code: 'VECTORS_MISMATCH',
    message: expect.stringContaining('7 POIs'),
  });
  data.dispose();
});

test('a model that the data have no input for is refused before anything is written', async () => {
  const data = syntheticData({ rows: 300 });
  const vectors = syntheticVectors(data.inputs, data.dataset.split, 16);
  const out = join(temporaryDirectory(), 'run');
  const without = (inputs: Partial<typeof data.inputs>) => ({ ...data, inputs: { ...data.inputs, ...inputs } });
  const [noSequence, noPoi, oneField] = [
    without({ sequences: [] }),
    without({ categorical: data.inputs.categorical.filter(({ role }) => role !== 'poi') }),
    without({ categorical: data.inputs.categorical.slice(0, 1) }),
  ];
  const run = (of: typeof data, model: string, base?: NetworkName) =>
    trainModel(of, { model, out, seed: 1, vectors, config: { ...tinyConfig, ...(base && { base }) } });
  const [sequence, fields] = [{ code: 'NEEDS_SEQUENCE' }, { code: 'NEEDS_FIELDS' }];
  await expect(run(noSequence, 'din')).rejects.toMatchObject({
    ...sequence,
    message: expect.stringContaining('features.sequences'),
  });
  await expect(run(noPoi, 'din')).rejects.toMatchObject({
    ...sequence,
    message: expect.stringContaining('role "poi"'),
  });
  await expect(run(noSequence, 'larr', 'din')).rejects.toMatchObject(sequence);
  await expect(run(oneField, 'fibinet')).rejects.toMatchObject(fields);
  const both = { data: 'nowhere', models: ['dnn', 'din'], seeds: 1, out, config: tinyConfig };
  await expect(compareOn(noSequence, both)).rejects.toMatchObject(sequence);
  expect(existsSync(join(out, 'models'))).toBe(false);
  data.dispose();
});

test('the width of the model follows the vectors, and another one asked for is refused before anything is written', async () => {
  const data = syntheticData({ rows: 300 });
  const vectors = syntheticVectors(data.inputs, data.dataset.split, 24);
  const { vectorDim: _, ...larr } = tinyConfig.larr;
  const run = (config: object, out = temporaryDirectory()) =>
    trainModel(data, { model: 'larr', out, seed: 1, vectors, config: { ...tinyConfig, ...config } });
  expect((await run({ larr: { ...larr, heads: 4 } })).config.larr.vectorDim).toBe(24);
  const out = join(temporaryDirectory(), 'run');
  await expect(run({}, out)).rejects.toMatchObject({
    code: 'VECTOR_DIM',
    message: expect.stringMatching(/vectorDim is 16.*24 wide/),
  });
  expect(existsSync(out)).toBe(false);
  data.dispose();
});

test('vectors of other data are refused before training', async () => {
  const data = syntheticData({ rows: 300 });
  const vectors = syntheticVectors(data.inputs, data.dataset.split, 16);
  const manifest = { ...data.dataset.manifest, contentDigest: '1'.repeat(64) };
  const other = { ...data, dataset: { ...data.dataset, manifest } };
  const out = join(temporaryDirectory(), 'run');
  await expect(trainModel(other, { model: 'larr', out, seed: 1, vectors, config: tinyConfig })).rejects.toMatchObject({
    code: 'VECTORS_MISMATCH',
  });
  expect(existsSync(out)).toBe(false);
  data.dispose();
});

test('probabilities are those of the whole log where negatives were thinned', async () => {
  const whole = syntheticData({ rows: 6000 });
  // A twentieth of the unclicked train rows is kept, as prepare would; validation and test stay whole.
  const samples = syntheticSamples(6000, 5, true);
  const kept = [...samples.click.keys()].filter((row) => samples.click[row] === 1 || row % 20 === 0);
  const column = <T extends Int32Array | Float32Array>(from: T, columns: number): T => {
    const out = from.slice(0, columns * kept.length) as T;
    for (let c = 0; c < columns; c++)
      kept.forEach((row, i) => {
        out[c * kept.length + i] = from[c * samples.rows + row]!;
      });
    return out;
  };
  const sequences = samples.sequences.map((sequence) => {
    const out = new Int32Array(4 * kept.length);
    kept.forEach((row, i) => {
      out.set(sequence.subarray(4 * row, 4 * row + 4), 4 * i);
    });
    return out;
  });
  const thin: Samples = {
    rows: kept.length,
    categorical: column(samples.categorical, 3),
    dense: column(samples.dense, 1),
    scene: column(samples.scene, 3),
    sequences,
    user: column(samples.user, 1),
    poi: column(samples.poi, 1),
    click: column(samples.click, 1),
    order: column(samples.order!, 1),
    rowId: samples.rowId.slice(0, kept.length),
  };
  const train = async (negativesKept?: number) => {
    const inputs = { ...whole.inputs, ...(negativesKept === undefined ? {} : { negativesKept }) };
    const part = ResidentPart.from(thin, inputs, 'cpu');
    const { calibration, metrics } = await trainModel(
      { ...whole, inputs, train: part },
      { model: 'ple', out: temporaryDirectory(), seed: 1, config: { ...tinyConfig, epochs: 3 } },
    );
    part.dispose();
    return { ...calibration.ctr, logloss: metrics.ctrLogloss, auc: metrics.ctrAuc };
  };
  const [biased, corrected] = [await train(), await train(0.05)];
  expect(corrected.auc).toBeCloseTo(biased.auc, 3);
  expect(biased.ece).toBeGreaterThan(0.25);
  expect(corrected.ece).toBeLessThan(0.12);
  expect(corrected.logloss).toBeLessThan(biased.logloss - 0.2);
  whole.dispose();
});

test('labels of one class are refused before training', () => {
  expect(() => requireBothClasses('test', 'click', new Float32Array(5))).toThrow(/every "click" in the test part is 0/);
  expect(() => requireBothClasses('test', 'click', Float32Array.of(0, 1, 0))).not.toThrow();
});
