/** What turns text into ids and back. `Tokenizer` puts a cache, control tokens and wrapped keywords around one. */
export interface TokenizerEngine {
  /** Highest id + 1. */
  readonly vocabularySize: number;
  /** Control tokens that the vocabulary itself names, for directories whose settings don't. */
  readonly control: { bos?: string; eos?: string; pad?: string };
  /** Ids of `text`, special tokens in it recognised, nothing put before or after. */
  encode(text: string): ArrayLike<number>;
  /** Special tokens are left out unless `special` is set. */
  decode(ids: number[], special: boolean): string;
  /** The id of one token of the vocabulary, `null` where it has none. */
  tokenId(token: string): number | null;
  /** Whether a token is taken out of a text whole, before anything else is cut. */
  isAdded(token: string): boolean;
  /** The same with special tokens added: each by the id that the vocabulary has for it, else by one after the present ones. */
  withSpecialTokens(tokens: readonly string[]): TokenizerEngine;
  /** The files of a model directory that hold it, by name, and what its settings must say for them to be read back so. */
  files(): { contents: Record<string, string | Uint8Array>; settings: Record<string, unknown> };
}
