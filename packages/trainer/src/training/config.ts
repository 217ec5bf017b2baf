import { ConfigError, problemsOf, UsageError } from '@larr/core';
import { modelKind } from '../models/index.js';
import { type TrainConfig, type TrainConfigInput, trainConfigSchema } from './config-schema.js';

export { type TrainConfig, type TrainConfigInput, trainConfigSchema, trainSectionSchema } from './config-schema.js';

/**
 * Defaults ← the dataset's recommendation ← the user's ← the user's for this model (`models`) ← what makes the variant: an ablation
 * stays what its name says, whatever is asked of the model that it is of.
 * @param vectorDim width of the language model's vectors, where the model takes them: `larr.vectorDim` follows it
 * @throws ConfigError `BAD_CONFIG` naming the field; UsageError `UNKNOWN_MODEL`, `VECTOR_DIM`, `HEADS`
 */
export function resolveTrainConfig(
  model: string,
  recommended: object = {},
  user: TrainConfigInput = {},
  vectorDim?: number,
): TrainConfig {
  const { models = {}, ...all } = user;
  for (const name of Object.keys(models)) modelKind(name); // a name that no model has is refused, not passed over
  const own = ownSettings(model, user, recommended);
  const wanted = (own as TrainConfigInput).larr?.vectorDim ?? all.larr?.vectorDim;
  if (vectorDim !== undefined && wanted !== undefined && wanted !== vectorDim) {
    throw new UsageError(
      'VECTOR_DIM',
      `train.larr.vectorDim is ${wanted}, but the vectors are ${vectorDim} wide (finetune.dimension). Leave larr.vectorDim out: it follows the vectors`,
    );
  }
  const merged = [
    recommended,
    all,
    own,
    modelKind(model).overrides ?? {},
    vectorDim === undefined ? {} : { larr: { vectorDim } },
  ].reduce<object>(mergeDeep, {});
  const parsed = trainConfigSchema.safeParse(merged);
  if (parsed.success) {
    const { schedule, plateauFactor } = parsed.data;
    if (plateauFactor !== undefined && schedule !== 'plateau') {
      throw new ConfigError(
        'BAD_CONFIG',
        `the training configuration is not valid: plateauFactor is of the schedule "plateau", and the schedule is "${schedule}"`,
      );
    }
    if (vectorDim !== undefined) checkHeads(parsed.data.larr, vectorDim);
    return parsed.data;
  }
  const what = problemsOf(trainConfigSchema, parsed.error, merged).join('; ');
  throw new ConfigError('BAD_CONFIG', `the training configuration is not valid: ${what}`);
}

/**
 * What `models` says of a model: its own entry, else that of larr for larr's variants, else that of the base for what is the base alone
 * with something told.
 */
export function ownSettings(model: string, user: TrainConfigInput, recommended: object = {}): object {
  const { vectors, network } = modelKind(model);
  const { base = 'ple' } = { ...recommended, ...user } as { base?: string };
  return user.models?.[model] ?? user.models?.[vectors !== null ? 'larr' : (network ?? base)] ?? {};
}

/** The scene encoder's heads share the width of the vectors among them. @throws UsageError `HEADS` */
function checkHeads({ heads, aggregation }: TrainConfig['larr'], vectorDim: number): void {
  if (aggregation !== 'encoder' || vectorDim % heads === 0) return;
  throw new UsageError(
    'HEADS',
    `train.larr.heads is ${heads}, which does not divide the ${vectorDim} numbers of a vector (finetune.dimension): ` +
      `choose a number of heads that divides ${vectorDim}`,
  );
}

/**
 * The setting that loading data needs, before a model is chosen: of the user, the dataset's recommendation, or the default.
 * @throws ConfigError `BAD_CONFIG`
 */
export function memoryBudgetMiB(recommended: object = {}, user: object = {}): number {
  const { memoryBudgetMiB: given } = { ...recommended, ...user } as { memoryBudgetMiB?: unknown };
  const parsed = trainConfigSchema.shape.memoryBudgetMiB.safeParse(given);
  if (parsed.success) return parsed.data;
  throw new ConfigError(
    'BAD_CONFIG',
    `the training configuration is not valid: memoryBudgetMiB: ${parsed.error.issues[0]!.message}`,
  );
}

function mergeDeep(base: object, over: object): object {
  const out: Record<string, unknown> = { ...base };
  for (const [key, value] of Object.entries(over)) {
    const old = out[key];
    out[key] = isPlain(old) && isPlain(value) ? mergeDeep(old, value) : value;
  }
  return out;
}

function isPlain(value: unknown): value is object {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
