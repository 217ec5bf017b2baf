// Where a command that trains gets the language model's vectors from: given, or made by the stages before.
import { openDataset } from '@larr/core';
import { type Command, Option } from 'commander';
import type { LanguageStagesTaken } from '../models/index.js';
import type { CommandContext } from './command-context.js';
import { type Configuration, checkVectorWidth } from './configuration.js';
import { modelDirectory } from './model-directory.js';
import { stageReporter } from './reporters.js';

interface VectorsWanted {
  models: readonly string[];
  data: string;
  split?: string | undefined;
  /** --vectors */
  vectors?: string | undefined;
  /** --vectors-no-cpt, --vectors-no-ft */
  vectorsNoCpt?: string | undefined;
  vectorsNoFt?: string | undefined;
  /** --ignore-gate */
  ignoreGate?: boolean | undefined;
  /** --language-model */
  languageModel?: string | undefined;
  out: string;
  config: Configuration;
  seed: number;
  device: string;
}

/** Vectors by the stages that their language model took; those that no model asks for are left out. */
export type VectorsFound = { [K in LanguageStagesTaken | 'languageModel']?: string };

/** What `withVectorOptions` adds. */
export interface VectorOptions {
  vectors?: string;
  vectorsNoCpt?: string;
  vectorsNoFt?: string;
  ignoreGate: boolean;
}

/** The options by which an experiment is given vectors. */
export function withVectorOptions(command: Command): Command {
  return command
    .option('--vectors <dir>', 'what `larr embed` wrote; without it, the stages run in --out')
    .option('--vectors-no-cpt <dir>', 'the same of a model without stage 1, for larr-no-cpt; without it, made in --out')
    .option('--vectors-no-ft <dir>', 'the same of a stage-1 model, for larr-no-ft; without it, made in --out')
    .addOption(ignoreGateOption());
}

/** `--ignore-gate` of the commands that train. */
export function ignoreGateOption(): Option {
  return new Option('--ignore-gate', 'take given vectors that fail their gate (gate.json), and say so').default(false);
}

/**
 * The vectors that these models need: those given, which are checked before anything is trained, or those that the language stages
 * make in `out`: the whole model's in vectors/, those without stage 1 or stage 2 in no-cpt/ and no-ft/. And the language model that P5 asks.
 * The whole model's that are given must pass their gate. Those that one command makes and takes are taken whatever it says, which is said: who
 * asks for both at once is not sent away after the longest part. Those without a stage are there to be worse.
 * @throws UsageError `UNKNOWN_MODEL`, `VECTOR_DIM`; ConfigError `NEEDS_SEQUENCE`, `NEEDS_FIELDS` where the data lack what a model reads; DataError `NO_VECTORS`, `VECTORS_MISMATCH`, `GATE_FAILED`, `GATE_CORRUPT`
 */
export async function vectorsFor(wanted: VectorsWanted, context: CommandContext): Promise<VectorsFound> {
  const { checkModelInputs, modelKind } = await import('../models/index.js');
  const { modelInputs } = await import('../models/inputs.js');
  const { models, data, split, out, config, seed, device } = wanted;
  const given = { both: wanted.vectors, 'no-cpt': wanted.vectorsNoCpt, 'no-ft': wanted.vectorsNoFt };
  const needed = new Set(models.flatMap((name) => modelKind(name).vectors ?? []));
  for (const [stages, path] of Object.entries(given)) {
    if (path !== undefined && !needed.has(stages as LanguageStagesTaken))
      context.say(`${models.join(', ')}: no model here takes such vectors; ${path} is not read`);
  }
  const asks = models.some((name) => modelKind(name).languageModel);
  if (wanted.languageModel !== undefined && !asks)
    context.say(`${models.join(', ')}: no model here asks a language model; ${wanted.languageModel} is not read`);
  const asked = async (found: VectorsFound): Promise<VectorsFound> =>
    asks ? { ...found, languageModel: await languageModelFor(wanted, context) } : found;
  if (needed.size === 0) return asked({});
  const dataset = await openDataset(data, split);
  const { resolveTrainConfig } = await import('../training/config.js');
  const inputs = modelInputs(dataset.split, dataset.manifest.orders, dataset.manifest.pois);
  for (const name of models)
    checkModelInputs(name, resolveTrainConfig(name, dataset.manifest.training, config.train), inputs);
  const { checkVectors } = await import('../embedding/vectors-manifest.js');
  const { requireGate } = await import('../embedding/vectors-gate.js');
  const found: VectorsFound = {};
  for (const stages of needed) {
    const path = given[stages];
    if (path === undefined) continue;
    const { dimension } = await checkVectors(path, dataset);
    for (const name of models.filter((name) => modelKind(name).vectors === stages))
      resolveTrainConfig(name, dataset.manifest.training, config.train, dimension);
    if (stages === 'both') await requireGate(path, { ignore: wanted.ignoreGate === true, say: context.say });
    found[stages] = path;
  }
  const missing = [...needed].filter((stages) => found[stages] === undefined);
  if (missing.length === 0) return asked(found);
  checkVectorWidth(config);
  const { ensureVectorsOf } = await import('../pipeline/language-stages.js');
  const stages = { data, split, out, config, seed, device, signal: context.signal, ...stageReporter(context) };
  for (const taken of missing) {
    const path = await ensureVectorsOf(taken, stages);
    if (taken === 'both') await requireGate(path, { ignore: true, say: context.say });
    found[taken] = path;
  }
  return asked(found);
}

/** The model that P5 asks: the one given, or that of stage 1, which is made in `out` where it is missing. */
async function languageModelFor(wanted: VectorsWanted, context: CommandContext): Promise<string> {
  if (wanted.languageModel !== undefined) return modelDirectory(wanted.languageModel, context);
  const { ensureStage1 } = await import('../pipeline/language-stages.js');
  const { data, split, out, config, seed, device } = wanted;
  return ensureStage1({ data, split, out, config, seed, device, signal: context.signal, ...stageReporter(context) });
}
