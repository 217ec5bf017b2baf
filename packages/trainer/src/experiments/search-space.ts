import { readFile } from 'node:fs/promises';
import { UsageError } from '@larr/core';
import { z } from 'zod';
import { draws } from '../language-model/draws.js';
import { type NetworkName, networksOfTowers } from '../models/config.js';
import { modelKind } from '../models/index.js';
import type { TrainConfig } from '../training/config.js';
import { settingAt } from './settings.js';

/** What a setting is drawn from: a range of numbers, evenly or (`log`) evenly in its logarithm, or some values. */
export type Dimension =
  | { min: number; max: number; log?: boolean | undefined; whole?: boolean | undefined }
  | { choices: readonly unknown[] };

/** Dimensions by the dotted name of their setting. */
export type SearchSpace = Record<string, Dimension>;

const DimensionSchema = z.union([
  z.strictObject({ min: z.number(), max: z.number(), log: z.boolean().optional(), whole: z.boolean().optional() }),
  z.strictObject({ choices: z.array(z.unknown()).min(2) }),
]);
const SpaceSchema = z.record(z.string(), DimensionSchema);

/** What is searched where nobody says what: the settings that move rankings most, around the configured ones. */
export function defaultSpace(model: string, network: NetworkName, configured: TrainConfig): SearchSpace {
  const times = (value: number, ...factors: number[]) =>
    factors.map((factor) => Math.max(1, Math.round(value * factor)));
  const space: SearchSpace = {
    learningRate: { min: configured.learningRate / 5, max: configured.learningRate * 5, log: true },
    batchSize: { choices: times(configured.batchSize, 0.25, 0.5, 1, 2) },
    embeddingDim: { choices: times(configured.embeddingDim, 0.5, 1, 2) },
    dropout: { choices: [0, 0.1, 0.2] },
    idDropout: { min: 0, max: 0.1 },
  };
  if (network === 'ple') space['ple.tower'] = { choices: [[32], [64], [128]] };
  else if (network === 'mmoe') space['mmoe.experts'] = { choices: [2, 4, 8] };
  else
    space.hidden = {
      choices: [
        [128, 64],
        [256, 128],
        [256, 128, 64],
        [512, 256],
      ],
    };
  if (networksOfTowers.has(network)) space.interactions = { choices: ['none', 'fm'] };
  const { vectors, overrides = {} } = modelKind(model);
  if (vectors !== null) space['larr.gain'] = { choices: [0.01, 0.1, 1] };
  if (vectors !== null && settingAt(overrides, 'align.lambda') === undefined) {
    space['align.lambda'] = { min: 0.0005, max: 0.1, log: true };
    space['align.temperature'] = { min: 0.05, max: 0.5, log: true };
  }
  return space;
}

/**
 * Reads a search space from a JSON file: `{ "learningRate": { "min": 1e-4, "max": 1e-2, "log": true }, "hidden": { "choices": [[64], [128]] } }`.
 * @throws UsageError `SPACE_MISSING`, `SPACE_INVALID`
 */
export async function readSpace(file: string): Promise<SearchSpace> {
  const text = await readFile(file, 'utf8').catch(() => {
    throw new UsageError('SPACE_MISSING', `the search space ${file} can't be read; check the path given to --space`);
  });
  const invalid = (what: string) =>
    new UsageError(
      'SPACE_INVALID',
      `${file} is no search space: ${what}. Each setting has {"min", "max"} with "log" or "whole" where wanted, or {"choices": [at least two]}`,
    );
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw invalid((error as Error).message);
  }
  const parsed = SpaceSchema.safeParse(value);
  if (!parsed.success)
    throw invalid(
      parsed.error.issues.map(({ path, message }) => `${path.join('.') || '(top)'}: ${message}`).join('; '),
    );
  const entries = Object.entries(parsed.data);
  if (entries.length === 0) throw invalid('it names no setting');
  for (const [name, dimension] of entries) {
    if ('choices' in dimension) continue;
    if (dimension.min >= dimension.max) throw invalid(`${name}: min must be below max`);
    if (dimension.log && dimension.min <= 0) throw invalid(`${name}: a logarithmic range begins above 0`);
  }
  return parsed.data;
}

/** The settings of trial `index`: the same for the same seed, model and space, whatever was drawn before. */
export function drawSettings(space: SearchSpace, seed: number, model: string, index: number): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(space).map(([name, dimension]) => {
      const u = draws(seed, `tune ${model} ${index} ${name}`)();
      return [name, valueAt(dimension, u)];
    }),
  );
}

function valueAt(dimension: Dimension, u: number): unknown {
  if ('choices' in dimension) return dimension.choices[Math.floor(u * dimension.choices.length)];
  const { min, max, log = false, whole = false } = dimension;
  const value = log ? min * (max / min) ** u : min + (max - min) * u;
  // Four digits are more than a search can tell apart, and can be read.
  return whole ? Math.round(value) : Number(value.toPrecision(4));
}
