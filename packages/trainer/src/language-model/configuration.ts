import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { DataError, UsageError } from '@larr/core';
import { z } from 'zod';
import { refuseLfsPointer } from './lfs-pointer.js';

/**
 * The decoder families whose Hugging Face directories load here. They differ in biases and in the norm of queries and keys only.
 * Baichuan 7B (`baichuan`) is a Llama with its weights under other names: it is read, and becomes a `llama`, which transformers
 * loads without code of others.
 */
export const families = ['llama', 'qwen2', 'qwen3'] as const;
export type Family = (typeof families)[number];
const readable: readonly string[] = [...families, 'baichuan'];

/** How the rotary frequencies are stretched for contexts longer than those of pretraining; `rotary.ts` has the formulas. */
export type RotaryStretch =
  | { type: 'linear'; factor: number }
  | {
      type: 'llama3';
      factor: number;
      lowFrequencyFactor: number;
      highFrequencyFactor: number;
      originalContextLength: number;
    }
  | {
      type: 'yarn';
      factor: number;
      betaFast: number;
      betaSlow: number;
      originalContextLength: number;
      /** What cosines and sines are multiplied by. */
      attentionFactor: number;
      /** Whether the bounds of the ramp are rounded to whole frequencies. */
      truncate: boolean;
    };

/** A decoder's shape, in this project's words; `toHuggingFace` and `fromHuggingFace` translate to and from `config.json`. */
export interface DecoderConfig {
  family: Family;
  vocabularySize: number;
  hiddenSize: number;
  layers: number;
  heads: number;
  /** Grouped-query attention: each key-value head serves heads / keyValueHeads query heads. */
  keyValueHeads: number;
  headSize: number;
  feedForwardSize: number;
  /** Longest sequence in tokens. */
  contextLength: number;
  rotaryBase: number;
  rotaryStretch: RotaryStretch | null;
  normEpsilon: number;
  /** The output head is the transposed embedding. */
  tiedHead: boolean;
  /** Queries, keys and values have biases (Qwen2). */
  attentionBias: boolean;
  /** Queries and keys are RMS-normalised per head (Qwen3). */
  queryKeyNorm: boolean;
  /** The head's rows are brought to length 1 before they are used (Baichuan 2's NormHead). */
  normalisedHead: boolean;
}

/** Under what names and in what form the weights stand in a directory's files. */
export type WeightLayout = 'llama' | 'baichuan';

const number = z.number().positive();
const count = z.int().positive();

const huggingFaceSchema = z.looseObject({
  model_type: z.string(),
  vocab_size: count,
  hidden_size: count,
  num_hidden_layers: count,
  num_attention_heads: count,
  num_key_value_heads: count.nullish(),
  head_dim: count.nullish(),
  intermediate_size: count,
  max_position_embeddings: count.nullish(),
  rope_theta: number.nullish(),
  rope_scaling: z.record(z.string(), z.unknown()).nullish(),
  rope_parameters: z.record(z.string(), z.unknown()).nullish(),
  original_max_position_embeddings: z.unknown().optional(),
  rms_norm_eps: number,
  hidden_act: z.string().default('silu'),
  tie_word_embeddings: z.boolean().default(false),
  attention_bias: z.boolean().default(false),
  mlp_bias: z.boolean().default(false),
  use_sliding_window: z.boolean().default(false),
  layer_types: z.array(z.string()).nullish(),
  partial_rotary_factor: number.nullish(),
  quantization_config: z.unknown().optional(),
  larr_normalised_head: z.boolean().default(false),
});

/** `config.json` does not say whether a Baichuan is of version 1, whose head is a plain one: its vocabulary does. */
const BAICHUAN_1_VOCABULARY = 64_000;

/**
 * Reads a Hugging Face `config.json`, in the layout of transformers 4 (`rope_theta`, `rope_scaling`) or 5 (`rope_parameters`).
 * @param from The file's path, for error messages.
 * @throws DataError `BAD_MODEL_CONFIG`, UsageError `UNKNOWN_ARCHITECTURE`, naming the file and the key.
 */
export function fromHuggingFace(json: unknown, from: string): { config: DecoderConfig; layout: WeightLayout } {
  const known = `${readable.join(', ')} (docs/language-model.md)`;
  // Before its keys: those of other families are other ones.
  const { data: named } = z.looseObject({ model_type: z.string() }).safeParse(json);
  if (named !== undefined && !readable.includes(named.model_type)) {
    throw new UsageError(
      'UNKNOWN_ARCHITECTURE',
      `${from}: model_type "${named.model_type}" is not one that this program knows. Known: ${known}.`,
      { file: from },
    );
  }
  const parsed = huggingFaceSchema.safeParse(json);
  if (!parsed.success) {
    const issue = parsed.error.issues[0]!;
    throw new DataError(
      'BAD_MODEL_CONFIG',
      `${from}: ${issue.path.join('.') || 'the document'}: ${issue.message}. Take the config.json that the model was published with.`,
      { file: from },
    );
  }
  const config = parsed.data;
  const unsupported = (key: string, value: unknown) =>
    new UsageError(
      'UNKNOWN_ARCHITECTURE',
      `${from}: ${key} = ${JSON.stringify(value)} is not supported. Take another model of the families ${known}.`,
      { file: from },
    );
  const isBaichuan = config.model_type === 'baichuan';
  if (config.hidden_act !== 'silu') throw unsupported('hidden_act', config.hidden_act);
  if (config.mlp_bias) throw unsupported('mlp_bias', true);
  if (config.use_sliding_window) throw unsupported('use_sliding_window', true);
  const sliding = config.layer_types?.find((type) => type !== 'full_attention');
  if (sliding !== undefined) throw unsupported('layer_types', sliding);
  if (config.quantization_config != null) throw unsupported('quantization_config', config.quantization_config);
  if (config.max_position_embeddings == null) {
    // Baichuan 13B has model_max_length alone: its positions are ALiBi's, not rotary.
    throw isBaichuan
      ? unsupported('max_position_embeddings', null)
      : new DataError('BAD_MODEL_CONFIG', `${from}: max_position_embeddings is missing.`, { file: from });
  }
  const family = isBaichuan ? 'llama' : (config.model_type as Family);
  if (family !== 'qwen2' && config.attention_bias) throw unsupported('attention_bias', true);
  const heads = config.num_attention_heads;
  if (config.head_dim == null && family !== 'qwen3' && config.hidden_size % heads !== 0) {
    throw new DataError(
      'BAD_MODEL_CONFIG',
      `${from}: hidden_size ${config.hidden_size} is not a multiple of num_attention_heads ${heads}, and head_dim is not given. Take the config.json that the model was published with.`,
      { file: from },
    );
  }
  const keyValueHeads = config.num_key_value_heads ?? heads;
  if (heads % keyValueHeads !== 0) throw unsupported('num_key_value_heads', keyValueHeads);
  // Qwen3's own default is the one family's that does not follow from the other sizes.
  const headSize = config.head_dim ?? (family === 'qwen3' ? 128 : config.hidden_size / heads);
  if (!Number.isInteger(headSize) || headSize % 2 !== 0) throw unsupported('head_dim', headSize);
  const rotary: Record<string, unknown> = { ...config.rope_scaling, ...config.rope_parameters };
  // Beside them it comes before the one among them, as in transformers.
  rotary.original_max_position_embeddings =
    config.original_max_position_embeddings ?? rotary.original_max_position_embeddings;
  const rotaryBase = rotary.rope_theta ?? config.rope_theta ?? 10_000;
  if (!(typeof rotaryBase === 'number' && rotaryBase > 0 && Number.isFinite(rotaryBase))) {
    throw new DataError(
      'BAD_MODEL_CONFIG',
      `${from}: rope_theta = ${JSON.stringify(rotaryBase)} is not a number above 0. Take the config.json that the model was published with.`,
      { file: from },
    );
  }
  const partial = rotary.partial_rotary_factor ?? config.partial_rotary_factor ?? 1;
  if (partial !== 1) throw unsupported('partial_rotary_factor', partial);
  return {
    layout: isBaichuan ? 'baichuan' : 'llama',
    config: {
      family,
      vocabularySize: config.vocab_size,
      hiddenSize: config.hidden_size,
      layers: config.num_hidden_layers,
      heads,
      keyValueHeads,
      headSize,
      feedForwardSize: config.intermediate_size,
      contextLength: config.max_position_embeddings,
      rotaryBase,
      rotaryStretch: rotaryStretch(rotary, config.max_position_embeddings, unsupported),
      normEpsilon: config.rms_norm_eps,
      tiedHead: config.tie_word_embeddings,
      attentionBias: family === 'qwen2',
      queryKeyNorm: family === 'qwen3',
      normalisedHead: config.larr_normalised_head || (isBaichuan && config.vocab_size !== BAICHUAN_1_VOCABULARY),
    },
  };
}

function rotaryStretch(
  rotary: Record<string, unknown>,
  contextLength: number,
  unsupported: (key: string, value: unknown) => DataError,
): RotaryStretch | null {
  const type = rotary.rope_type ?? rotary.type ?? 'default';
  const positive = (key: string, otherwise?: number): number => {
    const value = Number(rotary[key] ?? otherwise);
    if (!(value > 0)) throw unsupported(`rope_scaling.${key}`, rotary[key] ?? null);
    return value;
  };
  if (type === 'default') return null;
  if (type === 'linear') return { type, factor: positive('factor') };
  if (type === 'llama3') {
    return {
      type,
      factor: positive('factor'),
      lowFrequencyFactor: positive('low_freq_factor'),
      highFrequencyFactor: positive('high_freq_factor'),
      originalContextLength: positive('original_max_position_embeddings'),
    };
  }
  if (type === 'yarn') {
    const factor = positive('factor');
    const scale = (by: number) => (factor <= 1 ? 1 : 0.1 * by * Math.log(factor) + 1);
    const given = Number(rotary.mscale ?? 0) > 0 && Number(rotary.mscale_all_dim ?? 0) > 0;
    const usual = given ? scale(Number(rotary.mscale)) / scale(Number(rotary.mscale_all_dim)) : scale(1);
    return {
      type,
      factor,
      betaFast: positive('beta_fast', 32),
      betaSlow: positive('beta_slow', 1),
      originalContextLength: positive('original_max_position_embeddings', contextLength),
      attentionFactor: positive('attention_factor', usual),
      truncate: rotary.truncate !== false,
    };
  }
  throw unsupported('rope_scaling.rope_type', type);
}

function rotaryScaling(stretch: RotaryStretch): Record<string, unknown> {
  const { type: rope_type, factor } = stretch;
  if (stretch.type === 'linear') return { rope_type, factor };
  const original_max_position_embeddings = stretch.originalContextLength;
  if (stretch.type === 'llama3') {
    return {
      rope_type,
      factor,
      low_freq_factor: stretch.lowFrequencyFactor,
      high_freq_factor: stretch.highFrequencyFactor,
      original_max_position_embeddings,
    };
  }
  return {
    rope_type,
    factor,
    beta_fast: stretch.betaFast,
    beta_slow: stretch.betaSlow,
    original_max_position_embeddings,
    attention_factor: stretch.attentionFactor,
    truncate: stretch.truncate,
  };
}

const architectures: Record<Family, string> = {
  llama: 'LlamaForCausalLM',
  qwen2: 'Qwen2ForCausalLM',
  qwen3: 'Qwen3ForCausalLM',
};

/** `config.json` in the layout that transformers 4 and 5 both read. `tokens` are control-token ids; absent ones are written as null. */
export function toHuggingFace(
  config: DecoderConfig,
  tokens: { padId: number | null; bosId: number | null; eosId: number | null },
  dtype: 'f32' | 'bf16' = 'f32',
): Record<string, unknown> {
  return {
    architectures: [architectures[config.family]],
    model_type: config.family,
    vocab_size: config.vocabularySize,
    hidden_size: config.hiddenSize,
    num_hidden_layers: config.layers,
    num_attention_heads: config.heads,
    num_key_value_heads: config.keyValueHeads,
    head_dim: config.headSize,
    intermediate_size: config.feedForwardSize,
    max_position_embeddings: config.contextLength,
    rope_theta: config.rotaryBase,
    rope_scaling: config.rotaryStretch && rotaryScaling(config.rotaryStretch),
    rms_norm_eps: config.normEpsilon,
    hidden_act: 'silu',
    tie_word_embeddings: config.tiedHead,
    attention_bias: config.attentionBias,
    mlp_bias: false,
    attention_dropout: 0,
    initializer_range: 0.02,
    pad_token_id: tokens.padId,
    bos_token_id: tokens.bosId,
    eos_token_id: tokens.eosId,
    torch_dtype: dtype === 'bf16' ? 'bfloat16' : 'float32',
    // Its rows are written normalised: transformers, which does not know the key, computes the same.
    ...(config.normalisedHead && { larr_normalised_head: true }),
  };
}

/** Reads `config.json` of a model directory. @throws DataError as `fromHuggingFace`, or `MISSING_FILE`. */
export async function readDecoderConfig(directory: string): Promise<{ config: DecoderConfig; layout: WeightLayout }> {
  const path = join(directory, 'config.json');
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch {
    throw new DataError(
      'MISSING_FILE',
      `${path} cannot be read. A model directory holds config.json, safetensors and a tokenizer, as Hugging Face publishes them (docs/language-model.md).`,
      { file: path },
    );
  }
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    refuseLfsPointer(path, 'BAD_MODEL_CONFIG');
    throw new DataError('BAD_MODEL_CONFIG', `${path} is not JSON: ${(error as Error).message}. Copy it again.`, {
      file: path,
    });
  }
  return fromHuggingFace(json, path);
}
