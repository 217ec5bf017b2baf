import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { DataError, writeFileAtomic } from '@larr/core';
import { cat, loadSafetensors, noGrad, saveSafetensors, type Tensor, TensorError, tidy } from '@larr/torch';
import { type Companions, readCompanions } from './companion-files.js';
import { type DecoderConfig, readDecoderConfig, toHuggingFace, type WeightLayout } from './configuration.js';
import { type Decoder, type DecoderLayer, inMemory, outputHead } from './decoder.js';
import { refuseLfsPointer } from './lfs-pointer.js';
import { checkLoraTargets } from './lora.js';
import type { LoraConfig } from './lora-config.js';
import { rotaryTable } from './rotary.js';
import { loadTokenizer, type Tokenizer } from './tokenizer.js';

/** A decoder with the tokenizer that it was trained with. */
export interface LanguageModel {
  decoder: Decoder;
  tokenizer: Tokenizer;
  /** Where it was read from a published directory. */
  companions?: Companions;
}

/**
 * How the matrices of a decoder are held. `as saved`: in bf16 where the files have them so, half the memory and nothing lost; f32 products
 * take an f32 copy of one at a time. Norms' gains and biases are f32 either way.
 */
export type HeldMatrices = 'f32' | 'as saved';

/**
 * The decoder's weights under Hugging Face's names, fused products taken apart and a normalised head's rows normalised. Views
 * where possible: they live as long as the decoder.
 */
export function namedWeights(decoder: Decoder): Record<string, Tensor> {
  const { heads, keyValueHeads, headSize, feedForwardSize, tiedHead } = decoder.config;
  const q = heads * headSize;
  const kv = keyValueHeads * headSize;
  const named: Record<string, Tensor> = { 'model.embed_tokens.weight': decoder.embedding };
  decoder.layers.forEach((layer, i) => {
    const at = `model.layers.${i}`;
    const apart = (fused: Tensor, kind: 'weight' | 'bias') => {
      named[`${at}.self_attn.q_proj.${kind}`] = fused.narrow(0, 0, q);
      named[`${at}.self_attn.k_proj.${kind}`] = fused.narrow(0, q, kv);
      named[`${at}.self_attn.v_proj.${kind}`] = fused.narrow(0, q + kv, kv);
    };
    named[`${at}.input_layernorm.weight`] = layer.attentionNorm;
    apart(layer.queryKeyValue, 'weight');
    if (layer.queryKeyValueBias !== null) apart(layer.queryKeyValueBias, 'bias');
    if (layer.queryNorm !== null) named[`${at}.self_attn.q_norm.weight`] = layer.queryNorm;
    if (layer.keyNorm !== null) named[`${at}.self_attn.k_norm.weight`] = layer.keyNorm;
    named[`${at}.self_attn.o_proj.weight`] = layer.attentionOutput;
    named[`${at}.post_attention_layernorm.weight`] = layer.feedForwardNorm;
    named[`${at}.mlp.gate_proj.weight`] = layer.gateUp.narrow(0, 0, feedForwardSize);
    named[`${at}.mlp.up_proj.weight`] = layer.gateUp.narrow(0, feedForwardSize, feedForwardSize);
    named[`${at}.mlp.down_proj.weight`] = layer.down;
  });
  named['model.norm.weight'] = decoder.finalNorm;
  if (!tiedHead) named['lm_head.weight'] = outputHead(decoder);
  return named;
}

/** Weights of a directory under the names that Llama's have. Baichuan stacks queries, keys and values in one matrix. */
export function weightsAsLlama(weights: Record<string, Tensor>, layout: WeightLayout): Record<string, Tensor> {
  if (layout === 'llama') return weights;
  return Object.fromEntries(
    Object.entries(weights).flatMap(([name, weight]): [string, Tensor][] => {
      const rows = weight.shape[0]! / 3;
      if (!name.endsWith('.self_attn.W_pack.weight') || !Number.isInteger(rows)) return [[name, weight]];
      return ['q', 'k', 'v'].map((p, i) => [name.replace('W_pack', `${p}_proj`), weight.narrow(0, i * rows, rows)]);
    }),
  );
}

/**
 * Builds a decoder from weights under Hugging Face's names; the reverse of `namedWeights`.
 * @param from Where the weights came from, or which file each tensor came from, for error messages.
 * @throws DataError `MISSING_TENSOR`, `WRONG_SHAPE`, `UNKNOWN_TENSOR` or `TIED_HEAD_DIFFERS`, naming the tensor and its file; `OUT_OF_MEMORY`
 */
export function decoderFromWeights(
  config: DecoderConfig,
  weights: Record<string, Tensor>,
  from: string | ((tensor: string) => string),
  device = 'cpu',
  matrices: HeldMatrices = 'f32',
): Decoder {
  const fileOf = typeof from === 'string' ? () => from : from;
  const { hiddenSize, heads, keyValueHeads, headSize, feedForwardSize, vocabularySize } = config;
  const q = heads * headSize;
  const kv = keyValueHeads * headSize;
  const unread = new Set(Object.keys(weights));
  const take = (name: string, shape: number[]): Tensor => {
    const weight = weights[name];
    if (weight === undefined) {
      throw new DataError(
        'MISSING_TENSOR',
        `${fileOf(name)}: the tensor ${name} is missing. Is config.json another model's? If not, copy the weights again.`,
        { file: fileOf(name) },
      );
    }
    if (weight.shape.length !== shape.length || weight.shape.some((size, i) => size !== shape[i])) {
      throw new DataError(
        'WRONG_SHAPE',
        `${fileOf(name)}: ${name} has shape [${weight.shape.join(', ')}], but config.json asks for [${shape.join(', ')}]. Put config.json and weights of the same model together.`,
        { file: fileOf(name) },
      );
    }
    unread.delete(name);
    return weight;
  };
  return inMemory(config, () => {
    // Weights of our own: what came in may be a mapped, read-only file.
    const own = (t: Tensor) => t.to({ dtype: 'f32', device }).clone();
    const kept = (some: Tensor[]) =>
      matrices === 'as saved' && some.every(({ dtype }) => dtype === 'bf16') ? 'bf16' : 'f32';
    const matrix = (t: Tensor) => t.to({ dtype: kept([t]), device }).clone();
    const stacked = (parts: Tensor[]) => {
      const dtype = kept(parts);
      return cat(
        parts.map((part) => part.to({ dtype, device })),
        0,
      );
    };
    const layers = Array.from({ length: config.layers }, (_, i): DecoderLayer => {
      const at = `model.layers.${i}`;
      const parts = (kind: 'weight' | 'bias', columns: number[]) =>
        (['q', 'k', 'v'] as const).map((p) =>
          take(`${at}.self_attn.${p}_proj.${kind}`, [p === 'q' ? q : kv, ...columns]),
        );
      return {
        attentionNorm: own(take(`${at}.input_layernorm.weight`, [hiddenSize])),
        queryKeyValue: stacked(parts('weight', [hiddenSize])),
        queryKeyValueBias: config.attentionBias ? stacked(parts('bias', [])).to('f32') : null,
        queryNorm: config.queryKeyNorm ? own(take(`${at}.self_attn.q_norm.weight`, [headSize])) : null,
        keyNorm: config.queryKeyNorm ? own(take(`${at}.self_attn.k_norm.weight`, [headSize])) : null,
        attentionOutput: matrix(take(`${at}.self_attn.o_proj.weight`, [hiddenSize, q])),
        feedForwardNorm: own(take(`${at}.post_attention_layernorm.weight`, [hiddenSize])),
        gateUp: stacked(['gate', 'up'].map((p) => take(`${at}.mlp.${p}_proj.weight`, [feedForwardSize, hiddenSize]))),
        down: matrix(take(`${at}.mlp.down_proj.weight`, [hiddenSize, feedForwardSize])),
      };
    });
    const table = matrix(take('model.embed_tokens.weight', [vocabularySize, hiddenSize]));
    const decoder: Decoder = {
      config,
      device,
      embedding: table,
      layers,
      finalNorm: own(take('model.norm.weight', [hiddenSize])),
      head: config.tiedHead ? table : matrix(take('lm_head.weight', [vocabularySize, hiddenSize])),
      rotary: rotaryTable(config, device),
    };
    for (const name of unread) {
      // Older exports carry the rotary frequencies, and some tied ones a copy of the embedding as the head.
      if (name.endsWith('rotary_emb.inv_freq')) continue;
      if (config.tiedHead && name === 'lm_head.weight') {
        if (same(weights[name]!, weights['model.embed_tokens.weight']!)) continue;
        throw new DataError(
          'TIED_HEAD_DIFFERS',
          `${fileOf(name)}: lm_head.weight is not the embedding, but config.json says that they are one (tie_word_embeddings). Set it to false where the head was learnt by itself, or take the tensor out.`,
          { file: fileOf(name) },
        );
      }
      throw new DataError(
        'UNKNOWN_TENSOR',
        `${fileOf(name)}: a ${config.family} model of this config.json has no tensor named ${name}. Put config.json and weights of the same model together; adapters must be merged first.`,
        { file: fileOf(name) },
      );
    }
    return decoder;
  });
}

const same = (a: Tensor, b: Tensor): boolean => a.shape.join() === b.shape.join() && a.eq(b).all().item() === 1;

/** The safetensors files of a model directory: one, or the shards that its index names, and which tensors each should hold. */
async function weightFiles(directory: string): Promise<Map<string, string[]>> {
  const single = join(directory, 'model.safetensors');
  const index = join(directory, 'model.safetensors.index.json');
  if (!existsSync(index)) {
    if (existsSync(single)) return new Map([[single, []]]);
    const pickled = (await readdir(directory)).find((file) => /^pytorch_model.*\.bin$/.test(file));
    throw new DataError(
      'MISSING_FILE',
      pickled === undefined
        ? `${directory} holds neither model.safetensors nor model.safetensors.index.json. Copy the weights there.`
        : `${directory} holds weights as a pickle alone (${pickled}), which can run anything when it is read and is not read here. Save the model as safetensors (transformers: save_pretrained).`,
      { file: single },
    );
  }
  const bad = (what: string) =>
    new DataError('BAD_MODEL_INDEX', `${index} ${what}. Copy it again from where the model was published.`, {
      file: index,
    });
  let map: unknown;
  try {
    map = (JSON.parse(await readFile(index, 'utf8')) as { weight_map?: unknown }).weight_map;
  } catch (error) {
    refuseLfsPointer(index, 'BAD_MODEL_INDEX');
    throw bad(`is not JSON: ${(error as Error).message}`);
  }
  if (typeof map !== 'object' || map === null) throw bad('has no weight_map');
  const files = new Map<string, string[]>();
  for (const [tensor, file] of Object.entries(map)) {
    if (typeof file !== 'string' || basename(file) !== file) throw bad(`names no file beside it for ${tensor}`);
    const path = join(directory, file);
    files.set(path, [...(files.get(path) ?? []), tensor]);
  }
  for (const [file, tensors] of files) {
    if (existsSync(file)) continue;
    throw new DataError(
      'MISSING_FILE',
      `${file} is missing; ${index} names it as the shard of ${tensors.length} tensors. Copy it there.`,
      { file },
    );
  }
  return files;
}

/** What a Hugging Face directory says of a model without its weights being read, and where those are. */
async function describedModel(directory: string) {
  const { config, layout } = await readDecoderConfig(directory);
  const files = await weightFiles(directory);
  const tokenizer = await loadTokenizer(directory);
  checkTokenizerFits(tokenizer, config, directory);
  return { config, layout, tokenizer, files };
}

/**
 * Finds what is wrong with a model, or with adapters for it, that can be told before its weights are read: for who would otherwise read
 * them all first.
 * @throws what `loadLanguageModel` throws; ConfigError `NO_LORA_TARGET`
 */
export async function checkModelDirectory(
  directory: string,
  { lora }: { lora?: LoraConfig | undefined },
): Promise<void> {
  if ((await llama2cFiles(directory)) !== null) return;
  const { adaptedModel, holdsAdapters } = await import('./lora-directory.js');
  if (holdsAdapters(directory)) return checkModelDirectory(await adaptedModel(directory), { lora });
  const { config } = await describedModel(directory);
  if (lora !== undefined) checkLoraTargets(lora, config.layers);
}

/**
 * Loads a decoder and its tokenizer from a Hugging Face directory: config.json of a family in `families` or of Baichuan 7B,
 * safetensors in one or many shards (bf16, f16 or f32, mapped; the decoder's own weights are f32, or as `matrices` says), tokenizer.json or a
 * SentencePiece tokenizer.model; or from a directory with llama2.c's two files; or with PEFT's, whose adapters are merged into the model
 * that they are of.
 * @throws DataError naming the file and key: `MISSING_FILE`, `BAD_MODEL_CONFIG`, `BAD_MODEL_INDEX`, `BAD_WEIGHTS`,
 *   `MISSING_TENSOR`, `WRONG_SHAPE`, `UNKNOWN_TENSOR`, `BAD_TOKENIZER`, `TOKENIZER_MISMATCH`, `BAD_ADAPTERS`; UsageError `UNKNOWN_ARCHITECTURE`.
 */
export async function loadLanguageModel(
  directory: string,
  { device = 'cpu', matrices = 'f32' }: { device?: string; matrices?: HeldMatrices } = {},
): Promise<LanguageModel> {
  const plain = await llama2cFiles(directory);
  if (plain !== null) {
    const { loadLlama2c } = await import('./llama2c.js');
    return loadLlama2c(plain.model, plain.vocabulary, { device });
  }
  const { holdsAdapters, loadAdapted } = await import('./lora-directory.js');
  if (holdsAdapters(directory)) return loadAdapted(directory, { device, matrices });
  const { config, layout, tokenizer, files } = await describedModel(directory);
  const companions = await readCompanions(directory);
  const decoder = tidy(() => {
    const weights: Record<string, Tensor> = {};
    const origin = new Map<string, string>();
    for (const [file, expected] of files) {
      const tensors = readWeights(file);
      const missing = expected.find((name) => tensors[name] === undefined);
      if (missing !== undefined) {
        throw new DataError(
          'MISSING_TENSOR',
          `${file}: the tensor ${missing} is missing, which the index says is in this shard. Copy the shard again.`,
          { file },
        );
      }
      for (const name of Object.keys(tensors)) origin.set(name, file);
      Object.assign(weights, tensors);
    }
    const fileOf = (name: string) =>
      origin.get(name) ??
      origin.get(name.replace(/[qkv]_proj/, 'W_pack')) ??
      (files.size === 1 ? [...files.keys()][0]! : directory);
    return decoderFromWeights(config, weightsAsLlama(weights, layout), fileOf, device, matrices);
  });
  return { decoder, tokenizer, companions };
}

/** llama2.c's weights and its vocabulary (`tok*.bin`), where a directory holds these two and no config.json. */
async function llama2cFiles(directory: string): Promise<{ model: string; vocabulary: string } | null> {
  if (existsSync(join(directory, 'config.json'))) return null;
  const binaries = (await readdir(directory).catch(() => [])).filter((file) =>
    /(?<!^pytorch_model.*)\.bin$/.test(file),
  );
  const vocabulary = binaries.find((file) => /^tok\w*\.bin$/.test(file));
  const model = binaries.find((file) => file !== vocabulary);
  if (binaries.length !== 2 || vocabulary === undefined || model === undefined) return null;
  return { model: join(directory, model), vocabulary: join(directory, vocabulary) };
}

function readWeights(file: string): Record<string, Tensor> {
  try {
    return loadSafetensors(file).tensors;
  } catch (error) {
    refuseLfsPointer(file, 'BAD_WEIGHTS');
    if (error instanceof TensorError && error.code === 'TENSOR_DTYPE') {
      throw new DataError(
        'BAD_WEIGHTS',
        `${file}: ${error.reason}. Take the model in bf16, f16 or f32: weights of 8 bits and less are not read here.`,
        { file },
      );
    }
    throw new DataError(
      'BAD_WEIGHTS',
      `${file} cannot be read as safetensors: ${(error as Error).message}. Copy it again from where the model was published.`,
      { file },
    );
  }
}

/** @throws DataError `TOKENIZER_MISMATCH` where the tokenizer has ids that the embedding has no row for. */
export function checkTokenizerFits(tokenizer: Tokenizer, config: DecoderConfig, from: string): void {
  if (tokenizer.vocabularySize > config.vocabularySize) {
    throw new DataError(
      'TOKENIZER_MISMATCH',
      `${from}: the tokenizer has ids up to ${tokenizer.vocabularySize - 1}, but the embedding has ${config.vocabularySize} rows (vocab_size of config.json). Put the tokenizer and the weights of the same model together.`,
    );
  }
}

/**
 * Writes a directory that Hugging Face transformers loads: config.json, tokenizer.json, tokenizer_config.json, for a SentencePiece
 * tokenizer tokenizer.model (and tokenizer.json only where that can say the same), what came with a published model (`Companions`), and model.safetensors (last, so that a directory with weights is whole). Each file appears atomically.
 * @param dtype of the weights in the file
 */
export async function saveLanguageModel(
  directory: string,
  { decoder, tokenizer, companions }: LanguageModel,
  dtype: 'f32' | 'bf16' = 'f32',
): Promise<void> {
  checkTokenizerFits(tokenizer, decoder.config, directory);
  await mkdir(directory, { recursive: true });
  const { padId, bosId, eosId } = tokenizer;
  const config = {
    ...toHuggingFace(decoder.config, { padId, bosId, eosId }, dtype),
    ...(companions?.eosIds != null && { eos_token_id: companions.eosIds }),
  };
  const files = {
    ...companions?.files,
    'config.json': `${JSON.stringify(config, null, 2)}\n`,
    ...tokenizer.files(decoder.config.contextLength),
  };
  for (const [name, content] of Object.entries(files)) await writeFileAtomic(join(directory, name), content);
  noGrad(() =>
    tidy(() => {
      const weights = Object.fromEntries(
        Object.entries(namedWeights(decoder)).map(([name, weight]) => [name, weight.detach().to(dtype).contiguous()]),
      );
      saveSafetensors(join(directory, 'model.safetensors'), weights, { format: 'pt' });
    }),
  );
}
