// Columns of two values, in whatever words, and which of the two says that something happened.
import { labelWords } from '../prepare/sql-values.js';

/** Words for yes and no in the languages that logs are written in, in lower case and without accents. */
const yes = new Set<string>([
  ...labelWords.yes,
  ...['ja', 'j', 'wahr', 'oui', 'vrai', 'si', 'verdadero', 'vero', 'sim', 'verdadeiro', 'da', 'tak', 'on'],
  ...['是', '有', '对', '對', '真', 'はい', '예', 'да'],
]);
const no = new Set<string>([
  ...labelWords.no,
  ...['nein', 'falsch', 'non', 'faux', 'falso', 'nao', 'ne', 'nie', 'nee', 'off'],
  ...['否', '无', '無', '没有', '不是', '不', '假', 'いいえ', '아니요', 'нет'],
]);

/** The two values of a column, and the one that stands for what happened. */
export interface TwoValues {
  values: readonly [string, string];
  /** By their words: one is a yes and the other a no, or the other with a "not" before it. Null where they do not say. */
  positive: string | null;
  /** `prepare` reads them as they are: 0 and 1, true and false, yes and no. */
  plain: boolean;
}

/** @param values all of a column that has one in every row */
export function twoValues(values: readonly string[]): TwoValues | null {
  const [a, b, ...more] = new Map(values.map((value) => [value.toLowerCase(), value])).values();
  if (a === undefined || b === undefined || more.length > 0) return null;
  const positive = says(a, b) ? a : says(b, a) ? b : null;
  const plain =
    positive !== null &&
    (labelWords.yes as readonly string[]).includes(positive.toLowerCase()) &&
    (labelWords.no as readonly string[]).includes((positive === a ? b : a).toLowerCase());
  return { values: [a, b], positive, plain };
}

function says(positive: string, other: string): boolean {
  const [p, n] = [wordOf(positive), wordOf(other)];
  return (yes.has(p) && no.has(n)) || (n.endsWith(p) && negation.test(n.slice(0, n.length - p.length)));
}

/** "not clicked", "nicht geklickt", "no_click", "unclicked", "未点击" */
const negation = /^((not|no|non|nicht|kein|keine|keinen|pas|sin|un)[\s_-]*|未|没有|没|不|无)$/;

/** In lower case and without accents. */
function wordOf(value: string): string {
  return value.trim().toLowerCase().normalize('NFKD').replace(/\p{M}/gu, '').normalize('NFC');
}
