// The settings of training and of the networks, without anything that trains: the command line reads them before LibTorch is there.
import { z } from 'zod';
import { modelConfigSchema } from '../models/config.js';

/**
 * One configuration for model and training. The defaults are the paper's where it states them (batch 2400, one epoch,
 * lr 8e-4, τ 0.1, λ 0.05); a dataset's manifest may recommend others (`training`), and the user's `--config` has the
 * last word.
 */
export const trainConfigSchema = modelConfigSchema
  .extend({
    batchSize: z.number().int().positive().default(2400).describe('Rows in a step.'),
    epochs: z.number().int().positive().default(1).describe('Passes over the train part, at most.'),
    patience: z
      .number()
      .int()
      .min(0)
      .default(2)
      .describe('Stop after so many epochs without a better validation AUC; 0 never stops early.'),
    learningRate: z.number().positive().default(8e-4).describe('Peak rate of Adam.'),
    embeddingLearningRate: z
      .number()
      .positive()
      .optional()
      .describe('Learning rate of the embedding tables; without it, learningRate.'),
    embeddingOptimiser: z
      .enum(['adam', 'adagrad'])
      .default('adam')
      .describe(
        'How the embedding tables are updated, row by row as batches name them: adam keeps two numbers beside each weight; adagrad one, and its steps shrink for what is seen often.',
      ),
    schedule: z
      .enum(['constant', 'cosine', 'plateau'])
      .default('cosine')
      .describe(
        'How the rate goes: cosine falls from the full rate to a twentieth over all epochs; plateau stays, and is multiplied by plateauFactor after each epoch without a better validation AUC, which wants more epochs than are needed and patience to stop.',
      ),
    plateauFactor: z
      .number()
      .positive()
      .lt(1)
      .optional()
      .describe(
        'What the rate is multiplied by on a plateau, for the schedule of that name alone; without it, 0.1. It does not fall below 1e-6. Both as FuxiCTR has it.',
      ),
    weightDecay: z.number().min(0).default(0).describe('Decoupled weight decay of the dense parameters (AdamW).'),
    embeddingL2: z
      .number()
      .min(0)
      .default(0)
      .describe(
        "L2 penalty ½ c ‖E‖² on the embedding tables, in every step and on every row, as FuxiCTR's embedding_regularizer; with it the tables are updated densely (Adam), which costs time in proportion to their size.",
      ),
    idDropout: z
      .number()
      .min(0)
      .lt(1)
      .default(0.01)
      .describe(
        'Share of ids replaced by "unseen" while training, so that the unseen row of each feature means something.',
      ),
    clipNorm: z
      .number()
      .min(0)
      .default(0)
      .describe('Largest gradient norm over the dense parameters; 0 leaves gradients as they are.'),
    dtype: z
      .enum(['f32', 'bf16'])
      .default('f32')
      .describe('Arithmetic of the products: bf16 runs them under autocast, parameters stay f32.'),
    memoryBudgetMiB: z
      .number()
      .positive()
      .default(4096)
      .describe(
        'A part whose samples take more than so many MiB is read from its shards batch by batch, by a thread that is a few batches ahead, instead of being held in memory; about twice as much is in use while a part is taken into memory.',
      ),
    checkpointSeconds: z.number().positive().default(30).describe('Seconds between checkpoints within an epoch.'),
    logEvery: z.number().int().positive().default(20).describe('Steps between lines in metrics.jsonl.'),
  })
  .strict();

/** The `train` section of a configuration file: settings of every model, and of single ones. */
export const trainSectionSchema = trainConfigSchema.extend({
  models: z
    .record(z.string(), trainConfigSchema)
    .optional()
    .describe(
      'Settings of single models by name, over those beside it: `"models": { "ple": { "learningRate": 0.001 } }`. A larr model without an entry of its own takes that of `larr`. `larr tune` writes such a file.',
    ),
});

export type TrainConfig = z.output<typeof trainConfigSchema>;
/** Settings that the user gives: those that are left out come from the dataset's recommendation, or are the defaults. */
export type TrainConfigInput = z.input<typeof trainSectionSchema>;
