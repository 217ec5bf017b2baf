import { didYouMean, problemsOf, settingsText, UsageError, whyNotJson } from '@larr/core';
import { z } from 'zod';
import { draws } from '../language-model/draws.js';
import { type NetworkName, networksOfTowers } from '../models/config.js';
import { modelKind, networkOf } from '../models/index.js';
import { resolveTrainConfig, type TrainConfig, type TrainConfigInput } from '../training/config.js';
import { problemsOfSetting, settingAt, settingTypes, whyUnread } from './settings.js';

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

/** Why a space cannot be searched: names that are no settings, and what they cannot be. */
function problemsOfSpace(space: SearchSpace): string[] {
  const types = settingTypes();
  return Object.entries(space).flatMap(([name, dimension]) => {
    if (!types.has(name))
      return [`${name}: train has no such setting that can be searched.${didYouMean(name, types.keys())}`];
    if ('choices' in dimension)
      return [...new Set(dimension.choices.flatMap((value) => problemsOfSetting(name, value)))];
    const { min, max, log, whole } = dimension;
    const type = types.get(name);
    if (type !== 'number' && type !== 'integer')
      return [`${name}: it is no number, so it has no range: give {"choices": […]}`];
    if (min >= max) return [`${name}: min must be below max, and ${min} is not below ${max}`];
    if (log && min <= 0) return [`${name}: a logarithmic range begins above 0, not at ${min}`];
    if (type === 'integer' && !whole) return [`${name}: it is a whole number: add "whole": true`];
    return [...problemsOfSetting(name, min), ...problemsOfSetting(name, max)];
  });
}

/**
 * Refuses a space with a setting that none of the models reads: all its trials would be the same.
 * @param config says what the larr models are built on, where the space does not
 * @throws UsageError `SETTING_UNREAD`; those of `resolveTrainConfig`
 */
export function checkSpaceIsRead(space: SearchSpace, models: readonly string[], config: TrainConfigInput = {}): void {
  const searched = space.base !== undefined && 'choices' in space.base ? space.base.choices : null;
  const basesOf = (model: string) =>
    (searched as readonly NetworkName[] | null) ?? [networkOf(model, resolveTrainConfig(model, {}, config))];
  for (const name of Object.keys(space)) {
    const unread = models.map((model) => whyUnread(model, name, basesOf(model)));
    if (unread.every((why) => why !== null))
      throw new UsageError('SETTING_UNREAD', `${unread.join(', ')}: take it out of --space, or search another model`);
  }
}

/**
 * Reads a search space from a JSON file: `{ "learningRate": { "min": 1e-4, "max": 1e-2, "log": true }, "hidden": { "choices": [[64], [128]] } }`.
 * @throws UsageError `SPACE_MISSING`; `SPACE_INVALID` with every name that is no setting and every value that one cannot have
 */
export async function readSpace(file: string): Promise<SearchSpace> {
  const text = settingsText(file, 'SPACE_MISSING', 'the search space');
  const invalid = (...problems: string[]) =>
    new UsageError(
      'SPACE_INVALID',
      `${file} is no search space: each setting has {"min", "max"} with "log" or "whole" where wanted, or {"choices": [at least two]}\n${problems.map((problem) => `  ${problem}`).join('\n')}`,
    );
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw invalid(`it is not JSON: ${whyNotJson(text, error)}`);
  }
  const parsed = SpaceSchema.safeParse(value);
  if (!parsed.success) throw invalid(...problemsOf(SpaceSchema, parsed.error, value));
  if (Object.keys(parsed.data).length === 0) throw invalid('it names no setting');
  const problems = problemsOfSpace(parsed.data);
  if (problems.length > 0) throw invalid(...problems);
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
