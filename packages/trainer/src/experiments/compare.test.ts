import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { reportPage } from '../../test/report-page.js';
import { syntheticData, syntheticVectors, temporaryDirectory, tinyConfig } from '../../test/synthetic-data.js';
import { readRecord } from '../report/run-record.js';
import { vectorsDigest } from '../training/vectors-digest.js';
import { compareOn, runDirectory } from './compare.js';

const figures = ['ctrAuc', 'ctrLogloss', 'ctcvrAuc', 'ctrGauc', 'ctcvrGauc', 'seconds'];

test('compare tabulates means and standard deviations over seeds, resumes, and writes a page that fetches nothing', async () => {
  const data = syntheticData();
  const out = temporaryDirectory();
  const vectors = syntheticVectors(data.inputs, data.dataset.split, 16);
  const options = {
    data: 'in-memory',
    models: ['ple', 'larr'],
    seeds: 3,
    out,
    vectors,
    config: { ...tinyConfig, epochs: 2 },
  };
  const stop = new AbortController();
  let runs = 0;
  const stopped = compareOn(data, {
    ...options,
    signal: stop.signal,
    onResult: () => {
      if (++runs === 3) stop.abort();
    },
  });
  await expect(stopped).rejects.toMatchObject({ code: 'INTERRUPTED' });
  const finished = statSync(join(runDirectory(out, 'ple', 1), 'result.json')).mtimeMs;

  const result = await compareOn(data, options);
  expect(statSync(join(runDirectory(out, 'ple', 1), 'result.json')).mtimeMs).toBe(finished);
  expect(result).toMatchObject({ dataset: 'synthetic', seeds: [1, 2, 3], oracle: null });
  expect(JSON.parse(readFileSync(join(out, 'compare.json'), 'utf8'))).toEqual(result);
  expect(result.models.map((model) => model.name)).toEqual(['ple', 'larr']);
  for (const model of result.models) {
    expect(Object.keys(model)).toEqual(['name', ...figures, 'std', 'perSeed']);
    expect(Object.keys(model.std)).toEqual(figures);
    const aucs = model.perSeed.map((row) => row.ctrAuc);
    const mean = (aucs[0]! + aucs[1]! + aucs[2]!) / 3;
    expect(model.ctrAuc).toBeCloseTo(mean, 12);
    expect(model.std.ctrAuc).toBeCloseTo(Math.sqrt(aucs.reduce((s, x) => s + (x - mean) ** 2, 0) / 2), 12);
  }
  expect(result.differences).toHaveLength(2);
  expect(result.differences[0]).toMatchObject({ a: 'larr', b: 'ple', metric: 'ctrAuc' });

  expect(result.seedsVary).toEqual({
    stages: ['train'],
    vectors: await vectorsDigest(vectors),
    note: expect.stringContaining('Seeds vary stage 3 alone'),
  });
  const page = reportPage(out);
  for (const text of ['synthetic', result.models[0]!.ctrAuc.toFixed(4), 'heavy rain', result.seedsVary.note]) {
    expect(page).toContain(text);
  }
  const run = (await readRecord(out))!;
  expect(run).toMatchObject({ stage: 'compare', seed: [1, 2, 3], inputs: { vectors: { path: vectors } } });
  expect(run.sittings.map(({ outcome }) => outcome)).toEqual(['stopped', 'finished']);
  expect(run.config).toMatchObject({ models: { ple: { epochs: 2, batchSize: 128 }, larr: { epochs: 2 } } });
  const lines = readFileSync(join(out, 'metrics.jsonl'), 'utf8').trim().split('\n');
  expect(lines.map((line) => JSON.parse(line).model)).toEqual(['ple', 'larr', 'ple', 'larr', 'ple', 'larr']);

  // Asked for again, a finished comparison is as it was.
  expect(await compareOn(data, options)).toEqual(result);
  expect(await readRecord(out)).toEqual(run);
  expect(reportPage(out)).toBe(page);
  data.dispose();
});

test('bad seeds and unknown models are refused before anything is trained', async () => {
  const data = syntheticData({ rows: 50 });
  const run = (models: string[], seeds: number | number[]) =>
    compareOn(data, { data: 'in-memory', models, seeds, out: temporaryDirectory(), config: tinyConfig });
  await expect(run(['ple'], [1, 2, 1])).rejects.toMatchObject({
    code: 'BAD_SEEDS',
    message: expect.stringContaining('seed 1'),
  });
  await expect(run(['ple'], 0)).rejects.toMatchObject({ code: 'BAD_SEEDS' });
  await expect(run(['ple', 'nope'], 1)).rejects.toMatchObject({ code: 'UNKNOWN_MODEL' });
  data.dispose();
});
