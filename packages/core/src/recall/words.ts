/** Most words of a phrase that recall knows as one. */
export const PHRASE_WORDS = 3;

/** Words that hyphens join are one unit: the hyphen, or the two that other keyboards and programs write for it. */
const UNITS =
  /\p{Script=Han}+|(?:(?!\p{Script=Han})[\p{L}\p{N}\p{M}])+(?:[-\u2010\u2011](?:(?!\p{Script=Han})[\p{L}\p{N}\p{M}])+)*/gu;

const HYPHEN = /[-\u2010\u2011]/;

/** Other scripts that are written without blanks, with the long vowel of kana and marks: their words are found by a dictionary. */
const WITHOUT_BLANKS =
  /((?:(?!\p{N})[\p{scx=Hiragana}\p{scx=Katakana}\p{Script=Thai}\p{Script=Lao}\p{Script=Khmer}\p{Script=Myanmar}]\p{M}*)+)/u;
const dictionary = new Intl.Segmenter('und', { granularity: 'word' });

/**
 * A unit's stretches of such letters word by word, and what is between them as other units are: the dictionary would take digits or Latin
 * letters beside a word for its part.
 */
function cut(unit: string): string[][] {
  // `split` puts what the expression found at the odd places
  return unit.split(WITHOUT_BLANKS).flatMap((stretch, i) => {
    if (i % 2 === 1) return wordsInRun(stretch);
    const words = stretch.split(HYPHEN).filter((word) => word !== '');
    return words.length === 0 ? [] : [words];
  });
}

/** A run of such letters, word by word. */
function wordsInRun(run: string): string[][] {
  // Compatibility forms take these vowels apart, and the dictionary has them whole.
  const whole = run.replaceAll('\u0e4d\u0e32', '\u0e33').replaceAll('\u0ecd\u0eb2', '\u0eb3');
  return [...dictionary.segment(whole)].flatMap(({ segment, isWordLike }) => (isWordLike ? [[segment]] : []));
}

/**
 * The words of a text as recall compares them: letters and digits in one writing (NFKC, lower case, without accents). Words that were
 * written with hyphens between them come together. A run of Han characters, which are written without blanks, is one word; other letters
 * beside it are another. Kana, Thai, Lao, Khmer and Burmese, written without blanks too, are cut by ICU's dictionaries.
 */
export function unitsOf(text: string): string[][] {
  const plain = text
    .normalize('NFKD')
    .replace(/[\u0300-\u036f]/g, '')
    .normalize('NFKC')
    .toLowerCase();
  return (plain.match(UNITS) ?? []).flatMap(cut);
}

/** The same, word by word. */
export function wordsOf(text: string): string[] {
  return unitsOf(text).flat();
}

/** Whether a word is of Han characters, so that terms may be parts of it. */
export function isHan(word: string): boolean {
  return /^\p{Script=Han}/u.test(word);
}

/** Every phrase of up to `PHRASE_WORDS` words that follow each other, words joined by one blank. */
export function phrasesOf(words: readonly string[]): string[] {
  return words.flatMap((_, from) =>
    Array.from({ length: Math.min(PHRASE_WORDS, words.length - from) }, (_, more) =>
      words.slice(from, from + 1 + more).join(' '),
    ),
  );
}

/** Every two characters that follow each other in runs of Han characters: what a shorter word inside a longer one is found by. */
export function hanPairsOf(words: readonly string[]): string[] {
  return words.filter(isHan).flatMap((run) => {
    const characters = [...run];
    return characters.slice(1).map((second, i) => `${characters[i]}${second}`);
  });
}
