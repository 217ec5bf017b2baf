import { isHan, PHRASE_WORDS, unitsOf, wordsOf } from '@larr/core';

/** A term that a text was matched to, and its row among the term vectors. */
export interface MatchedTerm {
  field: string;
  text: string;
  row: number;
}

/** What is known of a text, from left to right. */
export interface TermMatches {
  matched: MatchedTerm[];
  /** terms that so many POIs have that they tell little; none that are matched in another field */
  common: MatchedTerm[];
  /** words that are in no term */
  unmatched: string[];
}

/** Longest term looked for inside a run of Han characters. */
const HAN_CHARACTERS = 12;

/** Finds known terms in free text, the longest first. No language model: what is not a known term is said to be unknown. */
export class Terms {
  readonly #rows = new Map<string, { telling: MatchedTerm[]; common: MatchedTerm[] }>();

  /** @param terms what to find, words with one blank between them, the row of each, and whether so many POIs have it that it tells little */
  constructor(terms: Iterable<{ field: string; term: string; row: number; common?: boolean }>) {
    for (const { field, term, row, common } of terms) {
      // Bundles of before kept accents.
      const key = wordsOf(term).join(' ');
      let known = this.#rows.get(key);
      if (known === undefined) {
        known = { telling: [], common: [] };
        this.#rows.set(key, known);
      }
      known[common === true ? 'common' : 'telling'].push({ field, text: term, row });
    }
  }

  match(text: string): TermMatches {
    const found: TermMatches = { matched: [], common: [], unmatched: [] };
    const take = (term: string): boolean => {
      const known = this.#rows.get(term);
      if (known === undefined) return false;
      if (known.telling.length > 0) found.matched.push(...known.telling);
      else found.common.push(...known.common);
      return true;
    };
    const units = unitsOf(text);
    for (let at = 0; at < units.length; ) {
      const length = longest(units.slice(at, at + PHRASE_WORDS), take);
      if (length > 0) {
        at += length;
        continue;
      }
      const unit = units[at++]!;
      found.unmatched.push(...(unit.length === 1 ? inside(unit[0]!, take) : parts(unit, take)));
    }
    return found;
  }
}

/** Takes the longest known phrase that some words begin with; returns of how many units it is, 0 for none. */
function longest(units: readonly (readonly string[])[], take: (term: string) => boolean): number {
  for (let length = units.length; length > 0; length--) {
    const words = units.slice(0, length).flat();
    if (words.length <= PHRASE_WORDS && take(words.join(' '))) return length;
  }
  return 0;
}

/** Takes the terms in a word with hyphens that is not known as a whole; returns what is not known of it. A letter alone is no word of its own. */
function parts(unit: readonly string[], take: (term: string) => boolean): string[] {
  const unknown: string[] = [];
  let known = false;
  for (let at = 0; at < unit.length; ) {
    const rest = unit.slice(at, at + PHRASE_WORDS).map((word) => [word]);
    const length = [...unit[at]!].length === 1 ? 0 : longest(rest, take);
    known ||= length > 0;
    if (length === 0) unknown.push(unit[at]!);
    at += Math.max(1, length);
  }
  return known ? unknown : [unit.join('-')];
}

/** Takes the terms inside a run of Han characters; returns what is between them, and any other word as it is. */
function inside(run: string, take: (term: string) => boolean): string[] {
  if (!isHan(run)) return [run];
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
