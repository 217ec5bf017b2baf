import { DataError } from '@larr/core';
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
  packedQueryAttention,
  randn,
  scaledDotProductAttention,
  setRngState,
  swiGlu,
  type Tensor,
  TensorError,
  takeRows,
  tensor,
  tidy,
  zeros,
} from '@larr/torch';
import type { PackedBatch } from './batch.js';
import type { DecoderConfig } from './configuration.js';
import {
  disposeLora,
  type LinearLayer,
  type Lora,
  learntPlaces,
  loraParameters,
  loraUpdate,
  type Matrix,
  withRows,
} from './lora.js';
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
  /** Where the matrices are held in halves, bf16 in their place: the rest of their f32 numbers, i16, by the names of `decoderParameters`. */
  lows?: Record<string, Tensor>;
}

/**
 * A decoder with random weights, drawn from torch's generator (`manualSeed` decides them): normal of deviation 0.02, and
 * for the matrices that write into the residual stream 0.02 / √(2·layers), as GPT-2 has it.
 * @throws DataError `OUT_OF_MEMORY`
 */
export function createDecoder(config: DecoderConfig, device = 'cpu'): Decoder {
  const { hiddenSize, heads, keyValueHeads, headSize, feedForwardSize, vocabularySize } = config;
  const options = { dtype: 'f32', device } as const;
  const normal = (shape: number[], std = 0.02) => init.normal_(zeros(shape, options), std);
  const residualStd = 0.02 / Math.sqrt(2 * config.layers);
  return inMemory(config, () => {
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

/** The decoder that `make` makes, without gradients, and nothing else of what it made on the way. @throws DataError `OUT_OF_MEMORY`, with the sizes that were asked for */
export function inMemory(config: DecoderConfig, make: () => Decoder): Decoder {
  try {
    return noGrad(() => tidy(make));
  } catch (error) {
    if (!(error instanceof TensorError) || error.code !== 'TENSOR_MEMORY') throw error;
    const { hiddenSize, layers, feedForwardSize, vocabularySize, contextLength } = config;
    throw new DataError(
      'OUT_OF_MEMORY',
      `There is not enough memory for a model of ${layers} layers of width ${hiddenSize} (feed-forward ${feedForwardSize}), a vocabulary of ${vocabularySize} and a context of ${contextLength} tokens, whose positions are tabulated. Take a smaller model, a lower max_position_embeddings in its config.json where texts are shorter, or a machine with more memory.`,
      { cause: error },
    );
  }
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
  for (const low of Object.values(decoder.lows ?? {})) low.dispose();
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

/** What is wanted of a batch. */
export interface StatesWanted {
  /**
   * The places in the batch whose states are wanted, rising, with none twice. On the processor keys and values of the last layer are computed at every token, and
   * all else (queries, attention, its output, the feed-forward layer, the final norm) at these alone: up to a layer less, but for its keys and values. On a GPU the
   * layer is computed whole, and these are taken of it. Default: all places.
   */
  rows?: Int32Array | undefined;
}

/**
 * The last layer's states after the final norm, f32: [T, hidden] (`batch.sequences` says whose they are), or [rows, hidden] where
 * `rows` says which are wanted: to rounding the same numbers.
 *
 * With a `cache` the batch must be one sequence, the continuation of what the cache holds: the whole prompt at first,
 * then one token a call. The cache grows by the call.
 */
export function hiddenStates(
  decoder: Decoder,
  batch: PackedBatch,
  { rows, cache }: StatesWanted & { cache?: KeyValueCache } = {},
): Tensor {
  return statesOf(decoder, planned(decoder, batch, { rows, cache, training: false }));
}

/** The states of a batch for a step of training, and how their gradient goes on to the parameters. */
export interface TrainingStates {
  /** [T, hidden] or [rows, hidden], f32 */
  states: Tensor;
  /** To be called after the loss's own `backward`, under the same autocast. */
  backward(): void;
}

/**
 * The states of `hiddenStates` for a step of training: with dropout where adapters have it, and with `recompute` without the layers'
 * graphs (activation checkpointing, Chen et al. 2016). Of each layer only its input is kept, and `backward` runs the layers again, last
 * first, one graph at a time: a third more arithmetic, and memory for one layer in place of all.
 */
export function trainingStates(
  decoder: Decoder,
  batch: PackedBatch,
  { recompute, rows }: StatesWanted & { recompute: boolean },
): TrainingStates {
  const plan = planned(decoder, batch, { rows, cache: undefined, training: true });
  if (!recompute) return { states: statesOf(decoder, plan), backward: () => {} };
  const through = (i: number, x: Tensor): Tensor => {
    const [sum, update] = throughLayer(decoder, i, x, undefined, plan);
    return sum.add(update);
  };
  const replays = decoder.lora !== undefined && decoder.lora.dropout > 0;
  const random: Uint8Array[] = [];
  const embedded = tokenStates(decoder, plan);
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
  const states = finalStates(decoder, last, undefined, plan);
  return {
    states,
    backward() {
      if (last.grad === null) return; // nothing was learnt of them
      const after = replays ? getRngState() : null;
      let gradient = last.grad;
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

/** How a batch goes through the layers. */
interface Plan {
  /** What the first layer takes: the batch's token ids, or where `places` is set each different one of them once. */
  ids: Int32Array;
  /** [T] which of `ids` each place of the batch has; null where `ids` are the batch's own. */
  places: Tensor | null;
  /** Where sequences begin, and the number of tokens. */
  starts: Tensor;
  total: number;
  /** [rows] the places that go on from the last layer's keys and values, on the CPU alone; null for all. */
  rows: Tensor | null;
  /** [rows] the places that are taken of the last layer's states, where nearly all are wanted, or elsewhere; null for all. */
  kept: Tensor | null;
  cache: KeyValueCache | undefined;
  /** Whether adapters drop of their inputs. */
  training: boolean;
}

/**
 * Tokens as a share of the batch's places up to which the first layer's queries, keys and values, which before they are turned by position follow from the token
 * alone, are computed once a token and handed to its places: a copy costs less than the product, but not nothing.
 */
const DISTINCT_SHARE = 0.5;

/** Rows as a share of the batch's places up to which the last layer leaves the others out: taking rows apart and adding their gradients in costs something too. */
const ROWS_SHARE = 0.95;

function planned(
  decoder: Decoder,
  batch: PackedBatch,
  { rows, cache, training }: Pick<Plan, 'cache' | 'training'> & { rows: Int32Array | undefined },
): Plan {
  const { config, device, lora } = decoder;
  const total = batch.ids.length;
  const longest = (cache?.length ?? 0) + Math.max(0, ...batch.sequences.map(({ length }) => length));
  if (longest > config.contextLength) {
    throw new RangeError(`A sequence of ${longest} tokens is longer than the context of ${config.contextLength}.`);
  }
  rows?.forEach((row, i) => {
    if (row < 0 || row >= total || (i > 0 && rows[i - 1]! >= row))
      throw new RangeError(`rows must rise within the ${total} tokens of the batch; rows[${i}] is ${row}.`);
  });
  if (rows !== undefined && cache !== undefined) throw new RangeError('With a cache the states of all rows are given.');
  // Read by the processor, which cuts the work by it: not on the device.
  const whole = (values: Int32Array) => tensor(values, [values.length], { dtype: 'i32' });
  const chosen = rows === undefined || rows.length === total ? null : whole(rows);
  // Composed of LibTorch's operators elsewhere, attention at some rows costs what it costs at all.
  const few = device === 'cpu' && rows !== undefined && rows.length <= ROWS_SHARE * total;
  const plan: Plan = {
    ids: batch.ids,
    places: null,
    starts: whole(batch.starts),
    total,
    rows: few ? chosen : null,
    kept: few ? null : chosen,
    cache,
    training,
  };
  // Dropped inputs differ from place to place. On a GPU the sums of a token's gradients would be rounded one by one.
  const alike = device === 'cpu' && cache === undefined && !(training && lora !== undefined && lora.dropout > 0);
  if (!alike) return plan;
  const { ids, places } = distinct(batch.ids);
  return ids.length > DISTINCT_SHARE * total ? plan : { ...plan, ids, places: whole(places) };
}

/** Each different id once, as they first appear, and which of them stands at each place. */
function distinct(all: Int32Array): { ids: Int32Array; places: Int32Array } {
  const placeOf = new Map<number, number>();
  const places = all.map((id) => {
    const known = placeOf.get(id);
    if (known !== undefined) return known;
    placeOf.set(id, placeOf.size);
    return placeOf.size - 1;
  });
  return { ids: Int32Array.from(placeOf.keys()), places };
}

function statesOf(decoder: Decoder, plan: Plan): Tensor {
  let x = tidy(() => tokenStates(decoder, plan));
  let update: Tensor | undefined;
  // What a graph needs of a layer it holds itself; all else would stay until the scope of who calls ends, a layer beside the other.
  decoder.layers.forEach((_, i) => {
    const before = [x, update];
    [x, update] = tidy(() => throughLayer(decoder, i, x, update, plan));
    for (const one of before) if (one !== x) one?.dispose();
  });
  if (plan.cache !== undefined) plan.cache.length += plan.total;
  return finalStates(decoder, x, update, plan);
}

/** The tokens' embeddings: [T, hidden], f32 */
export function tokenStates({ embedding: table, lora, device }: Decoder, { ids }: { ids: Int32Array }): Tensor {
  const index = tensor(ids, [ids.length], { dtype: 'i32', device });
  // The gradients of a bf16 row are summed in f32, as on a GPU they are either way.
  const found = (table.dtype === 'bf16' && device === 'cpu' ? takeRows(table, index) : embedding(table, index)).to(
    'f32',
  );
  if (lora === undefined) return found;
  const { places, rows } = learntPlaces(lora.rows, ids);
  if (places.length === 0) return found;
  const learnt = embedding(lora.rows.embedding, tensor(rows, [rows.length], { dtype: 'i32', device }));
  const there = tensor(BigInt64Array.from(places, BigInt), [places.length], { dtype: 'i64', device });
  return found.indexCopy(0, there, learnt);
}

/**
 * One layer. Its output is the sum of the two it returns: the next norm adds them.
 * @param input [T, hidden], of the first layer [plan.ids, hidden]; with `before`, of the same shape, the sum of both
 * @returns [T, hidden] each, of the last layer [rows, hidden] where the plan has rows
 */
function throughLayer(
  decoder: Decoder,
  index: number,
  input: Tensor,
  before: Tensor | undefined,
  plan: Plan,
): [x: Tensor, update: Tensor] {
  const layer = decoder.layers[index]!;
  const { normEpsilon } = decoder.config;
  const [sum, normed] = addRmsNorm(input, layer.attentionNorm, before, normEpsilon);
  const { x, attended } = attendedStates(decoder, index, sum, normed, plan);
  const product = (y: Tensor, matrix: Matrix) => productOf(decoder, index, matrix, y, plan.training);
  const [rest, y] = addRmsNorm(x, layer.feedForwardNorm, product(attended, 'attentionOutput'), normEpsilon);
  const adapted = loraUpdate(decoder, index, 'gateUp', y, plan.training);
  const weight = weightFor(layer, 'gateUp', y);
  const gated = adapted === null ? linearSwiGlu(y, weight) : swiGlu(blockLinear(y, weight).add(adapted));
  return [rest, product(gated, 'down')];
}

/**
 * What attention makes of a layer's input, and that input itself, at the places that go on: all, or of the last layer the plan's rows.
 * @param sum the input, `normed` after its norm; both [T, hidden], of the first layer [plan.ids, hidden]
 */
function attendedStates(
  decoder: Decoder,
  index: number,
  sum: Tensor,
  normed: Tensor,
  { starts, cache, places, rows, training }: Plan,
): { x: Tensor; attended: Tensor } {
  const { config, rotary, layers } = decoder;
  const { heads, keyValueHeads } = config;
  const fromTokens = index === 0 ? places : null;
  const atPlaces = (t: Tensor) => (fromTokens === null ? t : takeRows(t, fromTokens));
  const wanted = index === layers.length - 1 ? rows : null;
  if (wanted === null) {
    const fused = atPlaces(headNorms(decoder, index, productOf(decoder, index, 'queryKeyValue', normed, training)));
    const attended =
      cache === undefined
        ? packedAttention(fused, rotary.cosine, rotary.sine, starts, heads, keyValueHeads)
        : cachedAttention(decoder, fused, cache, index);
    return { x: atPlaces(sum), attended };
  }
  const atRows = (t: Tensor) => takeRows(atPlaces(t), wanted);
  const keysValues = atPlaces(keysAndValues(decoder, index, normed, training));
  const queries = queriesOf(decoder, index, atRows(normed), training);
  return {
    x: atRows(sum),
    attended: packedQueryAttention(
      queries,
      keysValues,
      wanted,
      rotary.cosine,
      rotary.sine,
      starts,
      heads,
      keyValueHeads,
    ),
  };
}

/** Frozen weights may be bf16; outside autocast products are f32. */
const weightFor = (layer: DecoderLayer, matrix: Matrix, { dtype }: Tensor): Tensor =>
  dtype === 'f32' ? layer[matrix].to('f32') : layer[matrix];

/** y [n, in] times a matrix of a layer, or a run of its rows, with what adapters add: [n, out] */
function productOf(
  decoder: Decoder,
  index: number,
  matrix: Matrix,
  y: Tensor,
  training: boolean,
  part?: { layers: readonly LinearLayer[]; start: number; length: number },
): Tensor {
  const layer = decoder.layers[index]!;
  const some = (t: Tensor) => (part === undefined ? t : t.narrow(0, part.start, part.length));
  const bias = matrix === 'queryKeyValue' ? layer.queryKeyValueBias : null;
  const own = blockLinear(y, some(weightFor(layer, matrix, y)), bias === null ? null : some(bias));
  const update = loraUpdate(decoder, index, matrix, y, training, part?.layers);
  return update === null ? own : own.add(update);
}

/** Queries alone, normalised head by head where the family does so: [n, hidden] → [n, heads·headSize]. */
function queriesOf(decoder: Decoder, index: number, normed: Tensor, training: boolean): Tensor {
  const { heads, headSize } = decoder.config;
  const part = { layers: ['self_attn.q_proj'], start: 0, length: heads * headSize } as const;
  const queries = productOf(decoder, index, 'queryKeyValue', normed, training, part);
  return headNorm(decoder, queries, decoder.layers[index]!.queryNorm);
}

/** Keys and values alone, likewise: [n, hidden] → [n, 2·keyValueHeads·headSize]. */
function keysAndValues(decoder: Decoder, index: number, normed: Tensor, training: boolean): Tensor {
  const { heads, keyValueHeads, headSize } = decoder.config;
  const width = keyValueHeads * headSize;
  const layers = ['self_attn.k_proj', 'self_attn.v_proj'] as const;
  const part = { layers, start: heads * headSize, length: 2 * width };
  const both = productOf(decoder, index, 'queryKeyValue', normed, training, part);
  const { keyNorm } = decoder.layers[index]!;
  if (keyNorm === null) return both;
  return cat([headNorm(decoder, both.narrow(1, 0, width), keyNorm), both.narrow(1, width, width)], 1);
}

/** After the final norm, at the rows that are wanted. What reads the states may sum many of them: they stay f32. */
function finalStates(
  { config, finalNorm, device }: Decoder,
  x: Tensor,
  update: Tensor | undefined,
  { kept }: Plan,
): Tensor {
  const states = autocast(() => addRmsNorm(x, finalNorm, update, config.normEpsilon)[1], { enabled: false });
  return kept === null ? states : takeRows(states, kept.to({ device }));
}

/** Queries and keys normalised head by head, where the family does so: [T, (heads + 2·keyValueHeads)·headSize]. */
function headNorms(decoder: Decoder, index: number, fused: Tensor): Tensor {
  const { heads, keyValueHeads, headSize } = decoder.config;
  const { queryNorm, keyNorm } = decoder.layers[index]!;
  if (queryNorm === null || keyNorm === null) return fused;
  const [queries, keys, values] = fused.split(
    [heads, keyValueHeads, keyValueHeads].map((n) => n * headSize),
    1,
  ) as [Tensor, Tensor, Tensor];
  return cat([headNorm(decoder, queries, queryNorm), headNorm(decoder, keys, keyNorm), values], 1);
}

function headNorm({ config }: Decoder, t: Tensor, weight: Tensor | null): Tensor {
  if (weight === null) return t;
  const byHead = t.reshape([t.shape[0]!, -1, config.headSize]);
  return addRmsNorm(byHead, weight, null, config.normEpsilon)[1].flatten(1);
}

/** Attention of tokens that go on where the cache ends; one token after cached ones sees all of them: as `packedAttention`. */
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

/** The matrix that turns states into scores: the head, its rows of length 1 where the decoder has them so. [vocabulary, hidden], f32, or bf16 as the head is held */
export function outputHead({ config, head, lora }: Decoder): Tensor {
  if (lora !== undefined && lora.rows.ids.length > 0) {
    const whole = withRows(head.to('f32'), lora.rows, lora.rows.head ?? lora.rows.embedding);
    return config.normalisedHead ? whole.normalize(1) : whole;
  }
  return config.normalisedHead ? head.to('f32').normalize(1) : head;
}

/** The rows of `outputHead` that are some tokens', without making the others: [ids, hidden], f32 */
export function headRows({ config, head, lora, device }: Decoder, ids: Int32Array): Tensor {
  const index = (of: Int32Array) => tensor(of, [of.length], { dtype: 'i32', device });
  let rows = head.indexSelect(0, index(ids)).to('f32');
  if (lora !== undefined) {
    const { places, rows: learnt } = learntPlaces(lora.rows, ids);
    if (places.length > 0) {
      const own = (lora.rows.head ?? lora.rows.embedding).indexSelect(0, index(learnt));
      const there = tensor(BigInt64Array.from(places, BigInt), [places.length], { dtype: 'i64', device });
      rows = rows.indexCopy(0, there, own);
    }
  }
  return config.normalisedHead ? rows.normalize(1) : rows;
}

/** Next-token scores, [T, vocabulary], of states that `hiddenStates` gave. */
export function logits(decoder: Decoder, states: Tensor): Tensor {
  return states.linear(outputHead(decoder).to(states.dtype));
}

/**
 * The decoder for a vocabulary of `vocabularySize` tokens, of which it has learnt the first `known`: rows of the others start at the mean
 * of the known ones plus noise of a tenth of their deviation (method.md, section 1), in the embedding and, where it is a matrix of its
 * own, in the head. Published models have rows behind their tokenizer's last token that nothing has learnt: such ones are made over
 * first, and the tables are enlarged only where these don't reach.
 * The given decoder gives its tensors away and must not be used afterwards.
 */
export function growVocabulary(
  decoder: Decoder,
  vocabularySize: number,
  known: number = decoder.config.vocabularySize,
): Decoder {
  const rows = decoder.config.vocabularySize;
  const extra = vocabularySize - known;
  if (extra <= 0) return decoder;
  const grow = (weight: Tensor): Tensor => {
    const grown = noGrad(() =>
      tidy(() => {
        const learnt = weight.narrow(0, 0, known).to('f32');
        const mean = learnt.mean([0], true);
        const deviation = learnt.sub(mean).square().mean().sqrt().item();
        const noise = randn([extra, weight.shape[1]!], { dtype: 'f32', device: decoder.device }).mul(0.1 * deviation);
        const added = mean.add(noise).to(weight.dtype);
        if (vocabularySize > rows) return cat([weight.narrow(0, 0, known), added], 0);
        weight.narrow(0, known, extra).copy_(added);
        return null;
      }),
    );
    if (grown === null) return weight;
    weight.dispose();
    return grown;
  };
  const table = grow(decoder.embedding);
  return {
    ...decoder,
    config: { ...decoder.config, vocabularySize: Math.max(rows, vocabularySize) },
    embedding: table,
    head: decoder.config.tiedHead ? table : grow(decoder.head),
  };
}
