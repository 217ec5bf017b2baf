// What is left out, and what equal tokens share, changes no state and no gradient: against each sequence alone through the cached path,
// which computes everything at every place with LibTorch's attention.
import { autocast, manualSeed, memoryStats, noGrad, setNumThreads, type Tensor, tensor, tidy } from '@larr/torch';
import { beforeAll, describe, expect, it } from 'vitest';
import { decoderShape } from '../../test/decoder-shape.js';
import { lastPlaces, packSequences } from './batch.js';
import type { DecoderConfig } from './configuration.js';
import {
  createDecoder,
  type Decoder,
  disposeCache,
  disposeDecoder,
  hiddenStates,
  type KeyValueCache,
  trainedParameters,
  trainingStates,
} from './decoder.js';
import { addLora } from './lora.js';
import { LoraConfig } from './lora-config.js';
import { stepFlops } from './step-flops.js';

const shape = decoderShape();

beforeAll(() => setNumThreads(1));

/** Ids among the first `words`; with few of them tokens come again and again. */
const text = (length: number, salt: number, words: number) =>
  Int32Array.from({ length }, (_, i) => (i * 7 + salt * 13 + ((i * i) % 11)) % words);
const ragged = (words: number) => [100, 1, 49, 1, 3, 60].map((length, i) => text(length, i, words));
const FEW = 20; // a tenth of the places: shared
const ALONE = [text(20, 1, 60), text(1, 2, 60)]; // hardly a token twice: not shared

/** Places by how they are chosen. */
const CHOICES = {
  'the last of each': lastPlaces,
  'all but the first three of each': (batch: ReturnType<typeof packSequences>) =>
    Int32Array.from(
      batch.sequences.flatMap(({ start, length }) => Array.from({ length }, (_, i) => start + i).slice(3)),
    ),
  'every place but one': (batch: ReturnType<typeof packSequences>) =>
    Int32Array.from(batch.ids.keys()).filter((place) => place !== 5),
  'a single place': () => Int32Array.of(17),
};

/** States weighed at random: what is differentiated. */
function weights(rows: number, hidden: number): Tensor {
  return tensor(
    Float32Array.from({ length: rows * hidden }, (_, i) => Math.sin(i * 1.7)),
    [rows, hidden],
  );
}

function collected(decoder: Decoder): Map<string, Float32Array> {
  return new Map(
    Object.entries(trainedParameters(decoder)).map(([name, parameter]) => {
      const { grad } = parameter;
      const values = grad === null ? new Float32Array(parameter.numel) : tidy(() => grad.toFloat32Array());
      parameter.grad = null;
      return [name, values];
    }),
  );
}

type Precision = 'f32' | 'bf16';
const inPrecision = <T>(precision: Precision, fn: () => T): T =>
  autocast(fn, { dtype: 'bf16', enabled: precision === 'bf16' });

/** States at `rows` and gradients, everything computed at every place of each sequence alone. */
function reference(decoder: Decoder, sequences: Int32Array[], rows: Int32Array, precision: Precision) {
  const { sequences: places } = packSequences(sequences);
  const states: Float32Array[] = [];
  tidy(() => {
    const all = weights(rows.length, shape.hiddenSize);
    sequences.forEach((ids, i) => {
      const { start, length } = places[i]!;
      const own = rows.filter((row) => row >= start && row < start + length);
      if (own.length === 0) return;
      const cache: KeyValueCache = { length: 0, layers: [] };
      const index = tensor(
        Int32Array.from(own, (row) => row - start),
        [own.length],
        { dtype: 'i32' },
      );
      const some = inPrecision(precision, () => hiddenStates(decoder, packSequences([ids]), { cache })).indexSelect(
        0,
        index,
      );
      some
        .mul(all.narrow(0, rows.indexOf(own[0]!), own.length))
        .sum()
        .backward();
      states.push(some.toFloat32Array());
      disposeCache(cache);
    });
  });
  return { states: Float32Array.from(states.flatMap((part) => [...part])), gradients: collected(decoder) };
}

function selected(
  decoder: Decoder,
  sequences: Int32Array[],
  rows: Int32Array,
  recompute: boolean,
  precision: Precision,
) {
  const states = tidy(() =>
    inPrecision(precision, () => {
      const { states, backward } = trainingStates(decoder, packSequences(sequences), { recompute, rows });
      states.mul(weights(rows.length, shape.hiddenSize)).sum().backward();
      backward();
      return states.toFloat32Array();
    }),
  );
  return { states, gradients: collected(decoder) };
}

const largest = (values: Float32Array) => values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
/** The largest difference, as a share of the largest number wanted. */
function error(got: Float32Array, wanted: Float32Array): number {
  expect(got.length).toBe(wanted.length);
  return largest(got.map((value, i) => value - wanted[i]!)) / Math.max(largest(wanted), 1e-3);
}

function withDecoder(change: Partial<DecoderConfig>, adapted: boolean, fn: (decoder: Decoder) => void): void {
  manualSeed(7);
  const decoder = createDecoder({ ...shape, ...change });
  noGrad(() => {
    for (const { queryKeyValueBias, queryNorm, keyNorm } of decoder.layers)
      for (const t of [queryKeyValueBias, queryNorm, keyNorm]) t?.normal_(0.5, 0.5);
    if (!adapted) return;
    addLora(decoder, LoraConfig.parse({ rank: 3, alpha: 6, targets: ['*_proj'] }), [4, 9]);
    for (const layer of decoder.lora!.layers) for (const { b } of Object.values(layer)) b.normal_(0, 0.1);
  });
  for (const parameter of Object.values(trainedParameters(decoder))) parameter.requiresGrad_();
  try {
    fn(decoder);
  } finally {
    disposeDecoder(decoder);
  }
}

const KINDS = [
  ['a Llama', {}, false],
  ['biases on queries, keys and values', { family: 'qwen2', attentionBias: true }, false],
  ['norms of heads', { family: 'qwen3', queryKeyNorm: true }, false],
  ['a single layer', { layers: 1 }, false],
  ['adapters', { family: 'qwen3', queryKeyNorm: true }, true],
] as const;

describe.each(KINDS)('the states at some places, and their gradients, of %s', (_, change, adapted) => {
  it.each(Object.keys(CHOICES) as (keyof typeof CHOICES)[])('%s', (choice) => {
    withDecoder(change, adapted, (decoder) => {
      for (const sequences of [ragged(FEW), ALONE]) {
        const rows = CHOICES[choice](packSequences(sequences));
        const exact = reference(decoder, sequences, rows, 'f32');
        // bf16 may be as far off as it is where everything is computed.
        const rounded = reference(decoder, sequences, rows, 'bf16');
        for (const recompute of [false, true]) {
          for (const precision of ['f32', 'bf16'] as const) {
            const got = selected(decoder, sequences, rows, recompute, precision);
            const allowed = (by: Float32Array, wanted: Float32Array) =>
              precision === 'f32' ? 1e-4 : 0.03 + 2 * error(by, wanted);
            const what = `${precision}, recompute ${recompute}`;
            expect(error(got.states, exact.states), what).toBeLessThan(allowed(rounded.states, exact.states));
            for (const [name, wanted] of exact.gradients)
              expect(error(got.gradients.get(name)!, wanted), `${name}, ${what}`).toBeLessThan(
                allowed(rounded.gradients.get(name)!, wanted),
              );
          }
        }
      }
    });
  });
});

describe('states at some places', () => {
  it('are those that the whole has there, without a graph', () => {
    withDecoder({}, false, (decoder) => {
      noGrad(() =>
        tidy(() => {
          const batch = packSequences(ragged(FEW));
          for (const choose of Object.values(CHOICES)) {
            const rows = choose(batch);
            const index = tensor(rows, [rows.length], { dtype: 'i32' });
            const whole = hiddenStates(decoder, batch).indexSelect(0, index).toFloat32Array();
            expect(error(hiddenStates(decoder, batch, { rows }).toFloat32Array(), whole)).toBeLessThan(1e-5);
          }
        }),
      );
    });
  });

  it('may be none, and leave nothing behind', () => {
    withDecoder({}, false, (decoder) => {
      const before = memoryStats().tensors;
      for (const recompute of [false, true])
        tidy(() => {
          const { states, backward } = trainingStates(decoder, packSequences(ALONE), {
            recompute,
            rows: new Int32Array(),
          });
          expect(states.shape).toEqual([0, shape.hiddenSize]);
          backward();
        });
      expect(memoryStats().tensors).toBe(before);
    });
  });

  it('are refused out of order, twice, outside the batch and beside a cache', () => {
    withDecoder({}, false, (decoder) => {
      const batch = packSequences([text(9, 1, FEW)]);
      for (const rows of [Int32Array.of(3, 2), Int32Array.of(4, 4), Int32Array.of(9), Int32Array.of(-1)])
        expect(() => hiddenStates(decoder, batch, { rows })).toThrow(/rows must rise within the 9 tokens/);
      const cache = { length: 0, layers: [] };
      expect(() => hiddenStates(decoder, batch, { rows: Int32Array.of(8), cache })).toThrow(/With a cache/);
    });
  });

  it('count for the operations that they take', () => {
    withDecoder({ layers: 1 }, false, (decoder) => {
      const batch = packSequences([text(10, 1, FEW), text(4, 2, FEW)]);
      const { hiddenSize, heads, keyValueHeads, headSize, feedForwardSize } = shape;
      const keysValues = 2 * keyValueHeads * headSize * hiddenSize;
      const rest = 2 * heads * headSize * hiddenSize + 3 * feedForwardSize * hiddenSize;
      // Of two tokens, the tenth of its text and the second of its own: twelve pairs.
      const rows = Int32Array.of(9, 11);
      expect(stepFlops(decoder, batch, 0, rows)).toBe(14 * 6 * keysValues + 2 * 6 * rest + 12 * 12 * heads * headSize);
      expect(stepFlops(decoder, batch, 0, Int32Array.from(batch.ids.keys()))).toBe(stepFlops(decoder, batch, 0));
    });
  });
});
