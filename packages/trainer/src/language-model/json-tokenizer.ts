import { Tokenizer as HuggingFaceTokenizer } from '@huggingface/tokenizers';
import { DataError } from '@larr/core';
import type { TokenizerEngine } from './tokenizer-engine.js';
import { normalizerAsInRust, preTokenizerAsInRust, UnreadPart } from './tokenizer-parts.js';
import { addedToken, type TokenizerJson } from './tokenizer-training.js';

/** What `tokenizer_config.json` says; kept whole, because a directory is written back as it was read. */
export type TokenizerSettings = Record<string, unknown>;

/** A `tokenizer.json`, run by Hugging Face's own library in JavaScript, with its parts told as the one in Rust reads them. */
export class JsonTokenizer implements TokenizerEngine {
  readonly json: TokenizerJson;
  readonly settings: TokenizerSettings;
  readonly vocabularySize: number;
  readonly control = {};
  readonly #inner: HuggingFaceTokenizer;

  /** @throws DataError `BAD_TOKENIZER` */
  constructor(json: TokenizerJson, settings: TokenizerSettings = {}) {
    this.json = json;
    this.settings = settings;
    let highest = -1;
    try {
      this.#inner = new HuggingFaceTokenizer(
        {
          ...json,
          normalizer: normalizerAsInRust(json.normalizer),
          pre_tokenizer: preTokenizerAsInRust(json.pre_tokenizer),
        },
        settings,
      );
      for (const id of this.#inner.get_vocab(true).values()) if (id > highest) highest = id;
      for (const token of json.added_tokens) if (token.id > highest) highest = token.id;
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      const unread = error instanceof UnreadPart ? why : /^Unknown (\w+) type: (\w+)/.exec(why)?.slice(1).join(' ');
      throw new DataError(
        'BAD_TOKENIZER',
        unread === undefined
          ? `The tokenizer cannot be built: ${why}. Is tokenizer.json one that Hugging Face tokenizers wrote?`
          : `The tokenizer has ${unread}, a part that is not read here. Take a model whose tokenizer.json does without it, or one with a SentencePiece tokenizer.model.`,
      );
    }
    this.vocabularySize = highest + 1;
  }

  encode(text: string): number[] {
    return this.#inner.encode(text, { add_special_tokens: false }).ids;
  }

  /** Ids of `text` with what the tokenizer's own template puts before and after: [CLS] and [SEP], say. */
  encodeWithTemplate(text: string): number[] {
    return this.#inner.encode(text, { add_special_tokens: true }).ids;
  }

  decode(ids: number[], special: boolean): string {
    return this.#inner.decode(ids, { skip_special_tokens: !special, clean_up_tokenization_spaces: false });
  }

  tokenId(token: string): number | null {
    return this.#inner.token_to_id(token) ?? null;
  }

  isAdded(token: string): boolean {
    return this.json.added_tokens.some(({ content }) => content === token);
  }

  withSpecialTokens(tokens: readonly string[]): JsonTokenizer {
    let next = this.vocabularySize;
    const added = tokens.map((token) => addedToken(this.tokenId(token) ?? next++, token, true));
    return new JsonTokenizer({ ...this.json, added_tokens: [...this.json.added_tokens, ...added] }, this.settings);
  }

  files() {
    const { added_tokens_decoder: listed } = this.settings;
    return {
      contents: { 'tokenizer.json': JSON.stringify(this.json) },
      settings: {
        // Classes of their own rebuild some tokenizers from their vocabulary: this one takes tokenizer.json as it stands.
        tokenizer_class: 'PreTrainedTokenizerFast',
        // Settings that list the added tokens have to list these too: transformers believes them.
        ...(typeof listed === 'object' &&
          listed !== null && {
            added_tokens_decoder: {
              ...Object.fromEntries(this.json.added_tokens.map(({ id, ...token }) => [id, token])),
              ...listed,
            },
          }),
      },
    };
  }
}
