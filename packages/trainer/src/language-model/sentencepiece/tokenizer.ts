import { DataError } from '@larr/core';
import type { TokenizerEngine } from '../tokenizer-engine.js';
import { readSentencePiece, type SentencePieceModel } from './model-file.js';
import { BLANK, makeNormaliser } from './normalisation.js';
import { makeSegmenter, type Segmenter } from './segmentation.js';
import { sentencePieceJson } from './tokenizer-json.js';

const utf8 = new TextEncoder();

/**
 * A SentencePiece `tokenizer.model`: the ids that the Python library `sentencepiece` gives. Special tokens that were added stand
 * outside the model: a text is cut at them, blanks beside them are swallowed, and what lies between is encoded on its own.
 */
export class SentencePieceTokenizer implements TokenizerEngine {
  readonly vocabularySize: number;
  readonly control: { bos?: string; eos?: string; pad?: string };
  readonly model: SentencePieceModel;
  readonly #bytes: Uint8Array;
  readonly #added: readonly string[];
  readonly #special: readonly string[];
  readonly #addedIds: ReadonlyMap<string, number>;
  readonly #specialIds: ReadonlySet<number>;
  readonly #cut: RegExp | null;
  readonly #normalise: (text: string) => string;
  readonly #segment: Segmenter;
  readonly #ids: ReadonlyMap<string, number>;
  readonly #byteIds: Int32Array;

  /**
   * @param bytes a `tokenizer.model` @param from its path, for error messages
   * @param added special tokens; the first has the id after the model's last piece
   * @param special pieces of the model that are special tokens too
   * @throws DataError `BAD_TOKENIZER`
   */
  constructor(bytes: Uint8Array, from: string, added: readonly string[] = [], special: readonly string[] = []) {
    this.#bytes = bytes;
    this.model = readSentencePiece(bytes, from);
    const { pieces, bosId, eosId, padId } = this.model;
    this.#added = added;
    this.#special = special;
    // The first of several pieces with one text is the one that is found.
    const ids = new Map<string, number>();
    pieces.forEach(({ text }, id) => {
      if (!ids.has(text)) ids.set(text, id);
    });
    this.#ids = ids;
    const stranger = special.find((token) => !ids.has(token));
    if (stranger !== undefined) {
      throw new DataError(
        'BAD_TOKENIZER',
        `${from} has no piece ${stranger}, which tokenizer_config.json names as one. Put the files of one tokenizer together.`,
        { file: from },
      );
    }
    this.#addedIds = new Map([
      ...special.map((token): [string, number] => [token, ids.get(token)!]),
      ...added.map((token, i): [string, number] => [token, pieces.length + i]),
    ]);
    this.#specialIds = new Set(this.#addedIds.values());
    this.vocabularySize = pieces.length + added.length;
    const longestFirst = [...this.#addedIds.keys()].sort((a, b) => b.length - a.length);
    this.#cut =
      longestFirst.length === 0
        ? null
        : new RegExp(
            `\\s*(${longestFirst.map((token) => token.replace(/[\\^$.*+?()[\]{}|/-]/g, '\\$&')).join('|')})\\s*`,
            'u',
          );
    this.#normalise = makeNormaliser(this.model);
    this.#segment = makeSegmenter(this.model);
    this.#byteIds = Int32Array.from(
      { length: 256 },
      (_, byte) => ids.get(`<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`) ?? this.model.unknownId,
    );
    const control = { bos: pieces[bosId]?.text, eos: pieces[eosId]?.text, pad: pieces[padId]?.text };
    this.control = Object.fromEntries(Object.entries(control).filter(([, text]) => text !== undefined));
  }

  encode(text: string): number[] {
    if (this.#cut === null) return this.#encodePlain(text);
    // Every second part is one of the special tokens, which the pattern keeps.
    return text
      .split(this.#cut)
      .flatMap((part, i) => (i % 2 === 1 ? [this.#addedIds.get(part)!] : this.#encodePlain(part)));
  }

  #encodePlain(text: string): number[] {
    const { unknownId, byteFallback } = this.model;
    const ids: number[] = [];
    let afterUnknown = false;
    for (const { text: part, id } of this.#segment(this.#normalise(text))) {
      const unknown = id === unknownId;
      if (unknown && byteFallback) for (const byte of utf8.encode(part)) ids.push(this.#byteIds[byte]!);
      // A run of unknown characters is one unknown token.
      else if (!(unknown && afterUnknown)) ids.push(id);
      afterUnknown = unknown;
    }
    return ids;
  }

  decode(ids: number[], special: boolean): string {
    const { pieces, unknownId, unknownSurface, normaliser } = this.model;
    const { addDummyPrefix, removeExtraWhitespace } = normaliser;
    const bytes: number[] = [];
    let text = '';
    // The blank that encoding put before the text is taken away again; where it also folded blanks, so are those of several pieces.
    let begun = !(addDummyPrefix || removeExtraWhitespace);
    const flush = () => {
      if (bytes.length > 0) text += new TextDecoder().decode(Uint8Array.from(bytes.splice(0)));
    };
    const put = (piece: string) => {
      const leading = !begun && text === '' && piece.startsWith(BLANK);
      text += (leading ? piece.slice(1) : piece).replaceAll(BLANK, ' ');
      begun ||= leading && !removeExtraWhitespace;
    };
    for (const id of ids) {
      const piece = pieces[id];
      if (piece?.type === 'byte') {
        bytes.push(Number.parseInt(piece.text.slice(3, 5), 16));
        continue;
      }
      flush();
      if (piece === undefined) {
        if (special) text += this.#added[id - pieces.length] ?? '';
      } else if (piece.type === 'control' || this.#specialIds.has(id)) {
        if (special) text += piece.text;
      } else if (id === unknownId) text += unknownSurface;
      else put(piece.text);
    }
    flush();
    return text;
  }

  tokenId(token: string): number | null {
    return this.#addedIds.get(token) ?? this.#ids.get(token) ?? null;
  }

  isAdded(token: string): boolean {
    return this.#addedIds.has(token);
  }

  withSpecialTokens(tokens: readonly string[]): SentencePieceTokenizer {
    const isPiece = (token: string) => this.#ids.has(token);
    const added = [...this.#added, ...tokens.filter((token) => !isPiece(token))];
    const special = [...this.#special, ...tokens.filter(isPiece)];
    return new SentencePieceTokenizer(this.#bytes, 'tokenizer.model', added, special);
  }

  /** `tokenizer.model` is what is read back; `tokenizer.json`, where it can say the same, is for transformers. */
  files() {
    const json = sentencePieceJson(this.model, this.#added, this.#special);
    return {
      contents: {
        'tokenizer.model': this.#bytes,
        ...(json !== null && { 'tokenizer.json': JSON.stringify(json) }),
      },
      settings: {
        tokenizer_class: 'PreTrainedTokenizerFast',
        auto_map: undefined,
        larr_sentencepiece: {
          added_tokens: [...this.#added],
          ...(this.#special.length > 0 && { special_pieces: [...this.#special] }),
        },
      },
    };
  }
}
