import { stack, type Tensor, tensor, tidy } from '@larr/torch';
import type { PackedBatch } from './batch.js';
import { type Decoder, outputHead } from './decoder.js';

/**
 * Logits are formed for so many tokens at a time that they take at most this many bytes (f32): what a processor's cache
 * holds, or what keeps a GPU busy.
 */
const CHUNK_BYTES = { cpu: 32 * 2 ** 20, cuda: 512 * 2 ** 20 };

/** Which places of a packed batch are learnt, and the token that should follow each. */
export interface NextTokenTargets {
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
 * Mean cross-entropy in nats of the targets under `states` [T, hidden] (eq. 7), and, with `backward`, its gradient
 * accumulated into every parameter that `states` came from and into the head.
 *
 * The states are cut from the graph, the loss of one chunk of tokens after another is carried back to them, and what has
 * gathered there goes back through the decoder in one sweep: the [tokens, vocabulary] logits are never held in full.
 */
export function nextTokenLoss(
  decoder: Decoder,
  states: Tensor,
  targets: NextTokenTargets,
  { backward }: { backward: boolean },
): number {
  const total = targets.rows.length;
  if (total === 0) return 0;
  return tidy(() => {
    const { device, config } = decoder;
    const rows = tensor(targets.rows, [total], { dtype: 'i32', device });
    const ids = tensor(targets.ids, [total], { dtype: 'i64', device });
    const learnt = states.indexSelect(0, rows);
    const cut = backward ? learnt.detach().requiresGrad_() : learnt;
    const bytes = CHUNK_BYTES[device === 'cpu' ? 'cpu' : 'cuda'];
    const chunk = Math.max(1, Math.floor(bytes / (4 * config.vocabularySize)));
    const losses: Tensor[] = [];
    for (let start = 0; start < total; start += chunk) {
      const count = Math.min(chunk, total - start);
      losses.push(
        tidy(() => {
          const logits = cut.narrow(0, start, count).linear(outputHead(decoder)).to('f32');
          const loss = logits.crossEntropy(ids.narrow(0, start, count), { reduction: 'sum' });
          if (backward) loss.div(total).backward();
          return loss.detach();
        }),
      );
    }
    if (backward) {
      learnt.backward(cut.grad!);
      cut.grad = null;
    }
    // Read last: reading waits for the device, which has all of the backward pass queued by now.
    return stack(losses).to('f64').sum().item() / total;
  });
}
