import { infoNce, stack, type Tensor, zerosLike } from '@larr/torch';
import type { ModelConfig } from '../models/config.js';
import type { Batch, ModelOutput } from '../models/inputs.js';

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
 * (user, POI) are no negatives of each other.
 *
 * @param scene z_s [B, o]
 * @param target z_t [B, o]
 * @returns a scalar; 0 where `rows` is `clicked` and fewer than two rows of the batch were
 */
export function alignmentLoss(scene: Tensor, target: Tensor, batch: Batch, config: ModelConfig['align']): Tensor {
  let groups = batch.pair;
  if (config.rows === 'clicked') {
    const clicked = Math.round(batch.click.sum().item());
    if (clicked < 2) return zerosLike(scene).sum();
    const [, order] = batch.click.sort(0, true) as [Tensor, Tensor];
    const rows = order.narrow(0, 0, clicked);
    scene = scene.indexSelect(0, rows);
    target = target.indexSelect(0, rows);
    groups = groups.indexSelect(0, rows);
  }
  const q = scene.normalize(1);
  const k = target.normalize(1);
  return infoNce(q, k, 1 / config.temperature, config.maskDuplicates ? groups : undefined);
}
