import { ConfigError, UsageError } from '@larr/core';
import { z } from 'zod';
import { modelConfigSchema } from '../models/config.js';
import { modelKind } from '../models/index.js';

/**
 * One configuration for model and training. The defaults are the paper's where it states them (batch 2400, one epoch,
 * lr 8e-4, τ 0.1, λ 0.05); a dataset's manifest may recommend others (`training`), and the user's `--config` has the
 * last word.
 */
export const trainConfigSchema = modelConfigSchema
  .extend({
    batchSize: z.number().int().positive().default(2400),
    epochs: z.number().int().positive().default(1),
    /** stop after so many epochs without a better validation AUC; 0 never stops early */
    patience: z.number().int().min(0).default(2),
    learningRate: z.number().positive().default(8e-4),
    /** learning rate of the embedding tables; without it, `learningRate` */
    embeddingLearningRate: z.number().positive().optional(),
    /** `cosine` falls from the full rate to a twentieth over all epochs */
    schedule: z.enum(['constant', 'cosine']).default('cosine'),
    /** decoupled weight decay of the dense parameters (AdamW) */
    weightDecay: z.number().min(0).default(0),
    /**
     * L2 penalty ½ c ‖E‖² on the embedding tables, in every step and on every row, as FuxiCTR's embedding_regularizer;
     * with it the tables are updated densely (Adam), which costs time in proportion to their size
     */
    embeddingL2: z.number().min(0).default(0),
    /** share of ids replaced by "unseen" while training, so that the unseen row of each feature means something */
    idDropout: z.number().min(0).lt(1).default(0.01),
    /** largest gradient norm over the dense parameters; 0 leaves gradients as they are */
    clipNorm: z.number().min(0).default(0),
    /** arithmetic of the products: `bf16` runs them under autocast, parameters stay f32 */
    dtype: z.enum(['f32', 'bf16']).default('f32'),
    /**
     * a part whose samples take more than so many MiB is read from its shards batch by batch, by a thread that is a few
     * batches ahead, instead of being held in memory; about twice as much is in use while a part is taken into memory
     */
    memoryBudgetMiB: z.number().positive().default(4096),
    /** seconds between checkpoints within an epoch */
    checkpointSeconds: z.number().positive().default(30),
    /** steps between lines in metrics.jsonl */
    logEvery: z.number().int().positive().default(20),
  })
  .strict();

export type TrainConfig = z.infer<typeof trainConfigSchema>;
export type TrainConfigInput = z.input<typeof trainConfigSchema>;

/**
 * Defaults ← the dataset's recommendation ← the model variant's own settings ← the user's.
 * @param vectorDim width of the language model's vectors, where the model takes them: `larr.vectorDim` follows it
 * @throws ConfigError `BAD_CONFIG` naming the field; UsageError `UNKNOWN_MODEL`, `VECTOR_DIM`
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
  if (parsed.success) return parsed.data;
  const what = parsed.error.issues.map((issue) => `${issue.path.join('.') || '(top)'}: ${issue.message}`).join('; ');
  throw new ConfigError('BAD_CONFIG', `the training configuration is not valid: ${what}`);
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
