import { isHan, PHRASE_WORDS, wordsOf } from '@larr/core';

/** A term that a text was matched to, and its row among the term vectors. */
export interface MatchedTerm {
  field: string;
  text: string;
  row: number;
}

/** Longest term looked for inside a run of Han characters. */
const HAN_CHARACTERS = 12;

/** Finds known terms in free text, the longest first. No language model: what is not a known term is said to be unknown. */
export class Terms {
  readonly #rows = new Map<string, { field: string; row: number }[]>();

  /** @param terms what to find, in the writing of `wordsOf` with one blank between words, and the row of each */
  constructor(terms: Iterable<{ field: string; term: string; row: number }>) {
    for (const { field, term, row } of terms) {
      const known = this.#rows.get(term);
      if (known === undefined) this.#rows.set(term, [{ field, row }]);
      else known.push({ field, row });
    }
  }

  /** Terms in a text, from left to right, and its words that are in none of them. */
  match(text: string): { matched: MatchedTerm[]; unmatched: string[] } {
    const words = wordsOf(text);
    const matched: MatchedTerm[] = [];
    const unmatched: string[] = [];
    const take = (term: string): boolean => {
      const found = this.#rows.get(term);
      for (const { field, row } of found ?? []) matched.push({ field, text: term, row });
      return found !== undefined;
    };
    for (let at = 0; at < words.length; ) {
      let length = Math.min(PHRASE_WORDS, words.length - at);
      while (length > 0 && !take(words.slice(at, at + length).join(' '))) length--;
      if (length > 0) {
        at += length;
        continue;
      }
      const word = words[at++]!;
      if (!isHan(word)) unmatched.push(word);
      else unmatched.push(...this.#insideHan(word, take));
    }
    return { matched, unmatched };
  }

  /** Takes the terms inside a run of Han characters; returns what is between them. */
  #insideHan(run: string, take: (term: string) => boolean): string[] {
    const characters = [...run];
    const between: string[] = [];
    let left = '';
    for (let at = 0; at < characters.length; ) {
      let length = Math.min(HAN_CHARACTERS, characters.length - at);
      while (length > 0 && !take(characters.slice(at, at + length).join(''))) length--;
      if (length > 0) {
        if (left !== '') between.push(left);
        left = '';
      } else {
        left += characters[at];
        length = 1;
      }
      at += length;
    }
    return left === '' ? between : [...between, left];
  }
}
