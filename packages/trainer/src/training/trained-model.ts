import { existsSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { TrainingError } from '@larr/core';
import { loadSafetensors, tidy } from '@larr/torch';
import type { Parameters } from '../layers/parameters.js';
import { createModel } from '../models/index.js';
import type { RecommendationModel } from '../models/inputs.js';
import { trainConfigSchema } from './config-schema.js';
import type { TrainingData } from './data.js';
import { type Evaluation, evaluate } from './evaluate.js';
import { readRunFile } from './run-files.js';
import { requireAttention } from './scene-attention.js';
import { type ModelDescription, runPaths, type TrainResult } from './train.js';

/** The best weights of a finished run under their stable names (models/README.md), and what they are of. */
export interface ModelState {
  description: ModelDescription;
  result: TrainResult;
  tensors: Record<string, { shape: number[]; data: Float32Array }>;
}

/**
 * Everything that a bundle or another program needs of a run directory.
 * @throws TrainingError `NOT_TRAINED` where the run is missing or not finished
 */
export async function exportModelState(run: string): Promise<ModelState> {
  const { description, result, weights } = await finishedRun(run);
  const tensors = tidy(() =>
    Object.fromEntries(
      Object.entries(loadSafetensors(weights).tensors).map(([name, t]) => [
        name,
        { shape: t.shape, data: t.toFloat32Array() },
      ]),
    ),
  );
  return { description, result, tensors };
}

/** A trained network, ready to score. Dispose of its parameters. */
export interface TrainedModel {
  description: ModelDescription;
  parameters: Parameters;
  model: RecommendationModel;
}

/**
 * Loads the best weights of a run.
 * @throws TrainingError `NOT_TRAINED`, `CHECKPOINT_MISMATCH`
 */
export async function loadTrainedModel(run: string, device = 'cpu'): Promise<TrainedModel> {
  const { description, weights } = await finishedRun(run);
  const { parameters, model } = createModel(description.model, description.inputs, description.config, device);
  try {
    tidy(() => parameters.load(loadSafetensors(weights).tensors));
  } catch (error) {
    parameters.dispose();
    throw error;
  }
  return { description, parameters, model };
}

/**
 * The split that a finished run was trained on: its model knows no other split's ids, and has learnt from rows that others test on.
 * @throws TrainingError `NOT_TRAINED`
 */
export async function splitOfRun(run: string): Promise<string> {
  return (await finishedRun(run)).description.dataset.split;
}

/**
 * Measures a trained model on the test part of `data`.
 * @param attentionBy the scene field for each of whose texts attention is told apart
 * @throws TrainingError `SCHEMA_MISMATCH` where the data are of another schema, split or other vocabularies than the model; UsageError `UNKNOWN_FIELD`,
 * `NO_ATTENTION`
 */
export async function evaluateTrained(run: string, data: TrainingData, attentionBy?: string): Promise<Evaluation> {
  const trained = await loadTrainedModel(run, data.device);
  try {
    const { dataset, inputs, config } = trained.description;
    const { schemaDigest, contentDigest } = data.dataset.manifest;
    if (
      dataset.split !== data.dataset.splitName ||
      dataset.schemaDigest !== schemaDigest ||
      dataset.contentDigest !== contentDigest ||
      JSON.stringify({ ...inputs, truth: undefined }) !== JSON.stringify(data.inputs)
    ) {
      throw new TrainingError(
        'SCHEMA_MISMATCH',
        `${run} was trained on ${dataset.name}, split ${dataset.split}, schema ${dataset.schemaDigest.slice(0, 12)}, content ${dataset.contentDigest.slice(0, 12)}; ` +
          `the data are ${data.dataset.manifest.name}, split ${data.dataset.splitName}, schema ${schemaDigest.slice(0, 12)}, content ${contentDigest.slice(0, 12)}. ` +
          'A model knows the ids of its own data and split only: give the --data that it was trained on',
      );
    }
    if (attentionBy !== undefined) requireAttention(trained.model, trained.description);
    return await evaluate(trained.model, data.test, data.dataset.split, inputs, config, attentionBy);
  } finally {
    trained.parameters.dispose();
  }
}

async function finishedRun(run: string) {
  const paths = runPaths(run);
  if (![paths.weights, paths.description, paths.result].every(existsSync)) {
    // Of a comparison, whoever names it means one of its models.
    const models = await readdir(join(run, 'models')).catch(() => []);
    throw new TrainingError(
      'NOT_TRAINED',
      `${run} holds no finished training run (no result.json): ${
        models.length === 0
          ? 'run "larr train" first'
          : `name one of its models, ${models
              .sort()
              .map((name) => join(run, 'models', name))
              .slice(0, 5)
              .join(', ')}${models.length > 5 ? ', …' : ''}`
      }`,
    );
  }
  const written = await readRunFile<ModelDescription>(paths.description);
  // a setting that is newer than the run has its default: what the run did before one could choose
  const description = { ...written, config: trainConfigSchema.parse(written.config) };
  const result = await readRunFile<TrainResult>(paths.result);
  return { description, result, weights: paths.weights };
}
