import { ConfigError, nearestName, UsageError } from '@larr/core';
import { cat, type Tensor, tidy } from '@larr/torch';
import { Parameters } from '../layers/parameters.js';
import { type ModelConfig, type NetworkName, networkNames } from './config.js';
import { sequenceTarget } from './din.js';
import { createFeatures, features } from './features.js';
import { requirePairs } from './fibinet.js';
import type { Batch, ModelInputs, RecommendationModel } from './inputs.js';
import { createLarr } from './larr.js';
import { networks } from './networks.js';
import { createSceneIds } from './scene-ids.js';
import { createTruth, type Truth } from './truth.js';

type Create = (p: Parameters, inputs: ModelInputs, config: ModelConfig) => RecommendationModel;

/** Which language model's vectors: of both stages, of one that skipped stage 1, or of one that skipped stage 2. */
export type LanguageStagesTaken = 'both' | 'no-cpt' | 'no-ft';

interface ModelKind {
  create: Create;
  /** what it is a network of; null: `base` says it */
  network: NetworkName | null;
  /** wants the language model's vectors, and these; null: none */
  vectors: LanguageStagesTaken | null;
  /** is a language model that is asked in text, and not a network */
  languageModel?: true;
  /** what it reads of a simulated world's truth: a control, never a model for use; null: nothing */
  truth: Truth | null;
  /** what makes a variant: nobody's settings change it */
  overrides?: Record<string, unknown>;
}

const kinds: Record<string, ModelKind> = {
  ...Object.fromEntries(networkNames.map((network) => [network, baseline(network)])),
  /** LARR without the language model: its base alone */
  'larr-ple': baseline(null),
  larr: onBase('both'),
  /** stage 1 skipped */
  'larr-no-cpt': onBase('no-cpt'),
  /** stage 2 skipped: states of stage 1 through a fixed projection */
  'larr-no-ft': onBase('no-ft'),
  /** the paper's noAL: scene vectors simply concatenated, no alignment */
  'larr-no-al': onBase('both', { larr: { aggregation: 'concat' }, align: { lambda: 0 } }),
  /** aggregator kept, alignment off: noAL changes two things at once */
  'larr-lambda0': onBase('both', { align: { lambda: 0 } }),
  'larr-random-table': onBase('both', { larr: { vectors: 'random' } }),
  'larr-shuffled-table': onBase('both', { larr: { vectors: 'shuffled' } }),
  /** the base with the scene's keywords as further ids: what of LARR's gain is the scene, and no meaning of it */
  'ple-scene-ids': baseline(null, (p, inputs, config) => createSceneIds(p, inputs, config.embeddingDim)),
  /** upper bounds: the base that is told what only the simulator knows */
  'ple-true-attributes': told('attributes'),
  'ple-true-taste': told('taste'),
  /** the language model asked in text (src/p5) */
  p5: { create: refuseNetwork, network: null, vectors: null, truth: null, languageModel: true },
};

function refuseNetwork(): never {
  throw new UsageError(
    'NOT_A_NETWORK',
    'the model "p5" is a language model that is asked in text: it is trained and compared, not tuned, swept or exported',
  );
}

function onBase(vectors: LanguageStagesTaken, overrides: Record<string, unknown> = {}): ModelKind {
  return { create: createLarr, network: null, vectors, truth: null, overrides };
}

/** Further inputs of a network, behind its features. */
export interface FurtherInput {
  width: number;
  /** → [B, width] */
  forward(batch: Batch): Tensor;
}

/** A network over the features that the data have, without anything of a language model's. */
function baseline(
  network: NetworkName | null,
  further: ((p: Parameters, inputs: ModelInputs, config: ModelConfig) => FurtherInput | null) | null = null,
): ModelKind {
  return {
    network,
    vectors: null,
    truth: null,
    create(p, inputs, config) {
      const fields = createFeatures(p, inputs, config.embeddingDim);
      const more = further?.(p, inputs, config) ?? null;
      const net = networks[network ?? config.base](p, inputs, config, fields, fields.width + (more?.width ?? 0));
      return {
        forward(batch, training) {
          const { v, x } = features(fields, batch);
          const whole = more === null ? x : cat([x, more.forward(batch)], 1);
          const [ctr, cvr] = net.logits({ batch, v, x: whole }, training);
          return { ctr: ctr!, cvr: cvr ?? null, alignment: null };
        },
      };
    },
  };
}

/** The base that is told the truth of a simulated world. */
function told(truth: Truth): ModelKind {
  return { ...baseline(null, (p, inputs) => createTruth(p, inputs, truth)), truth };
}

export function needsLanguageModel(model: string): UsageError {
  return new UsageError(
    'NEEDS_LANGUAGE_MODEL',
    `the model "${model}" is a language model that is asked in text: give one that can write, such as what "larr pretrain" wrote (--language-model)`,
  );
}

/** The names that `train`, `compare` and the others accept. */
export const modelNames: readonly string[] = Object.keys(kinds);

/** @throws UsageError `UNKNOWN_MODEL` */
export function modelKind(name: string): ModelKind {
  const kind = Object.hasOwn(kinds, name) ? kinds[name] : undefined;
  if (!kind) {
    const near = nearestName(name, modelNames);
    throw new UsageError(
      'UNKNOWN_MODEL',
      `there is no model "${name}".${near === undefined ? '' : ` Did you mean "${near}"?`} Known: ${modelNames.join(', ')}`,
    );
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
 * Makes sure that a model is one to serve: controls read what a server has not, or are there to be held against.
 * @throws ConfigError `MODEL_NOT_EXPORTABLE`
 */
export function requireServable(name: string): void {
  const { truth } = modelKind(name);
  if (truth === null && name !== 'ple-scene-ids') return;
  throw new ConfigError(
    'MODEL_NOT_EXPORTABLE',
    `${name} is a control of experiments${truth === null ? '' : ', told what only a simulator knows'}: export its base, or larr`,
  );
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
