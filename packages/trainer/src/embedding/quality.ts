import { noGrad, tensor, tidy } from '@larr/torch';
import type { Material } from './material.js';
import { linearProbe } from './probe.js';
import { choiceAuc, type RetrievalMetrics, retrieval } from './retrieval.js';
import type { TextEmbedder } from './text-embedder.js';

/** How good the vectors are, on what stage 2 never saw; null where the dataset has no such texts, pairs or controls. */
export interface EmbeddingQuality {
  /** Menu → introduction among held-out POIs. */
  poiPoi: RetrievalMetrics | null;
  /** Profile → behaviour among held-out users. */
  userUser: RetrievalMetrics | null;
  /** Users' later choices among held-out POIs of one city (of all held-out POIs where cities are unknown). */
  withinCityAuc: number | null;
  /** Its standard error over choices: a day has few, so it is not small. */
  withinCityError: number | null;
  choices: number;
  /** R² of a whitened linear probe of the world's true dish attributes, on held-out POIs. */
  probe: number | null;
}

/** Measures the vectors on held-out POIs and users. */
export async function measureQuality(
  embedder: TextEmbedder,
  material: Material,
  signal: AbortSignal | undefined,
  { probing }: { probing: boolean },
): Promise<EmbeddingQuality> {
  const { texts, facts, heldOutPois, heldOutUsers, choices, choiceUsers, choicePois } = material;
  const { dimension } = embedder;
  const embed = (all: Int32Array[], side: 'a' | 'b' = 'a') =>
    side === 'b' && embedder.embedOther !== undefined
      ? embedder.embedOther(all, { signal })
      : embedder.embed(all, { signal });
  const lookUp = async (
    a: readonly (Int32Array | null)[],
    b: readonly (Int32Array | null)[],
    mask: Uint8Array,
  ): Promise<RetrievalMetrics | null> => {
    const rows = [...mask.keys()].filter((i) => mask[i] && a[i] && b[i]);
    if (rows.length < 2) return null;
    return retrieval(
      await embed(rows.map((i) => a[i]!)),
      await embed(
        rows.map((i) => b[i]!),
        'b',
      ),
      dimension,
      embedder.similarity,
    );
  };
  const heldOut = await embed(
    choicePois.map((poi) => texts.poi.all[poi]!),
    'b',
  );
  const users = await embed(choiceUsers.map((user) => texts.user.all[user]!));
  const within = choiceAuc(users, heldOut, dimension, choices, embedder.similarity);
  let probe: number | null = null;
  if (probing && facts.attributes !== null) {
    const rows = texts.poi.all.flatMap((ids, i) => (ids === null ? [] : [i]));
    const { values, width } = facts.attributes;
    const targets = Float32Array.from(rows.flatMap((i) => Array.from(values.subarray(i * width, (i + 1) * width))));
    probe = linearProbe(
      await embed(rows.map((i) => texts.poi.all[i]!)),
      dimension,
      targets,
      width,
      rows.map((i) => !heldOutPois[i]),
    );
  }
  return {
    poiPoi: await lookUp(texts.poi.business, texts.poi.basic, heldOutPois),
    userUser: await lookUp(texts.user.profile, texts.user.behaviour, heldOutUsers),
    withinCityAuc: within?.auc ?? null,
    withinCityError: within?.error ?? null,
    choices: choices.length,
    probe,
  };
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
