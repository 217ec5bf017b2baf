import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Dataset, DuckdbSession } from '@larr/core';
import { expect, test } from 'vitest';
import { reportPage } from '../../test/report-page.js';
import {
  syntheticBiases,
  syntheticData,
  syntheticVectors,
  temporaryDirectory,
  tinyConfig,
} from '../../test/synthetic-data.js';
import type { TrainingData } from '../training/data.js';
import { readTruth } from '../training/truth.js';
import { ablateOn, defaultAblations } from './ablate.js';
import { pairedTest } from './paired-test.js';

const NAMES = ['worth', 'noise'];

/** Puts the files of a simulated world's truth beside synthetic data: what a POI and a user are worth to a click, and a column of noise. */
async function withTruth(data: TrainingData): Promise<TrainingData> {
  const directory = temporaryDirectory();
  for (const folder of ['controls', 'texts', 'splits/random/texts'])
    mkdirSync(join(directory, folder), { recursive: true });
  const db = await DuckdbSession.open();
  const table = (file: string, names: string[], rows: (string | number)[][]) => {
    const values = rows.map((row) => `(${row.map((x) => (typeof x === 'string' ? `'${x}'` : x)).join(', ')})`);
    const sql = `SELECT * FROM (VALUES ${values.join(', ')}) t(${names.map((name) => `"${name}"`).join(', ')})`;
    return db.connection.run(`COPY (${sql}) TO '${join(directory, file)}' (FORMAT parquet)`);
  };
  const { user, poi } = syntheticBiases();
  await table(
    'controls/attribute_scale.parquet',
    ['attribute'],
    NAMES.map((name) => [name]),
  );
  // ids are not indices, and the controls stand in another order than the dataset
  const backwards = poi.map((worth, i) => [1000 - i, 5 * worth + 2, Math.sin(i)]).reverse();
  await table('controls/poi_attributes.parquet', ['poi_id', ...NAMES], backwards);
  await table(
    'controls/user_tastes.parquet',
    ['user_id', ...NAMES],
    user.map((worth, i) => [i + 7, worth, Math.cos(i)]),
  );
  await table(
    'texts/pois.parquet',
    ['poi_index', 'poi'],
    poi.map((_, i) => [i, `${1000 - i}`]),
  );
  await table(
    'splits/random/texts/users.parquet',
    ['user_index', 'user'],
    user.map((_, i) => [i, `${i + 7}`]),
  );
  db[Symbol.dispose]();
  return { ...data, dataset: { ...data.dataset, directory } as Dataset };
}

test('the truth of a world is read in the order of the dataset, each column standardised', async () => {
  const data = await withTruth(syntheticData({ rows: 50 }));
  const { attributes, pois } = await readTruth(data.dataset);
  expect(attributes).toBe(NAMES.length);
  const raw = syntheticBiases().poi.map((worth) => 5 * worth + 2);
  const mean = raw.reduce((a, b) => a + b) / raw.length;
  const std = Math.sqrt(raw.reduce((s, x) => s + (x - mean) ** 2, 0) / raw.length);
  raw.forEach((x, i) => {
    expect(pois[i * attributes]).toBeCloseTo((x - mean) / std, 4);
  });
  data.dispose();
});

test('an ablation holds every model against LARR, with bounds and headroom where the truth is known', async () => {
  const data = await withTruth(syntheticData({ rows: 600 }));
  const out = temporaryDirectory();
  const vectors = syntheticVectors(data.inputs, data.dataset.split, 16);
  // An ablation stays what its name says, whatever is asked of all models.
  const config = {
    ...tinyConfig,
    align: { lambda: 0.2 },
    larr: { ...tinyConfig.larr, aggregation: 'encoder' as const },
  };
  const given = { both: vectors, 'no-cpt': vectors, 'no-ft': vectors };
  const result = await ablateOn(data, { data: 'in-memory', seeds: 2, out, vectors: given, config });
  expect(result.models.map(({ name }) => name)).toEqual(defaultAblations(true));
  expect(result.models.map(({ role }) => role).filter((role) => role === 'bound')).toHaveLength(2);
  expect(JSON.parse(readFileSync(join(out, 'ablate.json'), 'utf8'))).toEqual(result);
  const run = JSON.parse(readFileSync(join(out, 'run.json'), 'utf8'));
  expect(run.config.models['larr-lambda0'].align.lambda).toBe(0);
  expect(run.config.models['larr-no-al']).toMatchObject({ align: { lambda: 0 }, larr: { aggregation: 'concat' } });
  expect(run.config.models.larr.align.lambda).toBe(0.2);

  const aucs = (name: string) => result.models.find((model) => model.name === name)!.perSeed.map((s) => s.ctrAuc);
  const found = result.differences.find((d) => d.model === 'larr-ple' && d.metric === 'ctrAuc' && d.slice === 'all')!;
  expect(found).toMatchObject(pairedTest(aucs('larr-ple'), aucs('larr'))!);
  expect(found.paper).toBe(-0.0047);
  expect(found.pHolm).toBeGreaterThanOrEqual(found.p);
  const mean = (name: string) => aucs(name).reduce((a, b) => a + b) / 2;
  const headroom = result.headroom!.filter(({ metric, slice }) => metric === 'ctrAuc' && slice === 'all');
  expect(headroom.map(({ model }) => model)).toEqual(defaultAblations(false).slice(1));
  for (const { model, share } of headroom) {
    const wanted = (mean(model) - mean('larr-ple')) / (mean('ple-true-attributes') - mean('larr-ple'));
    expect(share).toBeCloseTo(wanted, 12);
  }
  const page = reportPage(out);
  for (const text of ['larr-shuffled-table', 'told the attributes', 'Upper bounds', 'users away from home', 'Holm'])
    expect(page).toContain(text);
  data.dispose();
});

test('an ablation without the whole model, or with a bound that nobody knows, is refused before anything is trained', async () => {
  const data = syntheticData({ rows: 50 });
  const vectors = syntheticVectors(data.inputs, data.dataset.split, 16);
  const run = (models: string[]) =>
    ablateOn(data, { data: 'in-memory', models, seeds: 1, out: temporaryDirectory(), vectors, config: tinyConfig });
  await expect(run(['larr-ple', 'larr-no-al'])).rejects.toMatchObject({ code: 'NO_WHOLE_MODEL' });
  await expect(run(['larr'])).rejects.toMatchObject({ code: 'NO_WHOLE_MODEL' });
  await expect(run(['larr', 'ple-true-taste'])).rejects.toMatchObject({ code: 'NEEDS_CONTROLS' });
  await expect(run(['larr', 'larr-no-cpt'])).rejects.toMatchObject({
    code: 'NEEDS_VECTORS',
    message: expect.stringContaining('stage 1 was skipped'),
  });
  data.dispose();
});
