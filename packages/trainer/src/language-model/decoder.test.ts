import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { cp, mkdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadSafetensors, manualSeed, memoryStats, noGrad, saveSafetensors, type Tensor, tidy } from '@larr/torch';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { decoderShape } from '../../test/decoder-shape.js';
import { packSequences } from './batch.js';
import { fromHuggingFace, readDecoderConfig, toHuggingFace, type WeightLayout } from './configuration.js';
import {
  createDecoder,
  type Decoder,
  decoderParameters,
  disposeDecoder,
  growVocabulary,
  hiddenStates,
  logits,
} from './decoder.js';
import { generate, nextTokenProbabilities } from './generation.js';
import {
  decoderFromWeights,
  loadLanguageModel,
  namedWeights,
  saveLanguageModel,
  weightsAsLlama,
} from './model-directory.js';
import { nextTokenLoss, nextTokenTargets } from './next-token-loss.js';
import { Tokenizer, withSpecialTokens } from './tokenizer.js';
import { type TokenizerJson, trainTokenizer } from './tokenizer-training.js';

const reference = join(import.meta.dirname, 'reference');
const families = ['llama', 'llama3', 'qwen2', 'qwen3', 'baichuan'] as const;

const tiny = decoderShape({
  vocabularySize: 50,
  hiddenSize: 16,
  layers: 2,
  headSize: 4,
  feedForwardSize: 24,
  contextLength: 32,
  normEpsilon: 1e-5,
});

async function referenceDecoder(name: string): Promise<Decoder> {
  const directory = join(reference, name);
  const { config, layout } = await readDecoderConfig(directory);
  return tidy(() => decoderFromWeights(config, referenceWeights(name, layout), directory));
}

const referenceWeights = (name: string, layout: WeightLayout) =>
  weightsAsLlama(loadSafetensors(join(reference, name, 'model.safetensors')).tensors, layout);

function largestDifference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  expect(a.length).toBe(b.length);
  let largest = 0;
  for (let i = 0; i < a.length; i++) largest = Math.max(largest, Math.abs(a[i]! - b[i]!));
  return largest;
}

/** A deterministic sequence of ids in [3, 40). */
const someIds = (length: number, salt: number) =>
  Int32Array.from({ length }, (_, i) => 3 + ((i * 7 + salt * 11 + ((i * i) % 5)) % 37));

let scratch: string;
beforeAll(() => {
  scratch = mkdtempSync(join(tmpdir(), 'larr-decoder-'));
});
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

describe.each(families)('%s', (name) => {
  it("gives transformers' hidden states and logits", async () => {
    const decoder = await referenceDecoder(name);
    const expected = JSON.parse(readFileSync(join(reference, name, 'expected.json'), 'utf8')) as {
      ids: number[];
      hidden: number[];
      logits: number[];
    };
    const { hidden, scores } = noGrad(() =>
      tidy(() => {
        const states = hiddenStates(decoder, packSequences([Int32Array.from(expected.ids)]));
        return { hidden: states.toFloat32Array(), scores: logits(decoder, states).toFloat32Array() };
      }),
    );
    expect(largestDifference(hidden, expected.hidden)).toBeLessThan(1e-4);
    expect(largestDifference(scores, expected.logits)).toBeLessThan(1e-4);
    disposeDecoder(decoder);
  });

  it('takes fused weights apart into the very tensors it was made from', async () => {
    const decoder = await referenceDecoder(name);
    const { layout } = await readDecoderConfig(join(reference, name));
    tidy(() => {
      const original = referenceWeights(name, layout);
      if (name === 'baichuan') original['lm_head.weight'] = original['lm_head.weight']!.normalize(1);
      const named = namedWeights(decoder);
      expect(Object.keys(named).sort()).toEqual(Object.keys(original).sort());
      for (const [key, weight] of Object.entries(named)) {
        expect(largestDifference(weight.contiguous().toFloat32Array(), original[key]!.toFloat32Array()), key).toBe(0);
      }
    });
    disposeDecoder(decoder);
  });
});

describe('rotary frequencies', () => {
  const stretched = JSON.parse(readFileSync(join(reference, 'rotary.json'), 'utf8')) as {
    rope_scaling: Record<string, unknown>;
    ids: number[];
    hidden: number[];
  }[];
  const llama = JSON.parse(readFileSync(join(reference, 'llama', 'config.json'), 'utf8'));

  it.each(stretched)("stretched by $rope_scaling give transformers' hidden states", ({ rope_scaling, ids, hidden }) => {
    const { config } = fromHuggingFace({ ...llama, rope_parameters: undefined, rope_scaling }, 'config.json');
    const decoder = tidy(() => decoderFromWeights(config, referenceWeights('llama', 'llama'), 'llama'));
    const states = noGrad(() =>
      tidy(() => hiddenStates(decoder, packSequences([Int32Array.from(ids)])).toFloat32Array()),
    );
    expect(largestDifference(states, hidden)).toBeLessThan(1e-4);
    // Written and read again they are the same.
    const { config: again } = fromHuggingFace(toHuggingFace(config, { padId: 0, bosId: 1, eosId: 2 }), 'config.json');
    expect(again).toEqual(config);
    disposeDecoder(decoder);
  });

  it('take the original context from beside the others where it stands there too, as transformers does', () => {
    const yarn = { rope_type: 'yarn', factor: 4, rope_theta: 1e6 };
    const read = (change: Record<string, unknown>) =>
      fromHuggingFace({ ...llama, rope_scaling: undefined, ...change }, 'config.json').config.rotaryStretch;
    const wanted = read({ rope_parameters: { ...yarn, original_max_position_embeddings: 32 } });
    expect(wanted).toMatchObject({ originalContextLength: 32 });
    expect(read({ rope_parameters: yarn, original_max_position_embeddings: 32 })).toEqual(wanted);
    const both = { rope_parameters: { ...yarn, original_max_position_embeddings: 64 } };
    expect(read({ ...both, original_max_position_embeddings: 32 })).toEqual(wanted);
  });

  it.each(['abc', -5, 0, null])('whose base is no number above 0 are refused: %s', (rope_theta) => {
    const config = { ...llama, rope_scaling: undefined, rope_parameters: { rope_type: 'default', rope_theta } };
    const read = () => fromHuggingFace({ ...config, rope_theta: undefined }, 'config.json');
    if (rope_theta === null) expect(read().config.rotaryBase).toBe(10_000);
    else expect(read).toThrow(/config\.json: rope_theta = .* is not a number above 0/);
  });

  it.each([
    ['rope_scaling.rope_type', { rope_scaling: { rope_type: 'dynamic', factor: 2 } }],
    ['rope_scaling.rope_type', { rope_scaling: { type: 'longrope', factor: 2 } }],
    ['rope_scaling.factor', { rope_scaling: { rope_type: 'linear' } }],
    ['partial_rotary_factor', { partial_rotary_factor: 0.5 }],
    ['layer_types', { layer_types: ['full_attention', 'sliding_attention'] }],
    ['quantization_config', { quantization_config: { quant_method: 'gptq' } }],
    ['attention_bias', { attention_bias: true }],
    ['max_position_embeddings', { model_type: 'baichuan', max_position_embeddings: undefined }],
  ])('what no decoder here computes is refused by its key: %s', (key, change) => {
    expect(() => fromHuggingFace({ ...llama, rope_parameters: undefined, ...change }, 'dir/config.json')).toThrow(
      expect.objectContaining({
        name: 'UsageError',
        code: 'UNKNOWN_ARCHITECTURE',
        message: expect.stringMatching(new RegExp(`^dir/config\\.json: ${key} = `)),
      }),
    );
  });
});

describe('packing', () => {
  it('gives a sequence the states that it has alone, whatever its neighbours', async () => {
    const decoder = await referenceDecoder('llama');
    const sequences = [9, 3, 17, 16, 15, 1, 17].map((length, i) => someIds(length, i));
    noGrad(() =>
      tidy(() => {
        const packed = packSequences(sequences);
        expect(packed.ids.length).toBe(sequences.reduce((sum, { length }) => sum + length, 0));
        const states = hiddenStates(decoder, packed);
        sequences.forEach((ids, i) => {
          const alone = hiddenStates(decoder, packSequences([ids])).toFloat32Array();
          const { start, length } = packed.sequences[i]!;
          expect(largestDifference(states.narrow(0, start, length).contiguous().toFloat32Array(), alone)).toBeLessThan(
            1e-5,
          );
        });
      }),
    );
    disposeDecoder(decoder);
  });

  it("does not move a document's loss when its neighbours change, and does when the document changes", async () => {
    const decoder = await referenceDecoder('llama');
    const lossOf = (documents: Int32Array[]) =>
      noGrad(() =>
        tidy(() => {
          const batch = packSequences(documents);
          // Only the first document's tokens are learnt.
          const targets = nextTokenTargets(
            batch,
            documents,
            documents.map((ids, i) => (i === 0 ? 0 : ids.length)),
          );
          return nextTokenLoss(decoder, hiddenStates(decoder, batch, { rows: targets.rows }), targets, {
            backward: false,
          });
        }),
      );
    const document = someIds(12, 1);
    const base = lossOf([document, someIds(12, 2), someIds(11, 3)]);
    expect(lossOf([document, someIds(12, 9), someIds(4, 5)])).toBeCloseTo(base, 6);
    expect(Math.abs(lossOf([someIds(12, 6), someIds(12, 2), someIds(11, 3)]) - base)).toBeGreaterThan(1e-3);
    disposeDecoder(decoder);
  });
});

describe('next-token loss', () => {
  it('is the mean over learnt tokens, and its gradient that of the plain cross-entropy over all logits', () => {
    manualSeed(3);
    const decoder = createDecoder(tiny);
    const documents = [someIds(10, 1), someIds(7, 2)];
    const prompts = [4, 0];
    const parameters = decoderParameters(decoder);
    for (const p of Object.values(parameters)) p.requiresGrad_();
    const chunked = tidy(() => {
      const batch = packSequences(documents);
      const targets = nextTokenTargets(batch, documents, prompts);
      return nextTokenLoss(decoder, hiddenStates(decoder, batch, { rows: targets.rows }), targets, { backward: true });
    });
    const gradients = Object.fromEntries(
      Object.entries(parameters).map(([name, p]) => [name, p.grad!.toFloat32Array()]),
    );
    for (const p of Object.values(parameters)) p.grad = null;
    // Six learnt tokens of ten after the prompt of four, six of seven after the first: the mean over twelve.
    const plain = tidy(() => {
      let sum: Tensor | undefined;
      documents.forEach((ids, i) => {
        const scores = logits(decoder, hiddenStates(decoder, packSequences([ids]))).logSoftmax(1);
        for (let t = Math.max(prompts[i]!, 1); t < ids.length; t++) {
          const one = scores
            .select(0, t - 1)
            .select(0, ids[t]!)
            .neg();
          sum = sum === undefined ? one : sum.add(one);
        }
      });
      const mean = sum!.div(12);
      mean.backward();
      return mean.item();
    });
    expect(chunked).toBeCloseTo(plain, 5);
    for (const [name, p] of Object.entries(parameters)) {
      expect(largestDifference(gradients[name]!, p.grad!.toFloat32Array()), name).toBeLessThan(1e-5);
      p.grad = null;
    }
    disposeDecoder(decoder);
  });
});

describe('growing the vocabulary', () => {
  it.each([true, false])(
    'starts new rows near the mean of the old ones and keeps the old (tied head: %s)',
    (tiedHead) => {
      manualSeed(5);
      const decoder = createDecoder({ ...tiny, tiedHead });
      const before = decoder.embedding.toFloat32Array();
      const grown = growVocabulary(decoder, 54);
      const after = grown.embedding.toFloat32Array();
      expect(grown.embedding.shape).toEqual([54, 16]);
      expect(grown.head.shape).toEqual([54, 16]);
      expect(largestDifference(after.subarray(0, before.length), before)).toBe(0);
      let deviation = 0;
      for (let c = 0; c < 16; c++) {
        let mean = 0;
        for (let r = 0; r < 50; r++) mean += before[r * 16 + c]! / 50;
        for (let r = 50; r < 54; r++) deviation = Math.max(deviation, Math.abs(after[r * 16 + c]! - mean));
      }
      expect(deviation).toBeGreaterThan(0);
      expect(deviation).toBeLessThan(0.02); // a tenth of the rows' 0.02, and a draw far out
      disposeDecoder(grown);
    },
  );
});

describe('model directory', () => {
  const texts = Array.from({ length: 40 }, (_, i) => `soup number ${i} with noodles and rice, spicy and hot`);

  async function saved(
    name: string,
  ): Promise<{ directory: string; model: Awaited<ReturnType<typeof loadLanguageModel>> }> {
    const directory = join(scratch, name);
    const tokenizer = withSpecialTokens(new Tokenizer(trainTokenizer(texts, 300)), ['<poi_name>', '</poi_name>']);
    manualSeed(11);
    const decoder = createDecoder({ ...tiny, vocabularySize: tokenizer.vocabularySize });
    await saveLanguageModel(directory, { decoder, tokenizer });
    disposeDecoder(decoder);
    return { directory, model: await loadLanguageModel(directory) };
  }

  it('comes back with the same weights and ids, and frees what it held', async () => {
    const before = memoryStats().bytes;
    const { directory, model } = await saved('round-trip');
    const again = join(scratch, 'round-trip-again');
    await saveLanguageModel(again, model);
    for (const file of ['config.json', 'tokenizer.json', 'model.safetensors']) {
      expect(readFileSync(join(again, file)).equals(readFileSync(join(directory, file))), file).toBe(true);
    }
    const [ids] = [model.tokenizer.encode('<poi_name> spicy soup </poi_name>')];
    expect(model.tokenizer.decode(ids!, { special: true })).toBe('<poi_name> spicy soup</poi_name>');
    disposeDecoder(model.decoder);
    expect(memoryStats().bytes).toBeLessThanOrEqual(before);
  });

  const python = process.env.LARR_PYTHON;
  it.skipIf(!python)('is one that transformers loads, with the same logits', async () => {
    const { directory, model } = await saved('for-transformers');
    const ids = model.tokenizer.encode('<poi_name> spicy soup </poi_name> with rice');
    const script = `
import json, sys, torch
from transformers import AutoModelForCausalLM, AutoTokenizer
d = sys.argv[1]
t = AutoTokenizer.from_pretrained(d); m = AutoModelForCausalLM.from_pretrained(d).eval()
ids = t("<poi_name> spicy soup </poi_name> with rice", add_special_tokens=False)["input_ids"]
with torch.no_grad(): print(json.dumps({"ids": ids, "logits": m(torch.tensor([ids])).logits.flatten().tolist()}))`;
    const out = JSON.parse(
      execFileSync(python!, ['-c', script, directory], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }),
    ) as { ids: number[]; logits: number[] };
    expect(out.ids).toEqual(Array.from(ids));
    const ours = noGrad(() =>
      tidy(() => logits(model.decoder, hiddenStates(model.decoder, packSequences([ids]))).toFloat32Array()),
    );
    expect(largestDifference(ours, out.logits)).toBeLessThan(1e-4);
    disposeDecoder(model.decoder);
  });

  /** A family's reference model with a tokenizer and special tokens added, written out: what stage 1 starts from. */
  async function grown(name: string) {
    const directory = join(scratch, `grown ${name}`);
    const decoder = await referenceDecoder(name);
    // Forty ids: the control tokens and a few letters.
    const trained = trainTokenizer(texts, 300);
    const vocab = Object.fromEntries(Object.entries(trained.model.vocab).filter(([, id]) => Number(id) < 40));
    const plain = new Tokenizer({ ...trained, model: { ...trained.model, vocab, merges: [] } } as TokenizerJson);
    const tokenizer = withSpecialTokens(plain, ['<poi_name>', '</poi_name>', '<poi_menu>']);
    manualSeed(12);
    const model = { tokenizer, decoder: growVocabulary(decoder, tokenizer.vocabularySize) };
    await saveLanguageModel(directory, model);
    return { directory, model };
  }

  describe.each(families)('with special tokens, of a %s model', (name) => {
    it('holds what transformers expects: the sizes, names and shapes of that family', async () => {
      const { directory, model } = await grown(name);
      const config = JSON.parse(readFileSync(join(directory, 'config.json'), 'utf8'));
      const original = JSON.parse(readFileSync(join(reference, name, 'config.json'), 'utf8'));
      // transformers does not ship Baichuan: it becomes the Llama that it is.
      const isBaichuan = name === 'baichuan';
      expect(config.architectures).toEqual(isBaichuan ? ['LlamaForCausalLM'] : original.architectures);
      expect(config).toMatchObject({ model_type: isBaichuan ? 'llama' : original.model_type, vocab_size: 43 });
      tidy(() => {
        const { tensors } = loadSafetensors(join(directory, 'model.safetensors'));
        const before = referenceWeights(name, isBaichuan ? 'baichuan' : 'llama');
        expect(Object.keys(tensors).sort()).toEqual(Object.keys(before).sort());
        for (const [key, { shape }] of Object.entries(before)) {
          const grows = key === 'model.embed_tokens.weight' || key === 'lm_head.weight';
          expect(tensors[key]!.shape, key).toEqual(grows ? [43, shape[1]] : shape);
        }
        // The head is a matrix of its own just where it was one.
        expect(tensors['lm_head.weight'] === undefined).toBe(original.tie_word_embeddings);
      });
      const again = await loadLanguageModel(directory);
      const ids = again.tokenizer.encode('<poi_name>!"#</poi_name>');
      expect(ids).toEqual(model.tokenizer.encode('<poi_name>!"#</poi_name>'));
      expect(ids[0]).toBe(40);
      const scores = ({ decoder }: typeof model) =>
        noGrad(() => tidy(() => logits(decoder, hiddenStates(decoder, packSequences([ids]))).toFloat32Array()));
      expect(largestDifference(scores(again), scores(model))).toBeLessThan(1e-5);
      disposeDecoder(again.decoder);
      disposeDecoder(model.decoder);
    });
  });

  it.skipIf(!python)('with special tokens, of every family, gives transformers the same ids and logits', async () => {
    const all = await Promise.all(families.map((name) => grown(name)));
    const script = `
import json, sys, torch
from transformers import AutoModelForCausalLM, AutoTokenizer
out = []
for d in sys.argv[1:]:
    t = AutoTokenizer.from_pretrained(d); m = AutoModelForCausalLM.from_pretrained(d).eval()
    ids = t('<poi_name>!"#</poi_name>', add_special_tokens=False)["input_ids"]
    with torch.no_grad(): out.append({"ids": ids, "logits": m(torch.tensor([ids])).logits.flatten().tolist()})
print(json.dumps(out))`;
    const said = execFileSync(python!, ['-c', script, ...all.map(({ directory }) => directory)], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    (JSON.parse(said) as { ids: number[]; logits: number[] }[]).forEach((their, i) => {
      const { decoder, tokenizer } = all[i]!.model;
      const ids = tokenizer.encode('<poi_name>!"#</poi_name>');
      expect(their.ids, families[i]).toEqual(Array.from(ids));
      const ours = noGrad(() =>
        tidy(() => logits(decoder, hiddenStates(decoder, packSequences([ids]))).toFloat32Array()),
      );
      expect(largestDifference(ours, their.logits), families[i]).toBeLessThan(1e-4);
      disposeDecoder(decoder);
    });
  });

  it.each(['bf16', 'f32'] as const)('reads weights in %s, of which the decoder has f32', async (dtype) => {
    const { directory, model } = await saved(`in ${dtype}`);
    const path = join(directory, 'model.safetensors');
    const expected = tidy(() => {
      const { tensors } = loadSafetensors(path);
      const stored = Object.fromEntries(Object.entries(tensors).map(([name, t]) => [name, t.to(dtype)]));
      saveSafetensors(path, stored);
      return stored['model.layers.0.mlp.down_proj.weight']!.to('f32').toFloat32Array();
    });
    const { decoder } = await loadLanguageModel(directory);
    expect(decoder.embedding.dtype).toBe('f32');
    expect(largestDifference(decoder.layers[0]!.down.toFloat32Array(), expected)).toBe(0);
    disposeDecoder(decoder);
    disposeDecoder(model.decoder);
  });

  it('holds the matrices of a bf16 checkpoint in bf16 where it may, for the same numbers', async () => {
    const { directory, model } = await saved('held in bf16');
    await saveLanguageModel(directory, model, 'bf16');
    const states = async (matrices: 'f32' | 'as saved') => {
      const { decoder } = await loadLanguageModel(directory, { matrices });
      const dtypes = new Set(Object.values(decoderParameters(decoder)).map(({ dtype, ndim }) => `${ndim}-d ${dtype}`));
      const values = noGrad(() =>
        tidy(() => {
          const h = hiddenStates(decoder, packSequences([Int32Array.of(1, 5, 9, 2), Int32Array.of(7, 3)]));
          return [...h.toFloat32Array(), ...logits(decoder, h).toFloat32Array()];
        }),
      );
      disposeDecoder(decoder);
      return { dtypes, values };
    };
    const whole = await states('f32');
    const half = await states('as saved');
    expect(whole.dtypes).toEqual(new Set(['2-d f32', '1-d f32']));
    expect(half.dtypes).toEqual(new Set(['2-d bf16', '1-d f32']));
    expect(half.values).toEqual(whole.values);
    disposeDecoder(model.decoder);
  });

  it('keeps nothing of a layer that is done, however many there are', () => {
    const held = (layers: number) => {
      const decoder = createDecoder({ ...tiny, layers });
      try {
        return noGrad(() =>
          tidy(() => {
            const before = memoryStats();
            hiddenStates(decoder, packSequences([Int32Array.of(1, 5, 9, 2), Int32Array.of(7, 3)]));
            const { tensors, bytes } = memoryStats();
            return { tensors: tensors - before.tensors, bytes: bytes - before.bytes };
          }),
        );
      } finally {
        disposeDecoder(decoder);
      }
    };
    expect(held(5)).toEqual(held(1));
  });

  it('reads weights in f16', async () => {
    const { directory, model } = await saved('in f16');
    const path = join(directory, 'model.safetensors');
    const bytes = readFileSync(path);
    const length = Number(bytes.readBigUInt64LE());
    const header = JSON.parse(bytes.subarray(8, 8 + length).toString()) as Record<string, { shape: number[] }>;
    // Every number 0.25 + i/1024 for i of the place in [0, 256): exact in f16, sign 0, exponent 13.
    const names = Object.keys(header).filter((name) => name !== '__metadata__');
    let at = 0;
    const entries = names.map((name) => {
      const size = header[name]!.shape.reduce((a, b) => a * b, 1);
      at += 2 * size;
      return [name, { dtype: 'F16', shape: header[name]!.shape, data_offsets: [at - 2 * size, at] }];
    });
    const json = Buffer.from(JSON.stringify(Object.fromEntries(entries)));
    const prefix = Buffer.alloc(8);
    prefix.writeBigUInt64LE(BigInt(json.length));
    const halves = Uint16Array.from({ length: at / 2 }, (_, i) => (13 << 10) + 4 * (i % 256));
    writeFileSync(path, Buffer.concat([prefix, json, Buffer.from(halves.buffer)]));
    const { decoder } = await loadLanguageModel(directory);
    const first =
      (entries.find(([name]) => name === 'model.norm.weight')![1] as { data_offsets: number[] }).data_offsets[0]! / 2;
    const norm = decoder.finalNorm.toFloat32Array();
    norm.forEach((x, i) => {
      expect(x).toBe(0.25 + ((first + i) % 256) / 1024);
    });
    disposeDecoder(decoder);
    disposeDecoder(model.decoder);
  });

  it('reads shards through their index', async () => {
    const { directory, model } = await saved('sharded-source');
    const sharded = join(scratch, 'sharded');
    await mkdir(sharded, { recursive: true });
    for (const file of ['config.json', 'tokenizer.json', 'tokenizer_config.json'])
      await cp(join(directory, file), join(sharded, file));
    tidy(() => {
      const { tensors } = loadSafetensors(join(directory, 'model.safetensors'));
      const names = Object.keys(tensors);
      const weight_map: Record<string, string> = {};
      for (const [part, some] of [names.slice(0, 5), names.slice(5)].entries()) {
        const file = `model-0000${part + 1}-of-00002.safetensors`;
        saveSafetensors(join(sharded, file), Object.fromEntries(some.map((name) => [name, tensors[name]!])));
        for (const name of some) weight_map[name] = file;
      }
      writeFileSync(join(sharded, 'model.safetensors.index.json'), JSON.stringify({ weight_map }));
    });
    const again = await loadLanguageModel(sharded);
    expect(largestDifference(again.decoder.embedding.toFloat32Array(), model.decoder.embedding.toFloat32Array())).toBe(
      0,
    );
    const refused = (code: string, message: RegExp) =>
      expect(loadLanguageModel(sharded)).rejects.toMatchObject({ code, message: expect.stringMatching(message) });
    const second = join(sharded, 'model-00002-of-00002.safetensors');
    const bytes = readFileSync(second);
    writeFileSync(second, bytes.subarray(0, bytes.length - 100));
    await refused('BAD_WEIGHTS', /model-00002-of-00002\.safetensors cannot be read.*cut short.*Copy it again/);
    // A shard that lacks a tensor, and one with a tensor of another shape, are named.
    tidy(() => {
      const { tensors } = loadSafetensors(join(sharded, 'model-00001-of-00002.safetensors'));
      saveSafetensors(second, { 'model.norm.weight': tensors['model.layers.0.input_layernorm.weight']! });
    });
    await refused('MISSING_TENSOR', /model-00002-of-00002\.safetensors: the tensor model\..* is missing/);
    writeFileSync(second, bytes);
    editConfig(sharded, { intermediate_size: 32 });
    await refused('WRONG_SHAPE', /model-0000\d-of-00002\.safetensors: model\.layers\.0\.mlp.*config\.json asks for/);
    editConfig(sharded, { intermediate_size: 24 });
    rmSync(second);
    await refused('MISSING_FILE', /model-00002-of-00002\.safetensors is missing;.*Copy it there/);
    const index = join(sharded, 'model.safetensors.index.json');
    writeFileSync(index, JSON.stringify({ weight_map: { a: '../elsewhere.safetensors' } }));
    await refused('BAD_MODEL_INDEX', /index\.json names no file beside it for a/);
    writeFileSync(index, '{');
    await refused('BAD_MODEL_INDEX', /index\.json is not JSON/);
    disposeDecoder(model.decoder);
    disposeDecoder(again.decoder);
  });

  it.each([
    ['no config.json', 'MISSING_FILE', /config\.json/, (d: string) => rmSync(join(d, 'config.json'))],
    ['no weights', 'MISSING_FILE', /model\.safetensors/, (d: string) => rmSync(join(d, 'model.safetensors'))],
    [
      'weights cut short',
      'BAD_WEIGHTS',
      /model\.safetensors/,
      (d: string) =>
        writeFileSync(join(d, 'model.safetensors'), readFileSync(join(d, 'model.safetensors')).subarray(0, 9000)),
    ],
    [
      'weights as a pickle alone',
      'MISSING_FILE',
      /pickle.*save_pretrained/,
      (d: string) => renameSync(join(d, 'model.safetensors'), join(d, 'pytorch_model.bin')),
    ],
    ['no tokenizer', 'MISSING_FILE', /tokenizer\.json/, (d: string) => rmSync(join(d, 'tokenizer.json'))],
    [
      'a tokenizer that is cut short',
      'BAD_TOKENIZER',
      /tokenizer\.json is not JSON/,
      (d: string) => writeFileSync(join(d, 'tokenizer.json'), readFileSync(join(d, 'tokenizer.json')).subarray(0, 500)),
    ],
    [
      'another program’s tokenizer',
      'BAD_TOKENIZER',
      /tokenizer\.json: The tokenizer cannot be built/,
      (d: string) => writeFileSync(join(d, 'tokenizer.json'), '{"added_tokens": [], "model": {"type": "Tree"}}'),
    ],
    [
      'a family whose keys are others',
      'UNKNOWN_ARCHITECTURE',
      /model_type "gpt2" is not one.*Known: llama/,
      (d: string) => writeFileSync(join(d, 'config.json'), '{"model_type": "gpt2", "n_embd": 64, "n_layer": 2}'),
    ],
    [
      'weights in 8 bits',
      'BAD_WEIGHTS',
      /model\.safetensors: 'a' is F8_E4M3, which is not supported.*(?<!Copy it again.*)$/,
      (d: string) => {
        const header = Buffer.from('{"a":{"dtype":"F8_E4M3","shape":[1],"data_offsets":[0,1]}}');
        const length = Buffer.alloc(8);
        length.writeBigUInt64LE(BigInt(header.length));
        writeFileSync(join(d, 'model.safetensors'), Buffer.concat([length, header, Buffer.alloc(1)]));
      },
    ],
    ...(
      [
        ['model.safetensors', 'BAD_WEIGHTS'],
        ['config.json', 'BAD_MODEL_CONFIG'],
        ['tokenizer.json', 'BAD_TOKENIZER'],
      ] as const
    ).map(
      ([file, code]) =>
        [
          `a git-LFS pointer for its ${file}`,
          code,
          new RegExp(`${file.replace('.', '\\.')} is not the file itself but a git-LFS pointer.*git lfs pull`),
          (d: string) =>
            writeFileSync(join(d, file), 'version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 123\n'),
        ] as const,
    ),
    [
      'a git-LFS pointer for its tokenizer.model',
      'BAD_TOKENIZER',
      /tokenizer\.model is not the file itself but a git-LFS pointer/,
      (d: string) => {
        rmSync(join(d, 'tokenizer.json'));
        writeFileSync(join(d, 'tokenizer.model'), 'version https://git-lfs.github.com/spec/v1\noid sha256:abc\n');
      },
    ],
    ['an unknown family', 'UNKNOWN_ARCHITECTURE', /gpt_neox/, (d: string) => editConfig(d, { model_type: 'gpt_neox' })],
    [
      'a config for another shape',
      'WRONG_SHAPE',
      /down_proj|gate_proj/,
      (d: string) => editConfig(d, { intermediate_size: 32 }),
    ],
    [
      'fewer rows than the tokenizer has ids',
      'TOKENIZER_MISMATCH',
      /rows/,
      (d: string) => editConfig(d, { vocab_size: 200 }),
    ],
    [
      'a layer too many',
      'MISSING_TENSOR',
      /model\.layers\.2\./,
      (d: string) => editConfig(d, { num_hidden_layers: 3 }),
    ],
    ['a layer too few', 'UNKNOWN_TENSOR', /model\.layers\.1\./, (d: string) => editConfig(d, { num_hidden_layers: 1 })],
    [
      'a head of its own, though it is said to be the embedding',
      'TIED_HEAD_DIFFERS',
      /model\.safetensors: lm_head\.weight is not the embedding.*tie_word_embeddings/,
      (d: string) =>
        tidy(() => {
          const file = join(d, 'model.safetensors');
          const { tensors } = loadSafetensors(file);
          const own = { ...tensors, 'lm_head.weight': tensors['model.embed_tokens.weight']!.mul(2) };
          saveSafetensors(file, own);
          editConfig(d, { tie_word_embeddings: true });
        }),
    ],
    [
      'heads that do not share its width evenly',
      'BAD_MODEL_CONFIG',
      /hidden_size \d+ is not a multiple of num_attention_heads 7/,
      (d: string) => editConfig(d, { num_attention_heads: 7, num_key_value_heads: 7, head_dim: undefined }),
    ],
    [
      'more positions than memory has room for',
      'OUT_OF_MEMORY',
      /context of 10000000000000 tokens.*max_position_embeddings/,
      (d: string) => editConfig(d, { max_position_embeddings: 1e13 }),
    ],
    [
      'a key that is no number',
      'BAD_MODEL_CONFIG',
      /hidden_size/,
      (d: string) => editConfig(d, { hidden_size: 'wide' }),
    ],
  ] as const)('with %s is refused by name', async (what, code, message, damage) => {
    const { directory, model } = await saved(`bad ${what}`);
    disposeDecoder(model.decoder);
    damage(directory);
    await expect(loadLanguageModel(directory)).rejects.toMatchObject({ code, message: expect.stringMatching(message) });
  });

  function editConfig(directory: string, change: Record<string, unknown>): void {
    const path = join(directory, 'config.json');
    writeFileSync(path, JSON.stringify({ ...JSON.parse(readFileSync(path, 'utf8')), ...change }));
  }

  it('continues a prompt with cached keys and values exactly as without them', async () => {
    const { model } = await saved('generation');
    const ids = model.tokenizer.encode(' spicy soup');
    const greedy: number[] = [];
    let sequence = Int32Array.from([model.tokenizer.bosId!, ...ids]);
    for (let i = 0; i < 8; i++) {
      const next = noGrad(() =>
        tidy(() => {
          const states = hiddenStates(model.decoder, packSequences([sequence]));
          return logits(model.decoder, states.narrow(0, sequence.length - 1, 1))
            .argmax(1)
            .item();
        }),
      );
      if (next === model.tokenizer.eosId) break;
      greedy.push(next);
      sequence = Int32Array.from([...sequence, next]);
    }
    expect(generate(model, ' spicy soup', { maxTokens: 8 })).toBe(model.tokenizer.decode(greedy));
    const all = Array.from({ length: model.decoder.config.vocabularySize }, (_, i) => i);
    const probabilities = nextTokenProbabilities(model.decoder, [ids, ids.slice(0, 1)], all);
    expect(probabilities.subarray(0, all.length).reduce((a, b) => a + b)).toBeCloseTo(1, 4);
    disposeDecoder(model.decoder);
  });
});
