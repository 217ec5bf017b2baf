// Where a command that trains gets the language model's vectors from: given, or made by the stages before.
import { openDataset } from '@larr/core';
import type { CommandContext } from './command-context.js';
import { type Configuration, checkVectorWidth } from './configuration.js';
import { stageReporter } from './reporters.js';

interface VectorsWanted {
  models: readonly string[];
  data: string;
  split?: string | undefined;
  /** --vectors */
  vectors?: string | undefined;
  out: string;
  config: Configuration;
  seed: number;
  device: string;
}

/**
 * The vectors that these models need: those given, which are checked before anything is trained, or those that the language stages
 * make in `out`. Undefined where no model takes any.
 * @throws UsageError `UNKNOWN_MODEL`, `VECTOR_DIM`; ConfigError `NEEDS_SEQUENCE`, `NEEDS_FIELDS` where the data lack what a model reads; DataError `NO_VECTORS`, `VECTORS_MISMATCH`
 */
export async function vectorsFor(wanted: VectorsWanted, context: CommandContext): Promise<string | undefined> {
  const { checkModelInputs, modelKind } = await import('../models/index.js');
  const { modelInputs } = await import('../models/inputs.js');
  const { models, data, split, vectors, out, config, seed, device } = wanted;
  const semantic = models.filter((name) => modelKind(name).semantic);
  if (semantic.length === 0) {
    if (vectors !== undefined) context.say(`${models.join(', ')}: no model here takes vectors; ${vectors} is not read`);
    return undefined;
  }
  const dataset = await openDataset(data, split);
  const { resolveTrainConfig } = await import('../training/config.js');
  const inputs = modelInputs(dataset.split, dataset.manifest.orders, dataset.manifest.pois);
  for (const name of models)
    checkModelInputs(name, resolveTrainConfig(name, dataset.manifest.training, config.train), inputs);
  if (vectors !== undefined) {
    const { checkVectors } = await import('../embedding/vectors-manifest.js');
    const { dimension } = await checkVectors(vectors, dataset);
    for (const name of semantic) resolveTrainConfig(name, dataset.manifest.training, config.train, dimension);
    return vectors;
  }
  checkVectorWidth(config);
  const { ensureVectors } = await import('../pipeline/language-stages.js');
  const stages = { data, split, out, config, seed, device, signal: context.signal, ...stageReporter(context) };
  return (await ensureVectors(stages)).vectors;
}
