import { full, noGrad, type Tensor, tensor, tidy, where } from '@larr/torch';
import type { Similarity } from './embedder.js';
import type { Choice } from './later-choices.js';

export interface RetrievalMetrics {
  /** Share of queries whose partner is the nearest, or among the ten nearest, of all candidates. */
  recallAt1: number;
  recallAt10: number;
  /** Mean of 1 / rank. */
  mrr: number;
  candidates: number;
}

/** Similarity of every row of `a` [n, d] to every row of `b` [m, d]: [n, m]. */
export function similarities(a: Tensor, b: Tensor, similarity: Similarity): Tensor {
  if (similarity === 'cosine') return a.normalize(1).matmul(b.normalize(1).transpose(0, 1));
  const product = a.matmul(b.transpose(0, 1));
  if (similarity === 'dot') return product;
  return product
    .mul(2)
    .sub(a.square().sum([1], true))
    .sub(b.square().sum([1], true).transpose(0, 1));
}

/**
 * Looks each row of `a` up among the rows of `b`, its partner being the row of the same number. Ties count half, so that
 * collapsed vectors score as chance does; a partner whose similarity is not a number comes last. a, b: [n, dimension].
 */
export function retrieval(
  a: Float32Array,
  b: Float32Array,
  dimension: number,
  similarity: Similarity,
): RetrievalMetrics {
  const n = a.length / dimension;
  const ranks = noGrad(() =>
    tidy(() => {
      const scores = similarities(tensor(a, [n, dimension]), tensor(b, [n, dimension]), similarity);
      const own = scores.diagonal().unsqueeze(1);
      const above = scores.gt(own).to('f32').sum([1]);
      const equal = scores.eq(own).to('f32').sum([1]).sub(1);
      const ranks = above.add(equal.mul(0.5)).add(1);
      return where(own.squeeze(1).isnan(), full([n], n), ranks).toFloat32Array();
    }),
  );
  return retrievalMetrics(ranks, n);
}

/** Of the rank of each query's partner, 1 the best, among so many candidates. */
export function retrievalMetrics(ranks: ArrayLike<number>, candidates: number): RetrievalMetrics {
  const all = Array.from(ranks);
  const share = (k: number) => all.filter((rank) => rank <= k).length / all.length;
  return {
    recallAt1: share(1),
    recallAt10: share(10),
    mrr: all.reduce((sum, rank) => sum + 1 / rank, 0) / all.length,
    candidates,
  };
}

/** How well later choices are told from others of the same place. */
export interface ChoiceMetrics {
  auc: number;
  /** Its standard error; a user's choices count as one observation, since they are alike. */
  error: number;
  /** Taken POIs that it is the mean over. */
  choices: number;
}

/**
 * The mean over taken POIs of the share of its choice's negatives that score below it, ties half.
 * @param scores of the choice's positive number i and then its negatives, by a query that may depend on the positive; null leaves it out
 * @returns null where there is none
 */
export function choiceAuc(
  choices: readonly Choice[],
  scores: (choice: Choice, positive: number) => { positive: number; negatives: readonly number[] } | null,
): ChoiceMetrics | null {
  const each: { user: number; auc: number }[] = [];
  for (const choice of choices) {
    for (let i = 0; i < choice.positives.length; i++) {
      const scored = scores(choice, i);
      if (scored === null) continue;
      const { positive, negatives } = scored;
      const below = negatives.reduce((sum, score) => sum + (score < positive ? 1 : score === positive ? 0.5 : 0), 0);
      each.push({ user: choice.user, auc: below / negatives.length });
    }
  }
  if (each.length === 0) return null;
  const mean = each.reduce((sum, one) => sum + one.auc, 0) / each.length;
  const ofUser = new Map<number, number>();
  for (const one of each) ofUser.set(one.user, (ofUser.get(one.user) ?? 0) + one.auc - mean);
  const squares = [...ofUser.values()].reduce((sum, value) => sum + value ** 2, 0);
  return { auc: mean, error: Math.sqrt(squares) / each.length, choices: each.length };
}
