import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { DataError } from '@larr/core';
import { z } from 'zod';

/** The decoder families whose Hugging Face directories load here. They differ in biases and in the norm of queries and keys only. */
export const families = ['llama', 'qwen2', 'qwen3'] as const;
export type Family = (typeof families)[number];

/** Llama 3's stretching of the rotary frequencies for long contexts. */
export interface RotaryStretch {
  factor: number;
  lowFrequencyFactor: number;
  highFrequencyFactor: number;
  originalContextLength: number;
}

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
}

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
  max_position_embeddings: count,
  rope_theta: number.nullish(),
  rope_scaling: z.record(z.string(), z.unknown()).nullish(),
  rope_parameters: z.record(z.string(), z.unknown()).nullish(),
  rms_norm_eps: number,
  hidden_act: z.string().default('silu'),
  tie_word_embeddings: z.boolean().default(false),
  attention_bias: z.boolean().default(false),
  mlp_bias: z.boolean().default(false),
  use_sliding_window: z.boolean().default(false),
});

/**
 * Reads a Hugging Face `config.json`, in the layout of transformers 4 (`rope_theta`, `rope_scaling`) or 5 (`rope_parameters`).
 * @param from The file's path, for error messages.
 * @throws DataError `BAD_MODEL_CONFIG` or `UNKNOWN_ARCHITECTURE`, naming the file and the key.
 */
export function fromHuggingFace(json: unknown, from: string): DecoderConfig {
  const parsed = huggingFaceSchema.safeParse(json);
  if (!parsed.success) {
    const issue = parsed.error.issues[0]!;
    throw new DataError('BAD_MODEL_CONFIG', `${from}: ${issue.path.join('.') || 'the document'}: ${issue.message}.`);
  }
  const config = parsed.data;
  if (!(families as readonly string[]).includes(config.model_type)) {
    throw new DataError(
      'UNKNOWN_ARCHITECTURE',
      `${from}: model_type "${config.model_type}" is not one that this program knows. Known: ${families.join(', ')}.`,
    );
  }
  const unsupported = (key: string, value: unknown) =>
    new DataError('UNKNOWN_ARCHITECTURE', `${from}: ${key} = ${JSON.stringify(value)} is not supported.`);
  if (config.hidden_act !== 'silu') throw unsupported('hidden_act', config.hidden_act);
  if (config.mlp_bias) throw unsupported('mlp_bias', true);
  if (config.use_sliding_window) throw unsupported('use_sliding_window', true);
  const family = config.model_type as Family;
  if (family !== 'qwen2' && config.attention_bias) throw unsupported('attention_bias', true);
  const heads = config.num_attention_heads;
  const keyValueHeads = config.num_key_value_heads ?? heads;
  if (heads % keyValueHeads !== 0) throw unsupported('num_key_value_heads', keyValueHeads);
  const headSize = config.head_dim ?? config.hidden_size / heads;
  if (!Number.isInteger(headSize) || headSize % 2 !== 0) throw unsupported('head_dim', headSize);
  const rotary = { ...config.rope_scaling, ...config.rope_parameters } as Record<string, unknown>;
  return {
    family,
    vocabularySize: config.vocab_size,
    hiddenSize: config.hidden_size,
    layers: config.num_hidden_layers,
    heads,
    keyValueHeads,
    headSize,
    feedForwardSize: config.intermediate_size,
    contextLength: config.max_position_embeddings,
    rotaryBase: Number(rotary.rope_theta ?? config.rope_theta ?? 10_000),
    rotaryStretch: rotaryStretch(rotary, unsupported),
    normEpsilon: config.rms_norm_eps,
    tiedHead: config.tie_word_embeddings,
    attentionBias: family === 'qwen2',
    queryKeyNorm: family === 'qwen3',
  };
}

function rotaryStretch(
  rotary: Record<string, unknown>,
  unsupported: (key: string, value: unknown) => DataError,
): RotaryStretch | null {
  const type = rotary.rope_type ?? rotary.type ?? 'default';
  if (type === 'default') return null;
  if (type !== 'llama3') throw unsupported('rope_scaling.rope_type', type);
  const stretch = {
    factor: Number(rotary.factor),
    lowFrequencyFactor: Number(rotary.low_freq_factor),
    highFrequencyFactor: Number(rotary.high_freq_factor),
    originalContextLength: Number(rotary.original_max_position_embeddings),
  };
  for (const value of Object.values(stretch)) if (!(value > 0)) throw unsupported('rope_scaling', rotary);
  return stretch;
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
    rope_scaling: config.rotaryStretch && {
      rope_type: 'llama3',
      factor: config.rotaryStretch.factor,
      low_freq_factor: config.rotaryStretch.lowFrequencyFactor,
      high_freq_factor: config.rotaryStretch.highFrequencyFactor,
      original_max_position_embeddings: config.rotaryStretch.originalContextLength,
    },
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
    torch_dtype: 'float32',
  };
}

/** Reads `config.json` of a model directory. @throws DataError as `fromHuggingFace`, or `MISSING_FILE`. */
export async function readDecoderConfig(directory: string): Promise<DecoderConfig> {
  const path = join(directory, 'config.json');
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch {
    throw new DataError('MISSING_FILE', `${path} cannot be read: a model directory needs it.`);
  }
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw new DataError('BAD_MODEL_CONFIG', `${path} is not JSON: ${(error as Error).message}`);
  }
  return fromHuggingFace(json, path);
}
