// One step of contrastive learning: vectors of a batch's texts, InfoNCE, gradients.
import {
  autocast,
  cat,
  getRngState,
  infoNce,
  type Job,
  noGrad,
  ones,
  setRngState,
  type Tensor,
  tensor,
  tidy,
  zeros,
} from '@larr/torch';
import { shareOf } from '../language-model/several-processes.js';
import type { FinetuneConfig } from './config.js';
import { type Embedder, pooledTrainingStates, type Similarity } from './embedder.js';
import type { PairBatch } from './pairs.js';

/**
 * One step's loss, its gradient in every parameter (eq. 12–20), and what that took (`stepFlops`). With a job, the rank reads its share
 * of the rows (`shareOf`): the loss is the whole batch's, its gradient the one through the rank's rows, to be summed over the ranks.
 */
export function contrastiveStep(
  embedder: Embedder,
  batch: PairBatch,
  temperature: number,
  config: FinetuneConfig,
  job: Job | null = null,
): { loss: number; flops: number } {
  const { lora, device } = embedder.model.decoder;
  const groups = lossGroups(batch, config);
  const [from, to] = shareOf(batch.a.length, job);
  const own: PairBatch = { a: batch.a.slice(from, to), b: batch.b.slice(from, to), groups: groups.subarray(from, to) };
  const size = to - from;
  const project = (states: Tensor, side: 'a' | 'b') =>
    states.linear(side === 'b' && embedder.otherProjection !== null ? embedder.otherProjection : embedder.projection);
  const lossOf = (a: Tensor, b: Tensor): Tensor => {
    const [q, k] = comparable(a, b, config.similarity);
    return infoNce(q, k, 1 / temperature, tensor(own.groups, [size], { dtype: 'i32', device }), { job });
  };
  const inPrecision = <T>(fn: () => T): T => autocast(fn, { dtype: 'bf16', enabled: config.precision === 'bf16' });
  const encode = (rows: PairBatch): { a: Tensor; b: Tensor; flops: number; backward: () => void } =>
    inPrecision(() => {
      // Both sides at once, so that texts of one length share a group whichever side they are on.
      const both = [...rows.a, ...rows.b];
      const { states, backward, flops } = pooledTrainingStates(embedder.model, both, config.pooling, config.recompute);
      const n = rows.a.length;
      return {
        a: project(states.narrow(0, 0, n), 'a').to('f32'),
        b: project(states.narrow(0, n, n), 'b').to('f32'),
        flops,
        backward: () => inPrecision(backward),
      };
    });
  // A rank without rows takes part in the loss all the same: the others wait for it there.
  if (size === 0) {
    return tidy(() => {
      const none = () => zeros([0, embedder.projection.shape[0]!], { dtype: 'f32', device }).requiresGrad_();
      return { loss: lossOf(none(), none()).item(), flops: 0 };
    });
  }
  if (size <= config.microBatch) {
    return tidy(() => {
      const { a, b, flops, backward } = encode(own);
      const loss = lossOf(a, b);
      loss.backward();
      backward();
      return { loss: loss.item(), flops };
    });
  }
  // GradCache (Gao et al. 2021): vectors of all rows without a graph, the loss's gradient in them, then each piece again
  // with its graph, carried on from the cached gradient. Where adapters drop of their inputs, both passes draw the same.
  return tidy(() => {
    const pieces: PairBatch[] = [];
    for (let at = 0; at < size; at += config.microBatch) {
      const slice = <T>(rows: T[]) => rows.slice(at, at + config.microBatch);
      pieces.push({ a: slice(own.a), b: slice(own.b), groups: own.groups.subarray(at, at + config.microBatch) });
    }
    const replays = lora !== undefined && lora.dropout > 0;
    const random: Uint8Array[] = [];
    let flops = 0;
    const encoded = noGrad(() =>
      pieces.map((piece) => {
        if (replays) random.push(getRngState());
        return tidy(() => {
          const { a, b, flops: own } = encode(piece);
          flops += own;
          return { a, b };
        });
      }),
    );
    const after = replays ? getRngState() : null;
    const leaf = (side: 'a' | 'b') =>
      cat(
        encoded.map((rows) => rows[side]),
        0,
      )
        .detach()
        .requiresGrad_();
    const a = leaf('a');
    const b = leaf('b');
    const loss = lossOf(a, b);
    loss.backward();
    const gradients = [a.grad!, b.grad!] as const;
    pieces.forEach((piece, i) => {
      tidy(() => {
        const at = i * config.microBatch;
        if (replays) setRngState(random[i]!);
        const rows = encode(piece);
        const both = cat([rows.a, rows.b], 0);
        both.backward(
          cat(
            gradients.map((g) => g.narrow(0, at, piece.a.length)),
            0,
          ),
        );
        rows.backward();
      });
    });
    if (after !== null) setRngState(after);
    a.grad = null;
    b.grad = null;
    return { loss: loss.item(), flops };
  });
}

/** Rows whose plain dot products are the wanted similarity. The negative squared distance 2ab − a² − b² takes two more columns. */
function comparable(a: Tensor, b: Tensor, similarity: Similarity): [Tensor, Tensor] {
  if (similarity === 'cosine') return [a.normalize(1), b.normalize(1)];
  if (similarity === 'dot') return [a, b];
  const one = ones([a.shape[0]!, 1], { dtype: 'f32', device: a.device });
  const squared = (x: Tensor) => x.square().sum([1], true).neg();
  return [cat([a.mul(2), squared(a), one], 1), cat([b, one, squared(b)], 1)];
}

/** The groups that the loss is given: every row is one of its own where duplicates are not masked. */
export function lossGroups(batch: PairBatch, { maskDuplicates }: Pick<FinetuneConfig, 'maskDuplicates'>): Int32Array {
  return maskDuplicates ? batch.groups : Int32Array.from(batch.a, (_, i) => i);
}

/** Mean number of rows that count as negatives of a row. */
export function effectiveNegatives(groups: Int32Array): number {
  const sizes = new Map<number, number>();
  for (const group of groups) sizes.set(group, (sizes.get(group) ?? 0) + 1);
  return groups.reduce((sum, group) => sum + groups.length - sizes.get(group)!, 0) / groups.length;
}
