import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { DataError } from '@larr/core';
import {
  autocast,
  init,
  loadSafetensors,
  manualSeed,
  noGrad,
  saveSafetensors,
  type Tensor,
  tensor,
  tidy,
  zeros,
} from '@larr/torch';
import { lastPlaces, type PackedBatch, packSequences } from '../language-model/batch.js';
import { disposeDecoder, hiddenStates, type TrainingStates, trainingStates } from '../language-model/decoder.js';
import { saveTrained, type TrainedForm } from '../language-model/lora-directory.js';
import { type LanguageModel, loadLanguageModel } from '../language-model/model-directory.js';
import { stepFlops } from '../language-model/step-flops.js';
import type { Tokenizer } from '../language-model/tokenizer.js';
import { notFiniteRow } from './finite-vectors.js';

export type Pooling = 'mean' | 'last';
export type Similarity = 'cosine' | 'dot' | 'distance';

/** The language model as an embedding model: `e(x) = W · pooled states of x` (eq. 10, 11). Owns what it holds. */
export interface Embedder {
  model: LanguageModel;
  /** W (W_a where the form is asymmetric): [dimension, hidden] */
  projection: Tensor;
  /** W_b of the asymmetric form */
  otherProjection: Tensor | null;
  pooling: Pooling;
  similarity: Similarity;
}

/** The token ids of one text to embed, and whether they were cut. */
export interface EmbeddableText {
  ids: Int32Array;
  truncated: boolean;
}

/**
 * Token ids of a text, or of keywords wrapped one after another. A text longer than the context loses its middle to the end, but keeps its last token: that is
 * the end special token, whose state may be what is read (method.md, section 3).
 */
export function embeddableText(
  tokenizer: Tokenizer,
  text: string | readonly { token: string; text: string }[],
  contextLength: number,
): EmbeddableText {
  const body = typeof text === 'string' ? tokenizer.encode(text) : tokenizer.encodeWrapped(text);
  const ids = tokenizer.bosId === null ? body : Int32Array.from([tokenizer.bosId, ...body]);
  if (ids.length <= contextLength) return { ids, truncated: false };
  const cut = ids.slice(0, contextLength);
  cut[contextLength - 1] = ids[ids.length - 1]!;
  return { ids: cut, truncated: true };
}

/**
 * The pooled states of each sequence, [sequences, hidden]; the token before every text (bos) is not part of the mean. With `last` the
 * last layer is computed at the last tokens alone, but for its keys and values.
 */
export function pooledStates(model: LanguageModel, sequences: readonly Int32Array[], pooling: Pooling): Tensor {
  const batch = packSequences(sequences);
  const states = hiddenStates(model.decoder, batch, { rows: pooledRows(batch, pooling) });
  return pooled(model, states, batch, pooling);
}

/** The same for a step of training (`trainingStates`): what it took, and how the gradient goes on from the states, too. */
export function pooledTrainingStates(
  model: LanguageModel,
  sequences: readonly Int32Array[],
  pooling: Pooling,
  recompute: boolean,
): TrainingStates & { flops: number } {
  const batch = packSequences(sequences);
  const rows = pooledRows(batch, pooling);
  const { states, backward } = trainingStates(model.decoder, batch, { recompute, rows });
  return { states: pooled(model, states, batch, pooling), backward, flops: stepFlops(model.decoder, batch, 0, rows) };
}

/** The places whose states a pooling reads; undefined for all. */
function pooledRows(batch: PackedBatch, pooling: Pooling): Int32Array | undefined {
  return pooling === 'last' ? lastPlaces(batch) : undefined;
}

/** Of the states at `pooledRows`. */
function pooled({ decoder, tokenizer }: LanguageModel, states: Tensor, batch: PackedBatch, pooling: Pooling): Tensor {
  return pooling === 'last' ? states : meanStates(states, batch, tokenizer.bosId, decoder.device);
}

function meanStates(states: Tensor, batch: PackedBatch, bosId: number | null, device: string): Tensor {
  const n = batch.sequences.length;
  // Row n gathers what belongs to no mean: the token before each text.
  const owner = new Int32Array(batch.ids.length).fill(n);
  const share = new Float32Array(n);
  batch.sequences.forEach(({ start, length }, i) => {
    const skip = length > 1 && batch.ids[start] === bosId ? 1 : 0;
    owner.fill(i, start + skip, start + length);
    share[i] = 1 / (length - skip);
  });
  const sums = zeros([n + 1, states.shape[1]!], { dtype: states.dtype, device }).indexAdd(
    0,
    tensor(owner, [owner.length], { dtype: 'i32', device }),
    states,
  );
  return sums.narrow(0, 0, n).mul(tensor(share, [n, 1], { dtype: 'f32', device }));
}

/** Tokens encoded at a time where no gradient is needed. */
const TOKENS_AT_ONCE = 8192;

export interface MapOptions {
  signal?: AbortSignal | undefined;
  /** Sequences done so far, and the tokens of the last batch; none for one that was known. */
  onBatch?: ((done: number, tokens: number) => void) | undefined;
  /** A row that an earlier run computed. A batch whose rows are all known is not read again. */
  known?: ((sequence: number) => Float32Array | undefined) | undefined;
  /** Which batches, by number, are read here; the rows of the others, unless they are known, are left zero. Default all. */
  mine?: ((batch: number) => boolean) | undefined;
  /** Arithmetic of the products, under autocast; vectors are f32. Default f32. */
  precision?: 'f32' | 'bf16' | undefined;
  /** What a sequence is, for the error that names it; default its number and length. */
  name?: ((sequence: number) => string) | undefined;
  /** The rows of each batch that was read, as soon as they are there. */
  onRows?: ((sequences: readonly number[], rows: Float32Array) => Promise<void>) | undefined;
}

/**
 * Runs `read` over all sequences, those of one length together, and lays the rows that it returns
 * ([batch, width]) out in the given order: [sequences, width], f32. Which sequences share a batch follows from their lengths
 * alone, so known rows change no other row's rounding.
 */
export function mapSequences(
  sequences: readonly Int32Array[],
  width: number,
  read: (batch: Int32Array[]) => Tensor,
  options: MapOptions = {},
): Promise<Float32Array> {
  const inPrecision = (batch: Int32Array[]) =>
    autocast(() => read(batch), { dtype: 'bf16', enabled: options.precision === 'bf16' });
  const rows = (batch: Int32Array[]) =>
    noGrad(() => tidy(() => inPrecision(batch).to('f32').contiguous().toFloat32Array()));
  return mapBatches(sequences, width, rows, options);
}

/**
 * As `mapSequences`, for whatever makes rows of a batch: [batch, width].
 * @throws DataError `VECTORS_NOT_FINITE` where a row holds NaN or infinity, which names the sequence
 */
export async function mapBatches(
  sequences: readonly Int32Array[],
  width: number,
  read: (batch: Int32Array[]) => Float32Array | Promise<Float32Array>,
  { signal, onBatch, known, mine, name, onRows }: MapOptions = {},
): Promise<Float32Array> {
  const out = new Float32Array(sequences.length * width);
  const order = sequences.map((_, i) => i).sort((a, b) => sequences[b]!.length - sequences[a]!.length || a - b);
  for (let at = 0, batch = 0; at < order.length; batch++) {
    signal?.throwIfAborted();
    const members: number[] = [];
    let tokens = 0;
    while (at < order.length && (members.length === 0 || tokens + sequences[order[at]!]!.length <= TOKENS_AT_ONCE)) {
      tokens += sequences[order[at]!]!.length;
      members.push(order[at++]!);
    }
    const before = known === undefined ? [] : members.flatMap((i) => known(i) ?? []);
    if (before.length === members.length) {
      members.forEach((i, row) => {
        out.set(before[row]!, i * width);
      });
      onBatch?.(at, 0);
      continue;
    }
    if (mine !== undefined && !mine(batch)) {
      onBatch?.(at, 0);
      continue;
    }
    const rows = await read(members.map((i) => sequences[i]!));
    const lost = notFiniteRow(rows, width);
    if (lost !== null) {
      const i = members[lost]!;
      const what = name?.(i) ?? `text ${i + 1} of ${sequences.length}, of ${sequences[i]!.length} tokens`;
      throw new DataError(
        'VECTORS_NOT_FINITE',
        `The model's vector of ${what} holds NaN or infinity: its weights are damaged, or its arithmetic overflows (16-bit floats do beyond 65,504). Take its form in f32, or another model.`,
      );
    }
    members.forEach((i, row) => {
      out.set(rows.subarray(row * width, (row + 1) * width), i * width);
    });
    await onRows?.(members, rows);
    onBatch?.(at, tokens);
    await new Promise(setImmediate);
  }
  return out;
}

/** Vectors `e = W · h` of token sequences: [sequences, dimension], not normalised. */
export function embedSequences(
  embedder: Embedder,
  sequences: readonly Int32Array[],
  options: MapOptions = {},
): Promise<Float32Array> {
  return mapSequences(
    sequences,
    embedder.projection.shape[0]!,
    (batch) => {
      const pooled = pooledStates(embedder.model, batch, embedder.pooling);
      return autocast(() => pooled.linear(embedder.projection), { enabled: false });
    },
    options,
  );
}

export function disposeEmbedder(embedder: Embedder): void {
  disposeDecoder(embedder.model.decoder);
  embedder.projection.dispose();
  embedder.otherProjection?.dispose();
}

/** Writes a stage-2 directory: the model as Hugging Face has it (or its adapters as PEFT does), and projection.safetensors. */
export async function saveEmbedder(
  directory: string,
  embedder: Embedder,
  form: TrainedForm,
  base: { path: string; sha256: string },
): Promise<void> {
  await saveTrained(directory, embedder.model, form, base);
  tidy(() =>
    saveSafetensors(
      join(directory, 'projection.safetensors'),
      {
        projection: embedder.projection.detach(),
        ...(embedder.otherProjection && { other_projection: embedder.otherProjection.detach() }),
      },
      { format: 'larr-projection', pooling: embedder.pooling, similarity: embedder.similarity },
    ),
  );
}

/**
 * Loads a stage-2 directory. A directory without a projection (stage 1, or any language model) becomes an embedder all the
 * same, as the ablation noFT wants it: last-token states through a fixed seeded orthonormal projection (method.md, section 6).
 */
export async function loadEmbedder(
  directory: string,
  { device = 'cpu', dimension = 128, seed = 1 }: { device?: string; dimension?: number; seed?: number } = {},
): Promise<Embedder> {
  const path = join(directory, 'projection.safetensors');
  const model = await loadLanguageModel(directory, { device, matrices: 'as saved' });
  const hidden = model.decoder.config.hiddenSize;
  if (!existsSync(path)) {
    manualSeed(seed);
    const projection = noGrad(() => init.orthogonal_(zeros([dimension, hidden], { dtype: 'f32', device })));
    return { model, projection, otherProjection: null, pooling: 'last', similarity: 'cosine' };
  }
  try {
    return tidy(() => {
      const { tensors, metadata } = loadSafetensors(path);
      const { pooling, similarity } = metadata;
      const projection = tensors.projection;
      if (projection === undefined || projection.shape[1] !== hidden || (pooling !== 'mean' && pooling !== 'last')) {
        throw new DataError(
          'BAD_PROJECTION',
          `${path} is not the projection of the model beside it (hidden size ${hidden}). Run finetune again.`,
        );
      }
      return {
        model,
        projection: projection.to({ dtype: 'f32', device }).clone(),
        otherProjection: tensors.other_projection?.to({ dtype: 'f32', device }).clone() ?? null,
        pooling,
        similarity: (similarity ?? 'cosine') as Similarity,
      };
    });
  } catch (error) {
    disposeDecoder(model.decoder);
    throw error;
  }
}
