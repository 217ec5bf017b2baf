import { noGrad, tensor, tidy } from '@larr/torch';
import { lastPlaces, packSequences } from './batch.js';
import { type Decoder, disposeCache, hiddenStates, type KeyValueCache, logits } from './decoder.js';
import type { LanguageModel } from './model-directory.js';

export interface GenerationOptions {
  /** At most this many new tokens. */
  maxTokens: number;
  /** 0 takes the likeliest token each time; 1 draws from the model's distribution. */
  temperature?: number;
  /** Uniform numbers in [0, 1); needed where the temperature is above 0. */
  random?: () => number;
}

/**
 * Continues `prompt`; stops at the end token, at `maxTokens`, or where the context is full.
 * Keys and values of past tokens are kept, so a token costs one token's work.
 */
export function generate(model: LanguageModel, prompt: string, options: GenerationOptions): string {
  const { decoder, tokenizer } = model;
  const { maxTokens, temperature = 0, random } = options;
  const ids = withBos(tokenizer.bosId, tokenizer.encode(prompt));
  if (ids.length === 0) throw new RangeError('The prompt is empty and this tokenizer has no token to begin with.');
  const cache: KeyValueCache = { length: 0, layers: [] };
  const made: number[] = [];
  try {
    let next = ids;
    while (made.length < maxTokens && cache.length + next.length <= decoder.config.contextLength) {
      const token = noGrad(() =>
        tidy(() => {
          const states = hiddenStates(decoder, packSequences([next]), { cache });
          const scores = logits(decoder, states.narrow(0, next.length - 1, 1)).to('f32'); // [1, vocabulary]
          if (temperature === 0) return scores.argmax(1).item();
          return draw(scores.div(temperature).softmax(1).toFloat32Array(), (random ?? Math.random)());
        }),
      );
      if (token === tokenizer.eosId) break;
      made.push(token);
      next = Int32Array.of(token);
    }
  } finally {
    disposeCache(cache);
  }
  return tokenizer.decode(made);
}

/** The index whose share of the distribution `u` in [0, 1) falls into. */
function draw(probabilities: Float32Array, u: number): number {
  let sum = 0;
  for (let i = 0; i < probabilities.length; i++) {
    sum += probabilities[i]!;
    if (u < sum) return i;
  }
  return probabilities.length - 1;
}

function withBos(bosId: number | null, ids: Int32Array): Int32Array {
  return bosId === null ? ids : Int32Array.from([bosId, ...ids]);
}

/**
 * Probability of each of `candidates` as the next token after each sequence: [sequences, candidates], row by row.
 * P5-style scoring reads P(yes) from here.
 */
export function nextTokenProbabilities(
  decoder: Decoder,
  sequences: readonly Int32Array[],
  candidates: readonly number[],
): Float32Array {
  return noGrad(() =>
    tidy(() => {
      const batch = packSequences(sequences);
      const wanted = tensor(Int32Array.from(candidates), [candidates.length], { dtype: 'i32', device: decoder.device });
      const states = hiddenStates(decoder, batch, { rows: lastPlaces(batch) });
      return logits(decoder, states).to('f32').softmax(1).indexSelect(1, wanted).toFloat32Array();
    }),
  );
}
