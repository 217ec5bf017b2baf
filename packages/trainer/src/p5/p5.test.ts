import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type DatasetSchemaInput, defineSchema, openDataset, prepareInto } from '@larr/core';
import { memoryStats, setNumThreads } from '@larr/torch';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { finetune } from '../embedding/finetune.js';
import { refuseOtherPairs } from '../embedding/learnt-pairs.js';
import { describeCandidates } from '../experiments/experiment.js';
import { disposeDecoder } from '../language-model/decoder.js';
import { draws } from '../language-model/draws.js';
import { loadLanguageModel } from '../language-model/model-directory.js';
import { pretrain } from '../pretraining/pretrain.js';
import { readRecord } from '../report/run-record.js';
import { loadTrainingData } from '../training/data.js';
import { trainModel } from '../training/train.js';
import { balancedRows } from './balanced-rows.js';
import { promptIds, promptsOf } from './prompts.js';
import { corrected } from './train.js';

const DISHES = ['noodles', 'curry', 'sushi', 'pizza'];
let root: string;
let dataset: string;
let languageModel: string;

/** Which dishes are clicked is in the texts; whether what was clicked is ordered depends on the weather. */
async function planted(directory: string): Promise<void> {
  const next = draws(3, 'planted');
  const below = (n: number) => Math.floor(next() * n);
  mkdirSync(join(directory, 'tables'), { recursive: true });
  const jsonl = (name: string, rows: unknown[]) =>
    writeFileSync(join(directory, 'tables', name), rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
  const pois = Array.from({ length: 60 }, (_, i) => ({ poi: `p${i}`, menu: DISHES[i % 4] }));
  const users = Array.from({ length: 80 }, (_, i) => ({ user: `u${i}`, taste: `wants ${DISHES[i % 4]}` }));
  jsonl('pois.jsonl', pois);
  jsonl('users.jsonl', users);
  jsonl(
    'events.jsonl',
    Array.from({ length: 3000 }, () => {
      const [u, p, rain] = [below(80), below(60), below(2)];
      const liked = p % 4 < 2;
      const click = next() < (liked ? 0.7 : 0.05) ? 1 : 0;
      return {
        user: `u${u}`,
        poi: `p${p}`,
        weather: ['sun', 'rain'][rain],
        click,
        order: click && next() < (rain ? 0.9 : 0.2) ? 1 : 0,
      };
    }),
  );
  const schema = defineSchema({
    name: 'planted',
    tables: { events: 'tables/events.jsonl', users: 'tables/users.jsonl', pois: 'tables/pois.jsonl' },
    labels: { click: 'click', order: 'order' },
    features: { categorical: [{ name: 'poi', value: 'events.poi', role: 'poi' }] },
    keywords: {
      poi: [{ name: 'menu', column: 'menu' }],
      user: [{ name: 'taste', column: 'taste' }],
      scene: [{ name: 'weather', value: 'events.weather' }],
    },
    texts: {
      cptInput: [],
      cptTarget: ['menu'],
      poiBusiness: ['menu'],
      poiBasic: [],
      userProfile: ['taste'],
      userBehaviour: [],
    },
    splits: { random: { kind: 'random', ratios: [8, 1, 1] } },
  } satisfies DatasetSchemaInput);
  writeFileSync(join(directory, 'schema.json'), `${JSON.stringify(schema, null, 2)}\n`);
  await prepareInto(directory, { schema, baseDirectory: directory, seed: 1, threads: 1 });
}

beforeAll(async () => {
  setNumThreads(1);
  root = mkdtempSync(join(tmpdir(), 'larr-p5-'));
  dataset = join(root, 'data');
  languageModel = join(root, 'stage1');
  await planted(dataset);
  const decoder = {
    hiddenSize: 48,
    layers: 2,
    heads: 2,
    keyValueHeads: 2,
    feedForwardSize: 96,
    contextLength: 128,
    vocabularySize: 300,
  };
  await pretrain({
    dataset,
    output: languageModel,
    config: { decoder, tokens: 2000, tokensPerStep: 500, generalShare: 0 },
  });
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

const p5 = {
  samples: 1600,
  batchSize: 16,
  learningRate: 3e-3,
  validationRows: 150,
  checkpointEvery: 1000,
  logEvery: 30,
};

describe('p5', () => {
  it('learns from texts what is clicked, and in which scene it is ordered', async () => {
    const data = await loadTrainingData({ data: dataset });
    const out = join(root, 'p5');
    try {
      const bytes = memoryStats().bytes;
      const options = { model: 'p5', out, seed: 1, vectors: languageModel, config: { p5 } };
      const result = await trainModel(data, options);
      expect(memoryStats().bytes).toBe(bytes);
      // Chance is .5.
      expect(result.metrics.ctrAuc).toBeGreaterThan(0.8);
      expect(result.metrics.ctcvrAuc!).toBeGreaterThan(0.8);
      const orders = result.slices.filter(({ kind }) => kind === 'scene').map(({ orders, clicks }) => orders! / clicks);
      expect(Math.abs(orders[0]! - orders[1]!)).toBeGreaterThan(0.3);
      // Half of what it learnt from was clicked, of all less.
      expect(result.calibration.ctr.ratio).toBeGreaterThan(0.75);
      expect(result.calibration.ctr.ratio).toBeLessThan(1.3);
      expect(result.validation.ctrAuc).toBeGreaterThan(0.75);
      for (const file of ['report.html', 'run.json', 'metrics.jsonl', 'language-model/config.json'])
        expect(existsSync(join(out, file)), file).toBe(true);
      expect(await trainModel(data, options)).toEqual(result);
      await expect(trainModel(data, { ...options, seed: 2 })).rejects.toMatchObject({ code: 'CHECKPOINT_MISMATCH' });
      await expect(trainModel(data, { ...options, vectors: undefined })).rejects.toMatchObject({
        code: 'NEEDS_LANGUAGE_MODEL',
      });
    } finally {
      data.dispose();
    }
  });

  it('stopped, goes on to the same figures, with adapters too', async () => {
    const data = await loadTrainingData({ data: dataset });
    try {
      const config = {
        p5: { ...p5, samples: 160, lora: { rank: 4 }, recompute: true, accumulate: 2, checkpointEvery: 4, logEvery: 1 },
      };
      const run = (out: string, stopAt?: number) => {
        const abort = new AbortController();
        const onProgress = ({ row }: { row: number }) => {
          if (row === stopAt) abort.abort(new Error('enough'));
        };
        return trainModel(data, {
          model: 'p5',
          out: join(root, out),
          seed: 1,
          vectors: languageModel,
          config,
          signal: abort.signal,
          onProgress,
        });
      };
      const whole = await run('whole');
      await expect(run('broken', 80)).rejects.toMatchObject({ code: 'INTERRUPTED' });
      const broken = await run('broken');
      expect(broken.metrics).toEqual(whole.metrics);
    } finally {
      data.dispose();
    }
  });
});

describe('what users chose', () => {
  it('is known to be in the model that P5 leaves: other stages take it for this split alone, stage 1 not at all', async () => {
    const model = join(root, 'p5', 'language-model');
    const opened = await openDataset(dataset);
    const of = { dataset: opened.manifest.contentDigest, split: 'random' };
    expect(await refuseOtherPairs(model, opened)).toEqual(of);
    await expect(refuseOtherPairs(model, { ...opened, splitName: 'cold' })).rejects.toMatchObject({
      code: 'MODEL_OF_OTHER_SPLIT',
      message: expect.stringMatching(/learnt as P5.*"random".*--split cold/s),
    });
    await expect(
      pretrain({ dataset, output: join(root, 'back'), config: { from: model, tokens: 500 } }),
    ).rejects.toMatchObject({ code: 'FINE_TUNED_MODEL' });
    const copy = join(root, 'damaged');
    cpSync(model, copy, { recursive: true });
    writeFileSync(join(copy, 'learnt-pairs.json'), '{');
    await expect(refuseOtherPairs(copy, opened)).rejects.toMatchObject({ code: 'MODEL_WITHOUT_RECORD' });
  });

  it('in another split is in no model that P5 begins with', async () => {
    const model = join(root, 'of another split');
    cpSync(languageModel, model, { recursive: true });
    const record = (await readRecord(model))!;
    const of = { ...record, stage: 'finetune', dataset: { ...record.dataset, split: 'cold' } };
    writeFileSync(join(model, 'run.json'), JSON.stringify(of));
    const data = await loadTrainingData({ data: dataset });
    try {
      const run = trainModel(data, {
        model: 'p5',
        out: join(root, 'leaking'),
        seed: 1,
        vectors: model,
        config: { p5 },
      });
      await expect(run).rejects.toMatchObject({ code: 'MODEL_OF_OTHER_SPLIT' });
      // An experiment says so before it trains anything.
      const candidate = { name: 'asked', model: 'p5' as const, config: { p5 }, vectors: model };
      await expect(describeCandidates(data, [candidate])).rejects.toMatchObject({ code: 'MODEL_OF_OTHER_SPLIT' });
      expect(existsSync(join(root, 'leaking'))).toBe(false);
    } finally {
      data.dispose();
    }
  });
});

it('a model whose tokenizer or adapters do not fit is refused before its weights are read, by every stage', async () => {
  const model = join(root, 'misfit');
  cpSync(languageModel, model, { recursive: true });
  rmSync(join(model, 'run.json'));
  const file = join(model, 'config.json');
  writeFileSync(file, JSON.stringify({ ...JSON.parse(readFileSync(file, 'utf8')), vocab_size: 100 }));
  // Weights that cannot be read at all.
  rmSync(join(model, 'model.safetensors'));
  mkdirSync(join(model, 'model.safetensors'));
  const output = join(root, 'misfitting');
  const data = await loadTrainingData({ data: dataset });
  try {
    const stages = (settings: object) => [
      () => pretrain({ dataset, output, config: { from: model, tokens: 500, ...settings } }),
      () => finetune({ dataset, output, model, config: settings }),
      () =>
        trainModel(data, { model: 'p5', out: output, seed: 1, vectors: model, config: { p5: { ...p5, ...settings } } }),
    ];
    for (const run of stages({})) await expect(run()).rejects.toMatchObject({ code: 'TOKENIZER_MISMATCH' });
    cpSync(join(languageModel, 'config.json'), file);
    for (const run of stages({ lora: { targets: ['no_proj'] } }))
      await expect(run()).rejects.toMatchObject({ code: 'NO_LORA_TARGET' });
  } finally {
    data.dispose();
  }
});

describe('prompts', () => {
  it('name user, scene and POI, begin alike for a user, and fit the context', async () => {
    const { decoder, tokenizer } = await loadLanguageModel(languageModel);
    disposeDecoder(decoder);
    const opened = await openDataset(dataset);
    const rows = await balancedRows(opened, { count: 40, available: 1e9, seed: 1 });
    const prompts = await promptsOf(opened, tokenizer, 128);
    const one = prompts.make(rows, 0);
    const text = tokenizer.decode(Array.from(promptIds(one)), { special: true });
    expect(text).toContain((await opened.userTexts())[rows.user[0]!]!.find(({ keyword }) => keyword === 'taste')!.text);
    expect(text).toContain((await opened.poiTexts())[rows.poi[0]!]![0]!.text);
    expect(text).toMatch(/<scene_weather>\s*(sun|rain)<\/scene_weather>/);
    expect(text.trimEnd().endsWith('And order?')).toBe(true);
    expect(one.answers).toHaveLength(2);
    expect(one.answers[1]).toBe(one.rest.length - 1);
    const short = await promptsOf(opened, tokenizer, 48);
    for (let row = 0; row < rows.rows; row++) expect(promptIds(short.make(rows, row)).length).toBeLessThanOrEqual(48);
    await expect(promptsOf(opened, tokenizer, 20)).rejects.toMatchObject({
      name: 'UsageError',
      code: 'SHORT_CONTEXT',
    });
  });

  it('are drawn half clicked, by a seed, from the rows that there are', async () => {
    const opened = await openDataset(dataset);
    const draw = (seed: number, count = 200) => balancedRows(opened, { count, available: 1e9, seed });
    const one = await draw(1);
    expect(one.rows).toBe(200);
    expect(one.click.reduce((sum, click) => sum + click, 0)).toBe(100);
    expect(await draw(1)).toEqual(one);
    expect((await draw(2)).user).not.toEqual(one.user);
    const all = await draw(1, 1e6);
    expect(all.rows).toBe(opened.split.parts.train.rows);
    expect(all.clickShift).toBeCloseTo(0, 6);
  });
});

it('odds of rows drawn by click become those of the whole log', () => {
  // 1000 rows, 100 clicked, 40 of them ordered; drawn: all clicked and 100 others.
  const { ctr, ctcvr } = corrected(Float32Array.of(100 / 200), Float32Array.of(40 / 200), Math.log(1 / (100 / 900)));
  expect(ctr[0]).toBeCloseTo(0.1, 6);
  expect(ctcvr![0]).toBeCloseTo(0.04, 6);
});
