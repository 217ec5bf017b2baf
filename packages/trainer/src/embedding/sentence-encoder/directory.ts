import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { DataError } from '@larr/core';
import { z } from 'zod';

/** How a sentence's vector follows from its tokens' states. */
export type SentencePooling = 'mean' | 'cls' | 'last' | 'max' | 'sqrt-mean';

/** What a directory of an exported sentence encoder says of itself. */
export interface EncoderDirectory {
  /** model.onnx */
  graph: string;
  tokenizer: string;
  pooling: SentencePooling;
  /** Vectors are brought to length 1 before anything else is done with them. */
  normalise: boolean;
  /** Longest text in tokens. */
  contextLength: number;
  /** Files that decide its vectors, for its digest. */
  files: string[];
}

const modules = z.array(z.looseObject({ type: z.string(), path: z.string().default('') }));
const poolingConfig = z.looseObject({ pooling_mode: z.string().optional() });

/** sentence-transformers' switches, and the newer single word, by what they mean here. */
const poolings: Record<string, SentencePooling> = {
  pooling_mode_mean_tokens: 'mean',
  pooling_mode_cls_token: 'cls',
  pooling_mode_lasttoken: 'last',
  pooling_mode_max_tokens: 'max',
  pooling_mode_mean_sqrt_len_tokens: 'sqrt-mean',
  mean: 'mean',
  cls: 'cls',
  lasttoken: 'last',
  max: 'max',
  mean_sqrt_len_tokens: 'sqrt-mean',
};

/** Where neither sentence_bert_config.json nor the tokenizer's settings tell how long a text may be. */
const USUAL_CONTEXT = 512;

/**
 * Reads how a sentence encoder is used: `model.onnx` or `onnx/model.onnx`, `tokenizer.json`, and what sentence-transformers writes
 * beside them (modules.json, 1_Pooling/config.json, sentence_bert_config.json); without those, the mean of the states, at length 1.
 * @throws DataError `MISSING_FILE`, `BAD_ENCODER` naming the file and key
 */
export async function readEncoderDirectory(directory: string): Promise<EncoderDirectory> {
  const at = (file: string) => join(directory, file);
  const graph = ['onnx/model.onnx', 'model.onnx'].map(at).find((path) => existsSync(path));
  if (graph === undefined) {
    throw new DataError(
      'MISSING_FILE',
      `${directory} holds neither onnx/model.onnx nor model.onnx. Export the sentence encoder as ONNX (optimum-cli export onnx), or take one that is published so.`,
      { file: at('model.onnx') },
    );
  }
  const tokenizer = at('tokenizer.json');
  if (!existsSync(tokenizer)) {
    throw new DataError(
      'MISSING_FILE',
      `${tokenizer} is missing: a sentence encoder needs its tokenizer. Copy it there.`,
      {
        file: tokenizer,
      },
    );
  }
  const listed = existsSync(at('modules.json')) ? await read(at('modules.json'), modules) : null;
  const kinds = listed?.map(({ type, path }) => ({ type: type.split('.').pop()!, path })) ?? [];
  const other = kinds.find(({ type }) => !['Transformer', 'Pooling', 'Normalize'].includes(type));
  if (other !== undefined) {
    throw new DataError(
      'BAD_ENCODER',
      `${at('modules.json')}: a module of type ${other.type} is not supported; Transformer, Pooling and Normalize are. Take another encoder.`,
      { file: at('modules.json') },
    );
  }
  const poolingFile = at(join(kinds.find(({ type }) => type === 'Pooling')?.path ?? '1_Pooling', 'config.json'));
  const pooling = existsSync(poolingFile) ? poolingOf(await read(poolingFile, poolingConfig), poolingFile) : 'mean';
  return {
    graph,
    tokenizer,
    pooling,
    normalise: listed === null || kinds.some(({ type }) => type === 'Normalize'),
    contextLength: await longest(directory),
    files: [graph, `${graph}_data`, tokenizer, poolingFile, at('modules.json')].filter((path) => existsSync(path)),
  };
}

function poolingOf(config: Record<string, unknown>, file: string): SentencePooling {
  const { pooling_mode } = config;
  const on =
    typeof pooling_mode === 'string'
      ? [pooling_mode]
      : Object.keys(config).filter((key) => key.startsWith('pooling_mode_') && config[key] === true);
  const pooling = on.length === 1 ? poolings[on[0]!] : undefined;
  if (pooling !== undefined) return pooling;
  throw new DataError(
    'BAD_ENCODER',
    `${file}: pooling ${on.join(' with ') || 'of no kind'} is not supported; one of mean, cls, lasttoken, max and mean_sqrt_len is. Take another encoder.`,
    { file },
  );
}

async function longest(directory: string): Promise<number> {
  const said = async (file: string, key: string) => {
    const path = join(directory, file);
    if (!existsSync(path)) return undefined;
    const value = (await read(path, z.looseObject({})))[key];
    // Tokenizers without a limit of their own write 1e30.
    return typeof value === 'number' && value > 2 && value < 1e6 ? value : undefined;
  };
  return (
    (await said('sentence_bert_config.json', 'max_seq_length')) ??
    (await said('tokenizer_config.json', 'model_max_length')) ??
    USUAL_CONTEXT
  );
}

async function read<T>(file: string, schema: z.ZodType<T>): Promise<T> {
  let value: unknown;
  try {
    value = JSON.parse(await readFile(file, 'utf8'));
  } catch (error) {
    throw new DataError('BAD_ENCODER', `${file} is not JSON: ${(error as Error).message}. Copy it again.`, { file });
  }
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0]!;
  throw new DataError(
    'BAD_ENCODER',
    `${file}: ${issue.path.join('.') || 'the document'}: ${issue.message}. Copy it again.`,
    {
      file,
    },
  );
}
