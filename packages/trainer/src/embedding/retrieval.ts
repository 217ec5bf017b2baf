import { auc } from '@larr/core';
import { noGrad, type Tensor, tensor, tidy } from '@larr/torch';
import type { Similarity } from './embedder.js';

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
 * collapsed vectors score as chance does. a, b: [n, dimension].
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
      return above.add(equal.mul(0.5)).add(1).toFloat32Array();
    }),
  );
  const share = (k: number) => ranks.reduce((sum, rank) => sum + (rank <= k ? 1 : 0), 0) / n;
  return {
    recallAt1: share(1),
    recallAt10: share(10),
    mrr: ranks.reduce((sum, rank) => sum + 1 / rank, 0) / n,
    candidates: n,
  };
}

/** One user's choice among the POIs of one city: which were taken, which were not. */
export interface Choice {
  user: number;
  positives: number[];
  negatives: number[];
}

/**
 * How well users' vectors tell the POIs they took from others of the same city: the mean over choices of the AUC, weighted by
 * the number of positives, with its standard error over choices. Rows of `users` and `pois` are numbered as in `choices`.
 * @returns null without choices
 */
export function choiceAuc(
  users: Float32Array,
  pois: Float32Array,
  dimension: number,
  choices: readonly Choice[],
  similarity: Similarity,
): { auc: number; error: number } | null {
  if (choices.length === 0) return null;
  const n = users.length / dimension;
  const m = pois.length / dimension;
  const scores = noGrad(() =>
    tidy(() => similarities(tensor(users, [n, dimension]), tensor(pois, [m, dimension]), similarity).toFloat32Array()),
  );
  const each = choices.map(({ user, positives, negatives }) => {
    const of = [...positives, ...negatives];
    const labels = of.map((_, i) => (i < positives.length ? 1 : 0));
    return {
      auc: auc(
        labels,
        of.map((poi) => scores[user * m + poi]!),
      ),
      weight: positives.length,
    };
  });
  const total = each.reduce((sum, { weight }) => sum + weight, 0);
  const mean = each.reduce((sum, one) => sum + one.weight * one.auc, 0) / total;
  const variance = each.reduce((sum, one) => sum + (one.weight * (one.auc - mean)) ** 2, 0);
  return { auc: mean, error: Math.sqrt(variance) / total };
}
