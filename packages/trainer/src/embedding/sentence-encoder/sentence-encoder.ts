import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { basename } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { DataError } from '@larr/core';
import { noGrad, type Tensor, tensor, tidy } from '@larr/torch';
import ort from 'onnxruntime-node';
import { JsonTokenizer } from '../../language-model/json-tokenizer.js';
import type { TokenizerJson } from '../../language-model/tokenizer-training.js';
import type { EmbeddableText } from '../embedder.js';
import type { Keywords } from '../text-embedder.js';
import { type EncoderDirectory, readEncoderDirectory } from './directory.js';

/** A ready sentence encoder in ONNX, run by onnxruntime on the CPU. Owns the session. */
export interface SentenceEncoder {
  directory: EncoderDirectory;
  /** sha256 over the files that decide its vectors. */
  digest: string;
  /** Width of its vectors. */
  width: number;
  tokens(text: string | Keywords): EmbeddableText;
  /** Vectors of a batch of token sequences: [batch, width] */
  encode(sequences: readonly Int32Array[]): Promise<Float32Array>;
  dispose(): Promise<void>;
}

/** Inputs that encoders' graphs have, and what each is given of a text: its ids, which of them are real, one segment, its positions. */
const INPUTS = ['input_ids', 'attention_mask', 'token_type_ids', 'position_ids'] as const;

/** @throws DataError `MISSING_FILE`, `BAD_ENCODER`, `BAD_TOKENIZER` naming the file */
export async function loadSentenceEncoder(path: string): Promise<SentenceEncoder> {
  const directory = await readEncoderDirectory(path);
  const { graph, pooling, normalise, contextLength } = directory;
  const bad = (what: string) =>
    new DataError('BAD_ENCODER', `${graph} ${what}. Export a sentence encoder with inputs ${INPUTS.join(', ')}.`, {
      file: graph,
    });
  const tokenizer = await readTokenizer(directory.tokenizer);
  let session: ort.InferenceSession;
  try {
    session = await ort.InferenceSession.create(graph, {
      intraOpNumThreads: Number(process.env.LARR_THREADS) || 0,
      executionMode: 'sequential',
    });
  } catch (error) {
    throw bad(`cannot be loaded (${(error as Error).message.trim()})`);
  }
  const unknown = session.inputNames.find((name) => !(INPUTS as readonly string[]).includes(name));
  if (unknown !== undefined) throw bad(`has an input ${unknown}, which no sentence encoder has`);
  if (!session.inputNames.includes('input_ids')) throw bad('has no input input_ids');
  const output =
    ['sentence_embedding', 'last_hidden_state', 'token_embeddings'].find((name) =>
      session.outputNames.includes(name),
    ) ?? session.outputNames[0]!;
  const padId = tokenizer.json.added_tokens.find(({ content }) => /^(\[PAD\]|<pad>)$/.test(content))?.id ?? 0;

  const run = async (sequences: readonly Int32Array[]): Promise<ort.Tensor> => {
    const rows = sequences.length;
    const length = Math.max(...sequences.map((ids) => ids.length));
    const fill = (value: (ids: Int32Array, t: number) => number) => {
      const data = new BigInt64Array(rows * length);
      sequences.forEach((ids, row) => {
        for (let t = 0; t < length; t++) data[row * length + t] = BigInt(value(ids, t));
      });
      return new ort.Tensor('int64', data, [rows, length]);
    };
    const values = {
      input_ids: () => fill((ids, t) => ids[t] ?? padId),
      attention_mask: () => fill((ids, t) => (t < ids.length ? 1 : 0)),
      token_type_ids: () => fill(() => 0),
      position_ids: () => fill((_, t) => t),
    };
    const feeds = Object.fromEntries(
      session.inputNames.map((name) => [name, values[name as (typeof INPUTS)[number]]()]),
    );
    let result: ort.Tensor;
    try {
      result = (await session.run(feeds, [output]))[output]!;
    } catch (error) {
      throw bad(`cannot be run on texts of ${length} tokens (${(error as Error).message.trim()})`);
    }
    if (result.type !== 'float32' || result.dims[0] !== rows || (result.dims.length !== 2 && result.dims[1] !== length))
      throw bad(`gives ${result.type} [${result.dims.join(', ')}] as ${output}, not float32 states or sentences`);
    return result;
  };

  const encode = async (sequences: readonly Int32Array[]): Promise<Float32Array> => {
    const result = await run(sequences);
    return noGrad(() =>
      tidy(() => {
        const states = tensor(result.data as Float32Array, [...result.dims]);
        const pooled = states.ndim === 2 ? states : pool(states, sequences, pooling);
        return (normalise ? pooled.normalize(1) : pooled).contiguous().toFloat32Array();
      }),
    );
  };
  const tokens = (text: string | Keywords): EmbeddableText => {
    const all = tokenizer.encodeWithTemplate(typeof text === 'string' ? text.trim() : plainText(text));
    // What the template puts at the end stays there.
    const ids = Int32Array.from(all.length <= contextLength ? all : [...all.slice(0, contextLength - 1), all.at(-1)!]);
    return { ids, truncated: all.length > contextLength };
  };
  const probe = tokens('width').ids;
  if (probe.length === 0) throw bad('has a tokenizer that makes nothing of a text');
  return {
    directory,
    digest: await digestOf(directory.files),
    width: (await encode([probe])).length,
    tokens,
    encode,
    dispose: () => session.release(),
  };
}

/** Keywords as people write them: an encoder that others trained does not know the special tokens around them. */
export function plainText(keywords: Keywords): string {
  // "poi_main_dishes" is what the keyword is of and what it is.
  const named = keywords.map(({ token, text }) => `${token.replace(/^[^_]*_/, '').replaceAll('_', ' ')}: ${text}`);
  return named.join('; ');
}

/** States [rows, length, width] of padded sequences → [rows, width]. */
function pool(states: Tensor, sequences: readonly Int32Array[], pooling: EncoderDirectory['pooling']): Tensor {
  const [rows, length, width] = states.shape as [number, number, number];
  if (pooling === 'cls') return states.select(1, 0);
  const lengths = Float32Array.from(sequences, (ids) => ids.length);
  if (pooling === 'last') {
    const last = Int32Array.from(sequences, (ids, row) => row * length + ids.length - 1);
    return states.reshape([rows * length, width]).indexSelect(0, tensor(last, [rows]));
  }
  const real = new Float32Array(rows * length);
  lengths.forEach((n, row) => {
    real.fill(1, row * length, row * length + n);
  });
  const mask = tensor(real, [rows, length, 1]);
  if (pooling === 'max') return states.maskedFill(mask.eq(0), Number.NEGATIVE_INFINITY).amax([1]);
  const counts = tensor(lengths, [rows, 1]);
  return states
    .mul(mask)
    .sum([1])
    .div(pooling === 'mean' ? counts : counts.sqrt());
}

async function readTokenizer(file: string): Promise<JsonTokenizer> {
  const bad = (error: unknown) =>
    new DataError(
      'BAD_TOKENIZER',
      `${file}: ${(error as Error).message} Copy it from where the encoder was published.`,
      {
        file,
        cause: error,
      },
    );
  try {
    return new JsonTokenizer(JSON.parse(await readFile(file, 'utf8')) as TokenizerJson);
  } catch (error) {
    throw bad(error);
  }
}

async function digestOf(files: readonly string[]): Promise<string> {
  const hash = createHash('sha256');
  for (const file of files) {
    hash.update(`${basename(file)}\0`);
    await pipeline(createReadStream(file), hash, { end: false });
  }
  return hash.digest('hex');
}
