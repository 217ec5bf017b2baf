import { arange, cat, infoNce, stack, type Tensor, zerosLike } from '@larr/torch';
import type { ModelConfig } from '../models/config.js';
import type { Alignment, Batch, ModelOutput } from '../models/inputs.js';

/**
 * L_rec = BCE(p_ctr, click) + BCE(p_ctcvr, order), with p_ctr = σ(a) and p_ctcvr = σ(a) σ(b) (method.md, eq. 26).
 *
 * The second term is computed from the logits, so that it neither overflows nor loses small probabilities:
 *
 *     −log(σ(a) σ(b))     = sp(−a) + sp(−b)                                     sp = softplus
 *     −log(1 − σ(a) σ(b)) = sp(−a) + sp(−b) − log( e^−a + e^−b + e^(−a−b) )
 *
 * @returns a scalar: the mean over the batch
 */
export function recommendationLoss(output: ModelOutput, batch: Batch): Tensor {
  const loss = output.ctr.binaryCrossEntropyWithLogits(batch.click);
  if (!output.cvr) return loss;
  const a = output.ctr.neg();
  const b = output.cvr.neg();
  const both = a.softplus().add(b.softplus()); // [B]
  const rest = stack([a, b, a.add(b)], 0).logsumexp(0); // [B]
  const notOrdered = batch.order!.neg().add(1);
  return loss.add(both.sub(notOrdered.mul(rest)).mean());
}

/**
 * L_al of equations 24 and 25: symmetric in-batch InfoNCE between z_s and z_t under cosine similarity; rows of the same
 * (user, POI) are no negatives of each other. Extra negatives join the sums of the direction scene → target: each row's own draws,
 * less those that hit its own pair. The other direction has none, since a negative of it would be a scene.
 *
 * @param dtype of the products of all pairs; norms, exponentials and sums are f32 either way
 * @returns a scalar; 0 where `rows` is `clicked` and fewer than two rows of the batch were
 */
export function alignmentLoss(
  alignment: Alignment,
  batch: Batch,
  config: ModelConfig['align'],
  dtype: 'f32' | 'bf16' = 'f32',
): Tensor {
  let { scene, target, extra } = alignment;
  let groups = batch.pair;
  if (config.rows === 'clicked') {
    const clicked = Math.round(batch.click.sum().item());
    if (clicked < 2) return zerosLike(scene).sum();
    const [, order] = batch.click.sort(0, true) as [Tensor, Tensor];
    const rows = order.narrow(0, 0, clicked);
    const take = (t: Tensor) => t.indexSelect(0, rows);
    [scene, target, groups] = [take(scene), take(target), take(groups)];
    extra = extra && { target: take(extra.target), own: take(extra.own) };
  }
  const q = scene.normalize(1);
  const k = target.normalize(1);
  const masked = config.maskDuplicates ? groups : undefined;
  if (extra === null) return infoNce(q.to(dtype), k.to(dtype), 1 / config.temperature, masked);
  return withExtraNegatives(q, k, extra, 1 / config.temperature, masked);
}

/** The loss with more in the sums than the batch has, composed: the matrix of all pairs is in memory. q, k [B, o]. */
function withExtraNegatives(
  q: Tensor,
  k: Tensor,
  extra: NonNullable<Alignment['extra']>,
  scale: number,
  groups: Tensor | undefined,
): Tensor {
  let all = q.matmul(k.transpose(0, 1)).mul(scale); // [B, B]
  const own = all.diagonal();
  if (groups !== undefined) {
    const row = arange(0, q.shape[0]!, 1, { device: q.device });
    const other = row.unsqueeze(0).ne(row.unsqueeze(1));
    const same = groups.unsqueeze(0).eq(groups.unsqueeze(1)).logicalAnd(other);
    all = all.maskedFill(same, Number.NEGATIVE_INFINITY);
  }
  const drawn = q
    .unsqueeze(1)
    .mul(extra.target.normalize(2))
    .sum([2])
    .mul(scale)
    .maskedFill(extra.own, Number.NEGATIVE_INFINITY); // [B, K]
  const toTarget = cat([all, drawn], 1).logsumexp(1).sub(own);
  const toScene = all.logsumexp(0).sub(own);
  return toTarget.add(toScene).mean().div(2);
}
