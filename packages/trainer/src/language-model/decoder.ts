import {
  addRmsNorm,
  autocast,
  blockLinear,
  cat,
  embedding,
  getRngState,
  init,
  keep,
  linearSwiGlu,
  noGrad,
  ones,
  packedAttention,
  randn,
  scaledDotProductAttention,
  setRngState,
  swiGlu,
  type Tensor,
  tensor,
  tidy,
  zeros,
} from '@larr/torch';
import type { PackedBatch } from './batch.js';
import type { DecoderConfig } from './configuration.js';
import { disposeLora, type Lora, learntPlaces, loraParameters, loraUpdate, type Matrix, withRows } from './lora.js';
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
  /** What is learnt in place of the weights, where those are frozen. */
  lora?: Lora;
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

/** What training moves, by stable names: every weight, or the adapters beside frozen ones. */
export function trainedParameters(decoder: Decoder): Record<string, Tensor> {
  return decoder.lora === undefined ? decoderParameters(decoder) : loraParameters(decoder.lora);
}

export function disposeDecoder(decoder: Decoder): void {
  if (decoder.lora !== undefined) disposeLora(decoder.lora);
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
 * The last layer's states after the final norm, [T, hidden], f32 (`batch.sequences` says whose they are).
 *
 * With a `cache` the batch must be one sequence, the continuation of what the cache holds: the whole prompt at first,
 * then one token a call. The cache grows by the call.
 */
export function hiddenStates(decoder: Decoder, batch: PackedBatch, cache?: KeyValueCache): Tensor {
  return statesOf(decoder, batch, cache, false);
}

function statesOf(decoder: Decoder, batch: PackedBatch, cache: KeyValueCache | undefined, training: boolean): Tensor {
  const starts = sequenceStarts(decoder, batch, cache);
  let x = tokenStates(decoder, batch);
  let update: Tensor | undefined;
  decoder.layers.forEach((_, i) => {
    [x, update] = throughLayer(decoder, i, x, update, { starts, cache, training });
  });
  if (cache !== undefined) cache.length += starts.total;
  return finalStates(decoder, x, update);
}

/** States that a loss is made of, and how its gradient goes on from them to the parameters. */
export interface TrainingStates {
  /** [T, hidden], f32 */
  states: Tensor;
  /** To be called after the loss's own `backward`, under the same autocast. */
  backward(): void;
}

/**
 * The states of `hiddenStates` for a step of training: with dropout where adapters have it, and with `recompute` without the layers'
 * graphs (activation checkpointing, Chen et al. 2016). Of each layer only its input is kept, and `backward` runs the layers again, last
 * first, one graph at a time: a third more arithmetic, and memory for one layer in place of all.
 */
export function trainingStates(decoder: Decoder, batch: PackedBatch, recompute: boolean): TrainingStates {
  if (!recompute) return { states: statesOf(decoder, batch, undefined, true), backward: () => {} };
  const starts = sequenceStarts(decoder, batch, undefined);
  const through = (i: number, x: Tensor): Tensor => {
    const [sum, update] = throughLayer(decoder, i, x, undefined, { starts, cache: undefined, training: true });
    return sum.add(update);
  };
  const replays = decoder.lora !== undefined && decoder.lora.dropout > 0;
  const random: Uint8Array[] = [];
  const embedded = tokenStates(decoder, batch);
  const inputs: Tensor[] = [];
  let x = embedded.detach();
  noGrad(() => {
    decoder.layers.forEach((_, i) => {
      if (replays) random.push(getRngState());
      inputs.push(x);
      x = tidy(() => through(i, x));
    });
  });
  const last = x.detach().requiresGrad_();
  // Leaves autocast for a moment, which also forgets the copies of weights that were made without a graph.
  const states = finalStates(decoder, last, undefined);
  return {
    states,
    backward() {
      const after = replays ? getRngState() : null;
      let gradient = last.grad!;
      last.grad = null;
      for (let i = decoder.layers.length - 1; i >= 0; i--) {
        gradient = tidy(() => {
          if (replays) setRngState(random[i]!);
          const input = inputs[i]!.detach().requiresGrad_();
          through(i, input).backward(gradient);
          const own = input.grad!;
          input.grad = null;
          return own;
        });
        if (i > 0) inputs[i]!.dispose();
      }
      if (after !== null) setRngState(after);
      if (embedded.requiresGrad) embedded.backward(gradient);
    },
  };
}

/** Where sequences begin, read by the processor that cuts the work, so not on the device. */
function sequenceStarts({ config }: Decoder, batch: PackedBatch, cache: KeyValueCache | undefined) {
  const longest = (cache?.length ?? 0) + Math.max(0, ...batch.sequences.map(({ length }) => length));
  if (longest > config.contextLength) {
    throw new RangeError(`A sequence of ${longest} tokens is longer than the context of ${config.contextLength}.`);
  }
  return { index: tensor(batch.starts, [batch.starts.length], { dtype: 'i32' }), total: batch.ids.length };
}

/** The tokens' embeddings: [T, hidden], f32 */
export function tokenStates({ embedding: table, lora, device }: Decoder, { ids }: { ids: Int32Array }): Tensor {
  const found = embedding(table, tensor(ids, [ids.length], { dtype: 'i32', device })).to('f32');
  if (lora === undefined) return found;
  const { places, rows } = learntPlaces(lora.rows, ids);
  if (places.length === 0) return found;
  const learnt = embedding(lora.rows.embedding, tensor(rows, [rows.length], { dtype: 'i32', device }));
  const index = tensor(BigInt64Array.from(places, BigInt), [places.length], { dtype: 'i64', device });
  return found.indexCopy(0, index, learnt);
}

interface LayerContext {
  starts: { index: Tensor };
  cache: KeyValueCache | undefined;
  /** Whether adapters drop of their inputs. */
  training: boolean;
}

/** One layer. Its output is the sum of the two it returns: the next norm adds them. */
function throughLayer(
  decoder: Decoder,
  index: number,
  input: Tensor,
  before: Tensor | undefined,
  { starts, cache, training }: LayerContext,
): [x: Tensor, update: Tensor] {
  const layer = decoder.layers[index]!;
  // Frozen weights may be bf16; outside autocast products are f32.
  const weightFor = (y: Tensor, matrix: Matrix) => (y.dtype === 'f32' ? layer[matrix].to('f32') : layer[matrix]);
  const product = (y: Tensor, matrix: Matrix, bias?: Tensor): Tensor => {
    const own = blockLinear(y, weightFor(y, matrix), bias);
    const update = loraUpdate(decoder, index, matrix, y, training);
    return update === null ? own : own.add(update);
  };
  const gated = (y: Tensor): Tensor => {
    const update = loraUpdate(decoder, index, 'gateUp', y, training);
    const weight = weightFor(y, 'gateUp');
    return update === null ? linearSwiGlu(y, weight) : swiGlu(blockLinear(y, weight).add(update));
  };
  const { normEpsilon } = decoder.config;
  const [sum, normed] = addRmsNorm(input, layer.attentionNorm, before, normEpsilon);
  const fused = headNorms(decoder, layer, product(normed, 'queryKeyValue', layer.queryKeyValueBias ?? undefined));
  const attended =
    cache === undefined ? attention(decoder, fused, starts.index) : cachedAttention(decoder, fused, cache, index);
  const [x, y] = addRmsNorm(sum, layer.feedForwardNorm, product(attended, 'attentionOutput'), normEpsilon);
  return [x, product(gated(y), 'down')];
}

/** After the final norm. What reads the states may sum many of them: they stay f32. */
function finalStates({ config, finalNorm }: Decoder, x: Tensor, update: Tensor | undefined): Tensor {
  return autocast(() => addRmsNorm(x, finalNorm, update, config.normEpsilon)[1], { enabled: false });
}

/** Queries and keys normalised head by head, where the family does so: [T, (heads + 2·keyValueHeads)·headSize]. */
function headNorms({ config }: Decoder, layer: DecoderLayer, fused: Tensor): Tensor {
  const { heads, keyValueHeads, headSize, normEpsilon } = config;
  if (layer.queryNorm === null || layer.keyNorm === null) return fused;
  const [queries, keys, values] = fused.split(
    [heads, keyValueHeads, keyValueHeads].map((n) => n * headSize),
    1,
  ) as [Tensor, Tensor, Tensor];
  const headNorm = (t: Tensor, weight: Tensor) =>
    addRmsNorm(t.reshape([fused.shape[0]!, -1, headSize]), weight, null, normEpsilon)[1].flatten(1);
  return cat([headNorm(queries, layer.queryNorm), headNorm(keys, layer.keyNorm), values], 1);
}

/** Causal grouped-query attention of each sequence with itself: [T, (heads + 2·keyValueHeads)·headSize] → [T, heads·headSize]. */
function attention({ config, rotary }: Decoder, fused: Tensor, starts: Tensor): Tensor {
  return packedAttention(fused, rotary.cosine, rotary.sine, starts, config.heads, config.keyValueHeads);
}

/** The same for tokens that go on where the cache ends; one token after cached ones sees all of them. */
function cachedAttention({ config, rotary }: Decoder, fused: Tensor, cache: KeyValueCache, index: number): Tensor {
  const { heads, keyValueHeads, headSize } = config;
  const total = fused.shape[0]!;
  const place = (first: number, count: number) =>
    fused
      .narrow(1, first * headSize, count * headSize)
      .reshape([1, total, count, headSize])
      .transpose(1, 2);
  const cosine = rotary.cosine.narrow(0, cache.length, total);
  const sine = rotary.sine.narrow(0, cache.length, total);
  const queries = rotate(place(0, heads), cosine, sine).to(fused.dtype);
  const { k, v } = extend(
    cache,
    index,
    rotate(place(heads, keyValueHeads), cosine, sine).to(fused.dtype),
    place(heads + keyValueHeads, keyValueHeads),
  );
  return scaledDotProductAttention(queries, k, v, { isCausal: total > 1, enableGqa: heads !== keyValueHeads })
    .transpose(1, 2)
    .reshape([total, heads * headSize]);
}

/** Rotates the pairs (x_i, x_{i+headSize/2}) by the position's angles. x: [1, n, T, headSize]. */
function rotate(x: Tensor, cosine: Tensor, sine: Tensor): Tensor {
  const half = x.shape[3]! / 2;
  const [a, b] = x.split(half, 3) as [Tensor, Tensor];
  return cat([a.mul(cosine).sub(b.mul(sine)), b.mul(cosine).add(a.mul(sine))], 3);
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
export function outputHead({ config, head, lora }: Decoder): Tensor {
  const whole = lora === undefined ? head : withRows(head.to('f32'), lora.rows, lora.rows.head ?? lora.rows.embedding);
  return config.normalisedHead ? whole.normalize(1) : whole;
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
