import { cpSync, existsSync, mkdtempSync, rmSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openDataset } from '@larr/core';
import { setNumThreads } from '@larr/torch';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { makeToyDataset } from '../../test/toy-dataset.js';
import { pretrain, type StageProgress } from '../pretraining/pretrain.js';
import { readPoiFacts } from './attributes.js';
import { FinetuneConfig } from './config.js';
import { disposeEmbedder, loadEmbedder } from './embedder.js';
import { finetune } from './finetune.js';
import { gatherMaterial } from './material.js';
import { languageModelEmbedder } from './text-embedder.js';
import { embedDataset } from './vectors.js';
import { checkVectors, embedderDigest } from './vectors-manifest.js';

const decoder = { hiddenSize: 32, layers: 1, heads: 2, keyValueHeads: 1, feedForwardSize: 48, vocabularySize: 400 };
let root: string;
const at = (name: string) => join(root, name);
beforeAll(async () => {
  setNumThreads(1);
  root = mkdtempSync(join(tmpdir(), 'larr-stale-'));
  await makeToyDataset(at('data'), { placed: true });
  await makeToyDataset(at('other'), { pois: 91 });
  for (const [name, seed] of [
    ['model', 1],
    ['model-2', 2],
  ] as const)
    await pretrain({
      dataset: at('data'),
      output: at(name),
      seed,
      config: { decoder, tokens: 500, tokensPerStep: 500 },
    });
  await embedDataset({ dataset: at('data'), model: at('model'), output: at('vectors') });
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

const of = async (name: string, seed: number) => ({
  directory: at(name),
  digest: await embedderDigest(at(name), seed),
});

describe('vectors', () => {
  it('are taken for the data and the model that they were made of', async () => {
    const dataset = await openDataset(at('data'));
    const model = await of('model', 1);
    expect(await checkVectors(at('vectors'), dataset, model)).toMatchObject({ dimension: 128, split: 'random' });
  });

  it('of other data, another split, another model or an older file are refused, saying what to run', async () => {
    const dataset = await openDataset(at('data'));
    const refused = async (words: RegExp, ...check: Parameters<typeof checkVectors>) =>
      expect(checkVectors(...check)).rejects.toMatchObject({
        code: 'VECTORS_MISMATCH',
        message: expect.stringMatching(new RegExp(`${words.source}.*larr embed --data`, 's')),
      });
    // The vectors that are there are somebody's: no command that is shown writes over them.
    const elsewhere = /stays as it is\): larr embed --data \S+ --split \w+ --model .* --out <another directory>$/;
    await refused(/other content/, at('vectors'), await openDataset(at('other')));
    for (const of of [await openDataset(at('other')), { ...dataset, splitName: 'time' }])
      await expect(checkVectors(at('vectors'), of)).rejects.toMatchObject({
        message: expect.stringMatching(elsewhere),
      });
    await refused(/split differs: .*--split random, not of --split time.*say --split random/, at('vectors'), {
      ...dataset,
      splitName: 'time',
    });
    const other = await openDataset(at('other'));
    await refused(/the data differ: .*the language model differs: /, at('vectors'), other, await of('model-2', 1));
    await refused(/data differ: .*split differs: /, at('vectors'), { ...other, splitName: 'time' });
    await refused(/language model differs: .*another model/, at('vectors'), dataset, await of('model-2', 1));
    // Without a projection of its own, the seed decides the vectors.
    await refused(/another model/, at('vectors'), dataset, await of('model', 2));
    cpSync(at('vectors'), at('mixed'), { recursive: true });
    await embedDataset({ dataset: at('data'), model: at('model-2'), output: at('vectors-2') });
    cpSync(join(at('vectors-2'), 'pois.safetensors'), join(at('mixed'), 'pois.safetensors'));
    await refused(/pois\.safetensors is of another model/, at('mixed'), dataset);
    const older = JSON.parse(await readFile(join(at('vectors'), 'vectors.json'), 'utf8'));
    await writeFile(join(at('vectors-2'), 'vectors.json'), JSON.stringify({ ...older, version: 1 }));
    await refused(/not one of this version/, at('vectors-2'), dataset);
    await expect(checkVectors(at('nowhere'), dataset)).rejects.toMatchObject({ code: 'NO_VECTORS' });
  });

  it('are made with progress that ends at the end, also where everything was there', async () => {
    for (const output of ['fresh', 'fresh']) {
      const told: StageProgress[] = [];
      await embedDataset({
        dataset: at('data'),
        model: at('model'),
        output: at(output),
        onProgress: (progress) => told.push(progress),
      });
      const last = told.at(-1)!;
      expect(last.step).toBe(last.steps);
      expect(Number.isFinite(last.tokensPerSecond)).toBe(true);
      for (const [i, { step }] of told.entries()) if (i > 0) expect(step).toBeGreaterThanOrEqual(told[i - 1]!.step);
    }
  });
});

describe('a fine-tuned model', () => {
  const finetuned = (name: string, split: string, model = 'model') =>
    finetune({
      dataset: at('splits'),
      split,
      model: at(model),
      output: at(name),
      config: { dimension: 24, steps: 2, heldOutPois: 30, heldOutUsers: 10 },
    });
  const embed = (model: string, split: string, output: string) =>
    embedDataset({ dataset: at('splits'), split, model: at(model), output: at(output) });
  const ofOtherSplit = {
    code: 'MODEL_OF_OTHER_SPLIT',
    message: expect.stringMatching(/split "random".*larr finetune --data .* --split cold --model .*model --out/s),
  };
  beforeAll(async () => {
    await makeToyDataset(at('splits'), { cold: true });
    await finetuned('tuned', 'random');
    await embed('tuned', 'random', 'tuned-vectors');
  });

  it('embeds for the split whose pairs it learnt, and for no other one', async () => {
    const manifest = await checkVectors(at('tuned-vectors'), await openDataset(at('splits'), 'random'));
    expect(manifest.finetuned).toMatchObject({ split: 'random' });
    await expect(embed('tuned', 'cold', 'leaking')).rejects.toMatchObject(ofOtherSplit);
    expect(existsSync(at('leaking'))).toBe(false);
    // Also by a detour over the other split's own stage 2, or over stage 1.
    await expect(finetuned('laundered', 'cold', 'tuned')).rejects.toMatchObject(ofOtherSplit);
    const from = pretrain({ dataset: at('splits'), output: at('back'), config: { from: at('tuned'), tokens: 500 } });
    await expect(from).rejects.toMatchObject({ code: 'FINE_TUNED_MODEL' });
    await embedDataset({ dataset: at('splits'), split: 'cold', model: at('model'), output: at('stage-1-vectors') });
  });

  it('of other data is refused, and one that nothing is known of', async () => {
    await makeToyDataset(at('grown'), { pois: 92 });
    const grown = embedDataset({ dataset: at('grown'), model: at('tuned'), output: at('leaking') });
    await expect(grown).rejects.toMatchObject({ code: 'MODEL_OF_OTHER_SPLIT' });
    cpSync(at('tuned'), at('nameless'), { recursive: true });
    rmSync(join(at('nameless'), 'run.json'));
    await expect(embed('nameless', 'random', 'leaking')).rejects.toMatchObject({ code: 'MODEL_WITHOUT_RECORD' });
  });

  it('of the new data is what the refusal of vectors of the old asks for, and may embed where those were, too', async () => {
    await makeToyDataset(at('renewed'), { pois: 92 });
    const renewed = await openDataset(at('renewed'), 'random');
    const held = at('held-vectors');
    cpSync(at('tuned-vectors'), held, { recursive: true });
    const advised = await checkVectors(held, renewed).catch((error: Error) => error.message);
    expect(advised).toMatch(
      /data differ: .*larr finetune --data .*renewed .*larr embed --data .*renewed .*--out <another directory>$/,
    );
    await finetune({
      dataset: at('renewed'),
      split: 'random',
      model: at('model'),
      output: at('tuned-anew'),
      config: { dimension: 24, steps: 2, heldOutPois: 30, heldOutUsers: 10 },
    });
    const model = at('tuned-anew');
    await embedDataset({ dataset: at('renewed'), split: 'random', model, output: held });
    const digest = await embedderDigest(model, 1);
    const found = await checkVectors(held, renewed, { directory: model, digest });
    expect(found.dataset).toBe(renewed.manifest.contentDigest);
    await embedDataset({ dataset: at('renewed'), split: 'random', model, output: at('elsewhere') });
    for (const file of ['scene.safetensors', 'pois.safetensors', 'gate.json'])
      expect(await readFile(join(held, file))).toEqual(await readFile(join(at('elsewhere'), file)));
  });

  it('of another split is found in vectors too, which are to be made by a model fine-tuned on this one', async () => {
    const cold = await openDataset(at('splits'), 'cold');
    const advised = {
      code: 'VECTORS_MISMATCH',
      message: expect.stringMatching(
        /larr finetune --data .* --split cold .*larr embed --data .* --split cold .*--out <another directory>$/s,
      ),
    };
    await expect(checkVectors(at('tuned-vectors'), cold)).rejects.toMatchObject(advised);
    cpSync(at('tuned-vectors'), at('claimed'), { recursive: true });
    const file = join(at('claimed'), 'vectors.json');
    await writeFile(file, JSON.stringify({ ...JSON.parse(await readFile(file, 'utf8')), split: 'cold' }));
    await expect(checkVectors(at('claimed'), cold)).rejects.toMatchObject(advised);
  });
});

describe('places of POIs in own tables', () => {
  it('are those of the schema, and users are judged among POIs of the same place', async () => {
    const dataset = await openDataset(at('data'));
    const { city } = await readPoiFacts(dataset);
    const locations = (await dataset.poiTexts()).map((texts) => texts.find((t) => t.keyword === 'location')!.text);
    expect(new Set(city)).toEqual(new Set([0, 1]));
    locations.forEach((text, poi) => {
      expect(text.startsWith('Northport')).toBe(
        city![poi] === city![locations.findIndex((t) => t.startsWith('Northport'))],
      );
    });
    const embedder = await loadEmbedder(at('model'));
    const notices: string[] = [];
    const config = FinetuneConfig.parse({ heldOutPois: 30 });
    const material = await gatherMaterial(dataset, at('data'), languageModelEmbedder(embedder), config, 1, (notice) =>
      notices.push(notice),
    );
    expect(material.choices.length).toBeGreaterThan(5);
    for (const { positives, negatives } of material.choices) {
      const places = [...positives, ...negatives].map((row) => city![material.choicePois[row]!]);
      expect(new Set(places).size).toBe(1);
    }
    expect(notices.filter((notice) => notice.includes('place'))).toEqual([]);
    await gatherMaterial(await openDataset(at('other')), at('other'), languageModelEmbedder(embedder), config, 1, (n) =>
      notices.push(n),
    );
    expect(notices.filter((notice) => notice.includes('no place of POIs'))).toHaveLength(1);
    disposeEmbedder(embedder);
  });
});
