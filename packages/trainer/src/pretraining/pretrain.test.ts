import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { wrapText } from '@larr/core';
import { memoryStats, setNumThreads } from '@larr/torch';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { reportPage } from '../../test/report-page.js';
import { makeToyDataset } from '../../test/toy-dataset.js';
import { modelDigest } from '../embedding/model-digest.js';
import { disposeDecoder } from '../language-model/decoder.js';
import { loadLanguageModel } from '../language-model/model-directory.js';
import { readRecord } from '../report/run-record.js';
import type { PretrainConfigInput } from './config.js';
import { documentStream, domainDocuments, generalDocuments, StoredDocuments } from './documents.js';
import { ofTokens, pretrain } from './pretrain.js';

let root: string;
let dataset: string;
beforeAll(async () => {
  setNumThreads(1);
  root = mkdtempSync(join(tmpdir(), 'larr-pretrain-'));
  dataset = join(root, 'data');
  await makeToyDataset(dataset);
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

const small: PretrainConfigInput = {
  decoder: {
    hiddenSize: 32,
    layers: 1,
    heads: 2,
    keyValueHeads: 1,
    feedForwardSize: 48,
    contextLength: 64,
    vocabularySize: 400,
  },
  tokens: 10_000,
  tokensPerStep: 500,
  learningRate: 1e-2,
  evaluateEvery: 10,
  checkpointEvery: 4,
  logEvery: 3,
};

const script = fileURLToPath(new URL('../../test/pretrain-until.mjs', import.meta.url));

const losses = (directory: string): { step: number; loss: number }[] =>
  readFileSync(join(directory, 'metrics.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
    .filter((line) => line.loss !== undefined)
    .map(({ step, loss }) => ({ step, loss }));

describe('pretrain', () => {
  it('learns: held-out perplexity falls far below the vocabulary, and the model loads', async () => {
    const output = join(root, 'learns');
    const untrained = await pretrain({ dataset, output: join(root, 'untrained'), config: { ...small, tokens: 0 } });
    const bytes = memoryStats().bytes;
    const result = await pretrain({ dataset, output, config: small });
    expect(memoryStats().bytes).toBe(bytes);
    expect(result.tokens).toBeGreaterThanOrEqual(10_000);
    expect(untrained.perplexity.domain).toBeGreaterThan(200);
    expect(result.perplexity.domain!).toBeLessThan(untrained.perplexity.domain! / 4);
    expect(result.perplexity.general!).toBeLessThan(untrained.perplexity.general! / 4);
    const { decoder, tokenizer } = await loadLanguageModel(output);
    expect(tokenizer.tokenId('</scene_weather>')).not.toBeNull();
    disposeDecoder(decoder);
    expect(existsSync(join(output, 'checkpoint.safetensors'))).toBe(false);
  });

  it('interrupted, goes on from its checkpoint with the losses of an unbroken run, and then rests', async () => {
    const whole = join(root, 'whole');
    const broken = join(root, 'broken');
    const expected = await pretrain({ dataset, output: whole, config: small });
    for (const stopAt of [6, 15]) {
      const abort = new AbortController();
      const run = pretrain({
        dataset,
        output: broken,
        config: small,
        signal: abort.signal,
        onProgress: ({ step }) => {
          if (step === stopAt) abort.abort(new Error('enough'));
        },
      });
      await expect(run).rejects.toThrow('enough');
      expect(existsSync(join(broken, 'checkpoint.safetensors'))).toBe(true);
      expect(existsSync(join(broken, 'model.safetensors'))).toBe(false);
    }
    const notices: string[] = [];
    const result = await pretrain({
      dataset,
      output: broken,
      config: small,
      onNotice: (message) => notices.push(message),
    });
    expect(notices.join()).toContain('step 15');
    expect(losses(broken)).toEqual(losses(whole));
    expect(result.perplexity).toEqual(expected.perplexity);
    const record = (await readRecord(broken))!;
    expect(record).toMatchObject({ stage: 'pretrain', seed: 1, inputs: {}, config: { tokens: small.tokens } });
    expect(record.sittings.map(({ outcome }) => outcome)).toEqual(['stopped', 'stopped', 'finished']);
    const page = reportPage(broken);
    for (const text of [result.perplexity.domain!.toPrecision(4), 'Held-out perplexity', 'sitting 3'])
      expect(page).toContain(text);
    expect(readFileSync(join(broken, 'model.safetensors')).equals(readFileSync(join(whole, 'model.safetensors')))).toBe(
      true,
    );
    let steps = 0;
    await pretrain({ dataset, output: broken, config: small, onProgress: () => steps++ });
    expect(steps).toBe(0);
  });

  it('goes on in a new process with the losses of an unbroken run, adapters’ dropout and all', async () => {
    const from = join(root, 'base');
    await pretrain({ dataset, output: from, config: { ...small, tokens: 0 } });
    const config = {
      tokens: 6000,
      tokensPerStep: 500,
      evaluateEvery: 5,
      checkpointEvery: 4,
      logEvery: 3,
      learningRate: 1e-2,
    };
    const run = (name: string, until: number) => {
      const options = { dataset, output: join(root, name), config: { ...config, from, lora: { dropout: 0.3 } } };
      execFileSync(process.execPath, [script, JSON.stringify(options), String(until)], { stdio: 'inherit' });
    };
    run('one process', 0);
    run('two processes', 3);
    expect(losses(join(root, 'two processes')).map(({ step }) => step)).toEqual([3]);
    run('two processes', 0);
    expect(losses(join(root, 'two processes'))).toEqual(losses(join(root, 'one process')));
  });

  it('measures the held-out documents in as small pieces as it learns, to the same perplexity', async () => {
    const perplexity = async (name: string, accumulate: number) =>
      (await pretrain({ dataset, output: join(root, name), config: { ...small, tokens: 0, accumulate } })).perplexity;
    const whole = await perplexity('at once', 1);
    const pieces = await perplexity('in pieces', 50);
    expect(Math.abs(pieces.domain! / whole.domain! - 1)).toBeLessThan(1e-5);
    expect(Math.abs(pieces.general! / whole.general! - 1)).toBeLessThan(1e-5);
    const documents = [3, 4, 2, 9, 1, 1, 20, 5].map((length) => ({ ids: new Int32Array(length), prompt: 0 }));
    const lengths = ofTokens(documents, 8).map((run) => run.map(({ ids }) => ids.length));
    expect(lengths).toEqual([[3, 4], [2], [9], [1, 1], [20], [5]]);
    expect(ofTokens([], 8)).toEqual([]);
  });

  it('goes on from a directory of another model, its vocabulary grown by the keywords', async () => {
    const from = join(root, 'learns');
    const output = join(root, 'continued');
    const result = await pretrain({ dataset, output, config: { ...small, from, tokens: 1000 } });
    expect(result.perplexity.domain!).toBeLessThan(100);
    expect((await readRecord(output))!.inputs.model).toEqual({ path: from, sha256: await modelDigest(from) });
  });

  it('keeps its last good checkpoint when the loss is no number', async () => {
    const output = join(root, 'nan');
    const run = pretrain({
      dataset,
      output,
      config: { ...small, learningRate: 1e30, clipNorm: 1e30, warmupShare: 0.5, checkpointEvery: 1 },
    });
    await expect(run).rejects.toMatchObject({
      code: 'LOSS_NOT_FINITE',
      message: expect.stringMatching(/checkpoint.*learningRate/),
    });
    expect(existsSync(join(output, 'checkpoint.safetensors'))).toBe(true);
    expect(existsSync(join(output, 'model.safetensors'))).toBe(false);
  });

  it('says which field of a configuration is wrong', async () => {
    await expect(
      pretrain({ dataset, output: join(root, 'x'), config: { tokens: -1, decoder: { heads: 1.5 } } }),
    ).rejects.toMatchObject({
      code: 'BAD_CONFIG',
      message: expect.stringMatching(/decoder\.heads.*tokens|tokens.*decoder\.heads/),
    });
  });

  it('refuses a dataset whose POIs have nothing to learn', async () => {
    const empty = join(root, 'empty');
    await makeToyDataset(empty, { pois: 20, users: 10, bare: true });
    const manifest = JSON.parse(readFileSync(join(empty, 'dataset.json'), 'utf8'));
    manifest.texts.cptTarget = [];
    writeFileSync(join(empty, 'dataset.json'), JSON.stringify(manifest));
    await expect(pretrain({ dataset: empty, output: join(root, 'y'), config: small })).rejects.toMatchObject({
      code: 'EMPTY_CORPUS',
    });
  });

  it('refuses a context that what is given of a POI fills', async () => {
    const config = { ...small, decoder: { ...small.decoder, contextLength: 2 } };
    await expect(pretrain({ dataset, output: join(root, 'short'), config })).rejects.toMatchObject({
      code: 'CONTEXT_TOO_SHORT',
      message: expect.stringMatching(/context of 2 tokens is filled .*decoder\.contextLength/),
    });
  });

  it('takes no more in a step than it is to learn in all', async () => {
    const config = { ...small, tokens: 1000, tokensPerStep: 2 ** 24 };
    const { steps, tokens } = await pretrain({ dataset, output: join(root, 'one-step'), config });
    expect(steps).toBe(1);
    expect(tokens).toBeLessThan(1100);
  });
});

describe('documents', () => {
  // A word a token, and the two control tokens.
  const encode = (text: string) => Int32Array.from(text.split(' '), () => 9);
  const encodeWrapped = (keywords: { token: string; text: string }[]) =>
    keywords.length === 0 ? new Int32Array(0) : encode(wrapText(keywords));
  const tokenizer = { bosId: 1, eosId: 2, encode, encodeWrapped } as never;
  const poi = ['name', 'location', 'menu'].map((keyword) => ({ keyword, token: `poi_${keyword}`, text: 'some words' }));
  const templates = {
    cptInput: ['name', 'location'],
    cptTarget: ['menu'],
    poiBusiness: [],
    poiBasic: [],
    userProfile: [],
    userBehaviour: [],
  };

  it('give the name and location and ask for the rest', () => {
    const { documents, truncated } = domainDocuments([poi, poi.slice(0, 2)], templates, tokenizer, 64);
    expect(truncated).toBe(0);
    expect(documents).toHaveLength(1);
    expect(documents.at(0)!.ids).toHaveLength(1 + 8 + 4 + 1);
    expect(documents.at(0)!.prompt).toBe(9);
  });

  it('are cut at the context, and counted', () => {
    const { documents, truncated } = domainDocuments([poi], templates, tokenizer, 11);
    expect(truncated).toBe(1);
    expect(documents.at(0)!.ids).toHaveLength(11);
    expect(domainDocuments([poi], templates, tokenizer, 9).documents).toHaveLength(0);
  });

  it('of general text longer than the context become several, none of a single token', () => {
    const pieces = generalDocuments(['a b c d e f g h i j', 'a'], tokenizer, 4);
    const lengths = Array.from(pieces, ({ ids }) => ids.length);
    expect(lengths).toEqual([4, 4, 4, 3]);
  });

  it('are stored as they were given, whatever their lengths', () => {
    const lengths = [3, 1_000_000, 0, 60_000, 2_000_000, 5, 1];
    const given = lengths.map((length, i) => ({ ids: new Int32Array(length).fill(i), prompt: 2 * i }));
    const documents = new StoredDocuments();
    for (const document of given) documents.push(document);
    expect(documents).toHaveLength(given.length);
    given.forEach(({ ids, prompt }, i) => {
      const found = documents.at(i)!;
      expect(found.prompt).toBe(prompt);
      expect(Buffer.compare(new Uint8Array(found.ids.slice().buffer), new Uint8Array(ids.buffer))).toBe(0);
    });
    expect(documents.at(given.length)).toBeUndefined();
  });

  it('come in an order that each epoch and seed decide, every one once an epoch', () => {
    const documents = Array.from({ length: 30 }, (_, i) => ({ ids: Int32Array.of(i), prompt: 0 }));
    const read = (seed: number, cursor = { epoch: 0, next: 0 }, count = 60) => {
      const next = documentStream(documents, seed, 'x');
      return Array.from({ length: count }, () => next(cursor).ids[0]!);
    };
    const all = read(1);
    expect([...all.slice(0, 30)].sort((a, b) => a - b)).toEqual([...Array(30).keys()]);
    expect(all.slice(30)).not.toEqual(all.slice(0, 30));
    expect(read(1)).toEqual(all);
    expect(read(2)).not.toEqual(all);
    expect(read(1, { epoch: 1, next: 5 }, 25)).toEqual(all.slice(35));
  });
});
