import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { reportPage } from '../../test/report-page.js';
import { syntheticData, syntheticVectors, temporaryDirectory, tinyConfig } from '../../test/synthetic-data.js';
import { sweepOn } from './sweep.js';

test('a sweep trains each value with each seed, and chooses by the validation part', async () => {
  const data = syntheticData({ rows: 600 });
  const out = temporaryDirectory();
  const vectors = syntheticVectors(data.inputs, data.dataset.split, 16);
  const config = { ...tinyConfig, align: { extraNegatives: 2 }, models: { larr: { align: { temperature: 0.3 } } } };
  const options = { data: 'in-memory', seeds: 2, out, vectors, config };
  const result = await sweepOn(data, { ...options, param: 'align.extraNegatives', values: [0, 2, 5] });
  expect(result).toMatchObject({ model: 'larr', param: 'align.extraNegatives', configured: 2 });
  expect(result.points.map(({ value, against }) => [value, against === null])).toEqual([
    [0, false],
    [2, true],
    [5, false],
  ]);
  const scores = result.points.map(({ validation }) => validation.score);
  expect(result.best).toBe([0, 2, 5][scores.indexOf(Math.max(...scores))]);
  const { models } = JSON.parse(readFileSync(join(out, 'run.json'), 'utf8')).config;
  const settings = Object.values(models as Record<string, { align: object }>).map(({ align }) => align);
  expect(settings).toMatchObject([0, 2, 5].map((extraNegatives) => ({ extraNegatives, temperature: 0.3 })));
  // Extra negatives are more in the denominators: they change what is learnt.
  const aucs = result.points.map(({ perSeed }) => perSeed[0]!.ctrAuc);
  expect(new Set(aucs).size).toBe(3);
  for (const text of ['align.extraNegatives of larr', 'best validation', 'Mean over the seeds'])
    expect(reportPage(out)).toContain(text);
  expect(await sweepOn(data, { ...options, param: 'align.extraNegatives', values: [0, 2, 5] })).toEqual(result);
  data.dispose();
});

test('what cannot be swept is refused before anything is trained', async () => {
  const data = syntheticData({ rows: 50 });
  const vectors = syntheticVectors(data.inputs, data.dataset.split, 16);
  const run = (param: string, values: number[], model = 'larr') =>
    sweepOn(data, {
      data: 'x',
      model,
      param,
      values,
      seeds: 1,
      out: temporaryDirectory(),
      vectors,
      config: tinyConfig,
    });
  await expect(run('align.rows', [1, 2])).rejects.toMatchObject({
    code: 'UNKNOWN_SETTING',
    message: expect.stringContaining('align.temperature'),
  });
  await expect(run('align.temperature', [0.1, 0.2], 'ple')).rejects.toMatchObject({ code: 'SETTING_UNREAD' });
  await expect(run('mmoe.experts', [2, 4])).rejects.toMatchObject({
    code: 'SETTING_UNREAD',
    message: expect.stringContaining('larr on ple does not read mmoe.experts'),
  });
  await expect(run('align.lambda', [0.1, 0.2], 'larr-lambda0')).rejects.toMatchObject({ code: 'SETTING_UNREAD' });
  await expect(run('align.temperature', [0.1])).rejects.toMatchObject({ code: 'BAD_VALUES' });
  await expect(run('align.temperature', [0.1, 0.1])).rejects.toMatchObject({ code: 'BAD_VALUES' });
  await expect(run('align.temperature', [0.1, -1])).rejects.toMatchObject({
    code: 'BAD_CONFIG',
    message: expect.stringContaining('align.temperature'),
  });
  data.dispose();
});
