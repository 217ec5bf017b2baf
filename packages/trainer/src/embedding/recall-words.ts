// A question looked up in POIs' texts instead of read by a language model.
import { isHan, type KeywordText, PHRASE_WORDS, UsageError, wordsOf } from '@larr/core';
import { COMMON_SHARE, FEWEST_POIS, LARGEST_SHARE, notePhrases, phrasesIn } from './phrase-index.js';
import { meanOf, type PoiSpace, unit } from './poi-space.js';

/**
 * English words that say how others belong together: a POI whose text has one is like no other for it. Longer phrases may hold them. Of most
 * such words, in any language, the catalogue itself tells (`areOfAllSorts`); these are too rare in short texts, or go with one kind of text.
 */
const FUNCTION_WORDS = new Set(
  `a an the this that these those some any each every all no not
  i me my we us our you your he him his she her it its they them their who whom whose which what when where why how
  am is are was were be been being do does did have has had can could will would shall should may might must
  and or but nor so if than then because while as
  in on at by to of off for from with without into onto over under up down out about around between near through during after before until
  there here very too also just only something anything nothing someone please`.split(/\s+/),
);

/** Chinese characters that do the same, simplified and traditional, and that hardly a word of two characters begins or ends with. */
const PARTICLES = new Set('的了吗嗎啊呀么麼您她它这這那哪很也就还還是');
/** Others that tell nothing by themselves, but begin or end words that do: 酒吧 (bar), 吉他 (guitar), 迷你 (mini), 著名 (famous). */
const PARTICLES_IN_WORDS = new Set('我你他们們吧呢想请請着著');

/** The longest piece of a run of Han characters that is looked up. */
const HAN_CHARACTERS = 6;

/** From so many POIs on, and below this mean cosine of any two of them, a phrase is of POIs of all sorts: less than what tells is what chance does. */
const ENOUGH_POIS = 20;
const HARDLY_ALIKE = 0.02;

/** A phrase of the question, and in how many POIs' texts it is. */
export interface KnownWords {
  text: string;
  pois: number;
}

export interface WordQuestion {
  /** [dimension], of length 1 */
  vector: Float32Array;
  known: KnownWords[];
  /** phrases of POIs of all sorts, which tell little: looked for only where nothing else is known, and then they are `known` */
  little: KnownWords[];
  /** words of too many POIs: looked for where neither the others nor those of `little` are known, and then they are `known`, as a server has it */
  common: KnownWords[];
  /** words that no POI's text has, or hardly one */
  unknown: string[];
}

/**
 * What POIs have in common whose texts have the words of a question: the mean vector of the POIs that have a phrase, whichever keyword it is
 * in, summed over the longest known phrases, each once and of length 1. The vector finds POIs that are *like* those, whatever words their own
 * texts use. Function words are left out: those of a list, and in any language those whose POIs are hardly more alike than any two are.
 * @param parts the question's texts, a free one and keywords: no phrase spans two of them
 * @throws UsageError `NOTHING_KNOWN` where no word tells anything
 */
export function questionByWords(
  parts: readonly string[],
  texts: readonly (readonly KeywordText[])[],
  space: PoiSpace,
): WordQuestion {
  const cut = parts.map(wordsOf);
  const having = poisHaving(new Set(cut.flatMap((words) => [...phrasesIn(words), ...hanPiecesOf(words)])), texts);
  const described = texts.filter((keywords) => keywords.length > 0).length;
  const most = LARGEST_SHARE * described;
  const known = new Map<string, KnownWords>();
  const little = new Map<string, KnownWords>();
  const common = new Map<string, KnownWords>();
  const unknown = new Set<string>();
  const tellsLittle = (word: string): boolean => areOfAllSorts(having.get(word) ?? [], space);
  /** Whether the phrase is in POIs' texts, one of several words not in too many; the first time it is noted. */
  const take = (phrase: string): boolean => {
    if (known.has(phrase) || little.has(phrase) || common.has(phrase)) return true;
    const own = phrase.split(' ');
    if (own.length === 1 && isFunctionWord(phrase)) return false;
    const [first, last] = [own[0]!, own.at(-1)!];
    if (own.length > 1) {
      // "hot and" and "hot mit" say no more than "hot", and "sushi sushi" no more than "sushi"
      if (isFunctionWord(first) || isFunctionWord(last) || new Set(own).size === 1) return false;
      if (tellsLittle(first) !== tellsLittle(last)) return false;
    }
    const pois = having.get(phrase) ?? [];
    if (pois.length < FEWEST_POIS) return false;
    if (pois.length > most) {
      // of phrases of such words it is enough to know the words
      if (own.length > 1) return false;
      common.set(phrase, { text: phrase, pois: pois.length });
      return true;
    }
    (areOfAllSorts(pois, space) ? little : known).set(phrase, { text: phrase, pois: pois.length });
    return true;
  };
  for (const words of cut) {
    for (let at = 0; at < words.length; ) {
      let length = Math.min(PHRASE_WORDS, words.length - at);
      while (length > 0 && !take(words.slice(at, at + length).join(' '))) length--;
      if (length === 0) {
        const word = words[at]!;
        for (const rest of isHan(word) ? insideRun(word, take) : [word]) if (!isFunctionWord(rest)) unknown.add(rest);
      }
      at += Math.max(1, length);
    }
  }
  if (known.size === 0) {
    for (const [phrase, one] of little) known.set(phrase, one);
    little.clear();
  }
  if (known.size === 0) {
    for (const [phrase, one] of common) {
      if (one.pois > COMMON_SHARE * described) continue;
      known.set(phrase, one);
      common.delete(phrase);
    }
  }
  if (known.size === 0) {
    const percent = (share: number) => `${Math.round(100 * share)} %`;
    const why = [
      ...(unknown.size === 0 ? [] : [`fewer than ${FEWEST_POIS} POIs' texts have ${[...unknown].join(', ')}`]),
      ...[...common.values()].map(
        ({ text, pois }) => `${percent(pois / described)} of them have ${text}, more than ${percent(COMMON_SHARE)}`,
      ),
    ];
    throw new UsageError(
      'NOTHING_KNOWN',
      `no word of "${parts.join(' ')}" tells POIs apart: ${why.length === 0 ? 'they only say how others belong together' : why.join('; ')}. Use words of POIs' texts, or --by model`,
    );
  }
  const vector = new Float32Array(space.dimension);
  for (const phrase of known.keys())
    meanOf(space, having.get(phrase)!).forEach((x, i) => {
      vector[i]! += x;
    });
  return {
    vector: unit(vector),
    known: [...known.values()],
    little: [...little.values()],
    common: [...common.values()],
    unknown: [...unknown],
  };
}

/** Whether a word only says how others belong together: one of the list, a letter of hiragana, as が and の are, or Chinese particles. */
function isFunctionWord(word: string): boolean {
  if (FUNCTION_WORDS.has(word) || /^\p{Script=Hiragana}$/u.test(word)) return true;
  return isHan(word) && [...word].every((character) => PARTICLES.has(character) || PARTICLES_IN_WORDS.has(character));
}

/** Whether POIs are hardly more alike than any two are, whose mean cosine is 0: the phrase that they share, "on" or "mit" or "loved by all", tells nothing. */
function areOfAllSorts(pois: readonly number[], { vectors, dimension }: PoiSpace): boolean {
  const n = pois.length;
  if (n < ENOUGH_POIS) return false;
  const sum = new Float64Array(dimension);
  for (const poi of pois) for (let i = 0; i < dimension; i++) sum[i]! += vectors[poi * dimension + i]!;
  // ‖Σ v‖² = n + Σ over pairs of their cosines, each pair twice
  const square = sum.reduce((all, x) => all + x * x, 0);
  return (square - n) / (n * (n - 1)) < HARDLY_ALIKE;
}

/** Every piece of three and more characters of runs of Han characters, up to `HAN_CHARACTERS` long: pairs are among phrases already. */
function hanPiecesOf(words: readonly string[]): string[] {
  return words.filter(isHan).flatMap((run) => {
    const characters = [...run];
    return characters.flatMap((_, at) =>
      Array.from({ length: Math.max(0, Math.min(HAN_CHARACTERS, characters.length - at) - 2) }, (_, more) =>
        characters.slice(at, at + 3 + more).join(''),
      ),
    );
  });
}

/**
 * Takes the known pieces of a run of Han characters that is not known as a whole, but for those inside longer ones; returns what is not known of it.
 * Pieces may overlap: no dictionary says where a word ends. None begins or ends with one of `PARTICLES`.
 */
function insideRun(run: string, take: (piece: string) => boolean): string[] {
  const characters = [...run];
  const taken: { from: number; to: number }[] = [];
  for (let length = Math.min(HAN_CHARACTERS, characters.length); length >= 2; length--)
    for (let from = 0; from + length <= characters.length; from++) {
      const to = from + length;
      if (PARTICLES.has(characters[from]!) || PARTICLES.has(characters[to - 1]!)) continue;
      if (taken.some((one) => one.from <= from && to <= one.to)) continue;
      if (take(characters.slice(from, to).join(''))) taken.push({ from, to });
    }
  const rest = characters.map((one, at) =>
    taken.some(({ from, to }) => from <= at && at < to) || PARTICLES.has(one) ? ' ' : one,
  );
  return rest
    .join('')
    .split(' ')
    .filter((piece) => piece !== '');
}

/** For each wanted phrase the POIs with a text that has it, in order. */
function poisHaving(wanted: ReadonlySet<string>, texts: readonly (readonly KeywordText[])[]): Map<string, number[]> {
  const having = new Map<string, number[]>();
  texts.forEach((keywords, poi) => {
    for (const { text } of keywords) {
      const words = wordsOf(text);
      notePhrases(
        having,
        poi,
        [...phrasesIn(words), ...hanPiecesOf(words)].filter((phrase) => wanted.has(phrase)),
      );
    }
  });
  return having;
}
