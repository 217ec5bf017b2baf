// Training in less memory: weights in halves, gradients and moments in bf16.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadSafetensors, manualSeed, memoryStats, setNumThreads, type Tensor, tidy } from '@larr/torch';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { decoderShape } from '../../test/decoder-shape.js';
import { makeToyDataset } from '../../test/toy-dataset.js';
import { finetune } from '../embedding/finetune.js';
import type { Document } from '../pretraining/documents.js';
import { learnDocuments, pretrain } from '../pretraining/pretrain.js';
import { halveWeights, replaceMatrices, wholeWeights } from './compact-weights.js';
import { createDecoder, type Decoder, decoderParameters, disposeDecoder, trainedParameters } from './decoder.js';
import { draws } from './draws.js';
import { adamW } from './stage-optimizer.js';

const shape = decoderShape({ family: 'qwen2', vocabularySize: 50, contextLength: 32, attentionBias: true });

let root: string;
beforeAll(() => {
  setNumThreads(1);
  root = mkdtempSync(join(tmpdir(), 'larr-halves-'));
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

function documents(count: number): Document[] {
  const next = draws(1, 'documents');
  return Array.from({ length: count }, () => ({
    ids: Int32Array.from({ length: 4 + Math.floor(next() * 20) }, () => Math.floor(next() * 50)),
    prompt: Math.floor(next() * 3),
  }));
}

function withDecoder<T>(fn: (decoder: Decoder) => T, change: object = {}): T {
  manualSeed(3);
  const decoder = createDecoder({ ...shape, ...change });
  try {
    return fn(decoder);
  } finally {
    disposeDecoder(decoder);
  }
}

const values = (t: Tensor) => tidy(() => t.detach().toFloat32Array());
const all = (decoder: Decoder) =>
  Object.fromEntries(Object.entries(decoderParameters(decoder)).map(([name, t]) => [name, values(t)]));
const norm = (some: Float32Array) => Math.hypot(...some);

function learn(decoder: Decoder, settings: { accumulate?: number; recompute?: boolean } = {}): number {
  const model = { decoder, tokenizer: null as never };
  const usual = { precision: 'bf16' as const, accumulate: 1, recompute: false };
  return learnDocuments(model, documents(12), { ...usual, ...settings }).loss;
}

function gradients(decoder: Decoder, settings = {}): Record<string, Float32Array> {
  const parameters = trainedParameters(decoder);
  for (const parameter of Object.values(parameters)) parameter.requiresGrad_();
  using optimizer = adamW(parameters, 1e-3, 0.1, decoder.lows);
  learn(decoder, settings);
  const named = Object.entries(parameters).map(([name, parameter]) => [
    name,
    tidy(() => parameter.grad!.toFloat32Array()),
  ]);
  optimizer.zeroGrad();
  return Object.fromEntries(named);
}

describe.each([true, false])('a decoder in halves, head tied %s', (tiedHead) => {
  it('is whole again without a loss, and leaves no tensor behind', () => {
    withDecoder(
      (decoder) => {
        const before = all(decoder);
        const tensors = memoryStats();
        halveWeights(decoder);
        expect(decoder.layers[0]!.gateUp.dtype).toBe('bf16');
        expect(decoder.layers[0]!.attentionNorm.dtype).toBe('f32');
        expect(decoder.head === decoder.embedding).toBe(tiedHead);
        wholeWeights(decoder);
        expect(decoder.lows).toBeUndefined();
        expect(all(decoder)).toEqual(before);
        expect(memoryStats()).toEqual(tensors);
      },
      { tiedHead },
    );
  });

  it('takes matrices that a checkpoint has in bf16 as they are', () => {
    withDecoder(
      (decoder) => {
        replaceMatrices(decoder, (weight) => {
          const half = tidy(() => weight.to('bf16'));
          weight.dispose();
          return half;
        });
        const before = all(decoder);
        halveWeights(decoder);
        expect(all(decoder)).toEqual(before);
        wholeWeights(decoder);
        expect(decoder.embedding.dtype).toBe('f32');
        expect(all(decoder)).toEqual(before);
      },
      { tiedHead },
    );
  });

  it.each([
    ['at once', {}],
    ['in pieces, layers computed again', { accumulate: 4, recompute: true }],
  ])('has the gradients of whole weights to within the rounding of bf16, %s', (_, settings) => {
    withDecoder(
      (decoder) => {
        const exact = gradients(decoder);
        halveWeights(decoder);
        const half = gradients(decoder, settings);
        expect(Object.keys(half)).toEqual(Object.keys(exact));
        for (const [name, gradient] of Object.entries(half)) {
          const off = norm(gradient.map((x, i) => x - exact[name]![i]!)) / norm(exact[name]!);
          expect(off, name).toBeLessThan(0.03);
        }
      },
      { tiedHead },
    );
  });
});

it('steps move the f32 weights as AdamW would, those that bf16 is too coarse for among them', () => {
  const steps = (halves: boolean) =>
    withDecoder((decoder) => {
      const before = all(decoder);
      if (halves) halveWeights(decoder);
      const parameters = trainedParameters(decoder);
      for (const parameter of Object.values(parameters)) parameter.requiresGrad_();
      {
        using optimizer = adamW(parameters, 1e-5, 0.1, decoder.lows);
        for (let i = 0; i < 8; i++) {
          optimizer.zeroGrad();
          learn(decoder);
          optimizer.step();
        }
        optimizer.zeroGrad();
      }
      wholeWeights(decoder);
      const moved = Object.entries(all(decoder)).map(([name, after]) => [
        name,
        after.map((x, i) => x - before[name]![i]!),
      ]);
      return Object.fromEntries(moved) as Record<string, Float32Array>;
    });
  const exact = steps(false);
  for (const [name, moved] of Object.entries(steps(true))) {
    expect(norm(exact[name]!), name).toBeGreaterThan(0);
    expect(norm(moved.map((x, i) => x - exact[name]![i]!)) / norm(exact[name]!), name).toBeLessThan(0.2);
  }
});

it('takes changed weights at once: autocast keeps no copy of them', () => {
  withDecoder((decoder) => {
    halveWeights(decoder);
    const parameters = trainedParameters(decoder);
    for (const parameter of Object.values(parameters)) parameter.requiresGrad_();
    using optimizer = adamW(parameters, 0.05, 0, decoder.lows);
    const losses = Array.from({ length: 5 }, () => {
      optimizer.zeroGrad();
      const loss = learn(decoder);
      optimizer.step();
      return loss;
    });
    optimizer.zeroGrad();
    expect(losses.at(-1)!).toBeLessThan(losses[0]! - 0.1);
  });
});

describe('stages with trainingState bf16', () => {
  const decoder = {
    hiddenSize: 32,
    layers: 2,
    heads: 2,
    keyValueHeads: 1,
    feedForwardSize: 48,
    contextLength: 64,
    vocabularySize: 400,
  };
  const config = {
    decoder,
    tokensPerStep: 500,
    tokens: 5000,
    logEvery: 1,
    checkpointEvery: 3,
    learningRate: 1e-2,
    precision: 'bf16' as const,
    trainingState: 'bf16' as const,
    accumulate: 2,
  };
  const losses = (directory: string) =>
    readFileSync(join(directory, 'metrics.jsonl'), 'utf8')
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line).loss);
  let dataset: string;
  beforeAll(async () => {
    dataset = join(root, 'data');
    await makeToyDataset(dataset);
  });

  it('learn as with f32, go on from a checkpoint with the same losses, and save the f32 weights', async () => {
    const whole = join(root, 'whole');
    const broken = join(root, 'broken');
    const result = await pretrain({ dataset, output: whole, config });
    const abort = new AbortController();
    const stop = ({ step }: { step: number }) => {
      if (step === 4) abort.abort(new Error('enough'));
    };
    await expect(pretrain({ dataset, output: broken, config, signal: abort.signal, onProgress: stop })).rejects.toThrow(
      'enough',
    );
    const { tensors } = loadSafetensors(join(broken, 'checkpoint.safetensors'));
    const dtype = (name: string) => tensors[name]!.dtype;
    expect(['model.layers.0.down', 'optimizer.halved.0.low', 'optimizer.halved.0.square'].map(dtype)).toEqual([
      'bf16',
      'i16',
      'bf16',
    ]);
    for (const t of Object.values(tensors)) t.dispose();
    await pretrain({ dataset, output: broken, config });
    expect(losses(broken)).toEqual(losses(whole));
    const plain = await pretrain({ dataset, output: join(root, 'plain'), config: { ...config, trainingState: 'f32' } });
    expect(Math.abs(Math.log(result.perplexity.domain! / plain.perplexity.domain!))).toBeLessThan(0.03);
    tidy(() => {
      const weight = loadSafetensors(join(whole, 'model.safetensors')).tensors['model.layers.0.mlp.down_proj.weight']!;
      expect(weight.dtype).toBe('f32');
      expect(weight.ne(weight.to('bf16').to('f32')).to('f32').mean().item()).toBeGreaterThan(0.9);
    });
    const small = {
      dimension: 16,
      steps: 6,
      batchSize: 16,
      heldOutPois: 30,
      heldOutUsers: 10,
      logEvery: 1,
      microBatch: 5,
    };
    const { precision, trainingState } = config;
    const stage2 = (name: string, change: object) =>
      finetune({ dataset, model: whole, output: join(root, name), config: { ...small, precision, ...change } });
    await stage2('s2', { trainingState });
    await stage2('s2-plain', {});
    losses(join(root, 's2')).forEach((loss, i) => {
      expect(Math.abs(loss / losses(join(root, 's2-plain'))[i] - 1)).toBeLessThan(0.15);
    });
  });

  it.each([
    [{ precision: 'f32' as const }, /trainingState: bf16 is for products in bf16/],
    [{ lora: {}, from: 'nowhere' }, /trainingState: .*lora/],
  ])('refuse what it would do nothing for: %o', async (change, message) => {
    await expect(pretrain({ dataset, output: join(root, 'bad'), config: { ...config, ...change } })).rejects.toThrow(
      expect.objectContaining({ code: 'BAD_CONFIG', message: expect.stringMatching(message) }),
    );
  });
});
