import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Tokenizer as HuggingFaceTokenizer } from '@huggingface/tokenizers';
import { DataError, wrapKeyword } from '@larr/core';
import { addedToken, BOS_TOKEN, EOS_TOKEN, PAD_TOKEN, type TokenizerJson } from './tokenizer-training.js';

/** What `tokenizer_config.json` says; kept whole, because a directory is written back as it was read. */
export type TokenizerSettings = Record<string, unknown>;

/** Keywords of up to so many characters are remembered, and so many of them. */
const CACHED_LENGTH = 1000;
const CACHED_KEYWORDS = 100_000;

/** Text ↔ token ids, as `tokenizer.json` defines them. Owns the parsed tokenizer and a cache of keywords already encoded. */
export class Tokenizer {
  readonly json: TokenizerJson;
  readonly settings: TokenizerSettings;
  /** Highest id + 1: the least number of rows that an embedding for this tokenizer must have. */
  readonly vocabularySize: number;
  readonly padId: number;
  /** Put before every document where the tokenizer has one. */
  readonly bosId: number | null;
  readonly eosId: number | null;
  #inner: HuggingFaceTokenizer;
  /** Ids of short wrapped keywords met before: most (a gender, a price band, a district) come back thousands of times. */
  #keywords = new Map<string, Int32Array>();

  constructor(json: TokenizerJson, settings: TokenizerSettings = {}) {
    this.json = json;
    this.settings = settings;
    try {
      this.#inner = new HuggingFaceTokenizer(json, settings);
    } catch (error) {
      throw new DataError(
        'BAD_TOKENIZER',
        `The tokenizer cannot be built: ${error instanceof Error ? error.message : String(error)}. Is tokenizer.json one that Hugging Face tokenizers wrote?`,
      );
    }
    let highest = -1;
    for (const id of this.#inner.get_vocab(true).values()) if (id > highest) highest = id;
    for (const token of json.added_tokens) if (token.id > highest) highest = token.id;
    this.vocabularySize = highest + 1;
    const bos = this.#named('bos_token', [BOS_TOKEN, '<|begin_of_text|>']);
    const eos = this.#named('eos_token', [EOS_TOKEN, '<|end_of_text|>', '<|endoftext|>']);
    this.bosId = bos;
    this.eosId = eos;
    this.padId = this.#named('pad_token', [PAD_TOKEN]) ?? eos ?? 0;
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
    return this.#inner.token_to_id(token) ?? null;
  }

  /** Ids of `text`, special tokens in it recognised, nothing put before or after. */
  encode(text: string): Int32Array {
    return Int32Array.from(this.#inner.encode(text, { add_special_tokens: false }).ids);
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
    if (ids.length === 0) return '';
    return this.#inner.decode(Array.from(ids), {
      skip_special_tokens: !special,
      clean_up_tokenization_spaces: false,
    });
  }
}

/**
 * Reads `tokenizer.json` (and `tokenizer_config.json` where there is one) from a model directory.
 * @throws DataError `MISSING_FILE` or `BAD_TOKENIZER`, naming the file.
 */
export async function loadTokenizer(directory: string): Promise<Tokenizer> {
  const json = (await readJson(join(directory, 'tokenizer.json'), true)) as TokenizerJson;
  const settings = (await readJson(join(directory, 'tokenizer_config.json'), false)) as TokenizerSettings | null;
  return new Tokenizer(json, settings ?? {});
}

async function readJson(path: string, required: boolean): Promise<unknown> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    if (!required && (error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw new DataError('MISSING_FILE', `${path} cannot be read: a model directory needs it.`);
  }
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new DataError('BAD_TOKENIZER', `${path} is not JSON: ${(error as Error).message}`);
  }
}

/**
 * The tokenizer with `tokens` added as special tokens (`<k>`, `</k>` of method.md, section 1), ids after the present ones;
 * tokens it already has are left as they are. They swallow the space before them, so that a wrapped keyword costs no
 * token for the blanks around its text.
 */
export function withSpecialTokens(tokenizer: Tokenizer, tokens: readonly string[]): Tokenizer {
  const missing = [...new Set(tokens)].filter((token) => tokenizer.tokenId(token) === null);
  if (missing.length === 0) return tokenizer;
  const first = tokenizer.vocabularySize;
  const added = missing.map((token, i) => addedToken(first + i, token, true));
  return new Tokenizer(
    { ...tokenizer.json, added_tokens: [...tokenizer.json.added_tokens, ...added] },
    tokenizer.settings,
  );
}
