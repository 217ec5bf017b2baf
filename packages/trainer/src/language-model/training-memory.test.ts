// What saves memory changes no gradient: pieces of a batch, layers computed again, and adapters in place of weights.
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  autocast,
  empty,
  getRngState,
  loadSafetensors,
  manualSeed,
  memoryStats,
  noGrad,
  setNumThreads,
  setRngState,
  type Tensor,
  tidy,
} from '@larr/torch';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { decoderShape } from '../../test/decoder-shape.js';
import { stageSettings } from '../../test/stage-settings.js';
import { makeToyDataset } from '../../test/toy-dataset.js';
import { finetune } from '../embedding/finetune.js';
import type { Document } from '../pretraining/documents.js';
import { learnDocuments, pretrain } from '../pretraining/pretrain.js';
import { packSequences } from './batch.js';
import type { DecoderConfig } from './configuration.js';
import {
  createDecoder,
  type Decoder,
  decoderParameters,
  disposeDecoder,
  hiddenStates,
  logits,
  trainedParameters,
} from './decoder.js';
import { draws } from './draws.js';
import { addLora, compactFrozenWeights, mergeLora } from './lora.js';
import { LoraConfig } from './lora-config.js';
import { loadLanguageModel } from './model-directory.js';
import { runStageLoop, type StageCursor } from './stage-loop.js';

const shape = decoderShape({
  family: 'qwen3',
  vocabularySize: 50,
  contextLength: 32,
  tiedHead: false,
  queryKeyNorm: true,
});

let root: string;
beforeAll(() => {
  setNumThreads(1);
  root = mkdtempSync(join(tmpdir(), 'larr-memory-'));
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

function documents(count: number, seed = 1): Document[] {
  const next = draws(seed, 'documents');
  return Array.from({ length: count }, () => ({
    ids: Int32Array.from({ length: 4 + Math.floor(next() * 20) }, () => Math.floor(next() * 50)),
    prompt: Math.floor(next() * 3),
  }));
}

/** Loss and gradients, by name, of a step; the gradients are cleared. */
function gradients(
  decoder: Decoder,
  settings: { accumulate?: number; recompute?: boolean; precision?: 'f32' | 'bf16' },
) {
  const parameters = trainedParameters(decoder);
  for (const parameter of Object.values(parameters)) parameter.requiresGrad_();
  const model = { decoder, tokenizer: null as never };
  const { loss, flops } = learnDocuments(model, documents(9), {
    accumulate: 1,
    recompute: false,
    precision: 'f32',
    ...settings,
  });
  const named = Object.fromEntries(
    Object.entries(parameters).map(([name, parameter]) => {
      const values = tidy(() => parameter.grad!.toFloat32Array());
      parameter.grad = null;
      return [name, values];
    }),
  );
  return { loss, flops, named };
}

const largest = (values: Float32Array) => values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
function expectEqual(a: ReturnType<typeof gradients>, b: ReturnType<typeof gradients>, tolerance: number) {
  expect(a.loss).toBeCloseTo(b.loss, 5);
  expect(a.flops).toBe(b.flops);
  expect(Object.keys(a.named)).toEqual(Object.keys(b.named));
  for (const [name, values] of Object.entries(a.named)) {
    const difference = largest(values.map((value, i) => value - b.named[name]![i]!));
    expect(difference, name).toBeLessThan(tolerance * Math.max(largest(values), 1e-4));
    expect(largest(values), name).toBeGreaterThan(0);
  }
}

function withDecoder<T>(fn: (decoder: Decoder) => T, change: Partial<DecoderConfig> = {}): T {
  manualSeed(3);
  const decoder = createDecoder({ ...shape, ...change });
  try {
    return fn(decoder);
  } finally {
    disposeDecoder(decoder);
  }
}

/** Adapters that do something: B is zero at first. */
function adapted(decoder: Decoder, config: Partial<LoraConfig> = {}): void {
  addLora(decoder, LoraConfig.parse({ rank: 3, alpha: 6, ...config }), [47, 48]);
  noGrad(() => {
    for (const layer of decoder.lora!.layers) for (const { b } of Object.values(layer)) b.normal_(0, 0.1);
    decoder.lora!.rows.embedding.normal_(0, 0.3);
    decoder.lora!.rows.head?.normal_(0, 0.3);
  });
}

const scores = (decoder: Decoder) =>
  noGrad(() =>
    tidy(() =>
      logits(decoder, hiddenStates(decoder, packSequences([Int32Array.of(1, 48, 3, 47, 9)]))).toFloat32Array(),
    ),
  );

describe('a step of training', () => {
  it.each([
    ['in pieces', { accumulate: 4 }],
    ['with layers computed again', { recompute: true }],
    ['with both', { accumulate: 3, recompute: true }],
  ])('%s has the same loss and gradients', (_, settings) => {
    withDecoder((decoder) => expectEqual(gradients(decoder, settings), gradients(decoder, {}), 2e-5));
    withDecoder((decoder) => expectEqual(gradients(decoder, settings), gradients(decoder, {}), 2e-5), {
      tiedHead: true,
    });
  });

  it('in bf16 with layers computed again has the gradients of f32 to within the rounding of bf16, in f32', () => {
    withDecoder((decoder) => {
      const exact = gradients(decoder, {});
      const half = gradients(decoder, { precision: 'bf16', recompute: true });
      for (const [name, values] of Object.entries(half.named)) {
        const difference = largest(values.map((value, i) => value - exact.named[name]![i]!));
        expect(difference, name).toBeLessThan(0.05 * largest(exact.named[name]!));
      }
    });
  });

  it('leaves no tensor behind', () => {
    withDecoder((decoder) => {
      gradients(decoder, { recompute: true });
      const before = memoryStats();
      gradients(decoder, { recompute: true, accumulate: 2 });
      expect(memoryStats()).toEqual(before);
    });
  });
});

describe('adapters', () => {
  it('have the same gradients with layers computed again, also where they drop of their inputs', () => {
    withDecoder((decoder) => {
      adapted(decoder, { dropout: 0.3 });
      const state = getRngState();
      const plain = gradients(decoder, {});
      const after = getRngState();
      setRngState(state);
      const again = gradients(decoder, { recompute: true });
      expectEqual(again, plain, 2e-5);
      expect(getRngState()).toEqual(after);
      expect(gradients(decoder, {}).loss).not.toBeCloseTo(plain.loss, 5);
    });
  });

  it('merged give the scores of adapters beside the weights, and at first those of the bare model', () => {
    withDecoder((decoder) => {
      const bare = scores(decoder);
      addLora(decoder, LoraConfig.parse({}), [47, 48]);
      expect(scores(decoder)).toEqual(bare);
    });
    for (const change of [{}, { tiedHead: true }, { normalisedHead: true }]) {
      withDecoder((decoder) => {
        const bare = scores(decoder);
        adapted(decoder, { targets: ['q_proj', 'layers.1.mlp.*', 'o_proj', 'v_proj'] });
        const beside = scores(decoder);
        mergeLora(decoder);
        expect(decoder.lora).toBeUndefined();
        scores(decoder).forEach((value, i) => {
          expect(value).toBeCloseTo(beside[i]!, 4);
        });
        expect(largest(beside.map((value, i) => value - bare[i]!))).toBeGreaterThan(0.01);
      }, change);
    }
  });

  it('beside weights of a bf16 checkpoint hold those in bf16, and merge into f32', () => {
    withDecoder((decoder) => {
      const rounded = (weight: Tensor) => weight.copy_(tidy(() => weight.to('bf16').to('f32').clone()));
      noGrad(() => tidy(() => Object.values(decoderParameters(decoder)).map(rounded)));
      noGrad(() => decoder.layers[1]!.down.narrow(0, 0, 1).copy_(decoder.layers[1]!.down.narrow(0, 0, 1).mul(1.001)));
      adapted(decoder);
      const before = scores(decoder);
      compactFrozenWeights(decoder);
      expect(decoder.layers[0]!.down.dtype).toBe('bf16');
      expect(decoder.layers[1]!.down.dtype).toBe('f32');
      expect(scores(decoder)).toEqual(before);
      const half = autocast(() => scores(decoder));
      half.forEach((value, i) => {
        expect(value).toBeCloseTo(before[i]!, 1);
      });
      mergeLora(decoder);
      expect(decoder.layers[0]!.down.dtype).toBe('f32');
      scores(decoder).forEach((value, i) => {
        expect(value).toBeCloseTo(before[i]!, 4);
      });
    });
  });

  it('refuse a pattern that names nothing', () => {
    withDecoder((decoder) => {
      expect(() => addLora(decoder, LoraConfig.parse({ targets: ['q_proj', 'proj'] }), [])).toThrowError(
        expect.objectContaining({ code: 'NO_LORA_TARGET', message: expect.stringContaining('"proj"') }),
      );
    });
  });
});

it('a step that runs out of memory says what would take less', async () => {
  const weight = withDecoder((decoder) => decoder.finalNorm.clone());
  const run = runStageLoop<StageCursor>({
    name: 'Stage 1',
    output: join(root, 'memory'),
    identity: 'x',
    steps: 2,
    device: 'cpu',
    config: stageSettings({ learningRate: 1, logEvery: 1, evaluateEvery: 1, checkpointEvery: 1 }),
    smaller: 'lower tokensPerStep',
    parameters: { weight },
    beginning: { step: 0, seconds: 0, flops: 0 },
    step: () => ({ loss: empty([2 ** 30, 2 ** 16]).numel, tokens: 1, flops: 1 }),
    line: () => ({ loss: 0 }),
    evaluate: async () => ({}),
    signal: undefined,
    job: null,
    onProgress: () => {},
    onNotice: undefined,
  });
  await expect(run).rejects.toMatchObject({
    code: 'OUT_OF_MEMORY',
    message: expect.stringMatching(/cpu.*tokensPerStep.*recompute.*bf16.*trainingState bf16.*lora/s),
  });
  weight.dispose();
});

describe('stages with adapters', () => {
  const decoder = {
    hiddenSize: 32,
    layers: 2,
    heads: 2,
    keyValueHeads: 1,
    feedForwardSize: 48,
    contextLength: 64,
    vocabularySize: 400,
  };
  const lora = { rank: 4, alpha: 8 };
  let dataset: string;
  let base: string;
  const common = { tokensPerStep: 500, logEvery: 1, checkpointEvery: 3, learningRate: 1e-2 };
  const weights = (directory: string) => loadSafetensors(join(directory, 'model.safetensors')).tensors;
  const losses = (directory: string) =>
    readFileSync(join(directory, 'metrics.jsonl'), 'utf8')
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line).loss);

  beforeAll(async () => {
    dataset = join(root, 'data');
    base = join(root, 'base');
    await makeToyDataset(dataset);
    await pretrain({ dataset, output: base, config: { ...common, decoder, tokens: 4000 } });
  });

  it('move what they name and the keywords rows, and nothing else', async () => {
    const output = join(root, 'q-only');
    await pretrain({
      dataset,
      output,
      config: { ...common, from: base, tokens: 3000, lora: { ...lora, targets: ['q_proj'] } },
    });
    const { tokenizer, decoder: loaded } = await loadLanguageModel(output);
    disposeDecoder(loaded);
    tidy(() => {
      const [before, after] = [weights(base), weights(output)];
      for (const [name, weight] of Object.entries(after)) {
        if (name === 'model.embed_tokens.weight') continue;
        const moved = weight.ne(before[name]!).any().item() !== 0;
        expect(moved, name).toBe(name.includes('q_proj'));
      }
      const rows = after['model.embed_tokens.weight']!.ne(before['model.embed_tokens.weight']!)
        .any(1)
        .toArray() as Uint8Array;
      const moved = [...rows.keys()].filter((row) => rows[row]);
      expect(moved).toContain(tokenizer.tokenId('<poi_menu>'));
      const keywords = ['poi_name', 'poi_location', 'poi_menu', 'poi_introduction'].flatMap((k) => [
        `<${k}>`,
        `</${k}>`,
      ]);
      for (const token of keywords) expect(moved, token).toContain(tokenizer.tokenId(token));
      for (const row of moved) expect(tokenizer.decode([row], { special: true })).toMatch(/^<.*>$/);
    });
  });

  it('go on from a checkpoint with the losses of an unbroken run, and learn', async () => {
    const config = { ...common, from: base, tokens: 4000, lora: { ...lora, dropout: 0.1 }, recompute: true };
    const whole = join(root, 'lora-whole');
    const broken = join(root, 'lora-broken');
    const result = await pretrain({ dataset, output: whole, config });
    const abort = new AbortController();
    const stop = ({ step }: { step: number }) => {
      if (step === 4) abort.abort(new Error('enough'));
    };
    await expect(pretrain({ dataset, output: broken, config, signal: abort.signal, onProgress: stop })).rejects.toThrow(
      'enough',
    );
    await pretrain({ dataset, output: broken, config });
    expect(losses(broken)).toEqual(losses(whole));
    const start = await pretrain({ dataset, output: join(root, 'start'), config: { ...config, tokens: 0 } });
    expect(result.perplexity.domain!).toBeLessThan(0.95 * start.perplexity.domain!);
    expect(result.mfu!).toBeGreaterThan(0);
    expect(result.peak!.source).toContain('measured');
  });

  it('save adapters alone, which load merged, in stage 2 too; a head of bf16 is a head of bf16', async () => {
    const config = { ...common, from: base, tokens: 2000, lora: { ...lora, save: 'adapters' as const } };
    const output = join(root, 'adapters');
    const merged = join(root, 'merged');
    const adapters = await pretrain({ dataset, output, config });
    const whole = await pretrain({ dataset, output: merged, config: { ...config, lora } });
    expect(adapters.perplexity).toEqual(whole.perplexity);
    expect(existsSync(join(output, 'model.safetensors'))).toBe(false);
    const one = await loadLanguageModel(output);
    const other = await loadLanguageModel(merged);
    tidy(() => {
      const expected = decoderParameters(other.decoder);
      for (const [name, weight] of Object.entries(decoderParameters(one.decoder)))
        expect(largest(weight.sub(expected[name]!).toFloat32Array()), name).toBeLessThan(1e-6);
    });
    disposeDecoder(one.decoder);
    disposeDecoder(other.decoder);
    const small = {
      dimension: 16,
      steps: 12,
      batchSize: 16,
      heldOutPois: 30,
      heldOutUsers: 10,
      logEvery: 1,
      firstShare: 0,
    };
    const stage2 = (name: string, change: object) =>
      finetune({ dataset, model: output, output: join(root, name), config: { ...small, ...change } });
    await stage2('s2', { lora: { ...lora, dropout: 0.2 }, saveAs: 'bf16' });
    await stage2('s2-pieces', { lora: { ...lora, dropout: 0 }, microBatch: 5, recompute: true });
    await stage2('s2-whole', { lora: { ...lora, dropout: 0 } });
    expect(weights(join(root, 's2'))['model.embed_tokens.weight']!.dtype).toBe('bf16');
    expect(JSON.parse(readFileSync(join(root, 's2', 'config.json'), 'utf8')).torch_dtype).toBe('bfloat16');
    // Beside the matrices of a bf16 checkpoint, which stay in bf16 throughout.
    const half = (name: string, from: string) =>
      pretrain({
        dataset,
        output: join(root, name),
        config: { ...config, from, lora, precision: 'bf16', saveAs: 'bf16' },
      });
    await half('half', base);
    const again = await half('again', join(root, 'half'));
    expect(again.perplexity.domain!).toBeLessThan(whole.perplexity.domain!);
    expect(weights(join(root, 'again'))['model.layers.0.mlp.down_proj.weight']!.dtype).toBe('bf16');
    const inPieces = losses(join(root, 's2-pieces'));
    losses(join(root, 's2-whole')).forEach((loss, i) => {
      expect(inPieces[i]).toBeCloseTo(loss, 3);
    });
  });

  it('want a model to be beside', async () => {
    await expect(pretrain({ dataset, output: join(root, 'none'), config: { lora } })).rejects.toMatchObject({
      code: 'LORA_WITHOUT_MODEL',
    });
  });
});
