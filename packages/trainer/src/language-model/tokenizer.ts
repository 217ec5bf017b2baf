import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { DataError, wrapKeyword } from '@larr/core';
import { JsonTokenizer, type TokenizerSettings } from './json-tokenizer.js';
import { refuseLfsPointer } from './lfs-pointer.js';
import { SentencePieceTokenizer } from './sentencepiece/tokenizer.js';
import type { TokenizerEngine } from './tokenizer-engine.js';
import { BOS_TOKEN, EOS_TOKEN, PAD_TOKEN, type TokenizerJson } from './tokenizer-training.js';

/** Keywords of up to so many characters are remembered, and so many of them. */
const CACHED_LENGTH = 1000;
const CACHED_KEYWORDS = 100_000;

/** Text ↔ token ids, as `tokenizer.json` or `tokenizer.model` define them, with a cache of keywords already encoded. */
export class Tokenizer {
  readonly settings: TokenizerSettings;
  /** Highest id + 1: the least number of rows that an embedding for this tokenizer must have. */
  readonly vocabularySize: number;
  readonly padId: number;
  /** Put before every document where the tokenizer has one. */
  readonly bosId: number | null;
  readonly eosId: number | null;
  readonly #engine: TokenizerEngine;
  /** Ids of short wrapped keywords met before: most (a gender, a price band, a district) come back thousands of times. */
  #keywords = new Map<string, Int32Array>();

  /** @param source an engine, or the contents of a `tokenizer.json` @throws DataError `BAD_TOKENIZER` */
  constructor(source: TokenizerEngine | TokenizerJson, settings: TokenizerSettings = {}) {
    this.#engine = 'encode' in source ? source : new JsonTokenizer(source, settings);
    this.settings = settings;
    this.vocabularySize = this.#engine.vocabularySize;
    const { control } = this.#engine;
    this.bosId = this.#named('bos_token', [control.bos ?? BOS_TOKEN, '<|begin_of_text|>']);
    this.eosId = this.#named('eos_token', [control.eos ?? EOS_TOKEN, '<|end_of_text|>', '<|endoftext|>']);
    this.padId = this.#named('pad_token', [control.pad ?? PAD_TOKEN]) ?? this.eosId ?? 0;
  }

  /** A control token's id: what the settings name wins; where they say `null` there is none; else the usual names are tried. */
  #named(key: string, usual: string[]): number | null {
    const setting = this.settings[key];
    if (setting === null) return null;
    const content = typeof setting === 'string' ? setting : (setting as { content?: string } | undefined)?.content;
    for (const token of content === undefined ? usual : [content]) {
      const id = this.tokenId(token);
      if (id !== null) return id;
    }
    return null;
  }

  /** The id of one token of the vocabulary, `null` where it has none. */
  tokenId(token: string): number | null {
    return this.#engine.tokenId(token);
  }

  /** Ids of `text`, special tokens in it recognised, nothing put before or after. */
  encode(text: string): Int32Array {
    return Int32Array.from(this.#engine.encode(text));
  }

  /**
   * Ids of wrapped keywords one after another: what `encode(wrapText(keywords))` gives where the keywords' tokens are special
   * tokens, since those part the text, but each keyword is encoded on its own and short ones once only.
   */
  encodeWrapped(keywords: readonly { token: string; text: string }[]): Int32Array {
    const parts = keywords.map(({ token, text }) => {
      const wrapped = wrapKeyword(token, text);
      const known = this.#keywords.get(wrapped);
      if (known !== undefined) return known;
      const ids = this.encode(wrapped);
      if (wrapped.length <= CACHED_LENGTH && this.#keywords.size < CACHED_KEYWORDS) this.#keywords.set(wrapped, ids);
      return ids;
    });
    const all = new Int32Array(parts.reduce((sum, ids) => sum + ids.length, 0));
    let at = 0;
    for (const ids of parts) {
      all.set(ids, at);
      at += ids.length;
    }
    return all;
  }

  /** The text of `ids`. Control tokens are left out unless `special` is set. */
  decode(ids: ArrayLike<number>, { special = false }: { special?: boolean } = {}): string {
    return ids.length === 0 ? '' : this.#engine.decode(Array.from(ids), special);
  }

  /** Whether a token is taken out of a text whole, as special tokens are, and never made of smaller ones. */
  isAdded(token: string): boolean {
    return this.#engine.isAdded(token);
  }

  /** With special tokens that it does not have as such yet. */
  with(tokens: readonly string[]): Tokenizer {
    return new Tokenizer(this.#engine.withSpecialTokens(tokens), this.settings);
  }

  /**
   * The files of a model directory that hold the tokenizer, by name: what was read, with the special tokens that were added.
   * @param contextLength of the model beside it
   */
  files(contextLength: number): Record<string, string | Uint8Array> {
    const { contents, settings } = this.#engine.files();
    const tokenText = (id: number | null) => (id === null ? null : this.decode([id], { special: true }));
    const all = {
      tokenizer_class: 'PreTrainedTokenizerFast',
      bos_token: tokenText(this.bosId),
      eos_token: tokenText(this.eosId),
      pad_token: tokenText(this.padId),
      clean_up_tokenization_spaces: false,
      model_max_length: contextLength,
      ...this.settings,
      ...settings,
    };
    return { ...contents, 'tokenizer_config.json': `${JSON.stringify(all, null, 2)}\n` };
  }
}

/**
 * Reads a model directory's tokenizer: `tokenizer.json`, or a SentencePiece `tokenizer.model` where there is no such file (or
 * LARR wrote both), with `tokenizer_config.json` where there is one.
 * @throws DataError `MISSING_FILE` or `BAD_TOKENIZER`, naming the file.
 */
export async function loadTokenizer(directory: string): Promise<Tokenizer> {
  const settingsPath = join(directory, 'tokenizer_config.json');
  const settings = existsSync(settingsPath) ? ((await readJson(settingsPath)) as TokenizerSettings) : {};
  const path = join(directory, 'tokenizer.json');
  const pieces = join(directory, 'tokenizer.model');
  const ownSentencePiece = settings.larr_sentencepiece as
    | { added_tokens?: string[]; special_pieces?: string[] }
    | undefined;
  if (existsSync(pieces) && (ownSentencePiece !== undefined || !existsSync(path))) {
    refuseLfsPointer(pieces, 'BAD_TOKENIZER');
    const added = ownSentencePiece?.added_tokens ?? (await addedTokens(directory, settings));
    return new Tokenizer(
      new SentencePieceTokenizer(await readFile(pieces), pieces, added, ownSentencePiece?.special_pieces),
      settings,
    );
  }
  const json = (await readJson(path)) as TokenizerJson;
  try {
    return new Tokenizer(json, settings);
  } catch (error) {
    if (!(error instanceof DataError)) throw error;
    throw new DataError(error.code, `${path}: ${error.message}`, { file: path, cause: error });
  }
}

/** Tokens that a published directory adds to its tokenizer.model, in the order of their ids, which follow the model's. */
async function addedTokens(directory: string, settings: TokenizerSettings): Promise<string[]> {
  const path = join(directory, 'added_tokens.json');
  const listed = (settings.added_tokens_decoder ?? {}) as Record<string, { content: string }>;
  const byId = new Map(Object.entries(listed).map(([id, { content }]) => [Number(id), content]));
  if (existsSync(path)) {
    for (const [content, id] of Object.entries((await readJson(path)) as Record<string, number>)) byId.set(id, content);
  }
  const file = join(directory, 'tokenizer.model');
  const first = new SentencePieceTokenizer(await readFile(file), file).vocabularySize;
  const ids = [...byId.keys()].filter((id) => id >= first).sort((a, b) => a - b);
  ids.forEach((id, i) => {
    if (id === first + i) return;
    throw new DataError(
      'BAD_TOKENIZER',
      `${directory}: the added tokens' ids do not follow tokenizer.model's ${first} pieces: there is none for ${first + i}. Copy the directory's tokenizer files again.`,
      { file },
    );
  });
  return ids.map((id) => byId.get(id)!);
}

async function readJson(path: string): Promise<unknown> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch {
    throw new DataError(
      'MISSING_FILE',
      `${path} cannot be read: a model directory needs it, or a SentencePiece tokenizer.model. Copy it from where the model was published.`,
      { file: path },
    );
  }
  try {
    const value = JSON.parse(text) as unknown;
    if (typeof value === 'object' && value !== null) return value;
    throw new Error('it holds no object');
  } catch (error) {
    refuseLfsPointer(path, 'BAD_TOKENIZER');
    throw new DataError('BAD_TOKENIZER', `${path} is not JSON: ${(error as Error).message}. Copy it again.`, {
      file: path,
    });
  }
}

/**
 * The tokenizer with `tokens` added as special tokens (`<k>`, `</k>` of method.md, section 1), ids after the present ones; one that is
 * a plain entry of the vocabulary becomes special and keeps its id, and those that it has already are left as they are. They swallow the space before them, so that a wrapped keyword costs no
 * token for the blanks around its text.
 */
export function withSpecialTokens(tokenizer: Tokenizer, tokens: readonly string[]): Tokenizer {
  const missing = [...new Set(tokens)].filter((token) => !tokenizer.isAdded(token));
  return missing.length === 0 ? tokenizer : tokenizer.with(missing);
}
