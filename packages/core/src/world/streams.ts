/** One number per independent use of randomness; each is opened with `new Random(seed, STREAM.x, index)`. */
export const STREAM = {
  weather: 1,
  restaurant: 2,
  person: 3,
  session: 4,
  schedule: 5,
  pilot: 6,
  words: 7,
  corpus: 8,
  place: 9,
  answer: 10,
  replay: 11,
  replayAnswer: 12,
} as const;
