import { readFile } from 'node:fs/promises';
import { DataError } from '@larr/core';
import { type Tensor, tensor, tidy } from '@larr/torch';
import type { DecoderConfig } from './configuration.js';
import { decoderFromWeights, type LanguageModel } from './model-directory.js';
import { mergesOf } from './sentencepiece/tokenizer-json.js';
import { Tokenizer } from './tokenizer.js';
import { addedToken, type TokenizerJson } from './tokenizer-training.js';

/**
 * Models in llama2.c's format (Karpathy's `run.c`, "version 0": seven int32, then f32 arrays), with its tokenizer file.
 * @param model The `.bin` with weights. @param vocabulary The `tok*.bin` beside it.
 * @throws DataError `MISSING_FILE`, `BAD_WEIGHTS` or `BAD_TOKENIZER`, naming the file.
 */
export async function loadLlama2c(model: string, vocabulary: string, { device = 'cpu' } = {}): Promise<LanguageModel> {
  const bytes = await read(model);
  if (bytes.byteLength < 28) throw new DataError('BAD_WEIGHTS', `${model} is too short for a llama2.c header.`);
  const header = new Int32Array(bytes, 0, 7);
  const [hiddenSize, feedForwardSize, layers, heads, keyValueHeads, signedVocabulary, contextLength] =
    header as unknown as [number, number, number, number, number, number, number];
  const vocabularySize = Math.abs(signedVocabulary);
  const headSize = hiddenSize / heads;
  if (!Number.isInteger(headSize) || [...header].some((n) => n === 0) || header.slice(0, 5).some((n) => n < 0)) {
    throw new DataError(
      'BAD_WEIGHTS',
      `${model} does not begin with a llama2.c header (read ${[...header].join(', ')}).`,
    );
  }
  const config: DecoderConfig = {
    family: 'llama',
    vocabularySize,
    hiddenSize,
    layers,
    heads,
    keyValueHeads,
    headSize,
    feedForwardSize,
    contextLength,
    rotaryBase: 10_000,
    rotaryStretch: null,
    normEpsilon: 1e-5,
    // A negative vocabulary size is how the format says that the head is a matrix of its own.
    tiedHead: signedVocabulary > 0,
    attentionBias: false,
    queryKeyNorm: false,
    normalisedHead: false,
  };
  const floats = new Float32Array(bytes, 28, Math.floor((bytes.byteLength - 28) / 4));
  let at = 0;
  const take = (...shape: number[]): Float32Array => {
    const size = shape.reduce((a, b) => a * b, 1);
    if (at + size > floats.length) {
      throw new DataError(
        'BAD_WEIGHTS',
        `${model} is cut short: its header asks for more than its ${bytes.byteLength} bytes.`,
      );
    }
    at += size;
    return floats.subarray(at - size, at);
  };
  const kv = keyValueHeads * headSize;
  const embedding = take(vocabularySize, hiddenSize);
  // Each kind of matrix stands for all layers at once.
  const stacked = {
    attentionNorm: take(layers, hiddenSize),
    q: take(layers, hiddenSize, hiddenSize),
    k: take(layers, kv, hiddenSize),
    v: take(layers, kv, hiddenSize),
    o: take(layers, hiddenSize, hiddenSize),
    feedForwardNorm: take(layers, hiddenSize),
    gate: take(layers, feedForwardSize, hiddenSize),
    down: take(layers, hiddenSize, feedForwardSize),
    up: take(layers, feedForwardSize, hiddenSize),
  };
  const finalNorm = take(hiddenSize);
  take(contextLength, headSize); // rotary tables: computed, not read
  const head = config.tiedHead ? null : take(vocabularySize, hiddenSize);

  const decoder = tidy(() => {
    const weights: Record<string, Tensor> = {
      'model.embed_tokens.weight': tensor(embedding, [vocabularySize, hiddenSize]),
      'model.norm.weight': tensor(finalNorm, [hiddenSize]),
    };
    if (head !== null) weights['lm_head.weight'] = tensor(head, [vocabularySize, hiddenSize]);
    const layerOf = (all: Float32Array, layer: number, shape: number[]) => {
      const size = all.length / layers;
      return tensor(all.slice(layer * size, (layer + 1) * size), shape);
    };
    for (let i = 0; i < layers; i++) {
      const at = `model.layers.${i}`;
      weights[`${at}.input_layernorm.weight`] = layerOf(stacked.attentionNorm, i, [hiddenSize]);
      weights[`${at}.self_attn.q_proj.weight`] = halves(layerOf(stacked.q, i, [hiddenSize, hiddenSize]), headSize);
      weights[`${at}.self_attn.k_proj.weight`] = halves(layerOf(stacked.k, i, [kv, hiddenSize]), headSize);
      weights[`${at}.self_attn.v_proj.weight`] = layerOf(stacked.v, i, [kv, hiddenSize]);
      weights[`${at}.self_attn.o_proj.weight`] = layerOf(stacked.o, i, [hiddenSize, hiddenSize]);
      weights[`${at}.post_attention_layernorm.weight`] = layerOf(stacked.feedForwardNorm, i, [hiddenSize]);
      weights[`${at}.mlp.gate_proj.weight`] = layerOf(stacked.gate, i, [feedForwardSize, hiddenSize]);
      weights[`${at}.mlp.up_proj.weight`] = layerOf(stacked.up, i, [feedForwardSize, hiddenSize]);
      weights[`${at}.mlp.down_proj.weight`] = layerOf(stacked.down, i, [hiddenSize, feedForwardSize]);
    }
    return decoderFromWeights(config, weights, model, device);
  });
  return {
    decoder,
    tokenizer: new Tokenizer(await readVocabulary(vocabulary, vocabularySize), { bos_token: '<s>', eos_token: '</s>' }),
  };
}

/** llama2.c rotates neighbours (2i, 2i+1), Hugging Face the halves (i, i + headSize/2): the rows of each head change places. */
function halves(weight: Tensor, headSize: number): Tensor {
  const [rows, columns] = weight.shape as [number, number];
  return weight
    .reshape([rows / headSize, headSize / 2, 2, columns])
    .transpose(1, 2)
    .reshape([rows, columns]);
}

/** The vocabulary as a `tokenizer.json`: SentencePiece BPE, whose merges are ordered by the piece's score. */
async function readVocabulary(path: string, size: number): Promise<TokenizerJson> {
  const bytes = await read(path);
  const view = new DataView(bytes);
  const decode = new TextDecoder();
  const pieces: { text: string; score: number }[] = [];
  let at = 4; // the longest piece's length, not needed here
  for (let id = 0; id < size; id++) {
    const length = at + 8 <= bytes.byteLength ? view.getInt32(at + 4, true) : -1;
    if (length < 0 || at + 8 + length > bytes.byteLength) {
      throw new DataError(
        'BAD_TOKENIZER',
        `${path} ends within piece ${id} of ${size}. Is it the tokenizer of this model?`,
      );
    }
    const text = decode.decode(new Uint8Array(bytes, at + 8, length)).replaceAll(' ', '▁');
    pieces.push({ text, score: view.getFloat32(at, true) });
    at += 8 + length;
  }
  // The control tokens are written with line breaks around them there.
  const control = ['<unk>', '<s>', '</s>'];
  for (let id = 0; id < control.length; id++) pieces[id]!.text = control[id]!;
  const merges = mergesOf(pieces.flatMap((piece, id) => (id < control.length ? [] : [{ ...piece, id }])));
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: control.map((token, id) => addedToken(id, token)),
    normalizer: {
      type: 'Sequence',
      normalizers: [
        { type: 'Prepend', prepend: '▁' },
        { type: 'Replace', pattern: { String: ' ' }, content: '▁' },
      ],
    },
    pre_tokenizer: null,
    post_processor: null,
    decoder: {
      type: 'Sequence',
      decoders: [
        { type: 'Replace', pattern: { String: '▁' }, content: ' ' },
        { type: 'ByteFallback' },
        { type: 'Fuse' },
        { type: 'Strip', content: ' ', start: 1, stop: 0 },
      ],
    },
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: '<unk>',
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: true,
      byte_fallback: true,
      ignore_merges: false,
      vocab: Object.fromEntries(pieces.map(({ text }, id) => [text, id])),
      merges,
    },
  };
}

async function read(path: string): Promise<ArrayBuffer> {
  try {
    const file = await readFile(path);
    return file.buffer.slice(file.byteOffset, file.byteOffset + file.byteLength) as ArrayBuffer;
  } catch {
    throw new DataError('MISSING_FILE', `${path} cannot be read.`);
  }
}
