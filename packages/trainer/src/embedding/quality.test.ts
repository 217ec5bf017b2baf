import { expect, it } from 'vitest';
import { draws } from '../language-model/draws.js';
import type { Chooser } from './later-choices.js';
import type { Material } from './material.js';
import { measureQuality } from './quality.js';
import { retrieval } from './retrieval.js';
import type { TextEmbedder } from './text-embedder.js';

const DIMENSION = 16;
const POIS = 120;
const USERS = 150;

/** Users who click POIs of their taste, one of two, in both parts; half of what they take later they clicked before. */
function later() {
  const next = draws(5, 'choices');
  const below = (n: number) => Math.floor(next() * n);
  const taste = (poi: number) => poi % 2;
  const choosers: Chooser[] = [];
  const choices: Material['choices'] = [];
  for (let user = 0; user < USERS; user++) {
    const liked = Array.from({ length: 7 }, () => 2 * below(POIS / 2) + (user % 2));
    const pois = [...new Set(liked)];
    const positive = user < USERS / 2 ? pois[0]! : pois.pop()!;
    choosers.push({
      user,
      clicked: pois.map((poi) => ({ poi, times: 1 + below(2) })),
      taken: new Set([...pois, positive]),
    });
    const negatives = Array.from({ length: POIS }, (_, poi) => poi).filter((poi) => !liked.includes(poi));
    choices.push({ user, positives: [positive], negatives });
  }
  return { choosers, choices, taste };
}

const { choosers, choices, taste } = later();
const number = (value: number) => Int32Array.of(value);
const all = (n: number, from = 0) => Array.from({ length: n }, (_, i) => number(from + i));
const material = {
  texts: {
    poi: { all: all(POIS), business: [], basic: [], placeless: [] },
    user: { all: all(USERS, 1000), profile: [], behaviour: [], placeless: [] },
    dishes: [],
    truncated: 0,
  },
  facts: { city: null, attributes: null },
  heldOutPois: new Uint8Array(POIS),
  heldOutUsers: new Uint8Array(USERS),
  heldOutDishes: new Uint8Array(0),
  pairs: { user: new Int32Array(0), poi: new Int32Array(0) },
  choices,
  choosers,
  choicePois: Array.from({ length: POIS }, (_, poi) => poi),
} satisfies Material;

/** Noise that a number decides, and `strength` of the taste of a POI; users' texts are noise. */
const embedder = (strength: number): TextEmbedder => ({
  dimension: DIMENSION,
  similarity: 'cosine',
  contextLength: 8,
  phrase: () => '',
  tokens: () => ({ ids: number(0), truncated: false }),
  embed: async (sequences) =>
    Float32Array.from(
      sequences.flatMap(([id]) => {
        const next = draws(9, 'vector', id!);
        return Array.from({ length: DIMENSION }, (_, d) =>
          d === 0 && id! < 1000 ? strength * (taste(id!) ? 1 : -1) : next() - 0.5,
        );
      }),
    ),
  dispose: () => {},
});

it('later choices are told by the vectors of other POIs that were clicked: vectors without meaning do not find themselves', async () => {
  const measure = async (strength: number) =>
    (await measureQuality(embedder(strength), material, undefined, { probing: false })).withinCity;
  const { behaviour: blind, text } = await measure(0);
  expect(blind!.choices).toBe(USERS);
  expect(blind!.error).toBeGreaterThan(0.01);
  expect(blind!.error).toBeLessThan(0.04);
  expect(Math.abs(blind!.auc - 0.5)).toBeLessThan(3 * blind!.error);
  expect(Math.abs(text!.auc - 0.5)).toBeLessThan(3 * text!.error);
  // Of the others about half share the taste.
  const { behaviour: seeing } = await measure(5);
  expect(seeing!.auc).toBeGreaterThan(0.65);
});

it('users are looked up among all held-out POIs that they are not known to have taken', async () => {
  const { userPoi } = await measureQuality(embedder(0), material, undefined, { probing: false });
  expect(userPoi!.candidates).toBe(POIS);
  expect(userPoi!.recallAt10).toBeGreaterThan(0.01);
  expect(userPoi!.recallAt10).toBeLessThan(0.2);
});

it('vectors that are no numbers find nothing', async () => {
  const lost = new Float32Array(POIS * DIMENSION).fill(Number.NaN);
  const { recallAt1, recallAt10, mrr } = retrieval(lost, lost, DIMENSION, 'cosine');
  expect([recallAt1, recallAt10]).toEqual([0, 0]);
  expect(mrr).toBeCloseTo(1 / POIS, 6);
  // One text whose vector is lost is looked for in vain, and in nobody's way.
  const noise = Float32Array.from({ length: POIS * DIMENSION }, (_, i) => Math.sin(i * i));
  const one = noise.slice().fill(Number.NaN, 0, DIMENSION);
  expect(retrieval(one, one, DIMENSION, 'cosine').recallAt1).toBeCloseTo((POIS - 1) / POIS, 6);
  const { userPoi } = await measureQuality(
    { ...embedder(0), embed: async (sequences) => new Float32Array(sequences.length * DIMENSION).fill(Number.NaN) },
    material,
    undefined,
    { probing: false },
  );
  expect(userPoi!.recallAt10).toBe(0);
});
