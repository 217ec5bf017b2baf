import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadSafetensors, manualSeed, saveSafetensors, tidy } from '@larr/torch';
import { afterAll, describe, expect, it } from 'vitest';
import { smallestDecoderShape } from '../../test/decoder-shape.js';
import { modelDigest } from '../embedding/model-digest.js';
import { createDecoder, disposeDecoder } from './decoder.js';
import { LoraConfig } from './lora-config.js';
import { readyToTrain, saveTrained } from './lora-directory.js';
import { loadLanguageModel, saveLanguageModel } from './model-directory.js';
import { Tokenizer } from './tokenizer.js';
import { trainTokenizer } from './tokenizer-training.js';

const root = mkdtempSync(join(tmpdir(), 'larr-adapters-base-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));

const tokenizer = new Tokenizer(trainTokenizer(['hot soup with rice and noodles, hot rice with soup'], 300));
const keywords = ['<name>', '</name>'];
const json = (...path: string[]) => JSON.parse(readFileSync(join(root, ...path), 'utf8'));

/** A model as it is published: with a template for chats and several tokens that end a text. */
async function published(name: string, seed: number): Promise<{ path: string; sha256: string }> {
  manualSeed(seed);
  const decoder = createDecoder(smallestDecoderShape({ vocabularySize: tokenizer.vocabularySize }));
  const path = join(root, name);
  await saveLanguageModel(path, { decoder, tokenizer });
  disposeDecoder(decoder);
  writeFileSync(join(path, 'config.json'), JSON.stringify({ ...json(name, 'config.json'), eos_token_id: [2, 7] }));
  writeFileSync(join(path, 'chat_template.jinja'), '{{ messages }}');
  writeFileSync(join(path, 'generation_config.json'), '{"eos_token_id": [2, 7], "temperature": 0.6}');
  return { path, sha256: await modelDigest(path) };
}

/** The model trained for no step, saved. */
async function trained(name: string, base: { path: string; sha256: string }, save: 'merged' | 'adapters') {
  const form = {
    lora: LoraConfig.parse({ rank: 2, save }),
    precision: 'f32',
    trainingState: 'f32',
    saveAs: 'f32',
  } as const;
  const model = readyToTrain(await loadLanguageModel(base.path), form, keywords);
  await saveTrained(join(root, name), model, form, base);
  disposeDecoder(model.decoder);
  return join(root, name);
}

const load = async (directory: string) => disposeDecoder((await loadLanguageModel(directory)).decoder);

describe('adapters', () => {
  it('are refused beside a model that has changed since, and taken again beside the one that they were learnt with', async () => {
    const base = await published('base', 1);
    const adapters = await trained('adapters', base, 'adapters');
    await load(adapters);
    const own = readFileSync(join(base.path, 'model.safetensors'));
    await published('other', 2);
    writeFileSync(join(base.path, 'model.safetensors'), readFileSync(join(root, 'other/model.safetensors')));
    await expect(load(adapters)).rejects.toMatchObject({
      code: 'BASE_CHANGED',
      message: expect.stringMatching(/adapters\/adapter_model\.safetensors: the model in .*base is not the one/),
    });
    // Those of other programs say nothing of their model.
    const weights = join(adapters, 'adapter_model.safetensors');
    const saved = readFileSync(weights);
    tidy(() => saveSafetensors(weights, loadSafetensors(weights).tensors, { format: 'pt' }));
    await load(adapters);
    writeFileSync(weights, saved);
    writeFileSync(join(base.path, 'model.safetensors'), own);
    await load(adapters);
  });
});

describe('what came with a published model', () => {
  it('is there again beside what was learnt from it', async () => {
    const base = await published('chat', 3);
    await trained('chat-merged', base, 'merged');
    expect(readFileSync(join(root, 'chat-merged/chat_template.jinja'), 'utf8')).toBe('{{ messages }}');
    expect(json('chat-merged/generation_config.json')).toEqual({ eos_token_id: [2, 7], temperature: 0.6 });
    expect(json('chat-merged/config.json').eos_token_id).toEqual([2, 7]);
    await trained('chat-adapters', base, 'adapters');
    expect(existsSync(join(root, 'chat-adapters/chat_template.jinja'))).toBe(true);
    // Adapters merged into a model of stage 1 are a model with all of it.
    await trained('chat-second', { path: join(root, 'chat-adapters'), sha256: '' }, 'merged');
    expect(json('chat-second/config.json').eos_token_id).toEqual([2, 7]);
  });
});
