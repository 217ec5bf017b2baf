/** Most words of a phrase that recall knows as one. */
export const PHRASE_WORDS = 3;

/**
 * The words of a text as recall compares them: letters and digits in one writing (NFKC, lower case). A run of Han characters, which are written
 * without blanks, is one word; other letters beside it are another.
 */
export function wordsOf(text: string): string[] {
  return (
    text
      .normalize('NFKC')
      .toLowerCase()
      .match(/\p{Script=Han}+|(?:(?!\p{Script=Han})[\p{L}\p{N}\p{M}])+/gu) ?? []
  );
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
