// A question looked up in POIs' texts instead of read by a language model.
import { hanPairsOf, isHan, type KeywordText, PHRASE_WORDS, UsageError, wordsOf } from '@larr/core';
import { FEWEST_POIS, LARGEST_SHARE, notePhrases, phrasesIn } from './phrase-index.js';
import { meanOf, type PoiSpace, unit } from './poi-space.js';

/** English words that say how others belong together: a POI whose text has one is like no other for it. Longer phrases may hold them. */
const FUNCTION_WORDS = new Set(
  `a an the this that these those some any each every all no not
  i me my we us our you your he him his she her it its they them their who whom whose which what when where why how
  am is are was were be been being do does did have has had can could will would shall should may might must
  and or but nor so if than then because while as
  in on at by to of off for from with without into onto over under up down out about around between near through during after before until
  there here very too also just only something anything nothing someone please`.split(/\s+/),
);

/** A phrase of the question, and in how many POIs' texts it is. */
export interface KnownWords {
  text: string;
  pois: number;
}

export interface WordQuestion {
  /** [dimension], of length 1 */
  vector: Float32Array;
  known: KnownWords[];
  /** words that no POI's text has, hardly one, or too many */
  unknown: string[];
}

/**
 * What POIs have in common whose texts have the words of a question: the mean vector of the POIs that have a phrase, whichever keyword it is
 * in, summed over the longest known phrases, each once and of length 1. The vector finds POIs that are *like* those, whatever words their own
 * texts use.
 * @param parts the question's texts, a free one and keywords: no phrase spans two of them
 * @throws UsageError `NOTHING_KNOWN` where no word tells anything
 */
export function questionByWords(
  parts: readonly string[],
  texts: readonly (readonly KeywordText[])[],
  space: PoiSpace,
): WordQuestion {
  const cut = parts.map(wordsOf);
  const having = poisHaving(new Set(cut.flatMap((words) => [...phrasesIn(words)])), texts);
  const most = LARGEST_SHARE * texts.filter((keywords) => keywords.length > 0).length;
  const known = new Map<string, KnownWords>();
  const unknown = new Set<string>();
  const vector = new Float32Array(space.dimension);
  /** Whether the phrase is known; the first time it is added. */
  const take = (phrase: string): boolean => {
    if (known.has(phrase)) return true;
    const own = phrase.split(' ');
    // "hot and" says no more than "hot", and "sushi sushi" no more than "sushi"
    if (FUNCTION_WORDS.has(own[0]!) || FUNCTION_WORDS.has(own.at(-1)!)) return false;
    if (own.length > 1 && new Set(own).size === 1) return false;
    const pois = having.get(phrase) ?? [];
    if (pois.length < FEWEST_POIS || pois.length > most) return false;
    meanOf(space, pois).forEach((x, i) => {
      vector[i]! += x;
    });
    known.set(phrase, { text: phrase, pois: pois.length });
    return true;
  };
  for (const words of cut) {
    for (let at = 0; at < words.length; ) {
      let length = Math.min(PHRASE_WORDS, words.length - at);
      while (length > 0 && !take(words.slice(at, at + length).join(' '))) length--;
      if (length === 0) {
        const word = words[at]!;
        // A run of Han characters may hold a shorter word that is known.
        const inside = isHan(word) ? hanPairsOf([word]).filter((two) => two !== word && take(two)) : [];
        if (inside.length === 0 && !FUNCTION_WORDS.has(word)) unknown.add(word);
      }
      at += Math.max(1, length);
    }
  }
  if (known.size === 0)
    throw new UsageError(
      'NOTHING_KNOWN',
      `no word of "${parts.join(' ')}" tells POIs apart: hardly any POI's text has it, or nearly all have. Use words of POIs' texts, or --by model`,
    );
  return { vector: unit(vector), known: [...known.values()], unknown: [...unknown] };
}

/** For each wanted phrase the POIs with a text that has it, in order. */
function poisHaving(wanted: ReadonlySet<string>, texts: readonly (readonly KeywordText[])[]): Map<string, number[]> {
  const having = new Map<string, number[]>();
  texts.forEach((keywords, poi) => {
    for (const { text } of keywords)
      notePhrases(
        having,
        poi,
        [...phrasesIn(wordsOf(text))].filter((phrase) => wanted.has(phrase)),
      );
  });
  return having;
}
