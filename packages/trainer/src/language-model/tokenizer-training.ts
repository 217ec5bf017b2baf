import { DataError } from '@larr/core';

/**
 * Training a byte-level BPE vocabulary (Sennrich et al. 2016; the byte alphabet and word pattern of GPT-2), in the form
 * that Hugging Face's `ByteLevel` pre-tokenizer reads back. Every text is representable: a character outside the
 * learnt vocabulary falls apart into its UTF-8 bytes, so Chinese, emoji and typos need no unknown token.
 */

/** GPT-2's word pattern; `ByteLevel` with `use_regex` applies the same one when the tokenizer is used. */
const WORD =
  /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\p{White_Space}\p{L}\p{N}]+|\p{White_Space}+(?!\P{White_Space})|\p{White_Space}+/gu;

/** Ids of a pair are packed into one number, so that a Map finds it without making a string. */
const PAIR_BASE = 2 ** 24;

export const PAD_TOKEN = '<pad>';
export const BOS_TOKEN = '<s>';
export const EOS_TOKEN = '</s>';

export interface AddedTokenJson {
  id: number;
  content: string;
  single_word: boolean;
  lstrip: boolean;
  rstrip: boolean;
  normalized: boolean;
  special: boolean;
}

/** A `tokenizer.json` as Hugging Face's libraries write it; only the parts that this project reads or writes are named. */
export interface TokenizerJson {
  version: string;
  truncation: null;
  padding: null;
  added_tokens: AddedTokenJson[];
  normalizer: unknown;
  pre_tokenizer: unknown;
  post_processor: unknown;
  decoder: unknown;
  model: { type: string; vocab: Record<string, number> | [string, number][]; merges?: unknown; [key: string]: unknown };
}

/** `byteCharacters[b]` is the printable character that stands for byte `b` in a byte-level vocabulary (GPT-2's table). */
export const byteCharacters: readonly string[] = (() => {
  const printable = (b: number) => (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || (b >= 174 && b <= 255);
  let next = 256;
  return Array.from({ length: 256 }, (_, b) => String.fromCodePoint(printable(b) ? b : next++));
})();

export function addedToken(id: number, content: string, swallowSpaceBefore = false): AddedTokenJson {
  return {
    id,
    content,
    single_word: false,
    lstrip: swallowSpaceBefore,
    rstrip: false,
    normalized: false,
    special: true,
  };
}

/**
 * Learns a vocabulary of at most `vocabularySize` entries (3 control tokens, 256 bytes, then merges) from `texts`.
 * Ties between equally frequent pairs go to the pair with the smaller ids, as in Hugging Face's trainer, so that the
 * result depends on the texts alone. A pair seen once only is not merged.
 *
 * @throws DataError `EMPTY_CORPUS` when the texts hold no character.
 */
export function trainTokenizer(texts: Iterable<string>, vocabularySize: number): TokenizerJson {
  const words = countWords(texts);
  if (words.size === 0)
    throw new DataError('EMPTY_CORPUS', 'There is no text to train a tokenizer on: give at least one non-empty text.');

  const vocabulary: string[] = [PAD_TOKEN, BOS_TOKEN, EOS_TOKEN];
  const alphabet = [...byteCharacters].sort((a, b) => a.codePointAt(0)! - b.codePointAt(0)!);
  const byteId = new Int32Array(256);
  for (const character of alphabet) {
    byteId[byteCharacters.indexOf(character)] = vocabulary.length;
    vocabulary.push(character);
  }

  const encoder = new TextEncoder();
  const symbols: number[][] = [];
  const frequency: number[] = [];
  for (const [word, count] of words) {
    symbols.push(Array.from(encoder.encode(word), (b) => byteId[b]!));
    frequency.push(count);
  }
  const merges = learnMerges(symbols, frequency, vocabulary, vocabularySize);

  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: [PAD_TOKEN, BOS_TOKEN, EOS_TOKEN].map((token, id) => addedToken(id, token)),
    normalizer: null,
    pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true },
    post_processor: null,
    decoder: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: false,
      vocab: Object.fromEntries(vocabulary.map((token, id) => [token, id])),
      merges,
    },
  };
}

function countWords(texts: Iterable<string>): Map<string, number> {
  const words = new Map<string, number>();
  for (const text of texts) {
    for (const word of text.match(WORD) ?? []) words.set(word, (words.get(word) ?? 0) + 1);
  }
  return words;
}

/** Extends `vocabulary` in place and returns the merges in order; `symbols` (one list of ids a word) is rewritten as it goes. */
function learnMerges(
  symbols: number[][],
  frequency: number[],
  vocabulary: string[],
  vocabularySize: number,
): [string, string][] {
  const counts = new Map<number, number>();
  const places = new Map<number, number[]>(); // pair → words that hold it, or held it once
  const touched = new Set<number>();
  const tally = (word: number, sign: 1 | -1) => {
    const ids = symbols[word]!;
    const change = sign * frequency[word]!;
    for (let i = 0; i + 1 < ids.length; i++) {
      const pair = ids[i]! * PAIR_BASE + ids[i + 1]!;
      counts.set(pair, (counts.get(pair) ?? 0) + change);
      if (sign < 0) continue;
      touched.add(pair);
      const at = places.get(pair);
      if (at === undefined) places.set(pair, [word]);
      else if (at[at.length - 1] !== word) at.push(word);
    }
  };
  for (let word = 0; word < symbols.length; word++) tally(word, 1);

  const heap = new PairHeap();
  for (const pair of touched) heap.push(counts.get(pair)!, pair);
  touched.clear();

  const merges: [string, string][] = [];
  while (vocabulary.length < vocabularySize) {
    const top = heap.pop();
    if (top === undefined || top.count < 2) break;
    const current = counts.get(top.pair) ?? 0;
    if (current !== top.count) {
      // The entry is out of date: merges since then took some of its occurrences.
      if (current > 0) heap.push(current, top.pair);
      continue;
    }
    const left = Math.floor(top.pair / PAIR_BASE);
    const right = top.pair % PAIR_BASE;
    const merged = vocabulary.length;
    vocabulary.push(vocabulary[left]! + vocabulary[right]!);
    merges.push([vocabulary[left]!, vocabulary[right]!]);
    for (const word of new Set(places.get(top.pair))) {
      const before = symbols[word]!;
      const after: number[] = [];
      for (let i = 0; i < before.length; i++) {
        if (before[i] === left && before[i + 1] === right) {
          after.push(merged);
          i++;
        } else after.push(before[i]!);
      }
      if (after.length === before.length) continue;
      tally(word, -1);
      symbols[word] = after;
      tally(word, 1);
    }
    counts.delete(top.pair);
    places.delete(top.pair);
    touched.delete(top.pair);
    for (const pair of touched) {
      // Only pairs with the new symbol can have become more frequent; the others stand in the heap already.
      if (Math.floor(pair / PAIR_BASE) === merged || pair % PAIR_BASE === merged) heap.push(counts.get(pair)!, pair);
    }
    touched.clear();
  }
  return merges;
}

/** A binary max-heap of (count, pair); of equal counts the smaller pair comes first. */
class PairHeap {
  #counts: number[] = [];
  #pairs: number[] = [];

  push(count: number, pair: number): void {
    const counts = this.#counts;
    const pairs = this.#pairs;
    let i = counts.length;
    counts.push(count);
    pairs.push(pair);
    while (i > 0) {
      const parent = (i - 1) >> 1;
      if (!this.#before(count, pair, counts[parent]!, pairs[parent]!)) break;
      counts[i] = counts[parent]!;
      pairs[i] = pairs[parent]!;
      i = parent;
    }
    counts[i] = count;
    pairs[i] = pair;
  }

  pop(): { count: number; pair: number } | undefined {
    const counts = this.#counts;
    const pairs = this.#pairs;
    if (counts.length === 0) return undefined;
    const top = { count: counts[0]!, pair: pairs[0]! };
    const count = counts.pop()!;
    const pair = pairs.pop()!;
    const size = counts.length;
    if (size === 0) return top;
    let i = 0;
    for (;;) {
      let child = 2 * i + 1;
      if (child >= size) break;
      if (child + 1 < size && this.#before(counts[child + 1]!, pairs[child + 1]!, counts[child]!, pairs[child]!))
        child++;
      if (!this.#before(counts[child]!, pairs[child]!, count, pair)) break;
      counts[i] = counts[child]!;
      pairs[i] = pairs[child]!;
      i = child;
    }
    counts[i] = count;
    pairs[i] = pair;
    return top;
  }

  #before(countA: number, pairA: number, countB: number, pairB: number): boolean {
    return countA > countB || (countA === countB && pairA < pairB);
  }
}
