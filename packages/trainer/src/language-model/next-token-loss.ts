import { linearCrossEntropy, type Tensor, tensor, tidy } from '@larr/torch';
import type { PackedBatch } from './batch.js';
import { type Decoder, outputHead } from './decoder.js';

/** Which places of a packed batch are learnt, and the token that should follow each. */
export interface NextTokenTargets {
  /** Rising: the places whose states the loss is made of (`hiddenStates`' and `trainingStates`' `rows`). */
  rows: Int32Array;
  ids: BigInt64Array;
}

/**
 * The targets of a packed batch of documents. Of document i the first `promptLengths[i]` tokens are given, not learnt
 * (method.md, section 2: the loss is on `y` only); with 0 or 1 every token after the first is a target.
 */
export function nextTokenTargets(
  batch: PackedBatch,
  documents: readonly Int32Array[],
  promptLengths: readonly number[],
): NextTokenTargets {
  const rows: number[] = [];
  const ids: bigint[] = [];
  batch.sequences.forEach(({ start, length }, i) => {
    for (let t = Math.max(promptLengths[i]!, 1); t < length; t++) {
      rows.push(start + t - 1);
      ids.push(BigInt(documents[i]![t]!));
    }
  });
  return { rows: Int32Array.from(rows), ids: BigInt64Array.from(ids) };
}

/**
 * Mean cross-entropy in nats of the targets under the states at their rows, [targets, hidden] (eq. 7), and, with `backward`, its
 * gradient accumulated into every parameter that `states` came from and into the head. The [targets, vocabulary] scores are never
 * held in full.
 * @param options.of what the sum is divided by: more than the targets, where the batch is a part of a larger one
 */
export function nextTokenLoss(
  decoder: Decoder,
  states: Tensor,
  targets: NextTokenTargets,
  { backward, of }: { backward: boolean; of?: number },
): number {
  const total = targets.rows.length;
  if (states.shape[0] !== total)
    throw new RangeError(`${total} targets, but states of ${states.shape[0]} places; ask for those at targets.rows.`);
  if (total === 0) return 0;
  return tidy(() => {
    const { device } = decoder;
    const ids = tensor(targets.ids, [total], { dtype: 'i64', device });
    const loss = linearCrossEntropy(states, outputHead(decoder), ids).div(of ?? total);
    if (backward) loss.backward();
    // Read last: reading waits for the device, which has all of the backward pass queued by now.
    return loss.item();
  });
}
