// Which POIs' texts have which phrases: what recall by words asks, and what a server's terms are made of.
import { hanPairsOf, phrasesOf } from '@larr/core';

/** A phrase says something about a POI where at least so many have it, and at most this share. */
export const FEWEST_POIS = 2;
export const LARGEST_SHARE = 0.3;
/** What more of them have is common, and looked for where nothing else is known: up to this share they still have something of their own in common. */
export const COMMON_SHARE = 0.9;

/** Each phrase of some words once: up to `PHRASE_WORDS` words that follow each other, and pairs of Han characters. */
export function phrasesIn(words: readonly string[]): Set<string> {
  return new Set([...phrasesOf(words), ...hanPairsOf(words)]);
}

/**
 * Notes that a POI has these phrases. POIs come one after the other, so that each is in a list once, in order.
 * @param having the POIs that have each phrase
 */
export function notePhrases(having: Map<string, number[]>, poi: number, phrases: Iterable<string>): void {
  for (const phrase of phrases) {
    const pois = having.get(phrase);
    if (pois === undefined) having.set(phrase, [poi]);
    else if (pois.at(-1) !== poi) pois.push(poi);
  }
}
