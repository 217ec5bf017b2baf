import {
  cat,
  embedding,
  init,
  keep,
  noGrad,
  ones,
  randn,
  scaledDotProductAttention,
  type Tensor,
  tensor,
  tidy,
  zeros,
} from '@larr/torch';
import type { PackedBatch } from './batch.js';
import type { DecoderConfig } from './configuration.js';
import { type RotaryTable, rotaryTable } from './rotary.js';

/** One block's weights. Products that share their input are stored fused: one matrix product instead of two or three. */
export interface DecoderLayer {
  attentionNorm: Tensor; // [hidden]
  /** Queries, keys and values, stacked: [(heads + 2·keyValueHeads)·headSize, hidden] */
  queryKeyValue: Tensor;
  queryKeyValueBias: Tensor | null;
  queryNorm: Tensor | null; // [headSize]
  keyNorm: Tensor | null; // [headSize]
  attentionOutput: Tensor; // [hidden, heads·headSize]
  feedForwardNorm: Tensor; // [hidden]
  /** Gate and up projections, stacked: [2·feedForward, hidden] */
  gateUp: Tensor;
  down: Tensor; // [hidden, feedForward]
}

/** A decoder-only transformer (Llama: RMSNorm, rotary positions, SwiGLU, grouped-query attention), and what it owns. */
export interface Decoder {
  config: DecoderConfig;
  device: string;
  embedding: Tensor; // [vocabulary, hidden]
  layers: DecoderLayer[];
  finalNorm: Tensor; // [hidden]
  /** [vocabulary, hidden]; the very same tensor as `embedding` where the head is tied. */
  head: Tensor;
  rotary: RotaryTable;
}

/**
 * A decoder with random weights, drawn from torch's generator (`manualSeed` decides them): normal of deviation 0.02, and
 * for the matrices that write into the residual stream 0.02 / √(2·layers), as GPT-2 has it.
 */
export function createDecoder(config: DecoderConfig, device = 'cpu'): Decoder {
  const { hiddenSize, heads, keyValueHeads, headSize, feedForwardSize, vocabularySize } = config;
  const options = { dtype: 'f32', device } as const;
  const normal = (shape: number[], std = 0.02) => init.normal_(zeros(shape, options), std);
  const residualStd = 0.02 / Math.sqrt(2 * config.layers);
  return tidy(() => {
    const table = normal([vocabularySize, hiddenSize]);
    const layers = Array.from({ length: config.layers }, (): DecoderLayer => {
      const width = (heads + 2 * keyValueHeads) * headSize;
      return {
        attentionNorm: ones([hiddenSize], options),
        queryKeyValue: normal([width, hiddenSize]),
        queryKeyValueBias: config.attentionBias ? zeros([width], options) : null,
        queryNorm: config.queryKeyNorm ? ones([headSize], options) : null,
        keyNorm: config.queryKeyNorm ? ones([headSize], options) : null,
        attentionOutput: normal([hiddenSize, heads * headSize], residualStd),
        feedForwardNorm: ones([hiddenSize], options),
        gateUp: normal([2 * feedForwardSize, hiddenSize]),
        down: normal([hiddenSize, feedForwardSize], residualStd),
      };
    });
    return {
      config,
      device,
      embedding: table,
      layers,
      finalNorm: ones([hiddenSize], options),
      head: config.tiedHead ? table : normal([vocabularySize, hiddenSize]),
      rotary: rotaryTable(config, device),
    };
  });
}

/** Every trained tensor once, by a stable name. */
export function decoderParameters(decoder: Decoder): Record<string, Tensor> {
  const parameters: Record<string, Tensor> = { embedding: decoder.embedding };
  decoder.layers.forEach((layer, i) => {
    for (const [name, weight] of Object.entries(layer)) {
      if (weight !== null) parameters[`layers.${i}.${name}`] = weight as Tensor;
    }
  });
  parameters.finalNorm = decoder.finalNorm;
  if (!decoder.config.tiedHead) parameters.head = decoder.head;
  return parameters;
}

export function disposeDecoder(decoder: Decoder): void {
  for (const parameter of Object.values(decoderParameters(decoder))) parameter.dispose();
  decoder.rotary.cosine.dispose();
  decoder.rotary.sine.dispose();
}

/** Keys and values of the tokens so far, one pair a layer, for one growing sequence: [1, keyValueHeads, t, headSize]. */
export interface KeyValueCache {
  length: number;
  layers: { keys: Tensor; values: Tensor }[];
}

export function disposeCache(cache: KeyValueCache): void {
  for (const { keys, values } of cache.layers) {
    keys.dispose();
    values.dispose();
  }
  cache.layers = [];
  cache.length = 0;
}

/**
 * The last layer's states after the final norm, [T, hidden], padding rows included (`batch.sequences` says which are real).
 *
 * With a `cache` the batch must be one sequence, the continuation of what the cache holds: the whole prompt at first,
 * then one token a call. The cache grows by the call.
 */
export function hiddenStates(decoder: Decoder, batch: PackedBatch, cache?: KeyValueCache): Tensor {
  const { config, device, rotary } = decoder;
  const total = batch.ids.length;
  const offset = cache?.length ?? 0;
  const longest = offset + (batch.groups[0]?.length ?? 0);
  if (longest > config.contextLength) {
    throw new RangeError(`A sequence of ${longest} tokens is longer than the context of ${config.contextLength}.`);
  }
  const ids = tensor(batch.ids, [total], { dtype: 'i32', device });
  const positions = tensor(offset === 0 ? batch.positions : batch.positions.map((p) => p + offset), [total], {
    dtype: 'i32',
    device,
  });
  const cosine = rotary.cosine.indexSelect(0, positions).unsqueeze(1); // [T, 1, headSize/2]
  const sine = rotary.sine.indexSelect(0, positions).unsqueeze(1);
  let x = embedding(decoder.embedding, ids); // [T, hidden]
  decoder.layers.forEach((layer, i) => {
    const attended = attention(decoder, layer, norm(decoder, x, layer.attentionNorm), batch, cosine, sine, cache, i);
    x = x.add(attended.linear(layer.attentionOutput));
    const [gate, up] = norm(decoder, x, layer.feedForwardNorm)
      .linear(layer.gateUp)
      .split(config.feedForwardSize, 1) as [Tensor, Tensor];
    x = x.add(gate.silu().mul(up).linear(layer.down));
  });
  if (cache !== undefined) cache.length = longest;
  return norm(decoder, x, decoder.finalNorm);
}

function norm(decoder: Decoder, x: Tensor, weight: Tensor): Tensor {
  return x.rmsNorm([weight.shape[0]!], weight, decoder.config.normEpsilon);
}

/** Causal grouped-query attention of each sequence with itself: [T, hidden] → [T, heads·headSize]. */
function attention(
  decoder: Decoder,
  layer: DecoderLayer,
  x: Tensor,
  batch: PackedBatch,
  cosine: Tensor,
  sine: Tensor,
  cache: KeyValueCache | undefined,
  index: number,
): Tensor {
  const { heads, keyValueHeads, headSize } = decoder.config;
  const total = x.shape[0]!;
  const fused = x.linear(layer.queryKeyValue, layer.queryKeyValueBias ?? undefined);
  let turning = fused
    .narrow(1, 0, (heads + keyValueHeads) * headSize)
    .reshape([total, heads + keyValueHeads, headSize]);
  if (layer.queryNorm !== null && layer.keyNorm !== null) {
    turning = cat(
      [
        norm(decoder, turning.narrow(1, 0, heads), layer.queryNorm),
        norm(decoder, turning.narrow(1, heads, keyValueHeads), layer.keyNorm),
      ],
      1,
    );
  }
  const turned = rotate(turning, cosine, sine); // queries and keys in one go
  const queries = turned.narrow(1, 0, heads);
  const keys = turned.narrow(1, heads, keyValueHeads);
  const values = fused
    .narrow(1, (heads + keyValueHeads) * headSize, keyValueHeads * headSize)
    .reshape([total, keyValueHeads, headSize]);
  const attended = batch.groups.map(({ start, rows, length }) => {
    const place = (t: Tensor) =>
      t
        .narrow(0, start, rows * length)
        .reshape([rows, length, t.shape[1]!, headSize])
        .transpose(1, 2);
    let k = place(keys);
    let v = place(values);
    if (cache !== undefined) ({ k, v } = extend(cache, index, k, v));
    const out = scaledDotProductAttention(place(queries), shared(k, heads), shared(v, heads), {
      // One new token after cached ones sees all of them.
      isCausal: length > 1,
    });
    return out.transpose(1, 2).reshape([rows * length, heads * headSize]);
  });
  return attended.length === 1 ? attended[0]! : cat(attended, 0);
}

/** Rotates the pairs (x_i, x_{i+headSize/2}) by the position's angles. x: [T, n, headSize]. */
function rotate(x: Tensor, cosine: Tensor, sine: Tensor): Tensor {
  const half = x.shape[2]! / 2;
  const [a, b] = x.split(half, 2) as [Tensor, Tensor];
  return cat([a.mul(cosine).sub(b.mul(sine)), b.mul(cosine).add(a.mul(sine))], 2);
}

/** Every key-value head repeated for the query heads that it serves: [rows, keyValueHeads, L, d] → [rows, heads, L, d]. */
function shared(x: Tensor, heads: number): Tensor {
  const [rows, own, length, size] = x.shape as [number, number, number, number];
  if (own === heads) return x;
  return x
    .unsqueeze(2)
    .expand([rows, own, heads / own, length, size])
    .reshape([rows, heads, length, size]);
}

function extend(cache: KeyValueCache, index: number, k: Tensor, v: Tensor): { k: Tensor; v: Tensor } {
  const before = cache.layers[index];
  const all =
    before === undefined
      ? { k: k.contiguous(), v: v.contiguous() }
      : { k: cat([before.keys, k], 2), v: cat([before.values, v], 2) };
  cache.layers[index] = { keys: keep(all.k), values: keep(all.v) };
  before?.keys.dispose();
  before?.values.dispose();
  return all;
}

/** The matrix that turns states into scores: the head, its rows of length 1 where the decoder has them so. [vocabulary, hidden] */
export function outputHead({ config, head }: Decoder): Tensor {
  return config.normalisedHead ? head.normalize(1) : head;
}

/** Next-token scores, [T, vocabulary], of states that `hiddenStates` gave. */
export function logits(decoder: Decoder, states: Tensor): Tensor {
  return states.linear(outputHead(decoder));
}

/**
 * The decoder with its vocabulary enlarged to `vocabularySize`: new rows start at the mean of the existing ones plus noise
 * of a tenth of their deviation (method.md, section 1), in the embedding and, where it is a matrix of its own, in the head.
 * The given decoder gives its tensors away and must not be used afterwards.
 */
export function growVocabulary(decoder: Decoder, vocabularySize: number): Decoder {
  const extra = vocabularySize - decoder.config.vocabularySize;
  if (extra <= 0) return decoder;
  const grow = (weight: Tensor): Tensor => {
    const grown = noGrad(() =>
      tidy(() => {
        const mean = weight.mean([0], true);
        const deviation = weight.sub(mean).square().mean().sqrt().item();
        const noise = randn([extra, weight.shape[1]!], { dtype: 'f32', device: decoder.device }).mul(0.1 * deviation);
        return cat([weight, mean.add(noise).to(weight.dtype)], 0);
      }),
    );
    weight.dispose();
    return grown;
  };
  const table = grow(decoder.embedding);
  return {
    ...decoder,
    config: { ...decoder.config, vocabularySize },
    embedding: table,
    head: decoder.config.tiedHead ? table : grow(decoder.head),
  };
}
