import { UsageError } from '@larr/core';
import { tidy } from '@larr/torch';
import { Parameters } from '../layers/parameters.js';
import { type ModelConfig, type NetworkName, networkNames } from './config.js';
import { sequenceTarget } from './din.js';
import { createFeatures, features } from './features.js';
import { requirePairs } from './fibinet.js';
import type { ModelInputs, RecommendationModel } from './inputs.js';
import { createLarr } from './larr.js';
import type { CreateNetwork } from './network.js';
import { networks } from './networks.js';

type Create = (p: Parameters, inputs: ModelInputs, config: ModelConfig) => RecommendationModel;

interface ModelKind {
  create: Create;
  /** what it is a network of; null: `base` says it */
  network: NetworkName | null;
  /** wants the language model's vectors */
  semantic: boolean;
  /** what a variant changes in the configuration */
  overrides?: Record<string, unknown>;
}

const kinds: Record<string, ModelKind> = {
  ...Object.fromEntries(
    networkNames.map((network) => [network, { create: alone(networks[network]), network, semantic: false }]),
  ),
  larr: onBase(),
  /** the paper's noAL: scene vectors simply concatenated, no alignment */
  'larr-no-al': onBase({ larr: { aggregation: 'concat' }, align: { lambda: 0 } }),
  /** aggregator kept, alignment off: noAL changes two things at once */
  'larr-lambda0': onBase({ align: { lambda: 0 } }),
  'larr-random-table': onBase({ larr: { vectors: 'random' } }),
  'larr-shuffled-table': onBase({ larr: { vectors: 'shuffled' } }),
};

function onBase(overrides: Record<string, unknown> = {}): ModelKind {
  return { create: createLarr, network: null, semantic: true, overrides };
}

/** A network over the features that the data have, without anything of a language model's. */
function alone(createNetwork: CreateNetwork): Create {
  return (p, inputs, config) => {
    const fields = createFeatures(p, inputs, config.embeddingDim);
    const network = createNetwork(p, inputs, config, fields, fields.width);
    return {
      forward(batch, training) {
        const [ctr, cvr] = network.logits({ batch, ...features(fields, batch) }, training);
        return { ctr: ctr!, cvr: cvr ?? null, alignment: null };
      },
    };
  };
}

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

/** The network that a model is, or is built on. @throws UsageError `UNKNOWN_MODEL` */
export function networkOf(name: string, config: ModelConfig): NetworkName {
  return modelKind(name).network ?? config.base;
}

/**
 * Makes sure that the data have what a model reads, before anything is trained.
 * @throws ConfigError `NEEDS_SEQUENCE`, `NEEDS_FIELDS`; UsageError `UNKNOWN_MODEL`
 */
export function checkModelInputs(name: string, config: ModelConfig, inputs: ModelInputs): void {
  const network = networkOf(name, config);
  if (network === 'din') sequenceTarget(inputs);
  if (network === 'fibinet') requirePairs(inputs);
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
