import { existsSync } from 'node:fs';
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { DataError, writeFileAtomic } from '@larr/core';
import { cat, loadSafetensors, noGrad, saveSafetensors, type Tensor, tidy } from '@larr/torch';
import { rotaryTable } from './batch.js';
import { type DecoderConfig, readDecoderConfig, toHuggingFace } from './configuration.js';
import type { Decoder, DecoderLayer } from './decoder.js';
import { loadTokenizer, type Tokenizer } from './tokenizer.js';

/** A decoder with the tokenizer that it was trained with. */
export interface LanguageModel {
  decoder: Decoder;
  tokenizer: Tokenizer;
}

/** The decoder's weights under Hugging Face's names, fused products taken apart. Views where possible: they live as long as the decoder. */
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
  if (!tiedHead) named['lm_head.weight'] = decoder.head;
  return named;
}

/**
 * Builds a decoder from weights under Hugging Face's names; the reverse of `namedWeights`.
 * @param from Where the weights came from, for error messages.
 * @throws DataError `MISSING_TENSOR`, `WRONG_SHAPE` or `UNKNOWN_TENSOR`, naming the tensor.
 */
export function decoderFromWeights(
  config: DecoderConfig,
  weights: Record<string, Tensor>,
  from: string,
  device = 'cpu',
): Decoder {
  const { hiddenSize, heads, keyValueHeads, headSize, feedForwardSize, vocabularySize } = config;
  const q = heads * headSize;
  const kv = keyValueHeads * headSize;
  const unread = new Set(Object.keys(weights));
  const take = (name: string, shape: number[]): Tensor => {
    const weight = weights[name];
    if (weight === undefined) {
      throw new DataError(
        'MISSING_TENSOR',
        `${from}: the tensor ${name} is missing. Is a shard missing, or is config.json another model's?`,
      );
    }
    if (weight.shape.length !== shape.length || weight.shape.some((size, i) => size !== shape[i])) {
      throw new DataError(
        'WRONG_SHAPE',
        `${from}: ${name} has shape [${weight.shape.join(', ')}], but config.json asks for [${shape.join(', ')}].`,
      );
    }
    unread.delete(name);
    return weight;
  };
  return noGrad(() =>
    tidy(() => {
      // Weights of our own: what came in may be a mapped, read-only file.
      const own = (t: Tensor) => t.to({ dtype: 'f32', device }).clone();
      const layers = Array.from({ length: config.layers }, (_, i): DecoderLayer => {
        const at = `model.layers.${i}`;
        const fused = (kind: 'weight' | 'bias', columns: number[]) =>
          cat(
            (['q', 'k', 'v'] as const).map((p) =>
              take(`${at}.self_attn.${p}_proj.${kind}`, [p === 'q' ? q : kv, ...columns]).to({ dtype: 'f32', device }),
            ),
            0,
          );
        return {
          attentionNorm: own(take(`${at}.input_layernorm.weight`, [hiddenSize])),
          queryKeyValue: fused('weight', [hiddenSize]),
          queryKeyValueBias: config.attentionBias ? fused('bias', []) : null,
          queryNorm: config.queryKeyNorm ? own(take(`${at}.self_attn.q_norm.weight`, [headSize])) : null,
          keyNorm: config.queryKeyNorm ? own(take(`${at}.self_attn.k_norm.weight`, [headSize])) : null,
          attentionOutput: own(take(`${at}.self_attn.o_proj.weight`, [hiddenSize, q])),
          feedForwardNorm: own(take(`${at}.post_attention_layernorm.weight`, [hiddenSize])),
          gateUp: cat(
            ['gate', 'up'].map((p) =>
              take(`${at}.mlp.${p}_proj.weight`, [feedForwardSize, hiddenSize]).to({ dtype: 'f32', device }),
            ),
            0,
          ),
          down: own(take(`${at}.mlp.down_proj.weight`, [hiddenSize, feedForwardSize])),
        };
      });
      const table = own(take('model.embed_tokens.weight', [vocabularySize, hiddenSize]));
      const decoder: Decoder = {
        config,
        device,
        embedding: table,
        layers,
        finalNorm: own(take('model.norm.weight', [hiddenSize])),
        head: config.tiedHead ? table : own(take('lm_head.weight', [vocabularySize, hiddenSize])),
        rotary: rotaryTable(config, device),
      };
      for (const name of unread) {
        // Older exports carry the rotary frequencies, and some tied ones a copy of the embedding as the head.
        if (name.endsWith('rotary_emb.inv_freq') || (config.tiedHead && name === 'lm_head.weight')) continue;
        throw new DataError('UNKNOWN_TENSOR', `${from}: no ${config.family} model has a tensor named ${name}.`);
      }
      return decoder;
    }),
  );
}

/** The safetensors files of a model directory: one, or the shards that its index names. */
async function weightFiles(directory: string): Promise<string[]> {
  const single = join(directory, 'model.safetensors');
  const index = join(directory, 'model.safetensors.index.json');
  if (!existsSync(index)) {
    if (existsSync(single)) return [single];
    throw new DataError(
      'MISSING_FILE',
      `${directory} holds neither model.safetensors nor model.safetensors.index.json.`,
    );
  }
  let map: unknown;
  try {
    map = (JSON.parse(await readFile(index, 'utf8')) as { weight_map?: unknown }).weight_map;
  } catch (error) {
    throw new DataError('BAD_MODEL_INDEX', `${index} is not JSON: ${(error as Error).message}`);
  }
  if (typeof map !== 'object' || map === null) throw new DataError('BAD_MODEL_INDEX', `${index} has no weight_map.`);
  const files = [...new Set(Object.values(map as Record<string, string>))].map((file) => join(directory, file));
  for (const file of files) {
    if (!existsSync(file)) throw new DataError('MISSING_FILE', `${file} is missing; ${index} names it as a shard.`);
  }
  return files;
}

/**
 * Loads a decoder and its tokenizer from a Hugging Face directory (config.json, safetensors in one or many shards,
 * tokenizer.json) of a family in `families`.
 * @throws DataError naming the file and key: `MISSING_FILE`, `BAD_MODEL_CONFIG`, `UNKNOWN_ARCHITECTURE`, `BAD_WEIGHTS`,
 *   `MISSING_TENSOR`, `WRONG_SHAPE`, `UNKNOWN_TENSOR`, `BAD_TOKENIZER`, `TOKENIZER_MISMATCH`.
 */
export async function loadLanguageModel(directory: string, { device = 'cpu' } = {}): Promise<LanguageModel> {
  const config = await readDecoderConfig(directory);
  const tokenizer = await loadTokenizer(directory);
  checkTokenizerFits(tokenizer, config, directory);
  const files = await weightFiles(directory);
  const decoder = tidy(() => {
    const weights: Record<string, Tensor> = {};
    for (const file of files) {
      try {
        Object.assign(weights, loadSafetensors(file).tensors);
      } catch (error) {
        throw new DataError('BAD_WEIGHTS', `${file} cannot be read as safetensors: ${(error as Error).message}`);
      }
    }
    return decoderFromWeights(config, weights, directory, device);
  });
  return { decoder, tokenizer };
}

/** @throws DataError `TOKENIZER_MISMATCH` where the tokenizer has ids that the embedding has no row for. */
export function checkTokenizerFits(tokenizer: Tokenizer, config: DecoderConfig, from: string): void {
  if (tokenizer.vocabularySize > config.vocabularySize) {
    throw new DataError(
      'TOKENIZER_MISMATCH',
      `${from}: the tokenizer has ids up to ${tokenizer.vocabularySize - 1}, but the embedding has ${config.vocabularySize} rows. Is tokenizer.json of another model?`,
    );
  }
}

/**
 * Writes a directory that Hugging Face transformers loads: config.json, tokenizer.json, tokenizer_config.json and
 * model.safetensors (last, so that a directory with weights is whole). Each file appears atomically.
 */
export async function saveLanguageModel(directory: string, { decoder, tokenizer }: LanguageModel): Promise<void> {
  checkTokenizerFits(tokenizer, decoder.config, directory);
  await mkdir(directory, { recursive: true });
  const controlTokens = { padId: tokenizer.padId, bosId: tokenizer.bosId, eosId: tokenizer.eosId };
  const tokenText = (id: number | null) => (id === null ? null : tokenizer.decode([id], { special: true }));
  const settings = {
    tokenizer_class: 'PreTrainedTokenizerFast',
    bos_token: tokenText(tokenizer.bosId),
    eos_token: tokenText(tokenizer.eosId),
    pad_token: tokenText(tokenizer.padId),
    clean_up_tokenization_spaces: false,
    model_max_length: decoder.config.contextLength,
    ...tokenizer.settings,
  };
  await writeFileAtomic(
    join(directory, 'config.json'),
    `${JSON.stringify(toHuggingFace(decoder.config, controlTokens), null, 2)}\n`,
  );
  await writeFileAtomic(join(directory, 'tokenizer.json'), JSON.stringify(tokenizer.json));
  await writeFileAtomic(join(directory, 'tokenizer_config.json'), `${JSON.stringify(settings, null, 2)}\n`);
  noGrad(() =>
    tidy(() => {
      const weights = Object.fromEntries(
        Object.entries(namedWeights(decoder)).map(([name, weight]) => [name, weight.detach().contiguous()]),
      );
      saveSafetensors(join(directory, 'model.safetensors'), weights, { format: 'pt' });
    }),
  );
}
