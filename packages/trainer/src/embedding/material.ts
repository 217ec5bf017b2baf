// What stage 2 learns from and is judged on: texts, who is held out, users' later choices, and sources of pairs.
import type { Dataset } from '@larr/core';
import { draws, shuffled } from '../language-model/draws.js';
import { type PoiFacts, readPoiFacts } from './attributes.js';
import type { FinetuneConfig } from './config.js';
import { type LaterChoices, laterChoices } from './later-choices.js';
import { itemPairs, type PairKind, type PairSource, type StageTexts, stageTexts, userPoiPairs } from './pairs.js';
import type { TextEmbedder } from './text-embedder.js';

/** The four kinds' token texts, and who is held out of which. */
export interface Material extends LaterChoices {
  texts: StageTexts;
  facts: PoiFacts;
  heldOutPois: Uint8Array;
  heldOutUsers: Uint8Array;
  /** By group: a dish with all its descriptions. */
  heldOutDishes: Uint8Array;
  pairs: { user: Int32Array; poi: Int32Array };
}

/** Encodes a dataset's texts and chooses who is held out; the seed decides both choices. */
export async function gatherMaterial(
  dataset: Dataset,
  directory: string,
  { tokens, contextLength }: Pick<TextEmbedder, 'tokens' | 'contextLength'>,
  config: FinetuneConfig,
  seed: number,
  onNotice: ((message: string) => void) | undefined,
): Promise<Material> {
  const texts = await stageTexts(dataset, directory, tokens);
  if (texts.truncated > 0)
    onNotice?.(`${texts.truncated} texts are longer than the context of ${contextLength} tokens and were cut.`);
  const { pois, users } = dataset.manifest;
  const facts = await readPoiFacts(dataset);
  if (facts.city === null)
    onNotice?.(
      'The schema names no place of POIs ("place": docs/data.md): negatives come from everywhere, and users\' choices are judged among all POIs.',
    );
  const chosen = (n: number, count: number, eligible: (i: number) => boolean, stream: string) => {
    const mask = new Uint8Array(n);
    let left = count;
    for (const i of shuffled(n, draws(seed, stream))) {
      if (left === 0) break;
      if (!eligible(i)) continue;
      mask[i] = 1;
      left--;
    }
    return mask;
  };
  const heldOutPois = chosen(
    pois,
    Math.min(config.heldOutPois, Math.floor(pois / 3)),
    (i) => texts.poi.all[i] !== null,
    'held-out POIs',
  );
  const heldOutUsers = chosen(
    users,
    Math.min(config.heldOutUsers, Math.floor(users / 10)),
    (i) => texts.user.profile[i] !== null && texts.user.behaviour[i] !== null,
    'held-out users',
  );
  const dishes = texts.dishes.reduce((most, { group }) => Math.max(most, group + 1), 0);
  const heldOutDishes = chosen(
    dishes,
    Math.min(config.heldOutDishes, Math.floor(dishes / 20)),
    () => true,
    'held-out dishes',
  );
  const pairs = await dataset.pairs();
  const choices = await laterChoices(dataset, {
    heldOut: heldOutPois,
    city: facts.city,
    pairs,
    askable: (user) => texts.user.all[user] != null,
    seed,
  });
  return { texts, facts, heldOutPois, heldOutUsers, heldOutDishes, pairs, ...choices };
}

/** Where batches of each kind come from; kinds without texts or weight are left out, with a notice. */
export function pairSources(
  material: Material,
  config: FinetuneConfig,
  seed: number,
  onNotice: ((message: string) => void) | undefined,
): Map<PairKind, PairSource> {
  const { texts, heldOutPois, heldOutUsers, heldOutDishes, pairs, facts } = material;
  const sources = new Map<PairKind, PairSource>();
  const both = (a: readonly (Int32Array | null)[], b: readonly (Int32Array | null)[], heldOut: Uint8Array) =>
    a.flatMap((own, i) => (own !== null && b[i] && !heldOut[i] ? [{ a: own, b: b[i], group: i }] : []));
  const add = (kind: PairKind, weight: number, source: PairSource | null, missing: string) => {
    if (weight === 0) return;
    if (source === null) onNotice?.(`Stage 2 goes without ${kind} pairs: ${missing}.`);
    else sources.set(kind, source);
  };
  const fromItems = (items: { a: Int32Array; b: Int32Array; group: number }[], stream: string) =>
    items.length < 2 ? null : itemPairs(items, config.batchSize, seed, stream);
  add(
    'poiPoi',
    config.poiPoiWeight,
    fromItems(both(texts.poi.business, texts.poi.basic, heldOutPois), 'POI–POI'),
    'no POIs have business and basic texts',
  );
  add(
    'dish',
    config.dishWeight,
    fromItems(
      texts.dishes.flatMap(({ dish, description, group }) =>
        heldOutDishes[group] ? [] : [{ a: dish, b: description, group }],
      ),
      'dishes',
    ),
    'the dataset has no corpus/dishes.jsonl',
  );
  add(
    'userPoi',
    config.userPoiWeight,
    userPoiPairs(texts, pairs, (i) => !heldOutPois[pairs.poi[i]!], facts.city, {
      size: config.batchSize,
      seed,
      hidePlaceShare: config.hidePlaceShare,
      sameCityShare: config.sameCityShare,
      avoidFalseNegatives: config.maskDuplicates,
    }),
    'no two pairs of a user and a POI with texts go into one batch',
  );
  add(
    'userUser',
    config.userUserWeight,
    fromItems(both(texts.user.profile, texts.user.behaviour, heldOutUsers), 'user–user'),
    'no users have profile and behaviour texts',
  );
  return sources;
}

/** The kind of a step's pairs, in proportion to the weights of the kinds that have joined by then. */
export function drawKind(
  sources: Map<PairKind, PairSource>,
  config: FinetuneConfig,
  step: number,
  seed: number,
): PairKind {
  const weights: Record<PairKind, number> = {
    poiPoi: config.poiPoiWeight,
    dish: config.dishWeight,
    userPoi: config.userPoiWeight,
    userUser: config.userUserWeight,
  };
  const first = step < config.firstShare * config.steps;
  const early = [...sources.keys()].filter((kind) => kind === 'poiPoi' || kind === 'dish');
  const joined = first && early.length > 0 ? early : [...sources.keys()];
  let left = draws(seed, 'kind', step)() * joined.reduce((sum, kind) => sum + weights[kind], 0);
  for (const kind of joined) {
    left -= weights[kind];
    if (left < 0) return kind;
  }
  return joined[joined.length - 1]!;
}
