import type { Tensor } from '@larr/torch';
import type { Parameters } from '../layers/parameters.js';
import type { ModelConfig } from './config.js';
import type { Features } from './features.js';
import type { Batch, ModelInputs } from './inputs.js';

/** What a network reads of a batch. */
export interface NetworkInput {
  batch: Batch;
  /** [B, F, dim]: the embedding of each field */
  v: Tensor;
  /** [B, width]: v side by side, dense features, and what LARR puts behind them */
  x: Tensor;
}

/** From features to logits: a model on its own, or the base that LARR puts its semantic inputs into. */
export interface Network {
  /** one logit [B] per task, f32 */
  logits(input: NetworkInput, training: boolean): Tensor[];
}

/**
 * Registers a network's parameters.
 * @param features the embeddings it reads, which it shares with the rest of its model
 * @param width of `x`: at least `features.width`
 */
export type CreateNetwork = (
  p: Parameters,
  inputs: ModelInputs,
  config: ModelConfig,
  features: Features,
  width: number,
) => Network;
