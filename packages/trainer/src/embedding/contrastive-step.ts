// One step of contrastive learning: vectors of a batch's texts, InfoNCE, gradients.
import { autocast, cat, infoNce, noGrad, ones, type Tensor, tensor, tidy } from '@larr/torch';
import type { FinetuneConfig } from './config.js';
import { type Embedder, pooledStates, type Similarity } from './embedder.js';
import type { PairBatch } from './pairs.js';

/** One step's loss, and its gradient in every parameter (eq. 12–20). */
export function contrastiveStep(
  embedder: Embedder,
  batch: PairBatch,
  temperature: number,
  config: FinetuneConfig,
): number {
  const size = batch.a.length;
  const groups = config.maskDuplicates ? batch.groups : Int32Array.from({ length: size }, (_, i) => i);
  const project = (states: Tensor, side: 'a' | 'b') =>
    states.linear(side === 'b' && embedder.otherProjection !== null ? embedder.otherProjection : embedder.projection);
  const lossOf = (a: Tensor, b: Tensor): Tensor => {
    const [q, k] = comparable(a, b, config.similarity);
    return infoNce(
      q,
      k,
      1 / temperature,
      tensor(groups, [size], { dtype: 'i32', device: embedder.model.decoder.device }),
    );
  };
  const inPrecision = <T>(fn: () => T): T => autocast(fn, { dtype: 'bf16', enabled: config.precision === 'bf16' });
  const encode = (rows: PairBatch): [Tensor, Tensor] =>
    inPrecision(() => {
      // Both sides at once, so that texts of one length share a group whichever side they are on.
      const states = pooledStates(embedder.model, [...rows.a, ...rows.b], config.pooling);
      const n = rows.a.length;
      return [project(states.narrow(0, 0, n), 'a').to('f32'), project(states.narrow(0, n, n), 'b').to('f32')];
    });
  if (size <= config.microBatch) {
    return tidy(() => {
      const [a, b] = encode(batch);
      const loss = lossOf(a, b);
      loss.backward();
      return loss.item();
    });
  }
  // GradCache (Gao et al. 2021): vectors of all rows without a graph, the loss's gradient in them, then each piece again
  // with its graph, carried on from the cached gradient. The decoder has no dropout, so both passes agree.
  return tidy(() => {
    const pieces: PairBatch[] = [];
    for (let at = 0; at < size; at += config.microBatch) {
      const slice = <T>(rows: T[]) => rows.slice(at, at + config.microBatch);
      pieces.push({ a: slice(batch.a), b: slice(batch.b), groups: batch.groups.subarray(at, at + config.microBatch) });
    }
    const encoded = noGrad(() => pieces.map((piece) => tidy(() => encode(piece))));
    const a = cat(
      encoded.map(([rows]) => rows),
      0,
    )
      .detach()
      .requiresGrad_();
    const b = cat(
      encoded.map(([, rows]) => rows),
      0,
    )
      .detach()
      .requiresGrad_();
    const loss = lossOf(a, b);
    loss.backward();
    const gradients = [a.grad!, b.grad!] as const;
    pieces.forEach((piece, i) => {
      tidy(() => {
        const at = i * config.microBatch;
        const [pieceA, pieceB] = encode(piece);
        const both = cat([pieceA, pieceB], 0);
        both.backward(
          cat(
            gradients.map((g) => g.narrow(0, at, piece.a.length)),
            0,
          ),
        );
      });
    });
    a.grad = null;
    b.grad = null;
    return loss.item();
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

/** Mean number of rows that count as negatives of a row. */
export function effectiveNegatives(groups: Int32Array): number {
  const sizes = new Map<number, number>();
  for (const group of groups) sizes.set(group, (sizes.get(group) ?? 0) + 1);
  return groups.reduce((sum, group) => sum + groups.length - sizes.get(group)!, 0) / groups.length;
}
