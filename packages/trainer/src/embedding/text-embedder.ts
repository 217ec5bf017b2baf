import { wrapText } from '@larr/core';
import {
  disposeEmbedder,
  type EmbeddableText,
  type Embedder,
  embeddableText,
  embedSequences,
  type MapOptions,
  type Similarity,
} from './embedder.js';

/** The keywords that one vector is made from; none where there is no text. */
export type Keywords = readonly { token: string; text: string }[];

/** Whatever turns texts into vectors: the language model of stage 2 (or 1), or a ready sentence encoder. Owns what it holds. */
export interface TextEmbedder {
  /** Width of the vectors. */
  readonly dimension: number;
  readonly similarity: Similarity;
  /** Longest text in tokens; longer ones are cut. */
  readonly contextLength: number;
  /** Keywords as a text: wrapped, or in words. */
  phrase(keywords: Keywords): string;
  /** Token ids of a text, or of keywords. A text begins after a blank, as a wrapped keyword's does. */
  tokens(text: string | Keywords): EmbeddableText;
  /** Vectors of token sequences: [sequences, dimension] */
  embed(sequences: readonly Int32Array[], options?: MapOptions): Promise<Float32Array>;
  /** Of the side that is looked up, where it has a head of its own (method.md, section 3: the asymmetric form). */
  embedOther?(sequences: readonly Int32Array[], options?: MapOptions): Promise<Float32Array>;
  dispose(): void;
}

/** A language model with its projection as a `TextEmbedder`, which then owns it. `precision`: of products where no other is asked for. */
export function languageModelEmbedder(embedder: Embedder, precision: 'f32' | 'bf16' = 'f32'): TextEmbedder {
  const { model, otherProjection } = embedder;
  const { contextLength } = model.decoder.config;
  const read = (side: Embedder, sequences: readonly Int32Array[], options: MapOptions = {}) =>
    embedSequences(side, sequences, { ...options, precision: options.precision ?? precision });
  return {
    dimension: embedder.projection.shape[0]!,
    similarity: embedder.similarity,
    contextLength,
    phrase: wrapText,
    tokens: (text) => embeddableText(model.tokenizer, text, contextLength),
    embed: (sequences, options) => read(embedder, sequences, options),
    ...(otherProjection !== null && {
      embedOther: (sequences: readonly Int32Array[], options?: MapOptions) =>
        read({ ...embedder, projection: otherProjection }, sequences, options),
    }),
    dispose: () => disposeEmbedder(embedder),
  };
}
