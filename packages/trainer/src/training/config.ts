import { ConfigError, UsageError } from '@larr/core';
import { modelKind } from '../models/index.js';
import { type TrainConfig, type TrainConfigInput, trainConfigSchema } from './config-schema.js';

export { type TrainConfig, type TrainConfigInput, trainConfigSchema } from './config-schema.js';

/**
 * Defaults ← the dataset's recommendation ← the model variant's own settings ← the user's.
 * @param vectorDim width of the language model's vectors, where the model takes them: `larr.vectorDim` follows it
 * @throws ConfigError `BAD_CONFIG` naming the field; UsageError `UNKNOWN_MODEL`, `VECTOR_DIM`, `HEADS`
 */
export function resolveTrainConfig(
  model: string,
  recommended: object = {},
  user: TrainConfigInput = {},
  vectorDim?: number,
): TrainConfig {
  const wanted = user.larr?.vectorDim;
  if (vectorDim !== undefined && wanted !== undefined && wanted !== vectorDim) {
    throw new UsageError(
      'VECTOR_DIM',
      `train.larr.vectorDim is ${wanted}, but the vectors are ${vectorDim} wide (finetune.dimension). Leave larr.vectorDim out: it follows the vectors`,
    );
  }
  const merged = [
    recommended,
    modelKind(model).overrides ?? {},
    user,
    vectorDim === undefined ? {} : { larr: { vectorDim } },
  ].reduce<object>(mergeDeep, {});
  const parsed = trainConfigSchema.safeParse(merged);
  if (parsed.success) {
    if (vectorDim !== undefined) checkHeads(parsed.data.larr, vectorDim);
    return parsed.data;
  }
  const what = parsed.error.issues.map((issue) => `${issue.path.join('.') || '(top)'}: ${issue.message}`).join('; ');
  throw new ConfigError('BAD_CONFIG', `the training configuration is not valid: ${what}`);
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
