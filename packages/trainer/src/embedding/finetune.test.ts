import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openDataset, readSafetensors } from '@larr/core';
import { memoryStats, setNumThreads } from '@larr/torch';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { reportPage } from '../../test/report-page.js';
import { makeToyDataset } from '../../test/toy-dataset.js';
import { pretrain } from '../pretraining/pretrain.js';
import { readRecord } from '../report/run-record.js';
import type { FinetuneConfigInput } from './config.js';
import { disposeEmbedder, embeddableText, embedSequences, loadEmbedder } from './embedder.js';
import { finetune } from './finetune.js';
import type { Gate } from './gate.js';
import { modelDigest } from './model-digest.js';
import { loadPoiIds, loadPoiIndex, recall } from './recall.js';
import { languageModelEmbedder } from './text-embedder.js';
import { embedDataset } from './vectors.js';

let root: string;
let dataset: string;
let stage1: string;
const decoder = {
  hiddenSize: 32,
  layers: 1,
  heads: 2,
  keyValueHeads: 1,
  feedForwardSize: 48,
  contextLength: 64,
  vocabularySize: 400,
};
const small: FinetuneConfigInput = {
  dimension: 24,
  steps: 160,
  batchSize: 24,
  learningRate: 3e-3,
  heldOutPois: 30,
  heldOutUsers: 10,
  evaluateEvery: 80,
  checkpointEvery: 5,
  logEvery: 1,
};

beforeAll(async () => {
  setNumThreads(1);
  root = mkdtempSync(join(tmpdir(), 'larr-finetune-'));
  dataset = join(root, 'data');
  stage1 = join(root, 'stage1');
  await makeToyDataset(dataset);
  await pretrain({ dataset, output: stage1, config: { decoder, tokens: 8000, tokensPerStep: 500 } });
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

describe('finetune', () => {
  it('learns to find held-out POIs by texts that share no word, and says so in gate.json', async () => {
    const output = join(root, 'stage2');
    const bytes = memoryStats().bytes;
    const result = await finetune({
      dataset,
      model: stage1,
      output,
      config: { ...small, userTemperature: 0.3, gate: { poiPoiRecallAt10: 0.6, withinCityAuc: 0 } },
    });
    expect(memoryStats().bytes).toBe(bytes);
    // Chance among 30 candidates: a third at 10, a thirtieth at 1.
    expect(result.after.poiPoi!.candidates).toBe(30);
    expect(result.after.poiPoi!.recallAt10).toBeGreaterThan(0.75);
    expect(result.after.poiPoi!.recallAt10).toBeGreaterThan(result.before.poiPoi!.recallAt10 + 0.2);
    const { behaviour, text } = result.after.withinCity;
    expect(text!.auc).toBeGreaterThan(0.5);
    expect(behaviour!.auc).toBeGreaterThan(0.5);
    expect(text!.choices).toBeGreaterThanOrEqual(behaviour!.choices);
    expect(result.after.userPoi!.candidates).toBe(30);
    expect(result.after.probe).toBeNull();
    const gate = JSON.parse(await readFile(join(output, 'gate.json'), 'utf8'));
    expect(gate.verdict).toBe('passed');
    const verdicts = gate.checks.map(({ name, verdict }: Gate['checks'][number]) => [name, verdict]);
    expect(verdicts).toEqual([
      ['poiPoiRecallAt10', 'passed'],
      ['withinCityAuc', 'passed'],
      ['probe', 'not judged'],
    ]);
    expect(result.gate.reason).toContain('does not know the true attributes');
    // Pairs of users have a temperature of their own; that of the others falls.
    const lines = readFileSync(join(output, 'metrics.jsonl'), 'utf8').trim().split('\n');
    const steps = lines.map((line) => JSON.parse(line)).filter(({ pair }) => pair !== undefined);
    const ofUsers = steps.filter(({ pair }) => pair === 'userPoi' || pair === 'userUser');
    expect(new Set(ofUsers.map(({ temperature }) => temperature))).toEqual(new Set([0.3]));
    expect(steps.find(({ pair }) => pair === 'poiPoi').temperature).toBeGreaterThan(0.19);
    expect(steps.findLast(({ pair }) => pair === 'poiPoi').temperature).toBeLessThan(0.075);
    const { inputs, config } = (await readRecord(output))!;
    expect(inputs.model).toEqual({ path: stage1, sha256: await modelDigest(stage1) });
    expect(config).toMatchObject({ steps: 160, temperature: 0.07 });
    const page = reportPage(output);
    for (const text of ['not judged', 'does not know the true attributes', result.after.poiPoi!.recallAt10.toFixed(3)])
      expect(page).toContain(text);
  });

  it('interrupted, goes on with the losses of an unbroken run', async () => {
    const config = { ...small, steps: 20, evaluateEvery: 100 };
    const whole = join(root, 'whole');
    const broken = join(root, 'broken');
    await finetune({ dataset, model: stage1, output: whole, config });
    const abort = new AbortController();
    const run = finetune({
      dataset,
      model: stage1,
      output: broken,
      config,
      signal: abort.signal,
      onProgress: ({ step }) => {
        if (step === 12) abort.abort(new Error('enough'));
      },
    });
    await expect(run).rejects.toThrow('enough');
    expect(existsSync(join(broken, 'gate.json'))).toBe(false);
    await finetune({ dataset, model: stage1, output: broken, config });
    const losses = (directory: string) =>
      readFileSync(join(directory, 'metrics.jsonl'), 'utf8')
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line))
        .map(({ step, pair, loss }) => ({ step, pair, loss }));
    expect(losses(broken)).toEqual(losses(whole));
    expect(readFileSync(join(broken, 'model.safetensors')).equals(readFileSync(join(whole, 'model.safetensors')))).toBe(
      true,
    );
  });

  it('takes the same steps when the batch is encoded in pieces', async () => {
    const config = { ...small, steps: 6, firstShare: 0, checkpointEvery: 100, logEvery: 1 };
    const directory = async (microBatch: number) => {
      const output = join(root, `micro-${microBatch}`);
      await finetune({ dataset, model: stage1, output, config: { ...config, microBatch } });
      return readFileSync(join(output, 'metrics.jsonl'), 'utf8')
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line).loss as number);
    };
    const whole = await directory(512);
    const pieces = await directory(7);
    whole.forEach((loss, i) => {
      expect(pieces[i]!).toBeCloseTo(loss, 3);
    });
  });

  it.each([
    { similarity: 'dot', temperature: 1, initialTemperature: 1 },
    { similarity: 'distance', temperature: 1, initialTemperature: 1 },
    { asymmetric: true },
    { pooling: 'last' },
    { maskDuplicates: false },
    { precision: 'bf16' },
  ] as FinetuneConfigInput[])('learns with %o too', async (change) => {
    const output = join(root, `variant-${JSON.stringify(change).replace(/\W+/g, '-')}`);
    const result = await finetune({
      dataset,
      model: stage1,
      output,
      config: { ...small, steps: 50, userUserWeight: 0, userPoiWeight: 0, ...change },
    });
    expect(result.after.poiPoi!.mrr).toBeGreaterThan(result.before.poiPoi!.mrr);
    const embedder = await loadEmbedder(output);
    expect(embedder.pooling).toBe(change.pooling ?? 'mean');
    expect(embedder.otherProjection !== null).toBe(change.asymmetric ?? false);
    disposeEmbedder(embedder);
  });

  it.each([
    [true, 22],
    [false, 23],
  ])(
    'logs how many rows are negatives of a row, of two descriptions a dish (maskDuplicates: %s)',
    async (maskDuplicates, negatives) => {
      const data = join(root, `twice-${maskDuplicates}`);
      cpSync(dataset, data, { recursive: true });
      const path = join(data, 'corpus', 'dishes.jsonl');
      const lines = readFileSync(path, 'utf8');
      writeFileSync(path, lines + lines);
      const output = join(root, `negatives-${maskDuplicates}`);
      const only = { poiPoiWeight: 0, userPoiWeight: 0, userUserWeight: 0 };
      await finetune({ dataset: data, model: stage1, output, config: { ...small, ...only, steps: 2, maskDuplicates } });
      const logged = readFileSync(join(output, 'metrics.jsonl'), 'utf8').trim().split('\n');
      expect(logged.map((line) => JSON.parse(line).effectiveNegatives)).toEqual([negatives, negatives]);
    },
  );

  it('raises an alarm where a loss stays at chance', async () => {
    const notices: string[] = [];
    const result = await finetune({
      dataset,
      model: stage1,
      output: join(root, 'stuck'),
      // A temperature at which every similarity looks alike.
      config: { ...small, steps: 10, temperature: 1000, initialTemperature: 1000 },
      onNotice: (message) => notices.push(message),
    });
    expect(result.alarms.join()).toMatch(/poiPoi pairs stays at chance/);
    expect(notices.join()).toMatch(/chance/);
  });

  it('goes without the kinds of pairs that a dataset has no texts for', async () => {
    const bare = join(root, 'bare');
    await makeToyDataset(bare, { bare: true });
    await pretrain({
      dataset: bare,
      output: join(root, 'bare1'),
      config: { decoder, tokens: 2000, tokensPerStep: 500 },
    });
    const notices: string[] = [];
    const result = await finetune({
      dataset: bare,
      model: join(root, 'bare1'),
      output: join(root, 'bare2'),
      config: { ...small, steps: 10 },
      onNotice: (message) => notices.push(message),
    });
    expect(
      notices.filter((message) => message.includes('goes without')).map((message) => /(\w+) pairs/.exec(message)![1]),
    ).toEqual(['dish', 'userUser']);
    expect(result.after.userUser).toBeNull();
    expect(result.after.poiPoi).not.toBeNull();
  });
});

describe('embedDataset', () => {
  it('embeds every scene keyword, POI and user once, and nothing again while the model is the same', async () => {
    const model = join(root, 'whole');
    const output = join(root, 'vectors');
    const first = await embedDataset({ dataset, model, output, users: true });
    expect(first.scene).toEqual({ vectors: 2, computed: 2 });
    expect(first.pois).toEqual({ vectors: 90, computed: 90 });
    const entries = JSON.parse(readFileSync(join(output, 'scene.json'), 'utf8'));
    expect(entries).toEqual(expect.arrayContaining([{ field: 'weather', text: 'rain' }]));
    const { tensors } = await readSafetensors(join(output, 'scene.safetensors'));
    expect(tensors.embeddings!.shape).toEqual([2, 24]);

    // The table's row is the vector of the wrapped keyword on its own.
    const embedder = await loadEmbedder(model);
    const row = entries.findIndex(({ text }: { text: string }) => text === 'rain');
    const alone = await embedSequences(embedder, [
      embeddableText(embedder.model.tokenizer, '<scene_weather> rain </scene_weather>', 64).ids,
    ]);
    const stored = (tensors.embeddings!.data as Float32Array).subarray(row * 24, (row + 1) * 24);
    alone.forEach((x, i) => {
      expect(stored[i]!).toBeCloseTo(x, 5);
    });
    disposeEmbedder(embedder);

    const before = readFileSync(join(output, 'pois.safetensors'));
    const second = await embedDataset({ dataset, model, output, users: true });
    expect([second.scene.computed, second.pois.computed, second.users!.computed]).toEqual([0, 0, 0]);
    expect(readFileSync(join(output, 'pois.safetensors')).equals(before)).toBe(true);
    expect((await readRecord(output))!.sittings).toHaveLength(1);
    expect(reportPage(output)).toContain('mean cosine');
    const parts = readFileSync(join(output, 'metrics.jsonl'), 'utf8').trim().split('\n');
    expect(parts.map((line) => JSON.parse(line).vectors)).toEqual([2, 90, 60]);
    const other = await embedDataset({ dataset, model: join(root, 'micro-7'), output });
    expect(other.pois.computed).toBe(90);
  });

  it('embeds with a stage-1 model too, through a projection that the seed decides', async () => {
    const vectors = async (name: string, seed: number) => {
      await embedDataset({ dataset, model: stage1, output: join(root, name), seed });
      return readFileSync(join(root, name, 'pois.safetensors'));
    };
    const one = await vectors('noft-1', 1);
    expect((await vectors('noft-1b', 1)).equals(one)).toBe(true);
    expect((await vectors('noft-2', 2)).equals(one)).toBe(false);
  });
});

describe('recall', () => {
  it('finds a POI by its own text, and refuses vectors of another width', async () => {
    const model = join(root, 'stage2');
    const output = join(root, 'recall-vectors');
    await embedDataset({ dataset, model, output });
    const embedder = languageModelEmbedder(await loadEmbedder(model));
    const index = await loadPoiIndex(output);
    const hits = await recall(embedder, index, { keywords: [{ token: 'poi_menu', text: 'noodles, curry, sushi' }] }, 5);
    expect(hits).toHaveLength(5);
    const opened = await openDataset(dataset);
    const ids = await loadPoiIds(opened);
    expect(ids).toHaveLength(index.pois);
    expect(new Set(ids).size).toBe(index.pois);
    expect(hits.every(({ poi }) => typeof ids[poi] === 'string')).toBe(true);
    expect(hits.map(({ similarity }) => similarity)).toEqual(
      [...hits.map(({ similarity }) => similarity)].sort((a, b) => b - a),
    );
    await expect(recall(embedder, index, {}, 5)).rejects.toMatchObject({ code: 'EMPTY_QUERY' });
    await expect(recall(embedder, { ...index, dimension: 8 }, { text: 'x' }, 5)).rejects.toMatchObject({
      code: 'DIMENSION_MISMATCH',
    });
    embedder.dispose();
  });
});
