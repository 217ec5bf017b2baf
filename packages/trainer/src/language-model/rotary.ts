import { arange, type Tensor, tensor, tidy } from '@larr/torch';
import type { DecoderConfig, RotaryStretch } from './configuration.js';

/** Cosines and sines of the rotary positions (Su et al. 2021), each [contextLength, headSize/2], f32. */
export interface RotaryTable {
  cosine: Tensor;
  sine: Tensor;
}

/** The rotary table of a decoder, for every position of its context; frequencies stretched where its configuration says so. */
export function rotaryTable(config: DecoderConfig, device: string): RotaryTable {
  const half = config.headSize / 2;
  const plain = Float64Array.from({ length: half }, (_, i) => config.rotaryBase ** (-i / half));
  const stretch = config.rotaryStretch;
  const frequencies = stretch === null ? plain : stretched(plain, stretch, config.rotaryBase);
  const scale = stretch?.type === 'yarn' ? stretch.attentionFactor : 1;
  return tidy(() => {
    const positions = arange(0, config.contextLength, 1, { dtype: 'f64', device });
    const angles = positions.unsqueeze(1).mul(tensor(frequencies, [1, half], { dtype: 'f64', device }));
    return { cosine: angles.cos().mul(scale).to('f32'), sine: angles.sin().mul(scale).to('f32') };
  });
}

/** Frequencies for a longer context than that of pretraining, as transformers computes them. */
function stretched(frequencies: Float64Array, stretch: RotaryStretch, base: number): Float64Array {
  if (stretch.type === 'linear') return frequencies.map((frequency) => frequency / stretch.factor);
  const context = stretch.originalContextLength;
  if (stretch.type === 'llama3') {
    // Long waves are stretched, short ones are not, and those between by degrees.
    const { factor, lowFrequencyFactor: low, highFrequencyFactor: high } = stretch;
    return frequencies.map((frequency) => {
      const waves = (context * frequency) / (2 * Math.PI);
      const kept = Math.min(1, Math.max(0, (waves - low) / (high - low)));
      return ((1 - kept) * frequency) / factor + kept * frequency;
    });
  }
  // YaRN (Peng et al. 2023): as llama3, with the degrees linear in the frequency's number instead of its waves.
  const size = 2 * frequencies.length;
  const numberOf = (rotations: number) => (size * Math.log(context / (rotations * 2 * Math.PI))) / (2 * Math.log(base));
  const fast = numberOf(stretch.betaFast);
  const slow = numberOf(stretch.betaSlow);
  const from = Math.max(0, stretch.truncate ? Math.floor(fast) : fast);
  let to = Math.min(size - 1, stretch.truncate ? Math.ceil(slow) : slow);
  if (to === from) to += 0.001;
  return frequencies.map((frequency, i) => {
    const stretchedShare = Math.min(1, Math.max(0, (i - from) / (to - from)));
    return frequency * (1 - stretchedShare + stretchedShare / stretch.factor);
  });
}
