// Recall for users and attention per scene field, by the commands that people type.
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type DatasetSchemaInput, defineSchema, openDataset, prepareInto, writeSafetensors } from '@larr/core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { makeToyDataset } from '../packages/trainer/test/toy-dataset.js';
import { larr, temporaryDirectory } from './larr.js';

const D = 16;
const root = temporaryDirectory();
const data = join(root, 'data');
const vectors = join(root, 'vectors');

/** A direction for each word, always the same. */
function direction(word: string): number[] {
  const bytes = createHash('sha256').update(word).digest();
  return Array.from({ length: D }, (_, i) => bytes[i]! / 128 - 1);
}

/** POIs' vectors are what their words say, far from the origin; the first has none. */
async function writeVectors(): Promise<void> {
  const { manifest, split, splitName, poiTexts } = await openDataset(data);
  const texts = (await poiTexts()).map((own) => own.map(({ text }) => text).join(' '));
  const rows = (all: string[]) => {
    const words = all.map((text) => text.match(/\w{4,}/g) ?? []);
    return Float32Array.from(
      words.flatMap((own) => Array.from({ length: D }, (_, i) => own.reduce((sum, w) => sum + direction(w)[i]!, 2))),
    );
  };
  const pois = rows(texts).fill(0, 0, D);
  const scene = split.scene.flatMap(({ field, texts: own }) =>
    own.filter((text) => text !== '').map((text) => ({ field, text })),
  );
  mkdirSync(vectors);
  writeFileSync(join(vectors, 'scene.json'), JSON.stringify(scene));
  for (const [file, table] of [
    ['pois', pois],
    ['scene', rows(scene.map(({ text }) => text))],
  ] as const)
    await writeSafetensors(
      join(vectors, `${file}.safetensors`),
      { embeddings: { dtype: 'F32', shape: [table.length / D, D], data: table } },
      { model: 'by hand' },
    );
  const made = { dataset: manifest.contentDigest, split: splitName, model: 'by hand', finetuned: null, dimension: D };
  writeFileSync(join(vectors, 'vectors.json'), JSON.stringify({ format: 'larr-vectors', version: 3, ...made }));
}

beforeAll(async () => {
  const toy = join(root, 'toy');
  await makeToyDataset(toy, { placed: true });
  const schema = JSON.parse(readFileSync(join(toy, 'schema.json'), 'utf8')) as DatasetSchemaInput;
  schema.features!.categorical!.push(
    { name: 'lives_in', value: 'users.home', role: 'user-feature' },
    { name: 'town', value: 'pois.city', role: 'poi-feature' },
  );
  await prepareInto(data, { schema: defineSchema(schema), baseDirectory: toy, seed: 1, threads: 1 });
  await writeVectors();
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

const recall = (...args: string[]) => larr('recall', '--data', data, '--vectors', vectors, '--threads', '1', ...args);
const strangers = ['--by', 'words', '--users', '6', '--never-in', 'Northport', '--k', '5'];

test('recall for users counts what is found, of a text and of a column, beside the question and chance', async () => {
  const asked = ['--text', 'sushi, sushi', '--expect', 'menu=sushi', '--expect', 'city=Southfield|Northport'];
  const { code, stdout } = await recall(...strangers, ...asked, '--json');
  expect(code).toBe(0);
  const { search, words, hits, users, expected } = JSON.parse(stdout);
  const texts = (await (await openDataset(data)).poiTexts()).slice(1);
  const sushi = texts.filter((own) => own.some(({ keyword, text }) => keyword === 'menu' && text.includes('sushi')));
  // the first POI has no vector and cannot be found
  expect(search).toEqual({ index: 'exact', pois: 89, recallAt10: null });
  expect(words.known).toEqual([{ text: 'sushi', pois: expect.any(Number) }]);
  expect(hits).toHaveLength(5);
  expect(users).toMatchObject({ tasteless: 0, weight: 0.25 });
  expect(users.fitting).toBeGreaterThan(10);
  expect(users.found).toHaveLength(6);
  const [menu, city] = expected.each;
  expect(menu.chance).toBeCloseTo(sushi.length / 89, 10);
  expect(menu.question).toBe(5);
  const counted = users.found.map((one: { hits: { fulfils: boolean }[] }) => one.hits.filter((h) => h.fulfils).length);
  expect(menu.users.mean).toBeCloseTo(counted.reduce((a: number, b: number) => a + b) / 6, 10);
  expect(city).toMatchObject({ column: 'city', chance: 1, question: 5, users: { mean: 5, error: 0, least: 5 } });
});

test('the weight is of users beside a question, and people are told which', async () => {
  const listed = async (...args: string[]) => JSON.parse((await recall(...strangers, ...args, '--json')).stdout);
  const pois = (found: { hits: { poi: string }[] }[]) => found.map(({ hits }) => hits.map(({ poi }) => poi).join());
  const none = await listed('--text', 'sushi', '--user-weight', '0');
  expect(new Set(pois(none.users.found))).toEqual(new Set(pois([none])));
  const alone = await listed();
  expect(alone).toMatchObject({ hits: [], users: { weight: null } });
  expect(new Set(pois(alone.users.found)).size).toBeGreaterThan(1);
  const shown = await recall(...strangers, '--text', 'curry', '--user-weight', '2');
  expect(shown.stdout + shown.stderr).toMatch(/6 of the \d+ users that fit, what they like counting 2 beside/);
});

test('options that contradict each other, or say nothing, are wrong usage of recall', async () => {
  const cases = [
    ['WEIGHT_UNREAD', ...strangers, '--user-weight', '1'],
    ['USERS_MISSING', '--by', 'words', '--text', 'sushi', '--user-weight', '1'],
    ['UNKNOWN_COLUMN', ...strangers, '--expect', 'cuisine=x'],
    ['MODEL_UNREAD', ...strangers, '--model', 'm'],
    ['EMPTY_QUERY', '--by', 'words', '--text', ' '],
    ['EMPTY_QUERY', '--by', 'words'],
  ] as const;
  const told = await Promise.all(cases.map(([, ...args]) => recall(...args, '--json')));
  expect(told.map(({ code, stdout }) => [code, JSON.parse(stdout).error.code])).toEqual(
    cases.map(([code]) => [2, code]),
  );
});

test('attention by the texts of a field is shown for larr, and refused for a model without', async () => {
  const config = join(root, 'config.json');
  const train = { epochs: 1, embeddingDim: 4, hidden: [8], base: 'dcn-v2' };
  writeFileSync(config, JSON.stringify({ train }));
  const run = (model: string) => join(root, `run-${model}`);
  const common = ['--data', data, '--threads', '1'];
  for (const model of ['larr', 'dcn-v2']) {
    const given = model === 'larr' ? ['--vectors', vectors] : [];
    const trained = await larr('train', '--model', model, ...common, ...given, '--config', config, '--out', run(model));
    expect(trained.stderr + trained.code).toMatch(/0$/);
  }
  const shown = await larr('evaluate', '--run', run('larr'), ...common, '--attention', 'weather');
  expect(shown.code).toBe(0);
  expect(shown.stdout + shown.stderr).toMatch(/attention +all rows .*(sun +rain|rain +sun)/);
  const refused = await larr('evaluate', '--run', run('dcn-v2'), ...common, '--attention', 'weather', '--json');
  expect(refused.code).toBe(2);
  expect(JSON.parse(refused.stdout).error).toMatchObject({
    code: 'NO_ATTENTION',
    message: expect.stringContaining('dcn-v2'),
  });
});
