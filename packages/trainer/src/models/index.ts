import { UsageError } from '@larr/core';
import { tidy } from '@larr/torch';
import { Parameters } from '../layers/parameters.js';
import type { ModelConfig } from './config.js';
import { createDeepFm } from './deepfm.js';
import type { ModelInputs, RecommendationModel } from './inputs.js';
import { createLarr } from './larr.js';
import { createDnn } from './mlp.js';
import { createPle } from './ple.js';
import { createWideDeep } from './wide-deep.js';

type Create = (p: Parameters, inputs: ModelInputs, config: ModelConfig) => RecommendationModel;

interface ModelKind {
  create: Create;
  /** wants the language model's vectors */
  semantic: boolean;
  /** what a variant changes in the configuration */
  overrides?: Record<string, unknown>;
}

const kinds: Record<string, ModelKind> = {
  dnn: { create: createDnn, semantic: false },
  'wide-deep': { create: createWideDeep, semantic: false },
  deepfm: { create: createDeepFm, semantic: false },
  ple: { create: createPle, semantic: false },
  larr: { create: createLarr, semantic: true },
  /** the paper's noAL: scene vectors simply concatenated, no alignment */
  'larr-no-al': {
    create: createLarr,
    semantic: true,
    overrides: { larr: { aggregation: 'concat' }, align: { lambda: 0 } },
  },
  /** aggregator kept, alignment off: noAL changes two things at once */
  'larr-lambda0': { create: createLarr, semantic: true, overrides: { align: { lambda: 0 } } },
  'larr-random-table': { create: createLarr, semantic: true, overrides: { larr: { vectors: 'random' } } },
  'larr-shuffled-table': { create: createLarr, semantic: true, overrides: { larr: { vectors: 'shuffled' } } },
};

/** The names that `train`, `compare` and the others accept. */
export const modelNames: readonly string[] = Object.keys(kinds);

/** @throws UsageError `UNKNOWN_MODEL` */
export function modelKind(name: string): ModelKind {
  const kind = kinds[name];
  if (!kind) {
    throw new UsageError('UNKNOWN_MODEL', `there is no model "${name}"; known: ${modelNames.join(', ')}`);
  }
  return kind;
}

/**
 * Makes the network with freshly initialised parameters; they follow from the random state (manualSeed).
 * @param sparse whether the embedding tables get sparse gradients
 */
export function createModel(
  name: string,
  inputs: ModelInputs,
  config: ModelConfig,
  device: string,
  sparse = true,
): { parameters: Parameters; model: RecommendationModel } {
  const parameters = new Parameters(device, sparse);
  return { parameters, model: tidy(() => modelKind(name).create(parameters, inputs, config)) };
}
