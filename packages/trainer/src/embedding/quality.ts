import { noGrad, tensor, tidy } from '@larr/torch';
import type { Material } from './material.js';
import { linearProbe } from './probe.js';
import {
  type ChoiceMetrics,
  choiceAuc,
  type RetrievalMetrics,
  retrieval,
  retrievalMetrics,
  similarities,
} from './retrieval.js';
import type { TextEmbedder } from './text-embedder.js';

/** How good the vectors are, on what stage 2 never saw; null where the dataset has no such texts, pairs or controls. */
export interface EmbeddingQuality {
  /** Business text → basic information among held-out POIs. */
  poiPoi: RetrievalMetrics | null;
  /** Profile → behaviour among held-out users. */
  userUser: RetrievalMetrics | null;
  /** User's text → a POI taken later, among the held-out ones; those of the user's own place are easier to tell by the place. */
  userPoi: RetrievalMetrics | null;
  /** Dish → description among held-out dishes. */
  dish: RetrievalMetrics | null;
  /** Users' later choices among held-out POIs of one city (of all held-out POIs where cities are unknown). */
  withinCity: WithinCity;
  /** R² of a whitened linear probe of the world's true dish attributes, on held-out POIs. */
  probe: number | null;
}

/** Later choices as a user's two vectors tell them. */
export interface WithinCity {
  /**
   * By the mean vector of the POIs clicked in the train part, each as often as it was clicked: what stage 3 is given. The POI that is
   * asked for is left out of the mean, else a vector would find itself.
   */
  behaviour: ChoiceMetrics | null;
  /** By the vector of the user's text. */
  text: ChoiceMetrics | null;
}

/** Two texts of one item, which is a POI, a user or a dish by its number. */
interface Both {
  item: number;
  a: Int32Array;
  b: Int32Array;
}

/** Measures the vectors on held-out POIs, users and dishes. */
export async function measureQuality(
  embedder: TextEmbedder,
  material: Material,
  signal: AbortSignal | undefined,
  { probing }: { probing: boolean },
): Promise<EmbeddingQuality> {
  const { texts, facts, heldOutPois, heldOutUsers, heldOutDishes, choosers, choicePois } = material;
  const { dimension } = embedder;
  const embed = (all: Int32Array[], name: (row: number) => string, side: 'a' | 'b' = 'a') =>
    side === 'b' && embedder.embedOther !== undefined
      ? embedder.embedOther(all, { signal, name })
      : embedder.embed(all, { signal, name });
  const lookUp = async (rows: readonly Both[], what: string): Promise<RetrievalMetrics | null> => {
    if (rows.length < 2) return null;
    const name = (row: number) => `a text of ${what} number ${rows[row]!.item}`;
    const a = await embed(
      rows.map((row) => row.a),
      name,
    );
    const b = await embed(
      rows.map((row) => row.b),
      name,
      'b',
    );
    return retrieval(a, b, dimension, embedder.similarity);
  };
  const both = (a: readonly (Int32Array | null)[], b: readonly (Int32Array | null)[], mask: Uint8Array): Both[] =>
    [...mask.keys()].flatMap((i) => (mask[i] && a[i] && b[i] ? [{ item: i, a: a[i], b: b[i] }] : []));
  // One description of each dish.
  const dishes = [
    ...new Map(
      texts.dishes.flatMap(({ dish, description, group }): [number, Both][] =>
        heldOutDishes[group] ? [[group, { item: group, a: dish, b: description }]] : [],
      ),
    ).values(),
  ];
  const probes = probing && facts.attributes !== null;
  const clicked = choosers.flatMap(({ clicked }) => clicked.map(({ poi }) => poi));
  const wanted = probes ? texts.poi.all.map((_, poi) => poi) : [...new Set([...clicked, ...choicePois])];
  const pois = wanted.filter((poi) => texts.poi.all[poi] !== null);
  const vectors = await embed(
    pois.map((poi) => texts.poi.all[poi]!),
    (row) => `the text of POI number ${pois[row]}`,
  );
  const rowOf = new Map(pois.map((poi, row) => [poi, row]));
  const vectorOf = (poi: number): Float32Array | null => {
    const row = rowOf.get(poi);
    return row === undefined ? null : vectors.subarray(row * dimension, (row + 1) * dimension);
  };
  const candidates = choicePois.map((poi) => texts.poi.all[poi]!);
  const users = await scoresOf(
    await embed(
      choosers.map(({ user }) => texts.user.all[user]!),
      (row) => `the text of user number ${choosers[row]!.user}`,
    ),
    embedder.embedOther === undefined
      ? null
      : await embed(candidates, (row) => `the text of POI number ${choicePois[row]}`, 'b'),
  );
  return {
    poiPoi: await lookUp(both(texts.poi.business, texts.poi.basic, heldOutPois), 'POI'),
    userUser: await lookUp(both(texts.user.profile, texts.user.behaviour, heldOutUsers), 'user'),
    userPoi: userPoiRetrieval(material, users),
    dish: await lookUp(dishes, 'dish'),
    withinCity: {
      behaviour: behaviourAuc(material, embedder, vectorOf),
      text: choiceAuc(material.choices, (choice, i) => ({
        positive: users(choice.user, choice.positives[i]!),
        negatives: choice.negatives.map((poi) => users(choice.user, poi)),
      })),
    },
    probe: probes ? probeOf(facts.attributes!) : null,
  };

  /** Similarity of each chooser to each candidate, by rows. */
  async function scoresOf(own: Float32Array, other: Float32Array | null) {
    const m = choicePois.length;
    if (own.length === 0 || m === 0) return () => 0;
    const rows = other ?? Float32Array.from(choicePois.flatMap((poi) => Array.from(vectorOf(poi)!)));
    const scores = noGrad(() =>
      tidy(() =>
        similarities(
          tensor(own, [own.length / dimension, dimension]),
          tensor(rows, [m, dimension]),
          embedder.similarity,
        ).toFloat32Array(),
      ),
    );
    return (user: number, poi: number) => scores[user * m + poi]!;
  }

  function probeOf({ values, width }: NonNullable<typeof facts.attributes>): number {
    const targets = Float32Array.from(pois.flatMap((i) => Array.from(values.subarray(i * width, (i + 1) * width))));
    return linearProbe(
      vectors,
      dimension,
      targets,
      width,
      pois.map((i) => !heldOutPois[i]),
    );
  }
}

/** Each later choice among all held-out POIs that the user is not known to have taken, and itself. */
function userPoiRetrieval(
  { choices, choosers, choicePois }: Material,
  score: (user: number, poi: number) => number,
): RetrievalMetrics | null {
  const ranks = choices.flatMap(({ user, positives }) =>
    positives.map((positive) => {
      const own = score(user, positive);
      if (Number.isNaN(own)) return choicePois.length;
      let rank = 1;
      for (let poi = 0; poi < choicePois.length; poi++) {
        if (choosers[user]!.taken.has(poi)) continue;
        const other = score(user, poi);
        rank += other > own ? 1 : other === own ? 0.5 : 0;
      }
      return rank;
    }),
  );
  return ranks.length < 2 ? null : retrievalMetrics(ranks, choicePois.length);
}

function behaviourAuc(
  { choices, choosers, choicePois }: Material,
  { dimension, similarity }: TextEmbedder,
  vectorOf: (poi: number) => Float32Array | null,
): ChoiceMetrics | null {
  const sums = choosers.map(({ clicked }) => {
    const sum = new Float64Array(dimension);
    let times = 0;
    for (const one of clicked) {
      const vector = vectorOf(one.poi);
      if (vector === null) continue;
      times += one.times;
      for (let d = 0; d < dimension; d++) sum[d]! += one.times * vector[d]!;
    }
    return { sum, times };
  });
  return choiceAuc(choices, ({ user, positives, negatives }, i) => {
    const poi = choicePois[positives[i]!]!;
    const own = vectorOf(poi)!;
    const again = choosers[user]!.clicked.find((one) => one.poi === poi)?.times ?? 0;
    const { sum, times } = sums[user]!;
    if (times <= again) return null;
    const mean = Float64Array.from(sum, (value, d) => (value - again * own[d]!) / (times - again));
    const score = (of: Float32Array) => rowSimilarity(mean, of, similarity);
    return { positive: score(own), negatives: negatives.map((row) => score(vectorOf(choicePois[row]!)!)) };
  });
}

/** As `similarities`, of one row each. */
function rowSimilarity(a: Float64Array, b: Float32Array, similarity: TextEmbedder['similarity']): number {
  let product = 0;
  let squareA = 0;
  let squareB = 0;
  for (let d = 0; d < a.length; d++) {
    product += a[d]! * b[d]!;
    squareA += a[d]! ** 2;
    squareB += b[d]! ** 2;
  }
  if (similarity === 'cosine') return product / Math.sqrt(Math.max(squareA * squareB, 1e-24));
  return similarity === 'dot' ? product : 2 * product - squareA - squareB;
}

/** Vectors have collapsed when POIs, whose texts all differ, nearly coincide: mean cosine above this. */
const COLLAPSE = 0.98;

/** An alarm in words where the vectors have collapsed. */
export async function collapsed(
  embedder: TextEmbedder,
  { texts, choicePois }: Material,
  signal: AbortSignal | undefined,
): Promise<string[]> {
  const some = choicePois.slice(0, 256).map((poi) => texts.poi.all[poi]!);
  if (some.length < 2) return [];
  const vectors = await embedder.embed(some, { signal });
  const n = some.length;
  const mean = noGrad(() =>
    tidy(() => {
      const unit = tensor(vectors, [n, vectors.length / n]).normalize(1);
      return (unit.sum([0]).square().sum().item() - n) / (n * (n - 1));
    }),
  );
  return mean > COLLAPSE
    ? [
        `the vectors have collapsed: the mean cosine between POIs is ${mean.toFixed(3)}. Lower the learning rate or raise the temperature.`,
      ]
    : [];
}
